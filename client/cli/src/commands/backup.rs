//! `backup`: a copy of the sealed vault, written whole and looked at once more.

use std::fs;
use std::io::Write;
use std::path::Path;

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{Answer, RefusalCode, Request};

use super::{PATIENCE, key, kinds, refused, unexpected};
use crate::args::FileArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{report, say, system};

pub(super) fn run(daemon: &Daemon, args: &FileArgs) -> Result<(), Failure> {
    if fs::symlink_metadata(&args.file).is_ok() {
        let message = format!("there is a file at {} already, and it was left alone", args.file.display());
        return Err(Failure::new(ExitCode::Conflict, message).hint("choose another name, or move it away"));
    }
    let mut client = daemon.connect()?;
    let sealed = fetched(&mut client)?;
    write(&args.file, &sealed).map_err(|error| {
        Failure::new(ExitCode::NotStored, format!("{} could not be written: {error}", args.file.display()))
    })?;
    let kinds = kinds(&key::slots(&mut client)?);
    if args.form.json {
        return report::print_json(&[
            ("file", args.file.display().to_string().into()),
            ("bytes", sealed.len().into()),
            ("opened_by", kinds.into()),
        ]);
    }
    say::line(format!("{} holds the whole vault, sealed ({} bytes).", args.file.display(), sealed.len()))?;
    say::line(format!("It is opened by: {}. Keep them apart from it.", kinds.join(", ")))
}

/// All pieces of one generation. A vault that changes meanwhile is begun anew.
fn fetched(client: &mut Client) -> Result<Vec<u8>, Failure> {
    let mut sealed = Vec::new();
    let mut generation = None;
    let mut attempts = 0;
    loop {
        let request = Request::Backup { generation, offset: sealed.len() as u64 };
        match client.request(&request, PATIENCE) {
            Ok(Answer::VaultPiece(found)) => {
                generation = Some(found.generation);
                sealed.extend_from_slice(found.piece.bytes());
                if sealed.len() as u64 >= found.length {
                    return Ok(sealed);
                }
                if found.piece.bytes().is_empty() {
                    return Err(Failure::new(
                        ExitCode::Other,
                        "the daemon sends an empty piece of the vault",
                    ));
                }
            }
            Ok(other) => return Err(unexpected(&other)),
            Err(error) if refused(&error) == Some(RefusalCode::CHANGED) && attempts < MOST_ATTEMPTS => {
                (sealed, generation) = (Vec::new(), None);
                attempts += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Under its name there is a whole copy or none.
fn write(path: &Path, sealed: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // For its owner alone, as `tempfile` makes all of its files.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(sealed)?;
    file.as_file().sync_all()?;
    if fs::read(file.path())? != sealed {
        return Err(std::io::Error::other("what was written is not what is there"));
    }
    file.persist_noclobber(path).map_err(|error| error.error)?;
    system::flush_folder(folder)
}

const MOST_ATTEMPTS: u32 = 10;
