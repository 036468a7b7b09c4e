//! What a credential and the daemon look like: to a program as JSON, to a person as lines.
//!
//! The JSON is an interface: fields are added, never changed, and `version` tells if that ever fails.

use chrono::{DateTime, Utc};
use procurify_token_protocol::{
    Activity, BodyEncoding, BudgetStatus, CredentialStatus, DaemonStatus, FailureReport, MemoryProtection,
    Sandbox, TokenStatus, VaultState,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::overview::{self, Look};
use crate::state::{state, valid_token};
use crate::{say, table, terminal, text, when};

/// Prints a report for programs.
pub(crate) fn print_json(parts: &[(&str, Value)]) -> Result<(), Failure> {
    let mut report = serde_json::Map::from_iter([("version".to_owned(), json!(1))]);
    report.extend(parts.iter().map(|(name, part)| ((*name).to_owned(), part.clone())));
    say::line(Value::Object(report).to_string())
}

/// A credential for programs.
pub(crate) fn credential_json(status: &CredentialStatus, now: DateTime<Utc>) -> Value {
    json!(Credential {
        name: status.name.as_str(),
        domain: status.name.domain().as_str(),
        description: status.description.as_str(),
        client_id: status.client_id.as_str(),
        base_url: status.base_url.as_str(),
        token_url: status.token_url.as_str(),
        audience: status.audience.as_str(),
        body_encoding: encoding(status.body_encoding),
        added_at: when::stamp(status.added_at),
        staged: status.staged,
        previous: status.previous,
        token: status.token.as_ref().map(|token| Token::of(token, now)),
        activity: activity(status.activity),
        next_attempt_at: status.next_attempt_at.map(when::stamp),
        last_failure: status.last_failure.as_ref().map(LastFailure::of),
        budget: Budget::of(&status.budget),
    })
}

/// The daemon for programs.
pub(crate) fn daemon_json(status: &DaemonStatus, socket: &str) -> Value {
    json!({
        "version": status.version,
        "pid": status.pid,
        "socket": socket,
        "started_at": when::stamp(status.started_at),
        "vault": vault(status.vault),
        "vault_path": status.vault_path,
        "credentials": status.credentials,
        "with_token": status.with_token,
        "memory": memory(status.memory),
        "core_dumps_forbidden": status.core_dumps_forbidden,
        "sandbox": sandbox(status.sandbox),
        "extra_ca": status.extra_ca,
        "warnings": status.warnings,
    })
}

/// Credentials for people; where nobody looks, a row of fields each, parted by tabs, with points of time and no distances.
pub(crate) fn credential_rows(credentials: &[CredentialStatus], now: DateTime<Utc>) -> Result<(), Failure> {
    if let Some(width) = terminal::width() {
        let lines = overview::lines(credentials, now, Look::of_terminal(width));
        return lines.into_iter().try_for_each(say::styled);
    }
    let stamp = |at: Option<DateTime<Utc>>| at.map_or_else(|| "-".to_owned(), when::stamp);
    table::plain(
        ["NAME", "STATE", "TOKEN ENDS", "NEXT REQUEST", "DESCRIPTION"],
        credentials.iter().map(|status| {
            [
                status.name.to_string(),
                state(status, now).to_owned(),
                stamp(valid_token(status, now).map(|token| token.expires_at)),
                stamp(status.next_attempt_at),
                status.description.to_string(),
            ]
        }),
    )
}

/// One credential for people, with what went wrong and what to do.
pub(crate) fn credential_facts(status: &CredentialStatus, now: DateTime<Utc>) -> Result<(), Failure> {
    let width = terminal::width();
    credential_lines(status, now, width.map(Look::of_terminal)).into_iter().try_for_each(say::line)
}

/// The same as lines, for a terminal where there is one.
pub(crate) fn credential_lines(
    status: &CredentialStatus,
    now: DateTime<Utc>,
    look: Option<Look>,
) -> Vec<String> {
    let token = match &status.token {
        Some(token) => {
            format!("{}, until {}", token.fingerprint, when::stamp_and_distance(token.expires_at, now))
        }
        None => "none".to_owned(),
    };
    let pairs = match (status.staged, status.previous) {
        (false, false) => String::new(),
        (true, false) => "a new one waits: rotate --retry".to_owned(),
        (false, true) => "the previous one is kept: rotate --rollback".to_owned(),
        (true, true) => {
            "a new one waits (rotate --retry), the previous one is kept (rotate --rollback)".to_owned()
        }
    };
    let facts = [
        ("name", status.name.to_string()),
        ("description", status.description.to_string()),
        ("state", state(status, now).to_owned()),
        ("token", token),
        ("life", look.map_or_else(String::new, |look| overview::life(status, now, look))),
        (
            "next request",
            status.next_attempt_at.map(|at| when::stamp_and_distance(at, now)).unwrap_or_default(),
        ),
        (
            "tokens issued",
            format!(
                "{} of {} in the last hour, {} of {} in the last day",
                status.budget.issued_in_hour,
                status.budget.per_hour,
                status.budget.issued_in_day,
                status.budget.per_day
            ),
        ),
        ("client id", status.client_id.to_string()),
        ("other pairs", pairs),
        ("base URL", status.base_url.to_string()),
        ("token URL", status.token_url.to_string()),
        ("audience", status.audience.to_string()),
        ("body", encoding(status.body_encoding).to_owned()),
        ("added", when::stamp_and_distance(status.added_at, now)),
    ];
    let width = look.map(|look| look.width);
    let mut lines = table::fact_lines(&facts, width);
    if let Some(failure) = &status.last_failure {
        let told = failure_lines(failure, now).into_iter();
        lines.extend(told.flat_map(|line| match width {
            Some(width) => text::folded(&line, width),
            None => vec![line],
        }));
    }
    lines
}

/// The daemon for people.
pub(crate) fn daemon_facts(status: &DaemonStatus, socket: &str, now: DateTime<Utc>) -> Result<(), Failure> {
    table::facts(&[
        ("daemon", format!("procurify-tokend {}, pid {}", status.version, status.pid)),
        ("socket", socket.to_owned()),
        ("started", when::stamp_and_distance(status.started_at, now)),
        ("vault", format!("{}, {}", vault(status.vault), status.vault_path)),
        ("credentials", format!("{}, {} of them with a valid token", status.credentials, status.with_token)),
        ("extra CA", status.extra_ca.clone().unwrap_or_default()),
        ("keys in memory", memory(status.memory).to_owned()),
        ("sandbox", sandbox(status.sandbox).to_owned()),
    ])?;
    status.warnings.iter().try_for_each(|warning| {
        let warning = format!("warning: {}", text::one_line(warning));
        match terminal::width() {
            Some(width) => text::folded(&warning, width).into_iter().try_for_each(say::line),
            None => say::line(warning),
        }
    })
}

/// Whether a person should look at this one.
pub(crate) fn is_troubled(status: &CredentialStatus) -> bool {
    matches!(status.activity, Activity::BackingOff | Activity::Barred)
}

fn failure_lines(failure: &FailureReport, now: DateTime<Utc>) -> Vec<String> {
    let details = [
        failure.http_status.map(|status| format!("HTTP {status}")),
        failure.request_id.as_ref().map(|id| format!("x-request-id {}", id.as_str())),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
    let mut lines = vec![
        format!(
            "last failure: {}, {}{details}, {} in a row",
            failure.code.label(),
            when::distance(failure.at, now),
            failure.attempts
        ),
        format!("  {}", text::one_line(&failure.message)),
    ];
    if !failure.advice.is_empty() {
        lines.push(format!("what to do: {}", text::one_line(&failure.advice)));
    }
    lines
}

fn memory(memory: MemoryProtection) -> &'static str {
    match memory {
        MemoryProtection::None => "unprotected",
        MemoryProtection::Locked => "locked",
        MemoryProtection::Secret => "secret",
    }
}

fn sandbox(sandbox: Sandbox) -> &'static str {
    match sandbox {
        Sandbox::None => "none",
        Sandbox::Loosened => "loosened",
        Sandbox::Full => "full",
    }
}

fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Resting => "resting",
        Activity::Requesting => "requesting",
        Activity::BackingOff => "backing-off",
        Activity::Barred => "barred",
    }
}

fn encoding(encoding: BodyEncoding) -> &'static str {
    match encoding {
        BodyEncoding::Json => "json",
        BodyEncoding::Form => "form",
    }
}

/// How the vault is, in a word.
pub(crate) fn vault(state: VaultState) -> &'static str {
    match state {
        VaultState::Missing => "missing",
        VaultState::Locked => "locked",
        VaultState::Open => "open",
    }
}

#[derive(Serialize)]
struct Credential<'a> {
    name: &'a str,
    domain: &'a str,
    description: &'a str,
    client_id: &'a str,
    base_url: &'a str,
    token_url: &'a str,
    audience: &'a str,
    body_encoding: &'static str,
    added_at: String,
    staged: bool,
    previous: bool,
    token: Option<Token>,
    activity: &'static str,
    next_attempt_at: Option<String>,
    last_failure: Option<LastFailure<'a>>,
    budget: Budget,
}

#[derive(Serialize)]
struct Budget {
    issued_in_hour: u32,
    per_hour: u32,
    issued_in_day: u32,
    per_day: u32,
}

impl Budget {
    fn of(status: &BudgetStatus) -> Self {
        let BudgetStatus { issued_in_hour, per_hour, issued_in_day, per_day } = *status;
        Self { issued_in_hour, per_hour, issued_in_day, per_day }
    }
}

#[derive(Serialize)]
struct Token {
    fingerprint: String,
    issued_at: String,
    expires_at: String,
    expires_in: i64,
}

impl Token {
    fn of(token: &TokenStatus, now: DateTime<Utc>) -> Self {
        Self {
            fingerprint: token.fingerprint.to_string(),
            issued_at: when::stamp(token.issued_at),
            expires_at: when::stamp(token.expires_at),
            expires_in: (token.expires_at - now).num_seconds().max(0),
        }
    }
}

#[derive(Serialize)]
struct LastFailure<'a> {
    code: &'static str,
    http_status: Option<u16>,
    request_id: Option<&'a str>,
    at: String,
    attempts: u32,
    message: &'a str,
    advice: &'a str,
}

impl<'a> LastFailure<'a> {
    fn of(report: &'a FailureReport) -> Self {
        Self {
            code: report.code.label(),
            http_status: report.http_status,
            request_id: report.request_id.as_ref().map(procurify_token_protocol::RequestId::as_str),
            at: when::stamp(report.at),
            attempts: report.attempts,
            message: &report.message,
            advice: &report.advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::status;
    use chrono::TimeDelta;

    #[test]
    fn the_json_of_a_credential_is_this() {
        assert_eq!(
            credential_json(&status(), DateTime::UNIX_EPOCH),
            json!({
                "name": "acme", "domain": "acme", "description": "nightly", "client_id": "id",
                "base_url": "https://acme.procurify.com", "token_url": "https://acme.procurify.com/oauth/token",
                "audience": "https://api.procurify.com/", "body_encoding": "json",
                "added_at": "1970-01-01T00:00:00Z", "staged": false, "previous": true,
                "token": {
                    "fingerprint": "0101010101010101", "issued_at": "1970-01-01T00:00:00Z",
                    "expires_at": "1970-01-02T00:00:00Z", "expires_in": 86400,
                },
                "activity": "resting", "next_attempt_at": null,
                "last_failure": {
                    "code": "throttled", "http_status": 429, "request_id": null, "at": "1970-01-01T00:00:00Z",
                    "attempts": 1, "message": "m", "advice": "",
                },
                "budget": {"issued_in_hour": 1, "per_hour": 6, "issued_in_day": 2, "per_day": 24},
            })
        );
    }

    #[test]
    fn a_token_that_has_ended_is_not_called_valid() {
        let status = CredentialStatus { activity: Activity::Barred, ..status() };
        assert_eq!(state(&status, DateTime::UNIX_EPOCH), "rejected, token valid");
        assert_eq!(state(&status, DateTime::UNIX_EPOCH + TimeDelta::hours(24)), "rejected");
        let resting = CredentialStatus { activity: Activity::Resting, ..status };
        assert_eq!(state(&resting, DateTime::UNIX_EPOCH + TimeDelta::hours(25)), "no token");
    }
}
