//! `lock`: the daemon forgets the vault key and every token.

use procurify_token_protocol::Request;

use super::done;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::say;

pub(super) fn run(daemon: &Daemon) -> Result<(), Failure> {
    done(&mut daemon.connect_to_running()?, &Request::Lock)?;
    say::line("The vault is locked; no token is handed out until: procurify-token unlock")
}
