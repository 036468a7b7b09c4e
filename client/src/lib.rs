#![doc = include_str!("../README.md")]
//!
//! # The map
//! `Client` and `blocking::Client` only do I/O. What they share is written once: `options` (what a caller may
//! choose), `door` (where to knock, and when to give up), `trust` (whether who opened may be believed), `dial` (connecting, on each
//! system), `call` (one request and what may become of it), `answers` (what an answer has to be), `cache` (which tokens may be handed
//! out unasked), `clock` and `deadline`. `tokens` and `blocking::tokens` join clients and cache.

#![cfg_attr(
    not(any(feature = "async", feature = "blocking")),
    expect(dead_code, reason = "without a client there is nobody to use the shared rooms")
)]

#[cfg(not(any(unix, windows)))]
compile_error!(
    "procurify-token-client does not support this platform: it could not check who listens on the daemon's socket"
);

mod answers;
#[cfg(feature = "blocking")]
pub mod blocking;
mod cache;
mod call;
#[cfg(feature = "async")]
mod client;
mod clock;
#[cfg(feature = "async")]
mod conversation;
mod deadline;
mod dial;
mod door;
mod error;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "async")]
mod line;
mod options;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
#[cfg(feature = "async")]
mod tokens;
#[cfg(feature = "tower")]
pub mod tower;
mod trust;

#[cfg(feature = "async")]
pub use client::{Client, Watch};
pub use error::{Error, OutcomeUnknown, ProtocolError};
pub use options::{Options, TokenOptions};
pub use token::Token;
pub use trust::Distrust;

pub use procurify_token_protocol as protocol;
pub use procurify_token_protocol::endpoint::Surroundings;
pub use procurify_token_protocol::{
    AccessToken, Activity, Answer, BaseUrl, CredentialName, CredentialStatus, DaemonStatus, FailureReport,
    Fingerprint, NameError, RefreshMode, Refusal, RefusalClass, RefusalCode, Request, TokenGrant,
    TokenStatus, VaultState, Watched,
};
pub use secrecy::ExposeSecret;
