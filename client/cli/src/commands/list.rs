//! `list`: the credentials, a row each.

use serde_json::Value;

use super::PATIENCE;
use crate::args::JsonArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{clock, report, say};

pub(super) fn run(daemon: &Daemon, args: JsonArgs) -> Result<(), Failure> {
    let credentials = daemon.connect()?.ask(PATIENCE, |client, _| client.list())?;
    let now = clock::now();
    if args.json {
        let all: Vec<Value> = credentials.iter().map(|status| report::credential_json(status, now)).collect();
        return report::print_json(&[("credentials", all.into())]);
    }
    if credentials.is_empty() {
        return say::line("There are no credentials yet. Next: procurify-token add DOMAIN");
    }
    report::credential_rows(&credentials, now)
}
