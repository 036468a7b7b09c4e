//! `stop`: the daemon ends, and its sealed tokens wait for the next one.

use std::time::Duration;

use procurify_token_client::blocking::Client;
use procurify_token_protocol::Request;

use super::done;
use crate::args::JsonArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::supervised::Supervisor;
use crate::{clock, report, say, system};

pub(super) fn run(daemon: &Daemon, args: JsonArgs) -> Result<(), Failure> {
    let mut client = daemon.connect_to_running()?;
    let supervisor = Supervisor::of_socket(client.socket_path());
    let pid = stop(&mut client)?;
    if args.json {
        return report::print_json(&[("pid", pid.into())]);
    }
    match supervisor {
        None => say::line("procurify-tokend has stopped. The next command that needs one starts it again."),
        Some(supervisor) if supervisor.keeps_the_socket() => say::line(format!(
            "procurify-tokend has stopped. The next command or program that asks it for something has it started again, unless \
             its socket is closed as well: {}.",
            supervisor.close_command()
        )),
        Some(supervisor) => say::line(format!(
            "procurify-tokend has stopped. {} starts it again.",
            supervisor.start_command()
        )),
    }
}

/// Comes back when it has ended, with its pid: a command that follows at once must not meet a daemon that is leaving.
pub(super) fn stop(client: &mut Client) -> Result<u32, Failure> {
    let pid = client.status()?.pid;
    done(client, &Request::Stop)?;
    if !clock::within(PATIENCE, || !system::is_running(pid)) {
        let message = format!("procurify-tokend (pid {pid}) was told to stop, and is still finishing");
        return Err(Failure::new(ExitCode::Busy, message));
    }
    Ok(pid)
}

const PATIENCE: Duration = Duration::from_secs(30);
