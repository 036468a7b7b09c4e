//! `refresh`: a new token now.

use procurify_token_protocol::{Answer, RefreshMode, Request};

use super::{token_json, unexpected};
use crate::args::RefreshArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{clock, report, say, when};

pub(super) fn run(daemon: &Daemon, args: RefreshArgs) -> Result<(), Failure> {
    let RefreshArgs { name, retry, over_budget, deadline, form } = args;
    let mode = match (over_budget, retry) {
        (true, _) => RefreshMode::OverBudget,
        (false, true) => RefreshMode::Retry,
        (false, false) => RefreshMode::Plain,
    };
    let request = Request::Refresh { name: name.clone(), mode, deadline };
    match daemon.connect()?.ask(deadline, |client, left| client.request(&request, left))? {
        Answer::Token(grant) if form.json => {
            report::print_json(&[("credential", name.as_str().into()), ("token", token_json(&grant))])
        }
        Answer::Token(grant) => say::line(format!(
            "New token {}, until {}",
            grant.token.fingerprint(),
            when::stamp_and_distance(grant.token.expires_at(), clock::now())
        )),
        other => Err(unexpected(&other)),
    }
}
