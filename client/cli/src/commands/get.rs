//! `get`: tokens on stdout and nothing else there. All of them or none, so that a script never takes one for another. Into files they
//! go by `follow`.

use std::collections::HashSet;

use procurify_token_client::{Error, Token, TokenGrant, TokenOptions};
use procurify_token_protocol::CredentialName;
use zeroize::Zeroizing;

use super::{follow, obtain};
use crate::args::{FormArgs, GetArgs, TokenArgs};
use crate::connect::{Connection, Daemon, has_left};
use crate::exit::{ExitCode, Failure};
use crate::{bearer, say};

pub(super) fn run(daemon: &Daemon, args: GetArgs) -> Result<(), Failure> {
    if args.keep.file.is_some() {
        return follow::run(daemon, args);
    }
    if let [name] = &args.names[..] {
        let grant = obtain::token(&mut daemon.connect()?, name, &args.token)?;
        return say::bytes(obtain::in_form(args.form, name, &grant).as_bytes());
    }
    let suffixes = suffixes(&args)?;
    let grants = tokens(&mut daemon.connect()?, &args.names, &args.token)?;
    let in_forms = args.names.iter().zip(&grants).zip(&suffixes).map(|((name, grant), suffix)| {
        if args.form.env {
            bearer::exports(name, grant, suffix)
        } else {
            obtain::in_form(args.form, name, grant)
        }
    });
    // Made before the first is printed, so that nothing but a closed pipe ends it halfway.
    let in_forms: Vec<Zeroizing<String>> = in_forms.collect();
    in_forms.iter().try_for_each(|token| say::bytes(token.as_bytes()))
}

/// What tells the variables of several credentials apart, where they are asked for.
fn suffixes(args: &GetArgs) -> Result<Vec<String>, Failure> {
    let FormArgs { header, env, curl_config, .. } = args.form;
    if header || curl_config {
        let option = if header { "--header" } else { "--curl-config" };
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{option} is for one NAME: a request has one token"),
        )
        .hint("ask for them one by one, or for all with --json"));
    }
    let suffixes: Vec<_> = args.names.iter().map(bearer::variable_suffix).collect();
    let mut taken = HashSet::new();
    match suffixes.iter().position(|suffix| !taken.insert(suffix)).filter(|_| env) {
        Some(second) => Err(Failure::new(
            ExitCode::Usage,
            format!(
                "PROCURIFY_TOKEN{} would be the variable of {} and of another NAME",
                suffixes[second], args.names[second]
            ),
        )
        .hint("ask for them one by one, or for all with --json")),
        None => Ok(suffixes),
    }
}

/// Tokens of several, asked for at once; a failure says of which there is none, each with its reason.
fn tokens(
    daemon: &mut Connection<'_>,
    names: &[CredentialName],
    args: &TokenArgs,
) -> Result<Vec<TokenGrant>, Failure> {
    let options = |left| TokenOptions { min_ttl: args.min_ttl, deadline: Some(left) };
    let outcomes = daemon.ask(args.deadline, |client, left| {
        let mut outcomes = client.tokens(names, &options(left));
        // Then all of them are asked of the daemon that comes after it.
        match outcomes.iter().position(|outcome| outcome.as_ref().is_err_and(has_left)) {
            Some(at) => outcomes.swap_remove(at).map(|_| Vec::new()),
            None => Ok(outcomes),
        }
    })?;
    all_or_none(names, outcomes, args)
}

fn all_or_none(
    names: &[CredentialName],
    outcomes: Vec<Result<Token, Error>>,
    args: &TokenArgs,
) -> Result<Vec<TokenGrant>, Failure> {
    let (mut tokens, mut without) = (Vec::new(), Vec::new());
    // What is amiss with all of them, such as a locked vault, is said once.
    let mut failures: Vec<(Failure, Vec<&str>)> = Vec::new();
    for (name, outcome) in names.iter().map(CredentialName::as_str).zip(outcomes) {
        let failure = match outcome {
            Ok(token) => {
                tokens.push(token);
                continue;
            }
            Err(error) => Failure::from(error),
        };
        without.push(name);
        match failures.iter_mut().find(|(known, _)| known.message() == failure.message()) {
            Some((_, names)) => names.push(name),
            None => failures.push((failure, vec![name])),
        }
    }
    let told = failures.into_iter().map(|(failure, names)| failure.while_doing(&names.join(", ")).tell());
    if let Some(code) = told.reduce(|first, _| first) {
        let message = format!(
            "no token is printed, for {} of {} cannot be had: {}",
            without.len(),
            names.len(),
            without.join(", ")
        );
        return Err(Failure::new(code, message));
    }
    for token in &tokens {
        obtain::warn_of_short_life(token, args);
    }
    Ok(tokens.iter().map(|token| token.grant().clone()).collect())
}
