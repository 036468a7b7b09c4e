//! What the daemon answers.
//!
//! As in [`request`](crate::Request), order is format.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    AccessToken, Audience, BaseUrl, BodyEncoding, ClientId, CredentialCopy, CredentialName, Description,
    FailureCode, Finding, Fingerprint, GenerationStatus, Piece, RecoveryCode, Refusal, RequestId, Ruling,
    SlotStatus, TokenUrl,
};

/// One answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// 0: done, and durable where the request changed something.
    Done,
    /// 1: a token.
    Token(TokenGrant),
    /// 2: a page of credentials.
    Credentials {
        /// At most 100, in order of their names.
        page: Vec<CredentialStatus>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// 3: one credential.
    Credential(Box<CredentialStatus>),
    /// 4: the daemon.
    Status(Box<DaemonStatus>),
    /// 5: a vault was made.
    Initialised {
        /// Where it is.
        vault: String,
        /// Where its key file is, where it has one.
        key_file: Option<String>,
        /// Its recovery code, where it has one. It is told this once.
        recovery_code: Option<RecoveryCode>,
    },
    /// 6: what a watched credential has come to.
    Watched(Box<Watched>),
    /// 7: the key slots, and the older generations from the youngest on.
    Slots {
        /// The slots, in the order in which they were added.
        slots: Vec<SlotStatus>,
        /// What is kept of older states.
        generations: Vec<GenerationStatus>,
    },
    /// 8: a slot was added.
    SlotAdded {
        /// The slot.
        slot: SlotStatus,
        /// Where the key file is, if it is for one.
        key_file: Option<String>,
        /// The recovery code, if it is for one. It is told this once.
        recovery_code: Option<RecoveryCode>,
    },
    /// 9: the vault has a new key.
    Rekeyed {
        /// How many older generations were dropped.
        dropped: u32,
    },
    /// 10: a piece of the vault's file.
    VaultPiece(VaultPiece),
    /// 11: credentials were stored.
    Imported {
        /// How many.
        count: u32,
    },
    /// 12: credentials with their secrets.
    Exported {
        /// At least one where there is any, in order of their names.
        page: Vec<CredentialCopy>,
        /// What entitles to the next page; nothing where this is the last.
        pass: Option<[u8; 16]>,
    },
    /// 13: what an examination has found.
    Findings(Vec<Finding>),
    /// 14: what a user may do with a credential.
    AccessExplained {
        /// The user's number.
        uid: u32,
        /// One for each verb, in their order.
        rulings: Vec<Ruling>,
    },
    /// 15: audit records.
    AuditRecords {
        /// Each a line of JSON, as it is kept.
        lines: Vec<String>,
        /// From where the next request goes on.
        next: u64,
        /// Whether there are more already.
        more: bool,
    },
    /// 16: what became of the audit records.
    AuditVerified(AuditVerdict),
}

/// Whether the audit records are those that were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// The number of the oldest record that is kept; 0 where there is none.
    pub first: u64,
    /// The number of the last record that was written; 0 where there is none.
    pub last: u64,
    /// Where they are.
    pub folder: String,
    /// The first record that is not as it was written, or not where it was; nothing where all are.
    pub broken: Option<AuditBreak>,
}

/// Where the chain of the audit records breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditBreak {
    /// The number of the record.
    pub record: u64,
    /// In which file it is, or should be.
    pub file: String,
    /// What is wrong with it, in a sentence without its full stop.
    pub what: String,
}

/// A piece of the vault's file.
#[derive(Debug, Serialize, Deserialize)]
pub struct VaultPiece {
    /// Of which generation: the last 32 bytes of its file.
    pub generation: [u8; 32],
    /// How long the whole file is.
    pub length: u64,
    /// The bytes from the offset that was asked for.
    pub piece: Piece,
}

/// What a watched credential has come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watched {
    /// Names this state; another state of the same credential has another revision, after a restart of the daemon too.
    pub revision: u64,
    /// The token, while a valid one is held.
    pub token: Option<TokenGrant>,
    /// Why the last token request brought none, where it failed.
    pub refusal: Option<Refusal>,
}

/// A token and where it may be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenGrant {
    /// The token.
    pub token: Arc<AccessToken>,
    /// Where the API lives. A token is sent nowhere else.
    pub base_url: BaseUrl,
}

/// What is known of a credential; never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// Its name.
    pub name: CredentialName,
    /// What a person wrote about it.
    pub description: Description,
    /// The client id in use.
    pub client_id: ClientId,
    /// Where the API lives.
    pub base_url: BaseUrl,
    /// Where tokens are requested.
    pub token_url: TokenUrl,
    /// The audience of the token request.
    pub audience: Audience,
    /// How the token request is written.
    pub body_encoding: BodyEncoding,
    /// When it was enrolled.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub added_at: DateTime<Utc>,
    /// Whether a staged pair waits to be promoted.
    pub staged: bool,
    /// Whether a previous pair is kept to go back to.
    pub previous: bool,
    /// The token that is held.
    pub token: Option<TokenStatus>,
    /// What is being done about its next token.
    pub activity: Activity,
    /// When Procurify will be asked next.
    #[serde(with = "chrono::serde::ts_milliseconds_option")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// How the last token request failed, where it did.
    pub last_failure: Option<FailureReport>,
    /// How many tokens were issued, and how many may be.
    pub budget: BudgetStatus,
}

/// The budget of issued tokens of one credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// How many were issued in the last hour.
    pub issued_in_hour: u32,
    /// How many may be, in any hour.
    pub per_hour: u32,
    /// How many were issued in the last 24 hours.
    pub issued_in_day: u32,
    /// How many may be, in any 24 hours.
    pub per_day: u32,
}

/// A token that is held; never the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    /// Which token.
    pub fingerprint: Fingerprint,
    /// When it was requested.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub issued_at: DateTime<Utc>,
    /// When it ends.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub expires_at: DateTime<Utc>,
}

/// What the daemon is doing about a credential's next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// 0: resting until the next refresh is due.
    Resting,
    /// 1: a token request is out.
    Requesting,
    /// 2: the last request failed; the next one waits.
    BackingOff,
    /// 3: Procurify rejects the client credentials; only a rare probe goes out.
    Barred,
}

/// The last failure of a token request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// What went wrong.
    pub code: FailureCode,
    /// The HTTP status, where an answer arrived.
    pub http_status: Option<u16>,
    /// What Procurify's support asks for.
    pub request_id: Option<RequestId>,
    /// When.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub at: DateTime<Utc>,
    /// How many requests in a row have failed.
    pub attempts: u32,
    /// What happened: one sentence.
    pub message: String,
    /// What to type next; empty where there is nothing to do.
    pub advice: String,
}

/// What is known of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it was started.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub started_at: DateTime<Utc>,
    /// The state of the vault.
    pub vault: VaultState,
    /// Where the vault is.
    pub vault_path: String,
    /// How many credentials the open vault holds.
    pub credentials: u32,
    /// How many of them hold a valid token.
    pub with_token: u32,
    /// A file with certificates that are trusted beside the system's, where one is configured.
    pub extra_ca: Option<String>,
    /// What keeps the keys in memory from others.
    pub memory: MemoryProtection,
    /// Whether the process shows its memory in no core file and to no other process of its user.
    pub core_dumps_forbidden: bool,
    /// What the daemon has denied itself.
    pub sandbox: Sandbox,
    /// What a person should know, a sentence each, with what to type next.
    pub warnings: Vec<String>,
}

/// What keeps the keys in memory from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryProtection {
    /// 0: nothing beyond being wiped.
    None,
    /// 1: never swapped, and in no core file.
    Locked,
    /// 2: that, and not even the kernel's own means read it (`memfd_secret(2)`).
    Secret,
}

/// What the daemon has denied itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    /// 0: nothing.
    None,
    /// 1: to write outside of its folders and those of its user's session; a configured program may run.
    Loosened,
    /// 2: to touch any file beyond its own and the system's, and to run any program.
    Full,
}

/// The state of the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VaultState {
    /// 0: there is none yet.
    Missing,
    /// 1: there is one, and it is not open.
    Locked,
    /// 2: it is open.
    Open,
}
