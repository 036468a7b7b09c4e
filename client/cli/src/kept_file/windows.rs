//! On Windows: the file has an access list for its owner alone from the first byte on. There are no modes, and the folders on the way
//! are not looked at, as nowhere on Windows.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use procurify_token_windows::{Make, make_private, own_identity};

use super::{failed, must_be_file, unfit};
use crate::args::FileMode;
use crate::exit::Failure;

/// Puts a file with these bytes at the path in one step.
pub(crate) fn write(path: &Path, mode: FileMode, bytes: &[u8]) -> Result<(), Failure> {
    if mode.bits() != FileMode::default().bits() {
        return Err(unfit(path, "there are no modes on Windows, where the file is for its owner alone")
            .hint("leave --mode out; icacls lets others read a folder"));
    }
    let Some(name) = path.file_name() else { return Err(unfit(path, "it is no name of a file")) };
    match fs::symlink_metadata(path) {
        Ok(found) => must_be_file(path, found.is_symlink(), found.is_file())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(path, &error)),
    }
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let outcome = fill(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    outcome.map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(path, &error)
    })
}

fn fill(beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = make_private(beside, Make::New, &own_identity()?.user)?;
    file.write_all(bytes)?;
    file.sync_all()
}
