//! Words for whoever runs the command: results on stdout, everything beside them on stderr.

use std::io::{self, Write};

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

fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::new(ExitCode::Other, format!("the output could not be written: {error}")),
    }
}
