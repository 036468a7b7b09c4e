#![doc = include_str!("specification.md")]

mod answer;
pub mod codec;
pub mod endpoint;
mod failure;
pub mod frame;
mod name;
mod pattern;
mod refusal;
mod request;
mod token;
mod url;

pub use answer::{
    Activity, Answer, BudgetStatus, CredentialStatus, DaemonStatus, FailureReport, TokenGrant, TokenStatus,
    VaultState, Watched,
};
pub use failure::{Failure, FailureClass, FailureCode, RequestId};
pub use name::{Audience, ClientId, CredentialName, Description, Domain, NameError};
pub use refusal::{Refusal, RefusalClass, RefusalCode};
pub use request::{BodyEncoding, NewCredential, REQUEST_COUNT, RefreshMode, Request, UnlockWith};
pub use token::{AccessToken, ClientSecret, Fingerprint, Passphrase, SecretTextError};
pub use url::{BaseUrl, TokenUrl, UrlError, is_plain_http};
