//! The terminal: whether there is one, what it can do, how wide it is, and into which state it is put while somebody is asked.
//!
//! Whom to ask what, and what was typed, is for [`dialog`](crate::dialog).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};

use crossterm::{Command, execute};

use crate::exit::{ExitCode, Failure};
use crate::{system, text};

/// Whether there is somebody to ask.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// How many columns stdout has, where it is a terminal. One that does not know its size (`docker exec -t`, a pseudo-terminal that
/// a program made) says 0, and is as wide as it needs to be.
pub(crate) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let told = crossterm::terminal::size().map_or(0, |(width, _)| usize::from(width));
    Some(if told == 0 { usize::MAX } else { told })
}

/// Whether the terminal can do more than write one line after the other.
pub(crate) fn is_capable() -> bool {
    let kind = std::env::var_os("TERM");
    if cfg!(windows) {
        kind.is_none_or(|kind| kind != "dumb")
    } else {
        kind.is_some_and(|kind| kind != "dumb")
    }
}

/// Shows something on the terminal itself, whatever stdout is.
pub(crate) fn show(text: &str) -> Result<(), Failure> {
    screen()?.write_all(text.as_bytes()).map_err(|error| unasked(&error))
}

/// A text as lines that fit the terminal, parted between words.
pub(crate) fn fitted(text: &str) -> Vec<String> {
    let width = match crossterm::terminal::size() {
        Ok((width, _)) if width > 0 => usize::from(width),
        _ => usize::MAX,
    };
    text::folded(text, width)
}

/// Has keys arrive as they are typed, unseen, and pastes marked, until it is [restored](restore).
pub(crate) fn take() -> Result<File, Failure> {
    let mut screen = screen()?;
    crossterm::terminal::enable_raw_mode().map_err(|error| unasked(&error))?;
    tell(&mut screen, MarksOfPaste(true));
    Ok(screen)
}

/// Makes the terminal what it was before anybody was asked.
pub(crate) fn restore() {
    if crossterm::terminal::is_raw_mode_enabled().unwrap_or(false) {
        system::forget_typed();
        // A terminal that has gone needs nothing.
        if let Ok(mut screen) = screen() {
            tell(&mut screen, MarksOfPaste(false));
        }
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

/// Tells the terminal to do something, if it is one that may understand.
fn tell(screen: &mut File, command: MarksOfPaste) {
    if is_capable() {
        // What it cannot do, it does not do.
        let _ = execute!(screen, command);
    }
}

fn screen() -> Result<File, Failure> {
    OpenOptions::new().write(true).open(system::TERMINAL[0]).map_err(|error| unasked(&error))
}

/// Nobody can be asked.
pub(crate) fn unasked(error: &io::Error) -> Failure {
    Failure::new(ExitCode::Usage, format!("there is no terminal to ask on: {error}"))
}

/// Whether the terminal says where a paste begins and ends. crossterm has this too, but only together with its own reader, which
/// keeps what was typed in a buffer of its own.
#[derive(Clone, Copy, Debug)]
struct MarksOfPaste(bool);

impl Command for MarksOfPaste {
    fn write_ansi(&self, to: &mut impl fmt::Write) -> fmt::Result {
        to.write_str(if self.0 { "\x1b[?2004h" } else { "\x1b[?2004l" })
    }

    #[cfg(windows)]
    fn execute_winapi(&self) -> io::Result<()> {
        Ok(())
    }
}
