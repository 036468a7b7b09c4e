//! Questions to the person at the terminal. They go to the terminal itself and never to stdout, which may be a file.
//!
//! The terminal is raw while somebody is asked: Ctrl-C then is a key, and whoever asked says what there is and what there is
//! not; and a page that is pasted does not appear with the secret in it. What is left of a paste at the end is thrown away: a
//! shell would take it for commands.

mod editor;

use std::fs::File;
use std::io::{self, Write};

use secrecy::SecretString;
use zeroize::Zeroizing;

pub(crate) use self::editor::Shown;
use self::editor::{Editor, Step};
use crate::exit::{ExitCode, Failure};
use crate::terminal::{self, fitted, unasked};
use crate::{interrupt, system, text};

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
        Ok(Self { screen: terminal::take()?, read: Zeroizing::new(Vec::new()) })
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
        terminal::restore();
    }
}
