//! Words for whoever runs the command: results on stdout, everything beside them on stderr.

use std::io::{self, IsTerminal, Write};

use crossterm::cursor::MoveToColumn;
use crossterm::terminal::{Clear, ClearType};

use crate::exit::{ExitCode, Failure};
use crate::{terminal, text};

/// One line on stdout. What was written by others in it must have been through [`text`].
pub(crate) fn line(line: impl AsRef<str>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", line.as_ref()).map_err(|error| lost(&error))
}

/// A sentence on stdout, which goes on below between two words where the terminal is narrow. What was written by others in it must
/// have been through [`text`].
pub(crate) fn sentence(sentence: impl AsRef<str>) -> Result<(), Failure> {
    match terminal::width() {
        Some(width) => text::folded(sentence.as_ref(), width).into_iter().try_for_each(line),
        None => line(sentence),
    }
}

/// One line with styles on stdout, which are taken out where they are not wanted (`NO_COLOR`, `TERM=dumb`, a pipe).
pub(crate) fn styled(line: impl AsRef<str>) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{}", line.as_ref()).map_err(|error| lost(&error))
}

/// Bytes as they are on stdout, at once.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| lost(&error))
}

/// Something that a person should know, on stderr.
pub(crate) fn warning(warning: &str) {
    let mut stderr = anstream::stderr().lock();
    // There is nobody left to warn when this fails.
    let _ = writeln!(stderr, "\x1b[1;33mwarning:\x1b[0m {}", text::paragraphs(warning));
}

/// Something that a person may like to know, on stderr.
pub(crate) fn note(note: &str) {
    let note = text::paragraphs(note);
    let mut stderr = anstream::stderr().lock();
    for line in note.lines() {
        let lines = if io::stderr().is_terminal() { terminal::fitted(line) } else { vec![line.to_owned()] };
        for line in lines {
            let _ = writeln!(stderr, "{line}");
        }
    }
}

/// How far long work has come, on stderr where that is a terminal. One line, written over and taken away at the end: that needs
/// no more than this, and no crate.
pub(crate) struct Progress {
    doing: String,
    whole: usize,
    done: usize,
    shown: Option<usize>,
    is_shown: bool,
}

impl Progress {
    /// Work of so many parts.
    pub(crate) fn new(doing: &str, whole: usize) -> Self {
        let is_shown = io::stderr().is_terminal();
        Self { doing: doing.to_owned(), whole, done: 0, shown: None, is_shown }
    }

    /// So many parts are done.
    pub(crate) fn advance(&mut self, parts: usize) {
        self.done += parts;
        let percent = self.done * 100 / self.whole.max(1);
        if self.shown.is_none_or(|shown| percent > shown) {
            self.show(percent, &format!("{} ... {percent} %", self.doing));
        }
    }

    /// So long it has taken, where nobody knows how much there is.
    pub(crate) fn lasts(&mut self, seconds: u64) {
        self.show(0, &format!("{} ... {seconds} s", self.doing));
    }

    /// Goes on with something that says nothing until it is done.
    pub(crate) fn now(&mut self, doing: &str) {
        self.clear();
        doing.clone_into(&mut self.doing);
        self.show(0, &format!("{doing} ..."));
    }

    fn show(&mut self, percent: usize, text: &str) {
        if self.is_shown {
            self.shown = Some(percent);
            let _ = write!(io::stderr().lock(), "\r{text}");
        }
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            let mut stderr = io::stderr().lock();
            let _ = if terminal::is_capable() {
                crossterm::execute!(stderr, MoveToColumn(0), Clear(ClearType::UntilNewLine))
            } else {
                writeln!(stderr)
            };
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::new(ExitCode::Other, format!("the output could not be written: {error}")),
    }
}
