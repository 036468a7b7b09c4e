//! Asks a token endpoint for a token and says what came of it.
//!
//! One [`TokenRequest`] is one POST on a connection of its own: no pool, no redirect, no second try, no second URL, no
//! second style. Whether and when to try again is the business of `refresh`; this room only classifies.
//!
//! A token endpoint's body is not to be trusted with what it was told: it may echo the client secret. So a body is read
//! only where the status leaves something to decide, into memory that is wiped; neither it nor anything taken from it
//! reaches an error, a log or a [`Failure`]. There is no tracing in this room. What the HTTP and TLS libraries buffer on
//! the way is wiped by the program's allocator when they free it.
//!
//! | file | what |
//! | --- | --- |
//! | `https.rs` | one exchange: send, read, within its deadline |
//! | `connect.rs`, `proxies.rs`, `tls.rs` | from a URL to a stream that a secret may be written to |
//! | `body.rs` | the request |
//! | `classify.rs` | the answer: status first, body second |
//! | `reach.rs` | whether an endpoint can be reached, with nothing to send |
//! | `lifetime.rs`, `retry_after.rs` | how long a token lives, how long a server wants to be left alone |

mod body;
mod classify;
mod connect;
mod https;
mod lifetime;
mod proxies;
mod reach;
mod retry_after;
mod tls;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use procurify_token_protocol::{Audience, BodyEncoding, ClientId, ClientSecret, Domain, Failure, TokenUrl};
use secrecy::SecretString;

pub use https::{HttpsIssuer, IssuerSettings, SetupError};
pub use proxies::Proxies;
pub use reach::Reach;

/// Whoever can turn client credentials into an access token (RFC 6749 §4.4).
pub trait TokenIssuer: Send + Sync + 'static {
    /// Makes one token request. Dropping the future abandons it at any point.
    ///
    /// # Errors
    /// [`Failure`] says what went wrong, in numbers only.
    fn issue(&self, request: TokenRequest) -> impl Future<Output = Result<Issued, Failure>> + Send;

    /// Finds out whether a token endpoint can be reached, without a request for a token.
    fn reach(&self, url: TokenUrl, now: DateTime<Utc>) -> impl Future<Output = Reach> + Send;
}

/// All that one token request needs. The secret is wiped when the request ends.
#[derive(Debug)]
pub struct TokenRequest {
    /// The domain that the token must be for.
    pub domain: Domain,
    /// The public half of the client credentials.
    pub client_id: ClientId,
    /// The secret half.
    pub client_secret: ClientSecret,
    /// Where to send them.
    pub token_url: TokenUrl,
    /// The audience to name.
    pub audience: Audience,
    /// How to write the body.
    pub body_encoding: BodyEncoding,
    /// The wall clock as the request begins: what the dates in the answer's header are compared with, and nothing else.
    pub now: DateTime<Utc>,
}

/// A token, fresh from the issuer: of type Bearer, a `b64token` (RFC 6750 §2.1) of at most 16 KiB, and not for another
/// domain than the one asked for.
pub struct Issued {
    /// The token.
    pub access_token: SecretString,
    /// How long it lives, counted from the moment the request was sent: more than zero, at most 30 days.
    pub lifetime: Duration,
    /// How far the server's clock is ahead of ours (behind, where negative), where the answer had a `Date`; right to about
    /// a second and the time of the exchange.
    pub server_ahead: Option<TimeDelta>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("lifetime", &self.lifetime)
            .field("server_ahead", &self.server_ahead)
            .finish_non_exhaustive()
    }
}
