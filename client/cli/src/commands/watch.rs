//! `watch`: a line for each new token, refusal and removal. Never the token itself.

use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{Answer, Refusal, Request, Watched};
use serde_json::json;

use super::unexpected;
use crate::args::WatchArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{clock, report, say, system, text, when};

pub(super) fn run(daemon: &Daemon, args: &WatchArgs) -> Result<(), Failure> {
    let mut daemon = daemon.connect()?;
    leave_with_the_reader();
    let mut seen = None;
    loop {
        let request = Request::Watch { name: args.name.clone(), seen, deadline: POLL };
        let watched = match daemon.ask(POLL, |client, left| client.request(&request, left))? {
            Answer::Watched(watched) => watched,
            other => return Err(unexpected(&other)),
        };
        if seen.replace(watched.revision) != Some(watched.revision) {
            if args.form.json {
                print_json(&watched)?;
            } else {
                say::line(sentence(&watched, clock::now()))?;
            }
        }
    }
}

/// Ends the program when whoever reads its output has gone: it may be long until there is a line to notice that by.
pub(super) fn leave_with_the_reader() {
    std::thread::spawn(|| {
        if system::reader_has_gone() {
            std::process::exit(ExitCode::Ok as i32);
        }
    });
}

fn print_json(watched: &Watched) -> Result<(), Failure> {
    let token = watched.token.as_ref().map(|grant| {
        json!({
            "fingerprint": grant.token.fingerprint().to_string(),
            "expires_at": when::stamp(grant.token.expires_at()),
        })
    });
    let refusal = watched.refusal.as_ref().map(|refusal| {
        json!({
            "code": refusal.code.label(),
            "retry_after_seconds": refusal.retry_after.map(|after| after.as_secs()),
            "message": refusal.message,
            "advice": refusal.advice,
        })
    });
    let parts = [
        ("at", json!(when::stamp(clock::now()))),
        ("revision", json!(watched.revision)),
        ("token", json!(token)),
        ("refusal", json!(refusal)),
    ];
    report::print_json(&parts)
}

fn sentence(watched: &Watched, now: DateTime<Utc>) -> String {
    let token = watched.token.as_ref().map(|grant| {
        let until = when::stamp_and_distance(grant.token.expires_at(), now);
        format!("token {}, until {until}", grant.token.fingerprint())
    });
    let refusal = watched.refusal.as_ref().map(|Refusal { message, .. }| text::one_line(message));
    let parts = match (token, refusal) {
        (Some(token), Some(refusal)) => format!("{token}; {refusal}"),
        (Some(token), None) => token,
        (None, Some(refusal)) => refusal.into_owned(),
        (None, None) => "no token; one is asked for".to_owned(),
    };
    format!("{}  {parts}", when::stamp(now))
}

/// How long one question stays open before it is asked again.
const POLL: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;
    use procurify_token_protocol::RefusalCode;

    #[test]
    fn a_refusal_is_told_in_one_line() {
        let refusal = Refusal {
            code: RefusalCode::UPSTREAM_UNAVAILABLE,
            retry_after: None,
            message: "no token for acme:\x1b down".into(),
            advice: String::new(),
        };
        let mut watched = Watched { revision: 1, token: None, refusal: Some(refusal) };
        let told = sentence(&watched, DateTime::UNIX_EPOCH);
        assert_eq!(told, r"1970-01-01T00:00:00Z  no token for acme:\u{1b} down");
        watched.refusal = None;
        assert!(sentence(&watched, DateTime::UNIX_EPOCH).ends_with("one is asked for"));
    }
}
