//! A file that has a whole token in it at any moment: written beside the old one, with its mode from the first byte, flushed, and put in
//! its place in one step. The way to it is looked at anew each time, and refused where somebody else could exchange what is there.
//!
//! What is written, and when, is not decided here.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;
use std::path::Path;

use crate::exit::{ExitCode, Failure};
use crate::text::shell_quoted;

#[cfg(unix)]
pub(crate) use unix::write;
#[cfg(windows)]
pub(crate) use windows::write;

/// The file is not written, for this reason.
fn unfit(path: &Path, why: impl AsRef<str>) -> Failure {
    Failure::new(ExitCode::Other, format!("{} is not written: {}", path.display(), why.as_ref()))
}

/// The system refused.
fn failed(path: &Path, error: &io::Error) -> Failure {
    unfit(path, error.to_string())
}

/// What has the name already must be a file.
fn must_be_file(path: &Path, is_link: bool, is_file: bool) -> Result<(), Failure> {
    if is_link {
        return Err(unfit(path, "it is a symbolic link, and has to be the file itself")
            .hint(format!("name what it leads to: readlink -f {}", quoted(path))));
    }
    if !is_file {
        return Err(unfit(path, "something else than a file has this name").hint("name another file"));
    }
    Ok(())
}

fn quoted(path: &Path) -> String {
    shell_quoted(&path.display().to_string())
}
