//! The whole terminal for a view that changes: taken, drawn on, and given back whatever happens, a panic and a signal included.
//!
//! Knows nothing of what is shown. The escape sequences are crossterm's.

use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use crate::exit::{ExitCode, Failure};
use crate::{clock, system, terminal};

/// What a person does at the terminal, or the system to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// `q`, Ctrl-C, or nobody is there any more.
    Quit,
    /// So many lines down; up, where it is less than nought.
    Lines(isize),
    /// So many screens down.
    Screens(isize),
    /// The terminal has another size.
    Resized,
    /// This signal is about to end us.
    #[cfg_attr(windows, expect(dead_code, reason = "there is none there that is told"))]
    Ended(i32),
}

/// A terminal that is ours.
#[derive(Debug)]
pub(crate) struct Screen {
    is_styled: bool,
}

impl Screen {
    /// Whether there is one to take.
    pub(crate) fn must_be_there() -> Result<(), Failure> {
        let is_there = io::stdin().is_terminal() && io::stdout().is_terminal();
        let why = match (is_there, terminal::is_capable()) {
            (true, true) => return Ok(()),
            (true, false) => "this terminal cannot be drawn on (TERM is unset or dumb)",
            (false, _) => "stdin and stdout are not a terminal to be drawn on",
        };
        Err(Failure::new(ExitCode::Usage, why).hint(
            "procurify-token watch NAME prints a line for each change, procurify-token status --json how things stand",
        ))
    }

    /// Takes it.
    pub(crate) fn take() -> Result<Self, Failure> {
        Self::must_be_there()?;
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            give_back();
            before(panicked);
            // Whichever thread it was: what goes on without it would draw over the message.
            std::process::exit(PANICKED);
        }));
        enable_raw_mode().map_err(|error| lost(&error))?;
        let screen =
            Self { is_styled: anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never };
        execute!(io::stdout(), EnterAlternateScreen, Hide).map_err(|error| lost(&error))?;
        Ok(screen)
    }

    /// How many columns and lines it has.
    pub(crate) fn size() -> (usize, usize) {
        let (columns, lines) = size().unwrap_or((0, 0));
        let or = |told: u16, usual: usize| if told == 0 { usual } else { usize::from(told) };
        (or(columns, 80), or(lines, 24))
    }

    /// Draws lines from the top, each of which fits.
    pub(crate) fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let mut drawn = || -> io::Result<()> {
            queue!(stdout, BeginSynchronizedUpdate)?;
            for (row, line) in (0..).zip(lines) {
                queue!(stdout, MoveTo(0, row))?;
                if self.is_styled {
                    stdout.write_all(line.as_bytes())?;
                } else {
                    write!(stdout, "{}", anstream::adapter::strip_str(line))?;
                }
                queue!(stdout, Clear(ClearType::UntilNewLine))?;
            }
            // Below a full screen there is nothing, and the cursor would not get there.
            if lines.len() < Self::size().1 {
                let below = u16::try_from(lines.len()).unwrap_or(u16::MAX);
                queue!(stdout, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
            }
            queue!(stdout, EndSynchronizedUpdate)?;
            stdout.flush()
        };
        drawn().map_err(|error| lost(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Hears what is typed, and what the system has to say, from now on. Ends with the process.
pub(crate) fn listen<T>(to: &Sender<T>, as_event: fn(Input) -> T)
where
    T: Send + 'static,
{
    let signals = to.clone();
    system::for_each_sign(move |sign| {
        let _ = signals.send(as_event(sign));
        if let Input::Ended(signal) = sign {
            // Whoever draws has long left by then, unless the terminal takes nothing any more.
            clock::pause(GRACE);
            let _ = disable_raw_mode();
            system::end_by(signal);
        }
    });
    let keys = to.clone();
    std::thread::spawn(move || {
        let mut chunk = [0; 64];
        let mut said = |input| keys.send(as_event(input)).is_ok();
        loop {
            match system::read(io::stdin(), &mut chunk) {
                Ok(count) if count > 0 => {
                    if !inputs(&chunk[..count]).into_iter().all(&mut said) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nobody is there any more.
                Ok(_) | Err(_) => {
                    said(Input::Quit);
                    return;
                }
            }
        }
    });
}

/// What keys mean, of those that mean anything. What a key sends arrives together.
fn inputs(mut typed: &[u8]) -> Vec<Input> {
    let mut inputs = Vec::new();
    'keys: while let Some(first) = typed.first() {
        for (key, input) in KEYS {
            if let Some(rest) = typed.strip_prefix(key) {
                inputs.push(input);
                typed = rest;
                continue 'keys;
            }
        }
        typed = if *first == ESCAPE { &[] } else { &typed[1..] };
    }
    inputs
}

/// Gives the terminal back; more than once does no harm.
fn give_back() {
    // One that has gone needs nothing.
    let _ = execute!(io::stdout(), EndSynchronizedUpdate, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

fn lost(error: &io::Error) -> Failure {
    Failure::new(ExitCode::Other, format!("the terminal cannot be drawn on: {error}"))
}

const ESCAPE: u8 = 0x1b;
/// How long a signal waits for the terminal to be given back.
const GRACE: Duration = Duration::from_secs(2);
const PANICKED: i32 = 101;
const KEYS: [(&[u8], Input); 13] = [
    (b"q", Input::Quit),
    (b"Q", Input::Quit),
    (b"\x03", Input::Quit),
    (b"\x1b[A", Input::Lines(-1)),
    (b"\x1bOA", Input::Lines(-1)),
    (b"k", Input::Lines(-1)),
    (b"\x1b[B", Input::Lines(1)),
    (b"\x1bOB", Input::Lines(1)),
    (b"j", Input::Lines(1)),
    (b"\x1b[5~", Input::Screens(-1)),
    (b"\x1b[6~", Input::Screens(1)),
    (b"\x0c", Input::Resized),
    (b" ", Input::Screens(1)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mean_something_are_understood_and_the_others_do_nothing() {
        assert_eq!(inputs(b"q"), [Input::Quit]);
        assert_eq!(inputs(b"x\x03"), [Input::Quit]);
        assert_eq!(inputs(b"\x1b[A\x1b[Bj"), [Input::Lines(-1), Input::Lines(1), Input::Lines(1)]);
        assert_eq!(inputs(b"\x1b[6~"), [Input::Screens(1)]);
        assert_eq!(inputs(b"\x1b[1;5Cq"), [], "a key that is not known is not taken apart");
        assert_eq!(inputs(b""), []);
    }
}
