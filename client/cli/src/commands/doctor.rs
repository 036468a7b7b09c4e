//! `doctor`: what is amiss, and what to type about it. Starts no daemon itself and changes nothing; where none answers, the program of
//! the daemon looks at what it would stand on: at the system's places, where the system's service is the one that should answer.

use std::io::{IsTerminal as _, stdout};
use std::process::{Command, Stdio};
use std::time::Duration;

use procurify_token_protocol::{Answer, Area, Finding, Request, Severity, VaultState};
use serde_json::json;

use super::unexpected;
use crate::args::JsonArgs;
use crate::autostart::program_beside_us;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::supervised::{Down, Supervisor};
use crate::{report, say, system, text};

pub(super) fn run(daemon: &Daemon, args: JsonArgs) -> Result<(), Failure> {
    let supervisor = daemon.supervisor();
    // Its socket may be kept for it, and nobody would answer there.
    let answered = match supervisor.as_ref().and_then(Supervisor::down) {
        Some(down) => Err(does_not_come_up(&down)),
        None => of_daemon(daemon).map_err(silent),
    };
    let mut found = match answered {
        Ok(found) => found,
        Err(silent) => {
            let mut found = vec![silent];
            match Ground::of(supervisor.as_ref(), system::is_root()) {
                Ground::SystemClosedToUs => found.push(ask_root()),
                ground => found.extend(without_daemon(daemon, ground)?),
            }
            found
        }
    };
    found.sort_by_key(|finding| finding.area);
    let count = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    let (problems, notices) = (count(Severity::Problem), count(Severity::Notice));
    if args.json {
        report::print_json(&[
            ("findings", json!(found)),
            ("problems", problems.into()),
            ("notices", notices.into()),
        ])?;
    } else {
        print(&found)?;
        say::line("")?;
        if problems == 0 {
            say::line(sum(problems, notices))?;
        }
    }
    if problems == 0 { Ok(()) } else { Err(Failure::new(ExitCode::Amiss, sum(problems, notices))) }
}

fn of_daemon(daemon: &Daemon) -> Result<Vec<Finding>, Failure> {
    let mut client = daemon.look_in()?;
    let status = client.status()?;
    let mut found = match client.request(&Request::Examine, PATIENCE)? {
        Answer::Findings(found) => found,
        other => return Err(unexpected(&other)),
    };
    let vault = match status.vault {
        VaultState::Open => "the vault is open",
        VaultState::Locked => "the vault is locked",
        VaultState::Missing => "there is no vault yet",
    };
    found.push(Finding {
        severity: Severity::Fine,
        area: Area::Daemon,
        subject: client.socket_path().display().to_string(),
        found: format!("procurify-tokend {} answers (pid {}); {vault}", status.version, status.pid),
        mend: String::new(),
    });
    Ok(found)
}

/// That no daemon answers is a finding, too: none of it is a reason not to look at the rest.
fn silent(failure: Failure) -> Finding {
    let (code, found, mend) = match failure {
        Failure::Told { code, message, hint } => (code, message, hint),
        _ => (ExitCode::Other, "no daemon can be asked".to_owned(), String::new()),
    };
    let severity = if code == ExitCode::NoDaemon { Severity::Notice } else { Severity::Problem };
    Finding { severity, area: Area::Daemon, subject: "procurify-tokend".to_owned(), found, mend }
}

fn does_not_come_up(down: &Down) -> Finding {
    Finding {
        severity: Severity::Problem,
        area: Area::Daemon,
        subject: "procurify-tokend".to_owned(),
        found: format!("the service does not come up: {}", down.state),
        mend: format!("mend what is told here; if nothing is, {} shows its last words", down.look),
    }
}

/// Where the daemon stands that should have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    User,
    System,
    SystemClosedToUs,
}

impl Ground {
    fn of(supervisor: Option<&Supervisor>, is_root: bool) -> Self {
        match (supervisor.is_some_and(Supervisor::is_of_system), is_root) {
            (true, true) => Self::System,
            (true, false) => Self::SystemClosedToUs,
            (false, _) => Self::User,
        }
    }
}

fn ask_root() -> Finding {
    Finding {
        severity: Severity::Notice,
        area: Area::Files,
        subject: "the system's service".to_owned(),
        found: "what it stands on is for root to look at".to_owned(),
        mend: "sudo procurify-token doctor".to_owned(),
    }
}

fn without_daemon(daemon: &Daemon, ground: Ground) -> Result<Vec<Finding>, Failure> {
    let program = program_beside_us("procurify-tokend");
    let mut command = Command::new(&program);
    if ground == Ground::System {
        command.arg("--system");
    }
    command.arg("--doctor").stdin(Stdio::null()).stderr(Stdio::piped());
    if let Some(socket) = daemon.named_socket() {
        command.arg("--socket").arg(socket);
    }
    let failed = |why: String| {
        let message = format!("{} could not look at what it stands on: {why}", program.display());
        Failure::new(ExitCode::NoDaemon, message).hint("install procurify-tokend beside procurify-token")
    };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|_| failed("it is of another version".to_owned()))
}

fn print(found: &[Finding]) -> Result<(), Failure> {
    let is_colourful =
        stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut area = None;
    // Paths that are as they should be are of interest to programs only.
    let is_good_file = |finding: &Finding| finding.area == Area::Files && finding.severity == Severity::Fine;
    let good_files = found.iter().filter(|finding| is_good_file(finding)).count();
    let good_files = (good_files > 0).then(|| Finding {
        severity: Severity::Fine,
        area: Area::Files,
        subject: format!("{good_files} files and folders"),
        found: "owner and mode are as they should be".to_owned(),
        mend: String::new(),
    });
    let mut shown: Vec<_> =
        good_files.iter().chain(found.iter().filter(|finding| !is_good_file(finding))).collect();
    shown.sort_by_key(|finding| finding.area);
    for finding in shown {
        if area != Some(finding.area) {
            let gap = if area.is_some() { "\n" } else { "" };
            say::line(format!("{gap}{}", finding.area))?;
            area = Some(finding.area);
        }
        let colour = match finding.severity {
            Severity::Fine => "\x1b[32m",
            Severity::Notice => "\x1b[33m",
            Severity::Problem => "\x1b[1;31m",
        };
        let (on, off) = if is_colourful { (colour, "\x1b[0m") } else { ("", "") };
        let subject = text::one_line(&finding.subject);
        let told = text::paragraphs(finding.found.trim_end()).replace('\n', "\n           ");
        say::line(format!("  {on}{:<7}{off}  {subject}: {told}", finding.severity.to_string()))?;
        if !finding.mend.is_empty() {
            say::line(format!("           → {}", text::one_line(&finding.mend)))?;
        }
    }
    Ok(())
}

fn sum(problems: usize, notices: usize) -> String {
    let some = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    match (problems, notices) {
        (0, 0) => "Nothing needs mending.".to_owned(),
        (0, _) => format!("Nothing needs mending; {}.", some(notices, "notice")),
        (_, 0) => format!("{} to mend", some(problems, "problem")),
        _ => format!("{} to mend, {}", some(problems, "problem"), some(notices, "notice")),
    }
}

/// The way to each server has its own deadlines, which are shorter.
const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_looks_at_what_the_system_s_service_stands_on_and_nobody_else_does() {
        let root = tempfile::tempdir().unwrap();
        let unit = |folder: &str| {
            let unit = root.path().join(folder).join("procurify-tokend.service");
            std::fs::create_dir_all(unit.parent().unwrap()).unwrap();
            std::fs::write(&unit, "").unwrap();
            Supervisor::below(root.path()).unwrap()
        };
        let system = unit("usr/lib/systemd/system");
        assert_eq!(Ground::of(Some(&system), true), Ground::System);
        assert_eq!(Ground::of(Some(&system), false), Ground::SystemClosedToUs);
        let user = unit("etc/systemd/user");
        assert_eq!(Ground::of(Some(&user), true), Ground::User);
        assert_eq!(Ground::of(None, true), Ground::User);
    }

    #[test]
    fn the_sum_is_a_sentence() {
        assert_eq!(sum(0, 0), "Nothing needs mending.");
        assert_eq!(sum(0, 1), "Nothing needs mending; 1 notice.");
        assert_eq!(sum(1, 0), "1 problem to mend");
        assert_eq!(sum(2, 1), "2 problems to mend, 1 notice");
    }
}
