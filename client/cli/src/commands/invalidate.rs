//! `invalidate`: the API refused a token; it is not handed out again.

use super::PATIENCE;
use crate::args::InvalidateArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::say;

pub(super) fn run(daemon: &Daemon, args: &InvalidateArgs) -> Result<(), Failure> {
    let mut daemon = daemon.connect()?;
    let fingerprint = match args.fingerprint {
        Some(fingerprint) => Some(fingerprint),
        None => daemon
            .ask(PATIENCE, |client, _| client.describe(&args.name))?
            .token
            .map(|token| token.fingerprint),
    };
    let Some(fingerprint) = fingerprint else {
        return say::line(format!("No token of {} is held; there is nothing to invalidate.", args.name));
    };
    daemon.ask(PATIENCE, |client, _| client.invalidate_fingerprint(&args.name, fingerprint))?;
    say::line(format!("Token {fingerprint} of {} is not handed out any more.", args.name))
}
