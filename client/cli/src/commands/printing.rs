//! The answer of an API on its way to stdout: as it comes, piece by piece, except that a terminal is not driven by it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read};

use http::Response;
use ureq::Body;

use crate::exit::{ExitCode, Failure};
use crate::{say, text};

/// Prints status and headers.
pub(super) fn print_head(response: &Response<Body>) -> Result<(), Failure> {
    let mut head = format!("{:?} {}\n", response.version(), response.status());
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = writeln!(head, "{name}: {}", text::one_line(&value));
    }
    say::line(head)
}

/// A body that is printed while it is read, by whoever reads it.
pub(super) struct Printed<R, P> {
    body: R,
    print: P,
    last: Option<u8>,
    escaper: Option<text::BodyEscaper>,
    failure: Option<Failure>,
}

/// The body on stdout.
pub(super) fn printed<R: Read>(body: R) -> Printed<R, impl FnMut(&[u8]) -> Result<(), Failure>> {
    let escaper = io::stdout().is_terminal().then(text::BodyEscaper::default);
    Printed { body, print: say::bytes, last: None, escaper, failure: None }
}

impl<R: Read, P: FnMut(&[u8]) -> Result<(), Failure>> Printed<R, P> {
    /// Prints what nobody has read, with a line end after it where it has none. Comes back with whatever went wrong on the way.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let mut buffer = vec![0; PIECE];
        while self.failure.is_none() {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if let Some(escaper) = self.escaper {
            (self.print)(escaper.finish().as_bytes())?;
        }
        if self.last.is_some_and(|byte| byte != b'\n') { (self.print)(b"\n") } else { Ok(()) }
    }
}

impl<R: Read, P: FnMut(&[u8]) -> Result<(), Failure>> Read for Printed<R, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.body.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let message = format!("the answer ended before it was whole: {error}");
                self.failure.get_or_insert(Failure::new(ExitCode::Unavailable, message));
                return Err(error);
            }
        };
        let Some(byte) = buffer[..count].last() else { return Ok(0) };
        self.last = Some(*byte);
        let printed = match &mut self.escaper {
            Some(escaper) => (self.print)(escaper.push(&buffer[..count]).as_bytes()),
            None => (self.print)(&buffer[..count]),
        };
        printed.map_err(|failure| {
            self.failure.get_or_insert(failure);
            io::Error::other("it could not be printed")
        })?;
        Ok(count)
    }
}

const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(body: &[u8], read_before: usize) -> String {
        let mut out = Vec::new();
        let print = |piece: &[u8]| {
            out.extend_from_slice(piece);
            Ok(())
        };
        let mut printed = Printed { body, print, last: None, escaper: None, failure: None };
        let mut some = vec![0; read_before];
        let _ = printed.read(&mut some).unwrap();
        printed.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_of_it_is_printed_once_whoever_reads_it() {
        for read_before in [0, 1, 3, 100] {
            assert_eq!(run(b"[1,2]", read_before), "[1,2]\n");
            assert_eq!(run(b"[1,2]\n", read_before), "[1,2]\n");
            assert_eq!(run(b"", read_before), "");
        }
    }

    #[test]
    fn what_went_wrong_is_told_at_the_end() {
        let closed = |_: &[u8]| Err(Failure::StdoutClosed);
        let mut printed =
            Printed { body: &b"abc"[..], print: closed, last: None, escaper: None, failure: None };
        assert!(printed.read(&mut [0; 2]).is_err());
        assert!(matches!(printed.finish(), Err(Failure::StdoutClosed)));
    }
}
