//! launchd, on macOS, where nothing of this was ever run: an agent of the user's. There is no service for the machine.

use std::path::{Path, PathBuf};

use procurify_token_client::Surroundings;
use serde_json::json;

use super::step::Step;
use super::units;
use crate::args::{ServiceArgs, ServiceCommand, WhoseArgs};
use crate::autostart::program_beside_us;
use crate::exit::{ExitCode, Failure};
use crate::{report, say, table};

pub(super) fn run(args: &ServiceArgs) -> Result<(), Failure> {
    match args.command {
        ServiceCommand::Install { whose, dry_run, key_file } => {
            for_user(whose)?;
            if key_file {
                return Err(Failure::new(
                    ExitCode::Usage,
                    "--key-file is for --system, which macOS has not here",
                ));
            }
            let plist = plist()?;
            let text = units::agent(&program()?)?;
            let mut steps = Vec::new();
            match std::fs::read_to_string(&plist) {
                Ok(there) if there == text => {}
                Ok(_) => {
                    let message = format!("{} is there, and is another one", plist.display());
                    return Err(Failure::new(ExitCode::Conflict, message)
                        .hint("procurify-token service uninstall, and then the same once more"));
                }
                Err(_) => steps.push(Step::Write { path: plist.clone(), text }),
            }
            // It may be loaded already, which bootstrap takes for a failure.
            let otherwise = "it is not loaded, or was so already: launchctl print".to_owned();
            steps.push(Step::Try {
                words: words(["launchctl", "bootstrap", &domain(), &shown(&plist)]),
                otherwise,
            });
            take(&steps, dry_run)?;
            if dry_run { Ok(()) } else { say::line("Next: procurify-token init") }
        }
        ServiceCommand::Uninstall { whose, dry_run } => {
            for_user(whose)?;
            let plist = plist()?;
            if !plist.exists() {
                return say::line("note: there is no such service");
            }
            let otherwise = "it was not loaded".to_owned();
            let target = format!("{}/{LABEL}", domain());
            let steps = [
                Step::Try { words: words(["launchctl", "bootout", &target]), otherwise },
                Step::Remove(plist),
            ];
            take(&steps, dry_run)?;
            if dry_run {
                Ok(())
            } else {
                say::line("Vault, keys, configuration and audit records are where they were.")
            }
        }
        ServiceCommand::Status { whose, json } => {
            for_user(whose)?;
            status(json)
        }
    }
}

fn status(as_json: bool) -> Result<(), Failure> {
    let plist = plist()?;
    let target = format!("{}/{LABEL}", domain());
    let asked = std::process::Command::new("launchctl").args(["print", &target]).output();
    let (is_installed, is_loaded) = (plist.exists(), asked.is_ok_and(|output| output.status.success()));
    let next = match (is_installed, is_loaded) {
        (false, _) => "procurify-token service install".to_owned(),
        (true, false) => format!("launchctl bootstrap {} {}", domain(), shown(&plist)),
        (true, true) => "procurify-token status".to_owned(),
    };
    if as_json {
        return report::print_json(&[(
            "service",
            json!({ "whose": "user", "installed": is_installed, "unit": shown(&plist), "enabled": is_loaded, "next": next }),
        )]);
    }
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    table::facts(&[
        ("service", "for this user".to_owned()),
        ("installed", if is_installed { shown(&plist) } else { yes(false) }),
        ("loaded", yes(is_loaded)),
        ("what to type", next),
    ])
}

fn take(steps: &[Step], dry_run: bool) -> Result<(), Failure> {
    steps.iter().try_for_each(|step| if dry_run { step.show_all() } else { step.take(&[]) })
}

fn for_user(whose: WhoseArgs) -> Result<(), Failure> {
    if whose.system {
        return Err(Failure::new(ExitCode::Other, "on macOS there is no service for the machine")
            .hint("procurify-token service install --user"));
    }
    Ok(())
}

fn program() -> Result<PathBuf, Failure> {
    std::fs::canonicalize(program_beside_us("procurify-tokend")).map_err(|error| {
        Failure::new(ExitCode::CommandNotFound, format!("procurify-tokend is not installed: {error}"))
            .hint("install it beside procurify-token")
    })
}

fn plist() -> Result<PathBuf, Failure> {
    let home = Surroundings::of_process().home;
    let home =
        home.ok_or_else(|| Failure::new(ExitCode::Other, "there is no home folder: set HOME (absolute)"))?;
    Ok(home.join("Library/LaunchAgents").join(format!("{LABEL}.plist")))
}

fn domain() -> String {
    format!("gui/{}", rustix::process::geteuid().as_raw())
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

const LABEL: &str = "local.procurify-tokend";
