//! What the daemon answers.
//!
//! As in [`request`](crate::Request), order is format.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    AccessToken, Audience, BaseUrl, BodyEncoding, ClientId, CredentialName, Description, FailureCode,
    Fingerprint, Refusal, RequestId, TokenUrl,
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
    },
    /// 6: what a watched credential has come to.
    Watched(Box<Watched>),
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
    /// What a person should know, a sentence each, with what to type next.
    pub warnings: Vec<String>,
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
