//! launchd, on macOS, where nothing of this was ever run: an agent of the user's, or a daemon of the machine's.

use std::path::{Path, PathBuf};

use procurify_token_client::Surroundings;
use serde_json::json;

use super::step::Step;
use super::{Whose, facts, units};
use crate::args::{ServiceArgs, ServiceCommand};
use crate::autostart::program_beside_us;
use crate::exit::{ExitCode, Failure};
use crate::{report, say, system, table};

pub(super) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    match args.command {
        ServiceCommand::Install { whose, dry_run, key_file } => {
            if key_file {
                let message = "--key-file is for systemd; here init makes a key file";
                return Err(Failure::new(ExitCode::Usage, message));
            }
            install(&Job::of(Whose::of(whose))?, dry_run)
        }
        ServiceCommand::Uninstall { whose, dry_run } => uninstall(&Job::of(Whose::of(whose))?, dry_run),
        ServiceCommand::Status { whose, json } => status(&Job::of(Whose::of(whose))?, json),
    }
}

/// What launchd is told of, and where.
struct Job {
    whose: Whose,
    label: &'static str,
    /// Whose jobs it is among.
    domain: String,
    plist: PathBuf,
}

impl Job {
    fn of(whose: Whose) -> Result<Self, Failure> {
        let (label, domain, folder) = match whose {
            Whose::System => (SYSTEM_LABEL, "system".to_owned(), PathBuf::from("/Library/LaunchDaemons")),
            Whose::User => {
                let none = || Failure::new(ExitCode::Other, "there is no home folder: set HOME (absolute)");
                let home = Surroundings::of_process().home.ok_or_else(none)?;
                let domain = format!("gui/{}", rustix::process::geteuid().as_raw());
                (LABEL, domain, home.join("Library/LaunchAgents"))
            }
        };
        Ok(Self { whose, label, domain, plist: folder.join(format!("{label}.plist")) })
    }

    fn target(&self) -> String {
        format!("{}/{}", self.domain, self.label)
    }

    fn sudo(&self) -> &'static str {
        if self.whose == Whose::System { "sudo " } else { "" }
    }

    /// The steps of others than root, where it takes root, end here.
    fn changeable(&self, what: &str) -> Result<(), Failure> {
        if self.whose == Whose::User || system::is_root() {
            return Ok(());
        }
        Err(Failure::new(ExitCode::Denied, "the system's services are root's to change")
            .hint(format!("sudo procurify-token service {what} --system, or for yourself: --user")))
    }
}

fn install(job: &Job, dry_run: bool) -> Result<(), Failure> {
    if !dry_run {
        job.changeable("install")?;
    }
    let program = program()?;
    if let (Whose::System, Some(path)) = (job.whose, facts::changeable_by_others(&program)) {
        let (program, path) = (program.display(), path.display());
        let message = format!("{program} cannot be the system's service: others than root may change {path}");
        return Err(Failure::new(ExitCode::Denied, message)
            .hint("install both programs where only root may change them, and call that procurify-token"));
    }
    let there = std::fs::read_to_string(&job.plist).ok();
    let steps = steps(job, there.as_deref(), units::job(job.whose, &program)?)?;
    take(&steps, dry_run)?;
    if dry_run { Ok(()) } else { say::line(format!("Next: {}procurify-token init", job.sudo())) }
}

fn steps(job: &Job, there: Option<&str>, text: String) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    match there {
        Some(there) if there == text => {}
        Some(_) => {
            let message = format!("{} is there, and is another one", job.plist.display());
            let hint = format!(
                "{}procurify-token service uninstall {}, and then the same once more",
                job.sudo(),
                job.whose.option()
            );
            return Err(Failure::new(ExitCode::Conflict, message).hint(hint));
        }
        None => steps.push(Step::Write { path: job.plist.clone(), text }),
    }
    // It may be loaded already, which bootstrap takes for a failure.
    let otherwise = format!("it is not loaded, or was so already: launchctl print {}", job.target());
    let words = words(["launchctl", "bootstrap", &job.domain, &shown(&job.plist)]);
    steps.push(Step::Try { words, otherwise });
    Ok(steps)
}

fn uninstall(job: &Job, dry_run: bool) -> Result<(), Failure> {
    if !dry_run {
        job.changeable("uninstall")?;
    }
    if !job.plist.exists() {
        return say::line("note: there is no such service");
    }
    let otherwise = "it was not loaded".to_owned();
    let words = words(["launchctl", "bootout", &job.target()]);
    take(&[Step::Try { words, otherwise }, Step::Remove(job.plist.clone())], dry_run)?;
    if dry_run {
        return Ok(());
    }
    say::line("Vault, keys, configuration and audit records are where they were.")
}

fn status(job: &Job, as_json: bool) -> Result<(), Failure> {
    let asked = std::process::Command::new("launchctl").args(["print", &job.target()]).output();
    let (is_installed, is_loaded) = (job.plist.exists(), asked.is_ok_and(|output| output.status.success()));
    let (sudo, plist) = (job.sudo(), shown(&job.plist));
    let next = match (is_installed, is_loaded) {
        (false, _) => format!("{sudo}procurify-token service install {}", job.whose.option()),
        (true, false) => format!("{sudo}launchctl bootstrap {} {plist}", job.domain),
        (true, true) => format!("{sudo}procurify-token status"),
    };
    let (whose, words) = match job.whose {
        Whose::User => ("user", "for this user"),
        Whose::System => ("system", "for the machine"),
    };
    if as_json {
        report::print_json(&[(
            "service",
            json!({ "whose": whose, "installed": is_installed, "unit": plist, "enabled": is_loaded, "next": next }),
        )])?;
    } else {
        let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
        table::facts(&[
            ("service", words.to_owned()),
            ("installed", if is_installed { plist } else { yes(false) }),
            ("loaded", yes(is_loaded)),
            ("what to type", next.clone()),
        ])?;
    }
    if is_loaded {
        Ok(())
    } else {
        Err(Failure::new(ExitCode::NoDaemon, "the service is not loaded").hint(next))
    }
}

fn take(steps: &[Step], dry_run: bool) -> Result<(), Failure> {
    steps.iter().try_for_each(|step| if dry_run { step.show_all() } else { step.take(&[]) })
}

fn program() -> Result<PathBuf, Failure> {
    std::fs::canonicalize(program_beside_us("procurify-tokend")).map_err(|error| {
        Failure::new(ExitCode::CommandNotFound, format!("procurify-tokend is not installed: {error}"))
            .hint("install it beside procurify-token")
    })
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

const LABEL: &str = "local.procurify-tokend";
const SYSTEM_LABEL: &str = "local.procurify-tokend.system";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_daemon_is_among_the_systems_jobs_by_the_label_of_its_file() {
        let job = Job::of(Whose::System).unwrap();
        let text = units::job(Whose::System, Path::new("/usr/local/bin/procurify-tokend")).unwrap();
        assert!(text.contains(&format!("<string>{}</string>", job.label)), "{text}");
        let lines: Vec<_> =
            steps(&job, None, text.clone()).unwrap().iter().map(ToString::to_string).collect();
        let plist = "/Library/LaunchDaemons/local.procurify-tokend.system.plist";
        assert_eq!(lines, [format!("write: {plist}"), format!("run: launchctl bootstrap system {plist}")]);
        assert_eq!(steps(&job, Some(&text), text.clone()).unwrap().len(), 1);
        assert!(steps(&job, Some("another"), text).is_err());
    }
}
