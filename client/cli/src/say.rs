//! Words for whoever runs the command: results on stdout, everything beside them on stderr.

use std::io::{self, IsTerminal, Write};

use crate::exit::{ExitCode, Failure};
use crate::text;

/// One line on stdout. What was written by others in it must have been through [`text`].
pub(crate) fn line(line: impl AsRef<str>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
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
    let _ = writeln!(anstream::stderr().lock(), "{}", text::paragraphs(note));
}

/// How far long work has come, on stderr where that is a terminal.
pub(crate) struct Progress {
    doing: String,
    whole: usize,
    done: usize,
    shown: usize,
    is_shown: bool,
}

impl Progress {
    /// Work of so many parts.
    pub(crate) fn new(doing: &str, whole: usize) -> Self {
        let is_shown = io::stderr().is_terminal();
        Self { doing: doing.to_owned(), whole, done: 0, shown: 0, is_shown }
    }

    /// So many parts are done.
    pub(crate) fn advance(&mut self, parts: usize) {
        self.done += parts;
        let percent = self.done * 100 / self.whole.max(1);
        if self.is_shown && percent > self.shown {
            self.shown = percent;
            let _ = write!(io::stderr().lock(), "\r{} ... {percent} %", self.doing);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown && self.shown > 0 {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::new(ExitCode::Other, format!("the output could not be written: {error}")),
    }
}
