//! `restore`: a backup takes the place of a vault that is not there.

use std::fs::File;
use std::io;

use procurify_token_protocol::{Answer, MOST_IN_UPLOAD, Request};

use super::{PATIENCE, import, kinds, unexpected};
use crate::args::FileArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{report, say};

pub(super) fn run(daemon: &Daemon, args: &FileArgs) -> Result<(), Failure> {
    let unreadable =
        |error: io::Error| Failure::new(ExitCode::Usage, format!("{}: {error}", args.file.display()));
    let unusable = |why: &str| Failure::new(ExitCode::Usage, format!("{} {why}", args.file.display()));
    let file = File::open(&args.file).map_err(unreadable)?;
    let Some(sealed) = import::up_to(MOST_IN_UPLOAD, file).map_err(unreadable)? else {
        let most = MOST_IN_UPLOAD >> 20;
        return Err(unusable(&format!("is longer than what can be restored this way ({most} MiB)")).hint(
            "procurify-token stop; then copy it to where the vault has to be, for its owner alone (mode 600)",
        ));
    };
    if sealed.is_empty() {
        return Err(unusable("is empty, so it is no backup"));
    }
    let mut client = daemon.connect()?;
    import::upload(&mut client, &sealed, "restoring")?;
    let slots = match client.request(&Request::Restore { length: sealed.len() as u64 }, PATIENCE)? {
        Answer::Slots { slots, .. } => slots,
        other => return Err(unexpected(&other)),
    };
    let kinds = kinds(&slots);
    if args.form.json {
        return report::print_json(&[("vault", "locked".into()), ("opened_by", kinds.into())]);
    }
    say::line(format!("The vault is back, and locked. It is opened by: {}.", kinds.join(", ")))?;
    say::line("Next: procurify-token unlock")?;
    say::line(
        "If what opens it without a person is not on this machine: procurify-token slot add key-file, after that.",
    )
}
