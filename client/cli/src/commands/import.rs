//! `import`: many credentials at once, all or none.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use procurify_token_client::blocking::Client;
use procurify_token_protocol::{
    Answer, MOST_IN_PIECE, MOST_IN_UPLOAD, Piece, RefusalCode, Request, VaultState, codec,
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{PATIENCE, done, init, refused, unexpected};
use crate::args::FileArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::records::{self, Faults, Record};
use crate::{report, say, system};

pub(super) fn run(daemon: &Daemon, args: &FileArgs) -> Result<(), Failure> {
    let records = records::parse(&read(&args.file)?).map_err(|faults| told(&args.file, &faults))?;
    if records.is_empty() {
        return Err(Failure::new(ExitCode::Usage, format!("{} holds no credentials", args.file.display())));
    }
    let mut client = daemon.connect()?;
    let mut made = Value::Null;
    let is_first = client.status()?.vault == VaultState::Missing;
    if is_first {
        made = init::make_first(&mut client, args.form.json)?;
    }
    none_is_there(&mut client, &args.file, &records)?;
    let copies: Vec<_> = records.into_iter().map(|record| record.copy).collect();
    let bytes = codec::encode_copies(&copies);
    drop(copies);
    let mut progress = upload(&mut client, &bytes, "sending to the daemon")?;
    progress.now("storing durably");
    let outcome = client.request(&Request::Import { length: bytes.len() as u64 }, PATIENCE);
    drop(progress);
    match outcome {
        Ok(Answer::Imported { count }) if args.form.json => {
            report::print_json(&[("count", count.into()), ("made", made)])
        }
        Ok(Answer::Imported { count }) => {
            say::line(format!("{count} credentials are stored durably in the vault."))?;
            say::line(
                "Their first tokens are asked for one after the other: procurify-token list, or status --watch",
            )?;
            if is_first {
                init::offer_recovery_code(&mut client, &format!("{count} credentials are stored durably"))
            } else {
                Ok(())
            }
        }
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(error.into()),
    }
}

/// Sends bytes ahead of the request that is about them. The progress goes on to that.
pub(super) fn upload(client: &mut Client, bytes: &[u8], doing: &str) -> Result<say::Progress, Failure> {
    let mut progress = say::Progress::new(doing, bytes.len());
    for piece in bytes.chunks(MOST_IN_PIECE) {
        done(client, &Request::Upload(Piece::new(piece.to_vec())))
            .map_err(|failure| failure.while_doing("the upload was broken off, and nothing was stored"))?;
        progress.advance(piece.len());
    }
    Ok(progress)
}

/// The daemon would refuse all of them, and cannot know the lines.
fn none_is_there(client: &mut Client, file: &Path, records: &[Record]) -> Result<(), Failure> {
    let listed = match client.list() {
        Err(error) if refused(&error) == Some(RefusalCode::LOCKED) => return Err(error.into()),
        listed => listed?,
    };
    let lines: HashMap<_, _> =
        records.iter().map(|record| (&record.copy.credential.name, record.line)).collect();
    let mut faults = Faults::default();
    for status in &listed {
        if let Some(line) = lines.get(&status.name) {
            faults.add(*line, format!("{} is enrolled already", status.name));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(told(file, &faults)) }
}

fn told(file: &Path, faults: &Faults) -> Failure {
    let message = format!("nothing was imported from {}:\n{faults}", file.display());
    Failure::new(ExitCode::Usage, message).hint("procurify-token import --help shows what a line may hold")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unreadable = |error: io::Error| Failure::new(ExitCode::Usage, format!("{}: {error}", path.display()));
    let bytes = if path == Path::new("-") {
        up_to(MOST_IN_UPLOAD, io::stdin().lock()).map_err(unreadable)?
    } else {
        let file = File::open(path).map_err(unreadable)?;
        if system::others_may_read(&file).map_err(unreadable)? {
            say::warning(&format!("others can read {0}; to change that: chmod 600 {0}", path.display()));
        }
        up_to(MOST_IN_UPLOAD, file).map_err(unreadable)?
    };
    bytes.ok_or_else(|| {
        let (path, most) = (path.display(), MOST_IN_UPLOAD >> 20);
        let message = format!("{path} is longer than what can be imported in one go ({most} MiB)");
        Failure::new(ExitCode::Usage, message).hint("split it, and import one part after the other")
    })
}

/// Reads to the end; `None` where that is farther away than so many bytes, as in a device.
pub(super) fn up_to(most: usize, from: impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= most).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        assert_eq!(up_to(2, &b"[]"[..]).unwrap().as_deref(), Some(&b"[]".to_vec()));
        assert!(up_to(1, &b"[]"[..]).unwrap().is_none());
        assert!(up_to(1 << 16, io::repeat(0)).unwrap().is_none());
    }
}
