//! `refresh`: a new token now.

use procurify_token_protocol::{Answer, RefreshMode, Request};

use super::unexpected;
use crate::args::RefreshArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{clock, say, when};

pub(super) fn run(daemon: &Daemon, args: RefreshArgs) -> Result<(), Failure> {
    let RefreshArgs { name, retry, over_budget, deadline } = args;
    let mode = match (over_budget, retry) {
        (true, _) => RefreshMode::OverBudget,
        (false, true) => RefreshMode::Retry,
        (false, false) => RefreshMode::Plain,
    };
    let request = Request::Refresh { name, mode, deadline };
    match daemon.connect()?.ask(deadline, |client, left| client.request(&request, left))? {
        Answer::Token(grant) => say::line(format!(
            "New token {}, until {}",
            grant.token.fingerprint(),
            when::stamp_and_distance(grant.token.expires_at(), clock::now())
        )),
        other => Err(unexpected(&other)),
    }
}
