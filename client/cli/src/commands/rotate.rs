//! `rotate`: from one pair of client credentials to the next without a moment in which neither works.

use std::time::Duration;

use procurify_token_client::TokenGrant;
use procurify_token_client::blocking::Client;
use procurify_token_protocol::{Answer, CredentialName, RefusalCode, Request};
use serde_json::Value;

use super::{PATIENCE, done, done_by, refused, storing, token_json, unexpected};
use crate::args::{RotateArgs, RotateStep};
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::pair::{self, Questions};
use crate::{clock, interrupt, report, say, when};

pub(super) fn run(daemon: &Daemon, args: RotateArgs) -> Result<(), Failure> {
    let RotateArgs { name, client_id, secret, step, form } = args;
    let mut client = daemon.connect()?;
    match step {
        RotateStep { rollback: true, .. } => return roll_back(&mut client, &name, form.json),
        RotateStep { retry: true, .. } => return promote(&mut client, &name, form.json),
        RotateStep { .. } => {}
    }
    let status = client.describe(&name)?;
    if status.staged && !step.replace {
        return Err(Failure::new(
            ExitCode::Conflict,
            format!("a new pair is stored for {name} and waits to be used"),
        )
        .hint(next_steps(&name)));
    }
    pair::must_not_be_asked_for(client_id.as_ref(), &secret)?;
    let was_typed = pair::is_asked_for(client_id.as_ref(), &secret);
    let mut questions = Questions::about(name.domain());
    let (client_id, client_secret) = pair::given_or_asked(Some(&mut questions), client_id, &secret)?;
    drop(questions);
    let request = Request::Stage { name: name.clone(), client_id, client_secret, replace: step.replace };
    let look = format!("procurify-token status {name}");
    storing::stored(&format!("the new pair of {name}"), &look, was_typed, |is_again| {
        // There was none when this began, so it is ours, stored by an attempt that nobody was left to tell of.
        if is_again && !step.replace && client.ask(PATIENCE, |client, _| client.describe(&name))?.staged {
            return Ok(());
        }
        interrupt::so_far(
            format!("{name} uses the old pair, unless the new one was just being put in its place"),
            format!("{look} says which pairs there are"),
        );
        done_by(&mut client, &request)
    })?;
    if !form.json {
        say::line("The new pair is stored durably. Trying it ...")?;
    }
    promote(&mut client, &name, form.json)
}

fn promote(client: &mut Client, name: &CredentialName, is_json: bool) -> Result<(), Failure> {
    let grant = promoted(client, name)?;
    if is_json {
        return print_json(name, "new", token_json(&grant));
    }
    say::line(format!(
        "{name} now uses the new pair; its token is {}, until {}",
        grant.token.fingerprint(),
        when::stamp_and_distance(grant.token.expires_at(), clock::now())
    ))?;
    say::line(format!("The old pair is kept: procurify-token rotate {name} --rollback"))?;
    say::line("Once your programs are seen to work, delete the old application in Procurify.")
}

fn promoted(client: &mut Client, name: &CredentialName) -> Result<TokenGrant, Failure> {
    match client.request(&Request::Promote { name: name.clone(), deadline: TRIAL }, TRIAL) {
        Ok(Answer::Token(grant)) => Ok(grant),
        Ok(other) => Err(unexpected(&other)),
        Err(error) => {
            let is_about_the_pair = refused(&error).is_none_or(|code| {
                !matches!(code, RefusalCode::NOTHING_TO_ROTATE | RefusalCode::UNKNOWN_CREDENTIAL)
            });
            let failure = Failure::from(error);
            Err(if is_about_the_pair {
                failure
                    .while_doing(&format!(
                        "{name} still uses the old pair, and the new one is kept beside it"
                    ))
                    .hint(next_steps(name))
            } else {
                failure
            })
        }
    }
}

fn roll_back(client: &mut Client, name: &CredentialName, is_json: bool) -> Result<(), Failure> {
    done(client, &Request::Rollback { name: name.clone() })?;
    if is_json {
        return print_json(name, "previous", Value::Null);
    }
    say::line(format!("{name} uses the previous pair again, and the other one is kept in its place."))?;
    say::line(format!("To try it now: procurify-token refresh {name} --retry"))
}

/// Which pair is in use now, and the token that it brought, if it was tried.
fn print_json(name: &CredentialName, pair: &str, token: Value) -> Result<(), Failure> {
    report::print_json(&[("credential", name.as_str().into()), ("uses", pair.into()), ("token", token)])
}

fn next_steps(name: &CredentialName) -> String {
    format!(
        "procurify-token rotate {name} --retry tries the new pair again, \
         procurify-token rotate {name} --replace takes another"
    )
}

const TRIAL: Duration = Duration::from_mins(1);
