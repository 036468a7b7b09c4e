//! What each command does: one room per command, and this one that leads to them.
//!
//! Every command connects by itself, because not every one may start a daemon.

mod access;
mod add;
mod api;
mod audit;
mod backup;
mod complete;
mod completions;
mod curl;
mod detached;
mod doctor;
mod exec;
mod export;
mod fields;
mod follow;
mod get;
mod import;
mod init;
mod invalidate;
mod key;
mod list;
mod live;
mod lock;
mod obtain;
mod pages;
mod printing;
mod refresh;
mod remove;
mod restore;
mod rotate;
mod service;
mod slot;
mod status;
mod stop;
mod storing;
mod unlock;
mod watch;

use std::time::Duration;

use procurify_token_client::blocking::Client;
use procurify_token_client::{Error, TokenGrant};
use procurify_token_protocol::{Answer, RefusalCode, Request, SlotStatus};
use serde_json::{Value, json};

use crate::args::{Command, CommandLine};
use crate::connect::{Connection, Daemon};
use crate::demo;
use crate::exit::{ExitCode, Failure};
use crate::{clock, when};

/// Does what the command line says.
pub(crate) fn run(line: CommandLine) -> Result<(), Failure> {
    let daemon = Daemon::new(line.global);
    match line.command {
        Command::Init(args) => init::run(&daemon, &args),
        Command::Add(args) => add::run(&daemon, args),
        Command::Get(args) => get::run(&daemon, args),
        Command::Exec(args) => exec::run(&daemon, &args),
        Command::Api(args) => api::run(&daemon, args),
        Command::Curl(args) => Err(curl::run(&daemon, &args)),
        Command::List(args) => list::run(&daemon, args),
        Command::Status(args) => status::run(&daemon, &args),
        Command::Doctor(args) => doctor::run(&daemon, args),
        Command::Rotate(args) => rotate::run(&daemon, args),
        Command::Refresh(args) => refresh::run(&daemon, args),
        Command::Watch(args) => watch::run(&daemon, &args),
        Command::Invalidate(args) => invalidate::run(&daemon, &args),
        Command::Remove(args) => remove::run(&daemon, args),
        Command::Lock(args) => lock::run(&daemon, args),
        Command::Unlock(args) => unlock::run(&daemon, &args),
        Command::Slot(args) => slot::run(&daemon, args.command),
        Command::Rekey(args) => slot::rekey(&daemon, args),
        Command::Backup(args) => backup::run(&daemon, &args),
        Command::Restore(args) => restore::run(&daemon, &args),
        Command::Export(args) => export::run(&daemon, args),
        Command::Import(args) => import::run(&daemon, &args),
        Command::Access(args) => access::run(&daemon, args),
        Command::Audit(args) => audit::run(&daemon, args),
        Command::Service(args) => service::run(&args),
        Command::Stop(args) => stop::run(&daemon, args),
        Command::Detached(args) => Err(detached::run(&args)),
        Command::Demo => demo::run(),
        Command::Completions(args) => completions::run(args),
        Command::Complete(args) => complete::run(args),
    }
}

/// Asks for something that is answered by "done".
fn done(client: &mut Client, request: &Request) -> Result<(), Failure> {
    match client.request(request, PATIENCE)? {
        Answer::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// The same of whichever daemon is there by now.
fn done_by(daemon: &mut Connection<'_>, request: &Request) -> Result<(), Failure> {
    match daemon.ask(PATIENCE, |client, left| client.request(request, left))? {
        Answer::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// The certificate that the daemon is told to trust beside the system's. Who may not ask for it does without.
fn extra_ca(daemon: &mut Connection<'_>, deadline: Duration) -> Result<Option<String>, Failure> {
    daemon.ask(deadline, |client, _| match client.status() {
        Ok(status) => Ok(status.extra_ca),
        Err(error) if refused(&error) == Some(RefusalCode::DENIED) => Ok(None),
        Err(error) => Err(error),
    })
}

/// A token for programs: which one it is and how long it lives, and not the token.
fn token_json(grant: &TokenGrant) -> Value {
    let ends = grant.token.expires_at();
    json!({
        "fingerprint": grant.token.fingerprint().to_string(),
        "expires_at": when::stamp(ends),
        "expires_in": (ends - clock::now()).num_seconds().max(0),
    })
}

/// What opens a vault, each kind once.
fn kinds(slots: &[SlotStatus]) -> Vec<String> {
    let mut kinds: Vec<_> = slots.iter().map(|slot| slot.kind.to_string()).collect();
    kinds.dedup();
    kinds
}

/// What the daemon should never answer.
fn unexpected(_: &Answer) -> Failure {
    Failure::new(ExitCode::Other, "the daemon answered another question than it was asked")
        .hint("daemon and command are of different versions: procurify-token stop")
}

/// The code of a refusal, where it is one.
fn refused(error: &Error) -> Option<RefusalCode> {
    match error {
        Error::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

/// For what the daemon does by itself: a vault is opened with Argon2id, and a disk may be slow.
const PATIENCE: Duration = Duration::from_mins(1);
