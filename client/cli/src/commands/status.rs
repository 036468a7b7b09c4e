//! `status`: the daemon and what needs attention, or one credential. Starts nothing: that nothing runs is the answer.

use procurify_token_protocol::VaultState;
use serde_json::Value;

use super::live;
use crate::args::StatusArgs;
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{clock, report, say};

pub(super) fn run(daemon: &Daemon, args: &StatusArgs) -> Result<(), Failure> {
    if args.watch {
        return live::run(daemon, args.name.as_ref());
    }
    let mut client = daemon.connect_to_running()?;
    if let Some(name) = &args.name {
        let status = client.describe(name)?;
        let now = clock::now();
        return if args.form.json {
            report::print_json(&[("credential", report::credential_json(&status, now))])
        } else {
            report::credential_facts(&status, now)
        };
    }
    let status = client.status()?;
    let credentials = if status.vault == VaultState::Open { client.list()? } else { Vec::new() };
    let socket = client.socket_path().display().to_string();
    let now = clock::now();
    if args.form.json {
        let all: Vec<Value> = credentials.iter().map(|status| report::credential_json(status, now)).collect();
        return report::print_json(&[
            ("daemon", report::daemon_json(&status, &socket)),
            ("credentials", all.into()),
        ]);
    }
    report::daemon_facts(&status, &socket, now)?;
    match status.vault {
        VaultState::Missing => say::line("what to do: procurify-token init"),
        VaultState::Locked => say::line("what to do: procurify-token unlock"),
        VaultState::Open if credentials.is_empty() => say::line("what to do: procurify-token add DOMAIN"),
        VaultState::Open => {
            say::line("")?;
            report::credential_rows(&credentials, now)?;
            credentials.iter().filter(|credential| report::is_troubled(credential)).try_for_each(
                |credential| {
                    say::line(format!("\nwhy, and what to do: procurify-token status {}", credential.name))
                },
            )
        }
    }
}
