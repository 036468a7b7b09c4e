//! Every sentence that the daemon says to a person: what happened, to which credential or path, and what to type next.
//!
//! This room composes [`Refusal`]s and failure reports. It sees names, numbers and paths; no secret and no foreign text
//! reaches it. Long, because all that is said is to be found in one place.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use procurify_token_protocol::{
    CredentialName, Failure, FailureClass, FailureCode, FailureReport, Outcome, Refusal, RefusalCode, Ruling,
    Verb,
};

use crate::access::Ground;
use crate::audit::ReadError;
use crate::refresh::Refused;
use crate::vault::{ChangeError, VaultError};

/// The bytes are not a request.
pub fn malformed() -> Refusal {
    refusal(
        RefusalCode::MALFORMED,
        "the message is not a request of the procurify-token protocol",
        "check that client and daemon are of the same release: procurify-token --version",
    )
}

/// The frame is too long.
pub fn too_large() -> Refusal {
    refusal(RefusalCode::TOO_LARGE, "the request is longer than 64 KiB", "")
}

/// A request of a later version.
pub fn unknown_request() -> Refusal {
    refusal(
        RefusalCode::UNKNOWN_REQUEST,
        "this daemon does not know that request; the client is of a later version",
        "restart the daemon with the newly installed version",
    )
}

/// The peer is nobody whom this daemon serves.
pub fn denied() -> Refusal {
    refusal(
        RefusalCode::DENIED,
        "the daemon does not do this for you",
        "run the command as the daemon's user, or ask whoever runs the daemon for a rule ([[access]] in its configuration)",
    )
}

/// On Windows it is known only of callers which groups they are in.
pub fn unexplained_access() -> Refusal {
    refusal(
        RefusalCode::UNKNOWN_REQUEST,
        "which groups a user is in is known on Windows only once that user calls, so it cannot be said beforehand which rules apply",
        "have that user type procurify-token status or get NAME; what was denied is shown by procurify-token audit show",
    )
}

/// Nobody has this name here.
pub fn unknown_user(user: &str) -> Refusal {
    let user: String = user.chars().filter(|c| !c.is_control()).take(64).collect();
    refusal(
        RefusalCode::UNKNOWN_USER,
        format!("the daemon's system knows no user {user:?}"),
        "getent passwd shows those whom it knows; a number is good as well",
    )
}

/// There is no record of it, and there has to be.
pub fn not_audited() -> Refusal {
    refusal(
        RefusalCode::NOT_AUDITED,
        "the audit record of this could not be written, so nothing was handed out or done",
        "procurify-token status says why; the daemon's configuration requires the record ([audit] keep)",
    )
}

/// Audit records cannot be looked at.
pub fn unreadable_audit(error: &ReadError) -> Refusal {
    let (code, advice) = match error {
        ReadError::Off => (RefusalCode::AUDIT_OFF, "the daemon's configuration says so: [audit] keep"),
        ReadError::Locked => (RefusalCode::LOCKED, "procurify-token unlock"),
        ReadError::Closed => (RefusalCode::INTERNAL, "procurify-token status says why"),
        ReadError::Io { .. } => (RefusalCode::INTERNAL, "procurify-token doctor"),
    };
    refusal(code, error.to_string(), advice)
}

/// Why somebody may do something with a credential, or may not.
pub fn ruling(verb: Verb, grounds: &[Ground<'_>]) -> Ruling {
    let certain = |ground: &&Ground<'_>| !matches!(ground, Ground::Rule(_, rule) if rule.is_conditional());
    let (outcome, because) = match (grounds.iter().find(certain), grounds) {
        (Some(Ground::Root), _) => (Outcome::Allowed, "root may do everything".to_owned()),
        (Some(Ground::Owner), _) => (Outcome::Allowed, "the daemon runs as that user".to_owned()),
        (Some(Ground::Rule(number, rule)), _) => (Outcome::Allowed, format!("rule {number}: {rule}")),
        (None, []) => (Outcome::Denied, "no rule says so".to_owned()),
        (None, depends) => {
            let rules = depends.iter().filter_map(|ground| match ground {
                Ground::Rule(number, rule) => Some(format!("rule {number}: {rule}")),
                Ground::Owner | Ground::Root => None,
            });
            (Outcome::Depends, rules.collect::<Vec<_>>().join("; or "))
        }
    };
    Ruling { verb, outcome, because }
}

/// Too many connections or requests.
pub fn busy() -> Refusal {
    let retry_after = Some(Duration::from_secs(1));
    Refusal {
        retry_after,
        ..refusal(RefusalCode::BUSY, "the daemon has its hands full", "try again in a moment")
    }
}

/// New client credentials are at Procurify to be tried; nothing else may take their place meanwhile.
pub fn being_tried(name: &CredentialName) -> Refusal {
    let message = format!("new client credentials of {name} are being tried at this moment");
    let retry_after = Some(Duration::from_secs(1));
    Refusal { retry_after, ..refusal(RefusalCode::BUSY, message, "try again in a moment") }
}

/// The daemon stops.
pub fn stopping() -> Refusal {
    refusal(RefusalCode::STOPPING, "the daemon is stopping", "try again: the next command starts it anew")
}

/// The daemon failed.
pub fn internal(what: &str) -> Refusal {
    refusal(RefusalCode::INTERNAL, what, "look into the daemon's log; this should be reported as a bug")
}

/// There is no vault yet.
pub fn no_vault() -> Refusal {
    refusal(RefusalCode::NO_VAULT, "there is no vault yet", "procurify-token init")
}

/// The vault is locked.
pub fn locked() -> Refusal {
    refusal(RefusalCode::LOCKED, "the vault is locked", "procurify-token unlock")
}

/// No credential has this name.
pub fn unknown(name: &CredentialName) -> Refusal {
    refusal(
        RefusalCode::UNKNOWN_CREDENTIAL,
        format!("no credential is named {name}"),
        format!("procurify-token list shows those that are; procurify-token add {name} enrols it"),
    )
}

/// A vault could not be opened or made.
pub fn vault(error: &VaultError) -> Refusal {
    let (code, advice) = match error {
        VaultError::Missing { .. } => return no_vault(),
        VaultError::Exists { .. } => {
            (RefusalCode::VAULT_EXISTS, "procurify-token unlock says whether it opens")
        }
        VaultError::WrongKey { .. }
        | VaultError::NoSuchSlot { .. }
        | VaultError::OnlyByPerson { .. }
        | VaultError::NoneOpens { .. } => (RefusalCode::WRONG_KEY, ""),
        VaultError::SlotExists { .. } | VaultError::SlotsFull { .. } => {
            (RefusalCode::SLOT, "procurify-token slot list shows those that are there")
        }
        VaultError::CredentialMissing { .. } => (
            RefusalCode::SLOT,
            "to have one sealed, and handed to the machine's service: sudo procurify-token service install --system",
        ),
        VaultError::NoCommand | VaultError::Keychain(_) => (RefusalCode::SLOT, ""),
        _ => (RefusalCode::VAULT_UNUSABLE, ""),
    };
    refusal(code, error.to_string(), advice)
}

/// Going back to an older generation is for a vault that does not open.
pub fn open_already() -> Refusal {
    refusal(
        RefusalCode::VAULT_EXISTS,
        "the vault is open, so there is no need to go back to an older generation of it",
        "if you want to all the same: procurify-token lock first",
    )
}

/// The vault has changed between two pieces of a backup.
pub fn changed() -> Refusal {
    refusal(RefusalCode::CHANGED, "the vault has changed meanwhile", "begin the backup again")
}

/// Nothing was uploaded that could be worked with.
pub fn nothing_uploaded() -> Refusal {
    refusal(RefusalCode::UPLOAD, "what was uploaded on this connection is not all of it", "try again")
}

/// What was uploaded are no credentials.
pub fn not_credentials() -> Refusal {
    refusal(RefusalCode::UPLOAD, "what was uploaded is not a list of credentials, so none was stored", "")
}

/// Too much is being uploaded.
pub fn upload_too_large() -> Refusal {
    let message = "more was uploaded than a vault can hold, so all of it was thrown away";
    refusal(RefusalCode::UPLOAD, message, "import the credentials in several files")
}

/// A page of an export was asked for with a pass that is not, or no longer, good.
pub fn no_pass() -> Refusal {
    refusal(RefusalCode::DENIED, "the export took too long, or another one was begun", "begin it again")
}

/// No slot was named that would open the new vault, or one twice.
pub fn no_slots() -> Refusal {
    refusal(
        RefusalCode::SLOT,
        "a vault needs at least one key slot, and of each kind no more than one here",
        "",
    )
}

/// A change that is about no credential was not made.
pub fn vault_change(error: &ChangeError) -> Refusal {
    match error {
        ChangeError::UnknownSlot(_) => {
            refusal(RefusalCode::SLOT, error.to_string(), "procurify-token slot list")
        }
        ChangeError::LastSlot => refusal(
            RefusalCode::SLOT,
            error.to_string(),
            "add another slot first: procurify-token slot add --help",
        ),
        ChangeError::SlotNotOpened { id, .. } => refusal(
            RefusalCode::SLOT,
            error.to_string(),
            format!("to give it up, too: procurify-token slot remove {id}"),
        ),
        ChangeError::SlotsChanged => {
            let again = "procurify-token slot list shows them; then try again";
            refusal(RefusalCode::SLOT, error.to_string(), again)
        }
        ChangeError::NotStored(error @ (VaultError::SlotExists { .. } | VaultError::SlotsFull { .. })) => {
            vault(error)
        }
        ChangeError::SomeExist(_) => refusal(
            RefusalCode::CREDENTIAL_EXISTS,
            error.to_string(),
            "take them out of the file, or remove or rename those that are enrolled",
        ),
        ChangeError::DamagedSecret(name) => refusal(
            RefusalCode::INTERNAL,
            error.to_string(),
            format!("procurify-token rotate {name}, or lock and unlock to read the vault anew"),
        ),
        ChangeError::Full => {
            refusal(RefusalCode::VAULT_FULL, "the vault holds as many credentials as it can", "")
        }
        ChangeError::Unconfirmed(_) => refusal(
            RefusalCode::NOT_CONFIRMED,
            error.to_string(),
            "look after the disk, then back the vault up",
        ),
        ChangeError::NotStored(VaultError::ChangedOnDisk { path }) => refusal(
            RefusalCode::NOT_STORED,
            error.to_string(),
            format!(
                "to keep what the daemon has in memory, move {0} away and try again, and the vault is written \
                 anew; to work with {0} as it is, procurify-token lock and unlock: whatever is in memory only is lost then",
                path.display()
            ),
        ),
        _ => refusal(
            RefusalCode::NOT_STORED,
            error.to_string(),
            "nothing was changed; free the disk or mend its permissions, then try again",
        ),
    }
}

/// A change to the vault was not made.
pub fn change(name: &CredentialName, error: &ChangeError) -> Refusal {
    match error {
        ChangeError::UnknownCredential => unknown(name),
        ChangeError::Exists => refusal(
            RefusalCode::CREDENTIAL_EXISTS,
            format!("{name} is enrolled already"),
            format!(
                "procurify-token rotate {name} gives it another client id and secret; \
                 procurify-token add {name}/LABEL enrols a second application"
            ),
        ),
        ChangeError::NothingStaged => refusal(
            RefusalCode::NOTHING_TO_ROTATE,
            format!("no new client credentials of {name} are waiting to be tried"),
            format!("procurify-token rotate {name}"),
        ),
        ChangeError::NoPrevious => refusal(
            RefusalCode::NOTHING_TO_ROTATE,
            format!("{name} has no earlier client credentials to go back to"),
            "",
        ),
        ChangeError::StagedExists => refusal(
            RefusalCode::STAGED_PAIR_EXISTS,
            format!("new client credentials of {name} are stored already and wait to be tried"),
            format!(
                "procurify-token rotate {name} --retry tries them; \
                 procurify-token rotate {name} --replace throws them away for others"
            ),
        ),
        _ => vault_change(error),
    }
}

/// A waiter gets no token.
pub fn refused(name: &CredentialName, refused: &Refused) -> Refusal {
    match refused {
        Refused::Unknown => unknown(name),
        Refused::Closed => locked(),
        Refused::Deadline => refusal(
            RefusalCode::DEADLINE,
            format!("no token for {name} came before the deadline; the request to Procurify goes on"),
            format!("procurify-token status {name}, or a longer --deadline"),
        ),
        Refused::Failed { failure, retry_in } => failed(name, failure, Some(*retry_in)),
    }
}

/// A token request failed.
pub fn failed(name: &CredentialName, failure: &Failure, retry_in: Option<Duration>) -> Refusal {
    let (code, retry_after) = match failure.code.class() {
        FailureClass::Transient => (RefusalCode::UPSTREAM_UNAVAILABLE, retry_in),
        FailureClass::Throttled if failure.code == FailureCode::BUDGET_SPENT => {
            (RefusalCode::BUDGET_SPENT, retry_in)
        }
        FailureClass::Throttled => (RefusalCode::THROTTLED, retry_in),
        FailureClass::Rejected => (RefusalCode::REJECTED, None),
        FailureClass::Misconfigured => (RefusalCode::MISCONFIGURED, None),
    };
    let message = format!("no token for {name}: {}", what_happened(name, failure));
    Refusal { retry_after, ..refusal(code, message, advice(name, failure.code)) }
}

/// The last failure of a credential, for its status.
pub fn report(name: &CredentialName, failure: &Failure, at: DateTime<Utc>, attempts: u32) -> FailureReport {
    FailureReport {
        code: failure.code,
        http_status: failure.http_status,
        request_id: failure.request_id.clone(),
        at,
        attempts,
        message: what_happened(name, failure),
        advice: advice(name, failure.code),
    }
}

/// This machine's clock or Procurify's is wrong.
pub fn skewed(server_ahead: TimeDelta) -> String {
    let seconds = server_ahead.num_seconds();
    let side = if seconds > 0 { "behind" } else { "ahead of" };
    let distance = humantime::format_duration(Duration::from_secs(seconds.unsigned_abs()));
    format!(
        "This machine's clock is {distance} {side} Procurify's. Tokens are refreshed in time all the same, but the times \
         shown here are off by that; timedatectl says whether the clock is synchronised."
    )
}

/// The tokens of so many credentials, this one among them, live too briefly for their budget.
pub fn short_of_budget(name: &CredentialName, credentials: usize) -> String {
    let whose = match credentials {
        1 => format!("The tokens of {name} live"),
        2 => format!("The tokens of {name} and of another credential live"),
        more => format!("The tokens of {name} and of {} other credentials live", more - 1),
    };
    format!(
        "{whose} so briefly that the budget of issued tokens does not last: there will be hours without one. If \
         Procurify's quota allows for more, raise per-hour and per-day under [budget] in the configuration file, and \
         reload or restart the daemon."
    )
}

fn what_happened(name: &CredentialName, failure: &Failure) -> String {
    let cause = match failure.code {
        FailureCode::NAME_NOT_RESOLVED => "the host name of the token URL cannot be resolved",
        FailureCode::NOT_CONNECTED => "no connection to the token URL could be made",
        FailureCode::INTERRUPTED => "the connection broke before the whole answer had arrived",
        FailureCode::TIMED_OUT => "Procurify did not answer in time",
        FailureCode::SERVER_ERROR => "Procurify is having trouble",
        FailureCode::PROXY => "the proxy cannot be reached or refuses the connection",
        FailureCode::TOKENS_REFUSED => {
            "the API answered 401 to two new tokens in a row, so the next one waits"
        }
        FailureCode::BUDGET_SPENT => "as many tokens were issued lately as its budget allows",
        FailureCode::THROTTLED => "Procurify asks to be left alone for a while",
        FailureCode::CREDENTIALS_REJECTED => "Procurify rejects the client id or the client secret",
        FailureCode::ACCESS_DENIED => "Procurify knows these client credentials but denies them a token",
        FailureCode::WRONG_DOMAIN => "the token that came is for another domain and was thrown away",
        FailureCode::SECRET_UNREADABLE => "the stored client secret cannot be opened; the vault is damaged",
        FailureCode::NO_TOKEN_ENDPOINT => "there is no token endpoint at the token URL",
        FailureCode::REDIRECTED => {
            "the token URL redirects elsewhere, which is not followed with a secret in hand"
        }
        FailureCode::NOT_OAUTH => "the answer is not an OAuth token answer",
        FailureCode::REQUEST_REFUSED => {
            "the token endpoint refuses the request itself, not the client credentials"
        }
        FailureCode::UNTRUSTED => "the certificate of the token URL is not trusted",
        FailureCode::TOO_LARGE => "the answer is larger than a token answer ever is",
        FailureCode::NO_LIFETIME => "the token that came had expired already",
        _ => "the token request failed",
    };
    let status = failure.http_status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
    let id =
        failure.request_id.as_ref().map(|id| format!(", request id {}", id.as_str())).unwrap_or_default();
    let domain = match &failure.domain {
        Some(domain) => format!(" (it is for {domain}; {} was asked for)", name.domain()),
        None => String::new(),
    };
    format!("{cause}{domain}{status}{id}")
}

fn advice(name: &CredentialName, code: FailureCode) -> String {
    match code {
        FailureCode::NAME_NOT_RESOLVED | FailureCode::NO_TOKEN_ENDPOINT | FailureCode::REDIRECTED => {
            format!("check the domain's spelling and the token URL: procurify-token status {name}")
        }
        FailureCode::CREDENTIALS_REJECTED | FailureCode::ACCESS_DENIED => format!(
            "check at Procurify that the application exists and its user is active; then \
             procurify-token rotate {name} for other client credentials, or \
             procurify-token refresh {name} --retry"
        ),
        FailureCode::SECRET_UNREADABLE => {
            format!("procurify-token rotate {name} stores new ones, or restore the vault from a backup")
        }
        FailureCode::WRONG_DOMAIN => format!(
            "the client credentials belong to another domain: procurify-token remove {name}, then add them under \
             the right one"
        ),
        FailureCode::UNTRUSTED => {
            "see whether this machine's clock is right: date -u; if a proxy of yours opens TLS, name its CA in the configuration: [issuer] extra-ca".to_owned()
        }
        FailureCode::PROXY => "check HTTPS_PROXY and NO_PROXY in the daemon's environment".to_owned(),
        FailureCode::TOKENS_REFUSED => {
            "check at Procurify that the user whom the application acts as is active".to_owned()
        }
        FailureCode::NOT_OAUTH | FailureCode::REQUEST_REFUSED | FailureCode::TOO_LARGE => {
            format!("check token URL, audience and body encoding: procurify-token status {name}")
        }
        FailureCode::BUDGET_SPENT => format!(
            "a token is asked for by itself when the budget frees up; procurify-token refresh {name} --over-budget asks \
             at once; [budget] in the configuration sets it"
        ),
        FailureCode::THROTTLED => {
            format!("it is tried again by itself; procurify-token refresh {name} --retry asks at once")
        }
        _ => "it is tried again by itself".to_owned(),
    }
}

fn refusal(code: RefusalCode, message: impl Into<String>, advice: impl Into<String>) -> Refusal {
    Refusal { code, retry_after: None, message: message.into(), advice: advice.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_names_the_credential_and_the_command_that_mends_it() {
        let name = "acme/reporting".parse().unwrap();
        let failure = Failure { http_status: Some(401), ..FailureCode::CREDENTIALS_REJECTED.into() };
        let refusal = failed(&name, &failure, Some(Duration::from_secs(9)));
        assert_eq!(refusal.code, RefusalCode::REJECTED);
        assert_eq!(refusal.retry_after, None, "waiting does not help");
        assert!(refusal.message.contains("acme/reporting") && refusal.message.contains("HTTP 401"));
        assert!(refusal.advice.contains("procurify-token rotate acme/reporting"));
    }

    #[test]
    fn an_outage_says_when_the_next_attempt_is() {
        let name = "acme".parse().unwrap();
        let refusal = failed(&name, &FailureCode::NOT_CONNECTED.into(), Some(Duration::from_secs(9)));
        assert_eq!(refusal.code, RefusalCode::UPSTREAM_UNAVAILABLE);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(9)));
    }
}
