//! A token as programs hold it: shared, redacted, and with the knowledge of whose it is and where it may be sent.
//!
//! It opens nothing; [`ExposeSecret`](secrecy::ExposeSecret) does, where the program asks for it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use procurify_token_protocol::{AccessToken, BaseUrl, CredentialName, TokenGrant};

/// An access token, whose it is, and where it may be sent. A clone is the same token: it costs a few nanoseconds, and the text is
/// wiped from memory when the last one is gone.
///
/// It is an [`AccessToken`] wherever one is wanted: [`secret`](AccessToken::secret),
/// [`fingerprint`](AccessToken::fingerprint) and [`expires_at`](AccessToken::expires_at) are methods of it. There is no
/// `Display`, and `Debug` shows no secret:
///
/// ```
/// # #[cfg(all(feature = "blocking", feature = "testing"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use procurify_token_client::{ExposeSecret, blocking::Client, testing::FakeDaemon};
///
/// let daemon = FakeDaemon::start()?;
/// daemon.set_token("acme", "a-token");
/// let token = Client::connect(&daemon.options())?.token(&"acme".parse()?)?;
///
/// assert_eq!(token.name().as_str(), "acme");
/// assert_eq!(token.base_url().join("/api/v3/vendors/")?, "https://acme.procurify.com/api/v3/vendors/");
/// assert_eq!(token.secret().expose_secret(), "a-token");
/// assert!(!format!("{token:?}").contains("a-token"));
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "blocking", feature = "testing")))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    name: CredentialName,
    grant: TokenGrant,
}

impl Token {
    pub(crate) fn new(name: CredentialName, grant: TokenGrant) -> Self {
        Self(Arc::new(Inner { name, grant }))
    }

    /// The credential that it is a token of.
    pub fn name(&self) -> &CredentialName {
        &self.0.name
    }

    /// Where the API lives. A token is sent nowhere else.
    pub fn base_url(&self) -> &BaseUrl {
        &self.0.grant.base_url
    }

    /// Token and base URL as the protocol has them.
    pub fn grant(&self) -> &TokenGrant {
        &self.0.grant
    }
}

impl Deref for Token {
    type Target = AccessToken;

    fn deref(&self) -> &AccessToken {
        &self.0.grant.token
    }
}

/// Without the token.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { name, grant } = &*self.0;
        let mut shown = f.debug_struct("Token");
        shown.field("name", name).field("base_url", &grant.base_url);
        shown.field("fingerprint", &self.fingerprint()).field("expires_at", &self.expires_at()).finish()
    }
}
