//! What is enrolled.

use procurify_sandbox::Application;
use procurify_token_protocol::{
    AccessToken, Audience, BaseUrl, BodyEncoding, ClientSecret, CredentialName, Description, NewCredential,
    TokenUrl,
};
use secrecy::ExposeSecret as _;

/// A credential's name.
#[track_caller]
pub fn name(text: &str) -> CredentialName {
    text.parse().expect("the test names credentials by the rules")
}

/// A credential with the client id and secret that the sandbox has for its domain, at the real addresses.
#[track_caller]
pub fn credential(name: &str) -> NewCredential {
    let domain = crate::name(name).domain().to_string();
    credential_of(name, &Application::of(&domain))
}

/// A credential of this application, at the real addresses.
#[track_caller]
pub fn credential_of(name: &str, application: &Application) -> NewCredential {
    let name = crate::name(name);
    let base_url = BaseUrl::of_domain(&name.domain());
    NewCredential {
        token_url: TokenUrl::below(&base_url),
        base_url,
        name,
        description: Description::default(),
        client_id: application.client_id.parse().expect("a client id"),
        client_secret: ClientSecret::new(&application.client_secret.clone().into()).expect("a client secret"),
        audience: Audience::default(),
        body_encoding: BodyEncoding::Json,
    }
}

/// The token itself, to compare.
#[expect(clippy::disallowed_methods, reason = "the tokens of a sandbox are nobody's secret")]
pub fn text_of(token: &AccessToken) -> String {
    token.secret().expose_secret().to_owned()
}
