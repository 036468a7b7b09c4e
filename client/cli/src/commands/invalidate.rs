//! `invalidate`: the API refused a token; another takes its place as soon as one may be had.

use super::PATIENCE;
use crate::args::InvalidateArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{report, say};

pub(super) fn run(daemon: &Daemon, args: &InvalidateArgs) -> Result<(), Failure> {
    let mut daemon = daemon.connect()?;
    let fingerprint = match args.fingerprint {
        Some(fingerprint) => Some(fingerprint),
        None => daemon
            .ask(PATIENCE, |client, _| client.describe(&args.name))?
            .token
            .map(|token| token.fingerprint),
    };
    if let Some(fingerprint) = fingerprint {
        daemon.ask(PATIENCE, |client, _| client.invalidate_fingerprint(&args.name, fingerprint))?;
    }
    if args.form.json {
        let fingerprint = fingerprint.map(|fingerprint| fingerprint.to_string());
        return report::print_json(&[
            ("credential", args.name.as_str().into()),
            ("invalidated", fingerprint.into()),
        ]);
    }
    let Some(fingerprint) = fingerprint else {
        return say::line(format!("No token of {} is held; there is nothing to invalidate.", args.name));
    };
    say::sentence(format!(
        "Token {fingerprint} of {} is noted as refused. It is handed out no more, unless no other may be asked for: procurify-token status {}",
        args.name, args.name
    ))
}
