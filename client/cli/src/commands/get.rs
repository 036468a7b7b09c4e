//! `get`: tokens on stdout and nothing else there. All of them or none, so that a script never takes one for another.

use procurify_token_client::{TokenGrant, TokenOptions};
use procurify_token_protocol::CredentialName;
use zeroize::Zeroizing;

use crate::args::{FormArgs, GetArgs, TokenArgs};
use crate::connect::{Connection, Daemon};
use crate::exit::{ExitCode, Failure};
use crate::{bearer, clock, say, when};

pub(super) fn run(daemon: &Daemon, args: &GetArgs) -> Result<(), Failure> {
    let FormArgs { header, json, env, curl_config } = args.form;
    if args.names.len() > 1 && (header || env || curl_config) {
        return Err(Failure::new(ExitCode::Usage, "--header, --env and --curl-config are for one NAME"));
    }
    let mut daemon = daemon.connect()?;
    let tokens = args.names.iter().map(|name| {
        let grant = token(&mut daemon, name, &args.token)?;
        Ok(match () {
            () if header => bearer::headers(&grant),
            () if json => bearer::json(name, &grant, clock::now()),
            () if env => bearer::exports(name, &grant),
            () if curl_config => bearer::curl_config(&grant),
            () => bearer::bare(&grant),
        })
    });
    let tokens: Vec<Zeroizing<String>> = tokens.collect::<Result<_, Failure>>()?;
    tokens.iter().try_for_each(|token| say::bytes(token.as_bytes()))
}

/// A token that is valid now; a warning where it lives shorter than was asked for.
pub(super) fn token(
    daemon: &mut Connection<'_>,
    name: &CredentialName,
    args: &TokenArgs,
) -> Result<TokenGrant, Failure> {
    let options = |left| TokenOptions { min_ttl: args.min_ttl, deadline: Some(left) };
    let token = daemon.ask(args.deadline, |client, left| client.token_with(name, &options(left)))?;
    let grant = token.grant().clone();
    if !args.min_ttl.is_zero() {
        let left = (grant.token.expires_at() - clock::now()).to_std().unwrap_or_default();
        if left < args.min_ttl {
            say::warning(&format!(
                "the token of {name} lives for {}, less than the {} asked for; more: procurify-token status {name}",
                when::span(left),
                when::span(args.min_ttl)
            ));
        }
    }
    Ok(grant)
}
