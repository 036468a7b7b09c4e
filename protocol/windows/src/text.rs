//! Text as Windows takes and gives it. No calls are made here.

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt as _;

/// With the zero at its end.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where there is one in it already.
pub(crate) fn wide(text: impl AsRef<OsStr>) -> io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = text.as_ref().encode_wide().collect();
    if wide.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is a zero in the text"));
    }
    wide.push(0);
    Ok(wide)
}
