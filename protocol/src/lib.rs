#![doc = include_str!("specification.md")]

mod access;
mod answer;
pub mod codec;
pub mod endpoint;
mod failure;
mod finding;
pub mod frame;
mod name;
mod pattern;
mod recovery_code;
mod refusal;
mod request;
mod slot;
mod token;
mod transfer;
mod url;

pub use access::{Outcome, Ruling, Verb};
pub use answer::{
    Activity, Answer, AuditBreak, AuditVerdict, BudgetStatus, CredentialStatus, DaemonStatus, FailureReport,
    MemoryProtection, Sandbox, TokenGrant, TokenStatus, VaultPiece, VaultState, Watched,
};
pub use failure::{Failure, FailureClass, FailureCode, RequestId};
pub use finding::{Area, Finding, Severity};
pub use name::{Audience, ClientId, CredentialName, Description, Domain, NameError};
pub use recovery_code::{CODE_LEN, RecoveryCode, RecoveryCodeError};
pub use refusal::{Refusal, RefusalClass, RefusalCode};
pub use request::{
    AuditFilter, BodyEncoding, ExportProof, NewCredential, REQUEST_COUNT, RefreshMode, Request,
};
pub use slot::{GenerationStatus, NewSlot, SlotId, SlotIdError, SlotKind, SlotStatus, UnlockWith};
pub use token::{AccessToken, ClientSecret, Fingerprint, Passphrase, SecretTextError};
pub use transfer::{CredentialCopy, MOST_IN_PIECE, MOST_IN_UPLOAD, PairCopy, Piece};
pub use url::{BaseUrl, TokenUrl, UrlError, is_plain_http};
