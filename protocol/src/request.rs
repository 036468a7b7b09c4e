//! What a client can ask for.
//!
//! The order of [`Request`]'s variants and of every field is the wire format: new variants are added at the end, and
//! anything else is a new protocol version.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    Audience, BaseUrl, ClientId, ClientSecret, CredentialName, Description, Fingerprint, NewSlot, Piece,
    SlotId, TokenUrl, UnlockWith,
};

/// One request. Durations travel as seconds and nanoseconds; a deadline counts from the arrival of the frame.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// 0: a token that is valid now, and for at least `min_ttl` where Procurify can be reached. Answered by
    /// [`Answer::Token`](crate::Answer::Token).
    Get {
        /// Whose token.
        name: CredentialName,
        /// How long it should still live. A held token that is valid but shorter is handed out when nothing better
        /// can be had before the deadline: compare its expiry.
        #[serde(deserialize_with = "crate::pattern::duration")]
        min_ttl: Duration,
        /// How long the caller is willing to wait.
        #[serde(deserialize_with = "crate::pattern::duration")]
        deadline: Duration,
    },
    /// 1: the API answered 401 to the token with this fingerprint. Forgotten only if it is still the current one,
    /// and kept while none may be asked for in its place.
    /// Answered by [`Answer::Done`](crate::Answer::Done).
    Invalidate {
        /// Whose token.
        name: CredentialName,
        /// Which token.
        fingerprint: Fingerprint,
    },
    /// 2: the credentials in order of their names, at most 100 behind `after`. Answered by
    /// [`Answer::Credentials`](crate::Answer::Credentials).
    List {
        /// The last name of the page before.
        after: Option<CredentialName>,
    },
    /// 3: one credential. Answered by [`Answer::Credential`](crate::Answer::Credential).
    Describe {
        /// Which.
        name: CredentialName,
    },
    /// 4: the daemon itself; answered in every state by [`Answer::Status`](crate::Answer::Status).
    Status,
    /// 5: make a vault. Answered by [`Answer::Initialised`](crate::Answer::Initialised).
    Init {
        /// What will open it: at least one, and of each kind but passphrases no more than one.
        slots: Vec<NewSlot>,
    },
    /// 6: open the vault. Answered by [`Answer::Done`](crate::Answer::Done).
    Unlock {
        /// What opens it.
        key: UnlockWith,
        /// 0 for the vault itself. Another number goes back to that older generation: if it opens, it takes the vault's
        /// place, and what had it so far is set aside.
        generation: u8,
    },
    /// 7: forget the vault key and every token. Answered by [`Answer::Done`](crate::Answer::Done).
    Lock,
    /// 8: store a credential durably. Nothing is asked of Procurify. Answered by
    /// [`Answer::Done`](crate::Answer::Done) once it is on the disk.
    Add(Box<NewCredential>),
    /// 9: store a second pair of client credentials durably beside the one in use. Answered by
    /// [`Answer::Done`](crate::Answer::Done).
    Stage {
        /// For which credential.
        name: CredentialName,
        /// The new client id.
        client_id: ClientId,
        /// The new client secret.
        client_secret: ClientSecret,
        /// Whether a staged pair that was never promoted may be thrown away for this one.
        replace: bool,
    },
    /// 10: try the staged pair; if it brings a token it becomes the one in use, and the pair so far is kept as the
    /// previous one. Answered by [`Answer::Token`](crate::Answer::Token).
    Promote {
        /// For which credential.
        name: CredentialName,
        /// How long the caller is willing to wait.
        #[serde(deserialize_with = "crate::pattern::duration")]
        deadline: Duration,
    },
    /// 11: exchange the pair in use and the previous one. Answered by [`Answer::Done`](crate::Answer::Done).
    Rollback {
        /// For which credential.
        name: CredentialName,
    },
    /// 12: ask Procurify for a new token now, at most one request whoever asks. Answered by
    /// [`Answer::Token`](crate::Answer::Token).
    Refresh {
        /// Whose token.
        name: CredentialName,
        /// What the request may disregard.
        mode: RefreshMode,
        /// How long the caller is willing to wait.
        #[serde(deserialize_with = "crate::pattern::duration")]
        deadline: Duration,
    },
    /// 13: forget a credential with its secret. Answered by [`Answer::Done`](crate::Answer::Done) once it is gone
    /// from the disk.
    Remove {
        /// Which.
        name: CredentialName,
    },
    /// 14: stop the daemon. Answered by [`Answer::Done`](crate::Answer::Done).
    Stop,
    /// 15: be told when a credential has another token, none any more, or when a token request for it fails. Answered by
    /// [`Answer::Watched`](crate::Answer::Watched) as soon as there is something to tell beyond the revision that was
    /// `seen`, and at the deadline in any case; ask again with the revision of the answer. Whoever is slow to ask again
    /// is told of the latest only.
    Watch {
        /// Which credential.
        name: CredentialName,
        /// The revision of the answer before; `None` is answered at once.
        seen: Option<u64>,
        /// How long the caller is willing to wait.
        #[serde(deserialize_with = "crate::pattern::duration")]
        deadline: Duration,
    },
    /// 16: the key slots, and the older generations that are kept; in every state of the vault but a missing one. Answered by
    /// [`Answer::Slots`](crate::Answer::Slots).
    Slots,
    /// 17: give the open vault another key slot. Answered by [`Answer::SlotAdded`](crate::Answer::SlotAdded).
    AddSlot {
        /// What shows that the caller could open the vault by itself.
        proof: UnlockWith,
        /// The slot.
        slot: NewSlot,
        /// What a person writes about it; whoever reads the vault's file can read this, too.
        description: Description,
    },
    /// 18: give the open vault a new vault key, without some of its slots. All older generations are dropped: the slots that
    /// go, and the key so far, could still open them. Answered by [`Answer::Rekeyed`](crate::Answer::Rekeyed).
    Rekey {
        /// The slots that go.
        without: Vec<SlotId>,
        /// What opens those that stay and that only a person can open.
        keys: Vec<UnlockWith>,
    },
    /// 19: a piece of the sealed vault as it is on the disk. Answered by
    /// [`Answer::VaultPiece`](crate::Answer::VaultPiece).
    Backup {
        /// Of which generation; `None` for the newest. One that is no longer the newest is refused with `changed`.
        generation: Option<[u8; 32]>,
        /// From which byte on.
        offset: u64,
    },
    /// 20: a piece of what the next `Restore` or `Import` on this connection is about. Answered by
    /// [`Answer::Done`](crate::Answer::Done).
    Upload(Piece),
    /// 21: put the uploaded vault where there is none. Answered by [`Answer::Slots`](crate::Answer::Slots).
    Restore {
        /// How many bytes were uploaded.
        length: u64,
    },
    /// 22: store the uploaded credentials, all or none. The upload is a list of [`CredentialCopy`](crate::CredentialCopy). Answered by
    /// [`Answer::Imported`](crate::Answer::Imported).
    Import {
        /// How many bytes were uploaded.
        length: u64,
    },
    /// 23: credentials with their secrets, in order of their names, as many as fit into an answer. Answered by
    /// [`Answer::Exported`](crate::Answer::Exported).
    Export {
        /// What shows that the caller could open the vault by itself; with a page before, the answer's own `pass`.
        proof: ExportProof,
        /// The last name of the page before.
        after: Option<CredentialName>,
    },
    /// 24: look at everything that could be amiss: files, vault, memory, clock, the way to each token URL, each credential. Takes
    /// some seconds, asks for no token and changes nothing. Answered by [`Answer::Findings`](crate::Answer::Findings).
    Examine,
    /// 25: which rule decides what a user may do with a credential; neither need there be. Answered by
    /// [`Answer::AccessExplained`](crate::Answer::AccessExplained).
    ExplainAccess {
        /// The name or the number of a user of the daemon's system.
        user: String,
        /// Which credential.
        name: CredentialName,
    },
    /// 26: audit records in their order, as many as fit into an answer. Answered by
    /// [`Answer::AuditRecords`](crate::Answer::AuditRecords).
    AuditShow {
        /// The `next` of the answer before; `None` begins with the oldest record that is kept.
        after: Option<u64>,
        /// Which of them.
        filter: AuditFilter,
        /// How long the caller is willing to wait for a record where there is none yet; zero is answered at once.
        #[serde(deserialize_with = "crate::pattern::duration")]
        deadline: Duration,
    },
    /// 27: whether the audit records are those that were written, all of them and in their order. Answered by
    /// [`Answer::AuditVerified`](crate::Answer::AuditVerified).
    AuditVerify,
}

/// How many requests this version knows: their numbers are below it.
pub const REQUEST_COUNT: u32 = 28;

/// Which audit records; what is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFilter {
    /// Those about this credential.
    pub credential: Option<CredentialName>,
    /// Those of what this user did: a name or a number of the daemon's system.
    pub user: Option<String>,
    /// Those from this moment on.
    #[serde(with = "chrono::serde::ts_milliseconds_option")]
    pub since: Option<DateTime<Utc>>,
}

/// What entitles to a page of an export.
#[derive(Debug, Serialize, Deserialize)]
pub enum ExportProof {
    /// 0: the first page, and what shows that the caller could open the vault by itself.
    Key(UnlockWith),
    /// 1: a later page: what came with the one before. It is good for ten minutes.
    Pass([u8; 16]),
}

/// What a refresh that somebody asked for may disregard; each mode includes the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RefreshMode {
    /// 0: nothing.
    #[default]
    Plain,
    /// 1: that Procurify rejected the client credentials or asked for patience.
    Retry,
    /// 2: that the credential's budget of issued tokens is spent.
    OverBudget,
}

/// A credential as it is enrolled.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewCredential {
    /// Its name; the domain in it is the one its tokens must be for.
    pub name: CredentialName,
    /// What a person wrote about it.
    pub description: Description,
    /// The client id.
    pub client_id: ClientId,
    /// The client secret.
    pub client_secret: ClientSecret,
    /// Where the API lives.
    pub base_url: BaseUrl,
    /// Where tokens are requested.
    pub token_url: TokenUrl,
    /// The audience of the token request.
    pub audience: Audience,
    /// How the token request is written.
    pub body_encoding: BodyEncoding,
}

/// How a token request is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyEncoding {
    /// 0: `application/json`, as Procurify documents it.
    #[default]
    Json,
    /// 1: `application/x-www-form-urlencoded`, as RFC 6749 §4.4.2 has it.
    Form,
}
