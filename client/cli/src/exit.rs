//! How the command ends: stable exit codes, and how a failure is told to a person.
//!
//! A failure says what happened and what to type next, on stderr; nothing of it ever reaches stdout.

use std::io::{self, Write};
use std::process;

use procurify_token_client::{Distrust, Error, OutcomeUnknown, ProtocolError};
use procurify_token_protocol::frame::VERSION;
use procurify_token_protocol::{Refusal, RefusalClass, RefusalCode};

use crate::{text, when};

/// Why the command ended. The numbers are part of its interface: they never change and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitCode {
    Ok = 0,
    Other = 1,
    Usage = 2,
    NoDaemon = 3,
    Locked = 4,
    UnknownCredential = 5,
    Denied = 6,
    Rejected = 7,
    Misconfigured = 8,
    Unavailable = 9,
    Deadline = 10,
    Throttled = 11,
    Conflict = 12,
    NotStored = 13,
    Busy = 14,
    Amiss = 15,
    ApiError = 22,
    CannotRun = 126,
    CommandNotFound = 127,
    Interrupted = 130,
}

impl ExitCode {
    /// Every code, in order.
    pub(crate) const ALL: [Self; 20] = [
        Self::Ok,
        Self::Other,
        Self::Usage,
        Self::NoDaemon,
        Self::Locked,
        Self::UnknownCredential,
        Self::Denied,
        Self::Rejected,
        Self::Misconfigured,
        Self::Unavailable,
        Self::Deadline,
        Self::Throttled,
        Self::Conflict,
        Self::NotStored,
        Self::Busy,
        Self::Amiss,
        Self::ApiError,
        Self::CannotRun,
        Self::CommandNotFound,
        Self::Interrupted,
    ];

    /// The number that the shell sees.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// What it means, for `--help`.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Other => "something else failed",
            Self::Usage => "the command line is wrong, or an answer is missing and nobody can be asked",
            Self::NoDaemon => "no procurify-tokend answers, and none could be started",
            Self::Locked => "the vault is locked, or there is none yet",
            Self::UnknownCredential => "no credential has this name",
            Self::Denied => "the daemon does not serve you, or its socket cannot be trusted",
            Self::Rejected => "Procurify rejects the client credentials",
            Self::Misconfigured => "the addresses lead to something that is not Procurify",
            Self::Unavailable => "Procurify cannot be reached or fails",
            Self::Deadline => "the deadline passed",
            Self::Throttled => "Procurify asks for patience, or the budget of token requests is spent",
            Self::Conflict => "it exists already, or is not there to be rotated, removed, opened or shown",
            Self::NotStored => {
                "the vault is damaged or full, or it or a required audit record could not be written durably"
            }
            Self::Busy => "the daemon is busy or stopping: try again",
            Self::Amiss => "doctor, audit verify: something is amiss",
            Self::ApiError => "api: Procurify answered, with another status than 2xx",
            Self::CannotRun => "exec, curl: the command cannot be run",
            Self::CommandNotFound => "exec, curl: the command was not found",
            Self::Interrupted => "broken off by Ctrl-C; the message says what is there and what is not",
        }
    }

    /// What it is called where programs are told. Part of the interface, as the number is.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Other => "other",
            Self::Usage => "usage",
            Self::NoDaemon => "no-daemon",
            Self::Locked => "locked",
            Self::UnknownCredential => "unknown-credential",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Misconfigured => "misconfigured",
            Self::Unavailable => "unavailable",
            Self::Deadline => "deadline",
            Self::Throttled => "throttled",
            Self::Conflict => "conflict",
            Self::NotStored => "not-stored",
            Self::Busy => "busy",
            Self::Amiss => "amiss",
            Self::ApiError => "api-error",
            Self::CannotRun => "cannot-run",
            Self::CommandNotFound => "command-not-found",
            Self::Interrupted => "interrupted",
        }
    }

    /// The code for a command that could not be run.
    pub(crate) fn of_unrunnable(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::CommandNotFound,
            _ => Self::CannotRun,
        }
    }

    /// The code for a refusal of the daemon, of this or a later version.
    pub(crate) fn of_refusal(code: RefusalCode) -> Self {
        match code {
            RefusalCode::NO_VAULT | RefusalCode::LOCKED | RefusalCode::WRONG_KEY => Self::Locked,
            RefusalCode::UNKNOWN_USER => Self::Usage,
            RefusalCode::UNKNOWN_CREDENTIAL => Self::UnknownCredential,
            RefusalCode::VAULT_EXISTS | RefusalCode::SLOT | RefusalCode::AUDIT_OFF => Self::Conflict,
            RefusalCode::VAULT_FULL => Self::NotStored,
            RefusalCode::REJECTED => Self::Rejected,
            RefusalCode::THROTTLED | RefusalCode::BUDGET_SPENT => Self::Throttled,
            RefusalCode::DEADLINE => Self::Deadline,
            RefusalCode::BUSY | RefusalCode::STOPPING | RefusalCode::CHANGED => Self::Busy,
            _ => match code.class() {
                RefusalClass::Denied => Self::Denied,
                RefusalClass::Vault => Self::NotStored,
                RefusalClass::Credential => Self::Conflict,
                RefusalClass::Rejected => Self::Misconfigured,
                RefusalClass::Unavailable => Self::Unavailable,
                RefusalClass::Request | RefusalClass::Internal => Self::Other,
            },
        }
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told.
    Told {
        /// How the process ends.
        code: ExitCode,
        /// What happened, to what.
        message: String,
        /// What to type next; empty where there is nothing to do.
        hint: String,
    },
    /// Whoever read our output went away (`… | head -1`); that is his decision, and no failure.
    StdoutClosed,
    /// The command line is wrong, or help was asked for; clap words it.
    CommandLine(Box<clap::Error>),
}

impl Failure {
    /// A failure without advice.
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self::Told { code, message: message.into(), hint: String::new() }
    }

    /// The same failure, and what to type next.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Told { code, message, .. } => Self::Told { code, message, hint: hint.into() },
            other => other,
        }
    }

    /// The same failure, told as part of something that was under way.
    #[must_use]
    pub(crate) fn while_doing(self, what: &str) -> Self {
        match self {
            Self::Told { code, message, hint } => {
                Self::Told { code, message: format!("{what}: {message}"), hint }
            }
            other => other,
        }
    }

    /// Whether it ends with this code.
    pub(crate) fn is_of(&self, wanted: ExitCode) -> bool {
        matches!(self, Self::Told { code, .. } if *code == wanted)
    }

    /// What happened, for who goes on all the same.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Told { message, .. } => message.clone(),
            Self::StdoutClosed | Self::CommandLine(_) => String::new(),
        }
    }

    /// Tells a person on stderr, and says how the process ends.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Self::Told { code, message, hint } => {
                let mut stderr = anstream::stderr().lock();
                // There is nobody left to tell when this fails.
                let _ = tell(&mut stderr, &message, &hint);
                code
            }
            Self::StdoutClosed => ExitCode::Ok,
            Self::CommandLine(error) => {
                let _ = error.print();
                if error.use_stderr() { ExitCode::Usage } else { ExitCode::Ok }
            }
        }
    }
}

fn tell(stderr: &mut impl Write, message: &str, hint: &str) -> io::Result<()> {
    writeln!(stderr, "\x1b[1;31mprocurify-token:\x1b[0m {}", text::paragraphs(message))?;
    if !hint.is_empty() {
        writeln!(stderr, "\x1b[36mhint:\x1b[0m {}", text::paragraphs(hint))?;
    }
    Ok(())
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = ExitCode::of_refusal(refusal.code);
        // In the message, because a command may know better what to do next than the daemon does.
        let message = match refusal.retry_after {
            Some(pause) if code == ExitCode::Busy => {
                format!("{}; try again in {}", refusal.message, when::span(pause))
            }
            Some(pause) => format!("{}; next attempt in {}", refusal.message, when::span(pause)),
            None => refusal.message,
        };
        Self::new(code, message).hint(refusal.advice)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::NoDaemon { looked_at } => {
                let places: Vec<_> = looked_at.iter().map(|path| path.display().to_string()).collect();
                Self::new(
                    ExitCode::NoDaemon,
                    format!("no procurify-tokend answers at {}", places.join(" or ")),
                )
            }
            Error::Untrusted { socket, why } => {
                let hint = match &why {
                    Distrust::WritableFolder { folder, .. } => {
                        format!("chmod go-w {}", text::shell_quoted(&folder.display().to_string()))
                    }
                    Distrust::Stranger { .. } | Distrust::StrangersPipe { .. } => {
                        "name the right socket with --socket PATH".to_owned()
                    }
                };
                let message = format!("{} is not trusted, nothing was sent: {why}", socket.display());
                Self::new(ExitCode::Denied, message).hint(hint)
            }
            Error::Deadline => {
                Self::new(ExitCode::Deadline, "the daemon did not answer before the deadline").hint(SILENT)
            }
            Error::Connection(error) => broken_connection(&error),
            Error::Version { oldest, .. } => {
                let message = error.to_string();
                let hint = if oldest > VERSION { "update procurify-token" } else { UPDATE_DAEMON };
                Self::new(ExitCode::Other, message).hint(hint)
            }
            Error::Protocol(why @ ProtocolError::RequestTooLarge) => {
                Self::new(ExitCode::Other, why.to_string())
            }
            Error::Protocol(ProtocolError::Frame(why)) => {
                let message = format!("what answers on the socket is not a procurify-tokend: {why}");
                Self::new(ExitCode::Other, message).hint("name the right socket with --socket PATH")
            }
            Error::Protocol(why) => {
                let message =
                    format!("procurify-tokend answers what this command does not understand: {why}");
                Self::new(ExitCode::Other, message).hint(SAME_RELEASE)
            }
        }
    }
}

fn broken_connection(error: &io::Error) -> Failure {
    let unknown = error.get_ref().and_then(|inner| inner.downcast_ref::<OutcomeUnknown>());
    match (unknown, error.kind()) {
        (Some(unknown), _) => Failure::new(ExitCode::Other, unknown.to_string()).hint(unknown.check),
        (None, io::ErrorKind::PermissionDenied) => {
            Failure::new(ExitCode::Denied, format!("the daemon's socket may not be opened: {error}"))
        }
        (None, _) => {
            Failure::new(ExitCode::NoDaemon, format!("the connection to the daemon failed: {error}"))
                .hint(STATUS)
        }
    }
}

const STATUS: &str = "procurify-token status";
/// Behind a service manager's socket there may be no daemon that comes up.
const SILENT: &str = "procurify-token status; where the daemon is a service: procurify-token service status (with sudo for the machine's)";
const UPDATE_DAEMON: &str = "update procurify-tokend, then: procurify-token stop";
const SAME_RELEASE: &str =
    "install the same release of both (--version tells each one's), then: procurify-token stop";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_numbers_are_what_they_always_were() {
        let numbers = ExitCode::ALL.map(ExitCode::number);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 22, 126, 127, 130]);
        let meanings: HashSet<_> = ExitCode::ALL.iter().map(|code| code.meaning()).collect();
        assert_eq!(meanings.len(), ExitCode::ALL.len());
        let kinds: HashSet<_> = ExitCode::ALL.iter().map(|code| code.kind()).collect();
        assert_eq!(kinds.len(), ExitCode::ALL.len());
    }

    #[test]
    fn every_refusal_has_its_code_and_none_is_success() {
        let expected = |code| match code {
            RefusalCode::DENIED => ExitCode::Denied,
            RefusalCode::NO_VAULT | RefusalCode::LOCKED | RefusalCode::WRONG_KEY => ExitCode::Locked,
            RefusalCode::VAULT_EXISTS
            | RefusalCode::SLOT
            | RefusalCode::CREDENTIAL_EXISTS
            | RefusalCode::NOTHING_TO_ROTATE
            | RefusalCode::AUDIT_OFF
            | RefusalCode::STAGED_PAIR_EXISTS => ExitCode::Conflict,
            RefusalCode::VAULT_UNUSABLE
            | RefusalCode::NOT_STORED
            | RefusalCode::NOT_CONFIRMED
            | RefusalCode::NOT_AUDITED
            | RefusalCode::VAULT_FULL => ExitCode::NotStored,
            RefusalCode::UNKNOWN_CREDENTIAL => ExitCode::UnknownCredential,
            RefusalCode::REJECTED => ExitCode::Rejected,
            RefusalCode::MISCONFIGURED => ExitCode::Misconfigured,
            RefusalCode::UPSTREAM_UNAVAILABLE => ExitCode::Unavailable,
            RefusalCode::THROTTLED | RefusalCode::BUDGET_SPENT => ExitCode::Throttled,
            RefusalCode::DEADLINE => ExitCode::Deadline,
            RefusalCode::BUSY | RefusalCode::STOPPING | RefusalCode::CHANGED => ExitCode::Busy,
            RefusalCode::UNKNOWN_USER => ExitCode::Usage,
            RefusalCode::UPLOAD
            | RefusalCode::MALFORMED
            | RefusalCode::TOO_LARGE
            | RefusalCode::UNKNOWN_REQUEST
            | RefusalCode::INTERNAL => ExitCode::Other,
            new => panic!("{new:?} has no exit code of its own yet: decide on one"),
        };
        for code in RefusalCode::ALL {
            assert_eq!(ExitCode::of_refusal(*code), expected(*code), "{code:?}");
        }
    }

    #[test]
    fn when_the_next_attempt_is_made_is_told_beside_the_advice() {
        let refusal = Refusal {
            code: RefusalCode::THROTTLED,
            retry_after: Some(std::time::Duration::from_secs(252)),
            message: "Procurify asks for patience".into(),
            advice: "procurify-token status acme".into(),
        };
        let Failure::Told { code, message, hint } = refusal.into() else { panic!("not told") };
        assert_eq!((code, hint.as_str()), (ExitCode::Throttled, "procurify-token status acme"));
        assert_eq!(message, "Procurify asks for patience; next attempt in 4 min 12 s");
    }

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        let mut told = Vec::new();
        tell(&mut told, "bad \x1b[2Jname", "type\rthis").unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains(r"bad \u{1b}[2Jname") && told.contains(r"type\rthis"), "{told}");
    }
}
