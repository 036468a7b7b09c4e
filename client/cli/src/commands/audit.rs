//! `audit`: who got and did what, as the daemon keeps it, and whether that is still as it was written.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{Answer, AuditBreak, AuditFilter, AuditVerdict, Request};
use serde_json::{Value, json};

use super::watch::leave_with_the_reader;
use super::{PATIENCE, unexpected};
use crate::args::{AuditArgs, AuditCommand, AuditShowArgs};
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{clock, report, say, table, text};

pub(super) fn run(daemon: &Daemon, args: AuditArgs) -> Result<(), Failure> {
    match args.command {
        AuditCommand::Show(args) => show(daemon, args),
        AuditCommand::Verify(args) => verify(daemon, args.json),
    }
}

fn show(daemon: &Daemon, args: AuditShowArgs) -> Result<(), Failure> {
    let AuditShowArgs { credential, user, since, json, follow } = args;
    let since = since.map(|since| since.moment(clock::now()));
    let filter = AuditFilter { credential, user, since };
    let mut daemon = daemon.connect()?;
    if follow {
        leave_with_the_reader();
    }
    let mut after = None;
    let mut is_headed = json;
    loop {
        let patience = if follow && after.is_some() { POLL } else { Duration::ZERO };
        let request = Request::AuditShow { after, filter: filter.clone(), deadline: patience };
        let asked = daemon.ask(PATIENCE, |client, left| client.request(&request, left))?;
        let Answer::AuditRecords { lines, next, more } = asked else { return Err(unexpected(&asked)) };
        if json {
            lines.iter().try_for_each(|line| say::line(as_kept(line)))?;
        } else if !lines.is_empty() {
            let rows = lines.iter().map(|line| row(line));
            if std::mem::replace(&mut is_headed, true) {
                table::more_rows(rows)?;
            } else {
                table::rows(COLUMNS, rows)?;
            }
        }
        if !more && !follow {
            if !is_headed {
                say::note("There are no such records.");
            }
            return Ok(());
        }
        after = Some(next);
    }
}

fn verify(daemon: &Daemon, json: bool) -> Result<(), Failure> {
    let verdict = match daemon.connect()?.request(&Request::AuditVerify, PATIENCE)? {
        Answer::AuditVerified(verdict) => verdict,
        other => return Err(unexpected(&other)),
    };
    let AuditVerdict { first, last, folder, broken } = &verdict;
    if json {
        report::print_json(&[("audit", json!(verdict))])?;
    } else if broken.is_none() && *last == 0 {
        say::line(format!("There are no records yet in {}.", text::one_line(folder)))?;
    } else if broken.is_none() {
        let folder = text::one_line(folder);
        say::line(format!(
            "Records {first} to {last} in {folder} are as they were written, all of them and in order."
        ))?;
    }
    match broken {
        None => Ok(()),
        Some(AuditBreak { record, file, what }) => {
            let told = format!("audit record {record} is the first that is amiss: {what} ({file})");
            Err(Failure::new(ExitCode::Amiss, told).hint(
                "copy the folder before anything else is written there; the records before that one are good",
            ))
        }
    }
}

/// A record's line as it is: none that the daemon writes has anything in it that drives a terminal.
fn as_kept(line: &str) -> Cow<'_, str> {
    if line.chars().any(char::is_control) { text::one_line(line) } else { Cow::Borrowed(line) }
}

/// A record for people. What is none any more is shown as it is.
fn row(line: &str) -> [String; 7] {
    let Ok(Value::Object(record)) = serde_json::from_str(line) else {
        return ["?", "", "not a record:", line, "", "", ""].map(str::to_owned);
    };
    let field = |name: &str| match record.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let at = DateTime::parse_from_rfc3339(&field("at")).map(|at| crate::when::stamp(at.with_timezone(&Utc)));
    let times = |name, what: &str| record.get(name).map(|count| format!("{count}{what}"));
    let late = record.get("late").map(|_| "the vault was locked".to_owned());
    let words = [times("count", " more times"), times("lost", " records are lost"), late];
    let detail = Some(field("detail")).filter(|detail| !detail.is_empty());
    let act = [field("act"), field("outcome")].into_iter().filter(|word| !word.is_empty() && word != "ok");
    let who = [("uid", "uid "), ("sid", ""), ("pid", "pid ")].map(|(name, word)| (field(name), word));
    let who =
        who.iter().filter(|(number, _)| !number.is_empty()).map(|(number, word)| format!("{word}{number}"));
    let program = [field("program"), field("unit")].into_iter().filter(|word| !word.is_empty());
    [
        field("seq"),
        at.unwrap_or_default(),
        act.collect::<Vec<_>>().join(" "),
        [field("credential"), field("token")].join(" ").trim().to_owned(),
        who.collect::<Vec<_>>().join(", "),
        program.collect::<Vec<_>>().join(", "),
        detail.into_iter().chain(words.into_iter().flatten()).collect::<Vec<_>>().join("; "),
    ]
}

const COLUMNS: [&str; 7] = ["NO", "WHEN", "WHAT", "CREDENTIAL", "WHO", "PROGRAM", "MORE"];
/// How long one question stays open before it is asked again.
const POLL: Duration = Duration::from_secs(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_row() {
        let line = r#"{"seq":7,"at":"2026-11-25T08:00:00.123Z","act":"get","outcome":"ok","credential":"acme","token":"0102030405060708","uid":1000,"pid":42,"program":"/usr/bin/curl","unit":"a.service","count":3,"late":true,"mac":"00"}"#;
        let wanted = [
            "7",
            "2026-11-25T08:00:00Z",
            "get",
            "acme 0102030405060708",
            "uid 1000, pid 42",
            "/usr/bin/curl, a.service",
            "3 more times; the vault was locked",
        ];
        assert_eq!(row(line), wanted);
        let denied = row(r#"{"seq":8,"at":"x","act":"lock","outcome":"denied"}"#);
        assert_eq!(denied[2], "lock denied");
        assert_eq!(row("no record")[3], "no record");
    }
}
