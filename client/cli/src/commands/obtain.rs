//! A token of one credential, as every command obtains it that hands it out or uses it.

use procurify_token_client::{Token, TokenGrant, TokenOptions};
use procurify_token_protocol::CredentialName;
use zeroize::Zeroizing;

use crate::args::{FormArgs, TokenArgs};
use crate::connect::Connection;
use crate::exit::Failure;
use crate::{bearer, clock, say, when};

/// A token that is valid now; a warning where it lives shorter than was asked for.
pub(super) fn token(
    daemon: &mut Connection<'_>,
    name: &CredentialName,
    args: &TokenArgs,
) -> Result<TokenGrant, Failure> {
    let options = |left| TokenOptions { min_ttl: args.min_ttl, deadline: Some(left) };
    let token = daemon.ask(args.deadline, |client, left| client.token_with(name, &options(left)))?;
    warn_of_short_life(&token, args);
    Ok(token.grant().clone())
}

/// A warning where it lives shorter than was asked for.
pub(super) fn warn_of_short_life(token: &Token, args: &TokenArgs) {
    if args.min_ttl.is_zero() {
        return;
    }
    let left = (token.expires_at() - clock::now()).to_std().unwrap_or_default();
    if left < args.min_ttl {
        let name = token.name();
        say::warning(&format!(
            "the token of {name} lives for {}, less than the {} asked for; more: procurify-token status {name}",
            when::span(left),
            when::span(args.min_ttl)
        ));
    }
}

/// A token as it is printed or written.
pub(super) fn in_form(form: FormArgs, name: &CredentialName, grant: &TokenGrant) -> Zeroizing<String> {
    match form {
        FormArgs { header: true, .. } => bearer::headers(grant),
        FormArgs { json: true, .. } => bearer::json(name, grant, clock::now()),
        FormArgs { env: true, .. } => bearer::exports(name, grant, ""),
        FormArgs { curl_config: true, .. } => bearer::curl_config(grant),
        _ => bearer::bare(grant),
    }
}
