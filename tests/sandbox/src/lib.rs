//! A faithful local Procurify: token endpoint, a little API, and every way in which the real ones
//! may fail. A library for tests, and a program to develop against offline.
//!
//! It asks nobody anything and guards nothing: its credentials are fake, its signing key is
//! public, and it listens on the loopback interface only.
//!
//! ```
//! use procurify_sandbox::{Config, Fault, Knobs, Sandbox};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::spawn(Config::of(&["acme"]))?;
//! sandbox.set("acme", Knobs::failing_at_first(2, Fault::BadGatewayHtml502))?;
//! // … run the program under test against `sandbox.base_url("acme")` …
//! assert_eq!(sandbox.ledger().issued("acme"), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Three doors
//!
//! | door | where | a domain's base URL |
//! | --- | --- | --- |
//! | proxy | CONNECT on the plain port, TLS ended by the sandbox | `https://acme.procurify.com`, the real one |
//! | TLS | the TLS port | `https://localhost:PORT/d/acme` |
//! | plain HTTP | the plain port | `http://127.0.0.1:PORT/d/acme` |
//!
//! With `HTTPS_PROXY` set to [`Controls::proxy_url`] and the sandbox's CA trusted, a program under
//! test uses the URLs it would use in earnest. The direct doors also go by the `Host`
//! `acme.procurify.com` or `acme.localhost`.
//!
//! # What it answers
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /oauth/token` | an RS256 JWT for right credentials, the audience and `client_credentials`, as JSON or form |
//! | `GET /api/v3/users/me/` | whom the token acts as |
//! | `GET /api/v3/vendors/` | vendors, with `metadata.pagination` |
//! | `POST /api/v3/vendors/` | creates the vendor posted |
//! | `GET /api/v2/vendors/` | vendors, with `count`, `next`, `previous`, `results` |
//!
//! The API wants `Authorization: Bearer …` and `X-Procurify-Client: api`. Paths without their last
//! slash are redirected with 301, as Django does. All answers carry `date` and `x-request-id`.
//!
//! Each domain `NAME` has the client id `sandbox-NAME` with the secret `sandbox-NAME-secret`,
//! unless configured otherwise ([`Application::of`]).
//!
//! # Control endpoint
//!
//! On the plain port, JSON in and out. [`Controls`] does the same from Rust.
//!
//! | request | effect |
//! | --- | --- |
//! | `GET /_sandbox/ledger` | the [`Report`]; `?domain=acme` for one domain |
//! | `GET /_sandbox/domains/NAME/knobs` | the [`Knobs`] |
//! | `PUT /_sandbox/domains/NAME/knobs` | sets them; those not named get their default |
//! | `DELETE /_sandbox/domains/NAME/knobs` | back to what was configured |
//! | `POST /_sandbox/domains/NAME/clients` | adds an [`Application`], or rotates its secret |
//! | `DELETE /_sandbox/domains/NAME/clients/ID` | deletes it |
//! | `POST /_sandbox/domains/NAME/revoke` | the API refuses all tokens issued so far |
//! | `POST /_sandbox/reset` | everything as at the start |
//!
//! ```text
//! curl -X PUT http://127.0.0.1:PORT/_sandbox/domains/acme/knobs \
//!      -d '{"burst": {"count": 3, "fault": {"throttled-429": {"retry-after": {"seconds": 2}}}}}'
//! ```
//!
//! # How far to trust it
//!
//! What is documented or was observed is the default. Where nobody has confirmed the live
//! service's behaviour, the documentation of the knob or of the method says *inferred*.
//!
//! # The map
//!
//! `doors` lets requests in and finds their domain; `token` and `api` answer them, `faults` in
//! their place when a knob says so; `domain` holds a domain's state, `ledger` what was asked.
//! `tls`, `jwt`, `wire`, `reply` and `submission` are their tools; `house` joins them, `sandbox`
//! starts and stops them, and `control` lets them be controlled over HTTP.

mod api;
mod clock;
mod config;
mod control;
mod domain;
mod doors;
mod faults;
mod house;
mod jwt;
mod knobs;
mod ledger;
mod reply;
mod sandbox;
mod submission;
mod tls;
mod token;
mod wire;

pub use config::{Application, Config, ConfigError, DomainConfig, DomainFlag};
pub use house::{ControlError, Controls};
pub use knobs::{
    AUDIENCE, Burst, ExpiresIn, Fault, Knobs, Outage, Pages, Rejection, RetryAfter, Scope, Token, TokenType,
};
pub use ledger::{
    ApiCall, BodyEncoding, Book, Door, Ledger, Outcome, Refusal, Report, RequestHead, Tally, TokenRequest,
};
pub use sandbox::{Running, Sandbox, StartError};
pub use tls::TlsError;
