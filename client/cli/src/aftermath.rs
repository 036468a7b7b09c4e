//! What is done about a failure before it is told: a name that was mistyped is looked for among those that are there, and a
//! program that asked for JSON is told in JSON.
//!
//! Here and not on the way, so that a command that succeeds pays nothing for it. Whatever fails here is passed over in silence:
//! somebody waits to hear of another failure.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use procurify_token_protocol::CredentialName;
use serde_json::json;

use crate::args::{self, About, Autostart, Global};
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};

/// Tells of a failure, and says how the process ends.
pub(crate) fn tell(failure: Failure) -> ExitCode {
    let about = args::about();
    let failure = match failure {
        Failure::Told { code: code @ ExitCode::UnknownCredential, message, hint } => {
            let hint = with_suggestion(&about, hint);
            Failure::Told { code, message, hint }
        }
        other => other,
    };
    if about.is_json { tell_program(failure, &about) } else { failure.tell() }
}

/// On stderr as well: what is on stdout is an outcome, of which there may be a part.
fn tell_program(failure: Failure, about: &About) -> ExitCode {
    let (code, message, next) = match failure {
        Failure::Told { code, message, hint } => (code, message, hint),
        Failure::CommandLine(error) if error.use_stderr() => {
            let told = error.render().to_string();
            let told = told.strip_prefix("error: ").unwrap_or(&told);
            let message = told.split("\n\nUsage:").next().unwrap_or(told).trim().to_owned();
            (ExitCode::Usage, message, "procurify-token --help".to_owned())
        }
        other => return other.tell(),
    };
    let mut error = json!({ "code": code.number(), "kind": code.kind(), "message": message });
    if let [name] = about.names.as_slice() {
        error["credential"] = name.as_str().into();
    }
    if !next.is_empty() {
        error["next"] = next.into();
    }
    // There is nobody left to tell when this fails.
    let _ = writeln!(std::io::stderr().lock(), "{}", json!({ "version": 1, "error": error }));
    code
}

fn with_suggestion(about: &About, hint: String) -> String {
    let known = names_in_time(about.socket.clone(), PATIENCE);
    let meant: Vec<_> = about
        .names
        .iter()
        .filter(|name| !known.contains(name))
        .flat_map(|name| closest(name.as_str(), &known))
        .take(MOST_SUGGESTED)
        .collect();
    match meant.as_slice() {
        [] => hint,
        [one] => format!("did you mean {one}? {hint}").trim_end().to_owned(),
        [first @ .., last] => {
            format!("did you mean {} or {last}? {hint}", first.join(", ")).trim_end().to_owned()
        }
    }
}

/// The names that the daemon shows to this caller, if it runs, is not locked, and answers before the time is over.
pub(crate) fn names_in_time(socket: Option<PathBuf>, limit: Duration) -> Vec<CredentialName> {
    let (tell, told) = std::sync::mpsc::channel();
    // In a thread of its own: a daemon that hangs may do so at any step.
    std::thread::spawn(move || {
        let daemon = Daemon::new(Global { socket, autostart: Autostart::Never });
        let listed = daemon.if_running().and_then(|mut client| client.list().ok()).unwrap_or_default();
        // Nobody listens any more when it took too long.
        let _ = tell.send(listed.into_iter().map(|status| status.name).collect());
    });
    told.recv_timeout(limit).unwrap_or_default()
}

/// Those that are so much alike that one may have been typed for the other, the most alike first.
fn closest<'a>(typed: &str, known: &'a [CredentialName]) -> Vec<&'a str> {
    let slips = 1 + typed.len() / 5;
    let domain = typed.split('/').next().unwrap_or(typed);
    let mut alike: Vec<_> = known
        .iter()
        .map(CredentialName::as_str)
        .filter_map(|name| {
            let distance = strsim::damerau_levenshtein(typed, name);
            let is_near = distance <= slips || name.split('/').next() == Some(domain);
            is_near.then_some((distance, name))
        })
        .collect();
    alike.sort_unstable();
    alike.into_iter().map(|(_, name)| name).take(MOST_SUGGESTED).collect()
}

const MOST_SUGGESTED: usize = 3;
/// A large vault takes a while to list, and the failure is known already.
const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("acmee", &["acme", "acne"])]
    #[case("amce", &["acme"])]
    #[case("acme/reportin", &["acme/reporting", "acme"])]
    #[case("globex/archive", &["globex"])]
    #[case("initech", &[])]
    fn a_name_that_was_meant_is_found(#[case] typed: &str, #[case] meant: &[&str]) {
        let known =
            ["acme", "acme/reporting", "acne", "globex", "umbrella"].map(|name| name.parse().unwrap());
        assert_eq!(closest(typed, &known), meant);
    }
}
