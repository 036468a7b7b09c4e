//! Questions to the person at the terminal. They go to the terminal itself and never to stdout, which may be a file.
//!
//! The terminal is raw while somebody is asked: Ctrl-C then is a key, and whoever asked says what there is and what there is
//! not; and a page that is pasted does not appear with the secret in it. What is left of a paste at the end is thrown away: a
//! shell would take it for commands.

mod editor;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};

use crossterm::{Command, execute};
use secrecy::SecretString;
use zeroize::Zeroizing;

pub(crate) use self::editor::Shown;
use self::editor::{Editor, Step};
use crate::exit::{ExitCode, Failure};
use crate::{interrupt, system, table, text};

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

/// Asks, and takes one line.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    Ok(Dialog::begin()?.ask(question, Shown::Plain)?.trim().to_owned())
}

/// Asks, and takes one line without showing it.
pub(crate) fn ask_masked(question: &str) -> Result<SecretString, Failure> {
    Ok(Dialog::begin()?.ask(question, Shown::Masked)?.as_str().into())
}

/// Questions that belong together. What is pasted at one of them may answer the next.
#[derive(Debug)]
pub(crate) struct Dialog {
    screen: File,
    /// What arrived together with an answer, and belongs to the next one.
    read: Zeroizing<Vec<u8>>,
}

impl Dialog {
    /// Takes the terminal.
    pub(crate) fn begin() -> Result<Self, Failure> {
        interrupt::notice_signals();
        let mut screen = screen()?;
        crossterm::terminal::enable_raw_mode().map_err(|error| unasked(&error))?;
        tell(&mut screen, MarksOfPaste(true));
        Ok(Self { screen, read: Zeroizing::new(Vec::new()) })
    }

    /// Asks, and takes a line, or the lines that were pasted together.
    pub(crate) fn ask(&mut self, question: &str, shown: Shown) -> Result<Zeroizing<String>, Failure> {
        self.write(&format!("{} ", fitted(question).join("\r\n")))?;
        let mut editor = Editor::new(shown);
        let mut chunk = Zeroizing::new([0_u8; 1024]);
        loop {
            let arrived = std::mem::take(&mut *self.read);
            let mut screen = String::new();
            let outcome = arrived.iter().enumerate().find_map(|(at, byte)| {
                let step = editor.take(*byte, &mut screen);
                (step != Step::More).then_some((at, step))
            });
            if let Some((at, _)) = outcome {
                self.read.extend_from_slice(&arrived[at + 1..]);
            }
            drop(Zeroizing::new(arrived));
            self.write(&screen)?;
            match outcome.map(|(_, step)| step) {
                Some(step @ (Step::Line | Step::Page)) => {
                    self.write(if step == Step::Page { "(pasted)\r\n" } else { "\r\n" })?;
                    return Ok(editor.into_text());
                }
                Some(Step::Interrupted) => {
                    self.write("\r\n")?;
                    return Err(interrupt::failure());
                }
                Some(Step::Ended) => return Err(self.unanswered()),
                Some(Step::More) | None => {}
            }
            match system::read(io::stdin(), &mut chunk[..]) {
                Ok(0) => return Err(self.unanswered()),
                Ok(count) => self.read.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unasked(&error)),
            }
        }
    }

    /// Says something between two questions.
    pub(crate) fn note(&mut self, note: &str) -> Result<(), Failure> {
        let note = text::paragraphs(note);
        let lines: Vec<String> = note.lines().flat_map(fitted).collect();
        self.write(&format!("{}\r\n", lines.join("\r\n")))
    }

    fn unanswered(&mut self) -> Failure {
        // That the line is begun anew is a courtesy.
        let _ = self.write("\r\n");
        Failure::new(ExitCode::Usage, "no answer was given; nothing was changed")
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.screen.write_all(text.as_bytes()).map_err(|error| unasked(&error))
    }
}

impl Drop for Dialog {
    fn drop(&mut self) {
        restore();
    }
}

/// A text as lines that fit the terminal, parted between words.
pub(crate) fn fitted(text: &str) -> Vec<String> {
    let width = match crossterm::terminal::size() {
        Ok((width, _)) if width > 0 => usize::from(width),
        _ => usize::MAX,
    };
    table::folded(text, width)
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

fn unasked(error: &io::Error) -> Failure {
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
