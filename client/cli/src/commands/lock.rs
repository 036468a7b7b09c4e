//! `lock`: the daemon forgets the vault key and every token.

use procurify_token_protocol::Request;

use super::done;
use crate::args::JsonArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{report, say};

pub(super) fn run(daemon: &Daemon, args: JsonArgs) -> Result<(), Failure> {
    done(&mut daemon.connect_to_running()?, &Request::Lock)?;
    if args.json {
        return report::print_json(&[("vault", "locked".into())]);
    }
    say::line("The vault is locked; no token is handed out until: procurify-token unlock")
}
