//! What the daemon says instead of an answer.
//!
//! A [`Refusal`] carries a stable number for programs, a sentence for people, and what to type next. Its sentences are
//! composed by the daemon; this room only numbers them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pattern::stable_codes;

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable number.
    pub code: RefusalCode,
    /// How long to wait before asking again makes sense, where that is known.
    #[serde(deserialize_with = "crate::pattern::optional_duration")]
    pub retry_after: Option<Duration>,
    /// What happened, to what: one sentence.
    pub message: String,
    /// What to type next; empty where there is nothing to do.
    pub advice: String,
}

/// A stable number for each kind of refusal. Numbers are never reused; the hundreds are the [`RefusalClass`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefusalCode(u16);

/// What a caller can do about a refusal, even one whose code it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalClass {
    /// 1xx: the request itself is wrong; sending it again will not help.
    Request,
    /// 2xx: the caller may not do this.
    Denied,
    /// 3xx: the vault is not open, or not in the state that the request needs.
    Vault,
    /// 4xx: the credential is not in the state that the request needs.
    Credential,
    /// 5xx: Procurify refuses the credential, or its settings lead nowhere; a person has to act.
    Rejected,
    /// 6xx: trying again later helps.
    Unavailable,
    /// 7xx and above: the daemon itself failed.
    Internal,
}

stable_codes! {
    RefusalCode:
    /// The bytes are not a request; the connection is closed after this.
    MALFORMED = 100, "malformed";
    /// The frame is longer than a request may be; the connection is closed after this.
    TOO_LARGE = 101, "too-large";
    /// The request's number is not one that this daemon knows.
    UNKNOWN_REQUEST = 102, "unknown-request";
    /// What was uploaded is not what was announced, or there is too much or nothing of it.
    UPLOAD = 103, "upload";
    /// The daemon's system knows no user of this name.
    UNKNOWN_USER = 104, "unknown-user";
    /// The daemon's configuration keeps no audit records.
    AUDIT_OFF = 105, "audit-off";

    /// The daemon does not do this for this peer.
    DENIED = 200, "denied";

    /// There is no vault yet.
    NO_VAULT = 300, "no-vault";
    /// The vault is locked.
    LOCKED = 301, "locked";
    /// The key or passphrase does not open the vault.
    WRONG_KEY = 302, "wrong-key";
    /// There is a vault already.
    VAULT_EXISTS = 303, "vault-exists";
    /// The vault's file is damaged, of a newer format, or not safely owned; the message says which.
    VAULT_UNUSABLE = 304, "vault-unusable";
    /// The change could not be written; the vault is as it was before.
    NOT_STORED = 305, "not-stored";
    /// The change was made, but the disk did not confirm it: a power loss may undo it.
    NOT_CONFIRMED = 306, "not-confirmed";
    /// The vault has changed since the piece before; begin again.
    CHANGED = 307, "changed";
    /// The last key slot cannot be removed, or a slot cannot be had or kept; the message says which.
    SLOT = 308, "slot";
    /// The audit record of this could not be written, and the daemon's configuration requires it; nothing was done.
    NOT_AUDITED = 309, "not-audited";

    /// No credential has this name.
    UNKNOWN_CREDENTIAL = 400, "unknown-credential";
    /// A credential of this name exists.
    CREDENTIAL_EXISTS = 401, "credential-exists";
    /// There is no staged pair to promote, or no previous pair to go back to.
    NOTHING_TO_ROTATE = 402, "nothing-to-rotate";
    /// A staged pair is waiting and would be lost.
    STAGED_PAIR_EXISTS = 403, "staged-pair-exists";
    /// The vault holds as many credentials as it can.
    VAULT_FULL = 404, "vault-full";

    /// Procurify rejects the client credentials.
    REJECTED = 500, "rejected";
    /// The token endpoint is not one; the settings or the network lead to something else.
    MISCONFIGURED = 501, "misconfigured";

    /// Procurify cannot be reached or fails, and no valid token is held.
    UPSTREAM_UNAVAILABLE = 600, "upstream-unavailable";
    /// Procurify asked for patience, and no valid token is held.
    THROTTLED = 601, "throttled";
    /// The caller's deadline passed.
    DEADLINE = 602, "deadline";
    /// The daemon has as many connections or waiting requests as it takes.
    BUSY = 603, "busy";
    /// The daemon is stopping.
    STOPPING = 604, "stopping";
    /// As many tokens were issued for the credential as its budget allows, and no valid one is held.
    BUDGET_SPENT = 605, "budget-spent";

    /// The daemon failed; its log says how.
    INTERNAL = 700, "internal";
}

impl RefusalCode {
    /// What a caller can do about it.
    pub fn class(self) -> RefusalClass {
        match self.0 {
            0..=199 => RefusalClass::Request,
            200..=299 => RefusalClass::Denied,
            300..=399 => RefusalClass::Vault,
            400..=499 => RefusalClass::Credential,
            500..=599 => RefusalClass::Rejected,
            600..=699 => RefusalClass::Unavailable,
            _ => RefusalClass::Internal,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_and_labels_are_unique() {
        let numbers: HashSet<_> = RefusalCode::ALL.iter().map(|code| code.number()).collect();
        let labels: HashSet<_> = RefusalCode::ALL.iter().map(|code| code.label()).collect();
        assert_eq!((numbers.len(), labels.len()), (RefusalCode::ALL.len(), RefusalCode::ALL.len()));
    }

    #[test]
    fn an_unknown_code_still_has_a_class() {
        assert_eq!(RefusalCode(699).class(), RefusalClass::Unavailable);
        assert_eq!(RefusalCode(65_535).class(), RefusalClass::Internal);
    }
}
