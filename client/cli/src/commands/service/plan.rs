//! What is to be done, from what is there: pure.

use std::path::Path;

use super::Whose;
use super::facts::{Facts, KEY_FILE, Manager, SEALED, SealedKey};
use super::step::Step;
use super::units::{self, MAKE_KEY, SERVICE, SOCKET, SYSUSERS};
use crate::exit::{ExitCode, Failure};

/// What makes of this the service, enabled and running. Nothing is left to be done where it is so already.
pub(super) fn install(facts: &Facts, key_file: bool) -> Result<Vec<Step>, Failure> {
    let Facts { whose, .. } = *facts;
    usable(facts, "install")?;
    let mut steps = Vec::new();
    let mut changed = unit_steps(facts, &mut steps)?;
    if whose == Whose::System {
        user_steps(facts, &mut steps);
        // A key is handed over at the start.
        changed |= key_steps(facts, key_file, &mut steps);
    }
    if let Some((socket, pid)) = &facts.stray {
        steps.push(Step::Stop { socket: socket.clone(), pid: *pid });
    }
    let is_up = facts.service.is_active() && facts.socket.is_active();
    let is_enabled = facts.service.is_enabled() && facts.socket.is_enabled();
    if !changed && is_up && is_enabled {
        steps.push(Step::Note("the service is installed, enabled and running already".to_owned()));
    } else {
        steps.push(Step::run(["systemctl", whose.option(), "daemon-reload"]));
        if facts.service.is_active() {
            // A socket cannot be put before a service that has none; and one that it has keeps whoever comes meanwhile.
            steps.push(Step::run(["systemctl", whose.option(), "stop", SERVICE]));
        }
        steps.push(Step::run(["systemctl", whose.option(), "enable", "--now", SOCKET, SERVICE]));
    }
    if whose == Whose::User && !facts.lingers {
        let words = ["loginctl", "enable-linger", &facts.user].map(str::to_owned).to_vec();
        let otherwise = format!(
            "the daemon ends when you log out, and does not start before you log in: sudo loginctl enable-linger {}",
            facts.user
        );
        steps.push(Step::Try { words, otherwise });
    }
    Ok(steps)
}

/// What has the service no longer be one. Nothing of the user's goes.
pub(super) fn uninstall(facts: &Facts) -> Result<Vec<Step>, Failure> {
    let Facts { whose, .. } = *facts;
    usable(facts, "uninstall")?;
    let mut steps = Vec::new();
    let is_there = !facts.service.file.is_empty() || !facts.socket.file.is_empty();
    if is_there {
        steps.push(Step::run(["systemctl", whose.option(), "disable", "--now", SOCKET, SERVICE]));
    }
    let mut removed = false;
    for (name, text) in [SOCKET, SERVICE].into_iter().zip(&facts.there) {
        let path = facts.folder.join(name);
        match text {
            Some(text) if units::is_ours(text) => {
                steps.push(Step::Remove(path));
                removed = true;
            }
            Some(_) => steps.push(Step::Note(format!(
                "{} stays: procurify-token service install has not written it",
                path.display()
            ))),
            None => {}
        }
    }
    if removed {
        steps.push(Step::run(["systemctl", whose.option(), "daemon-reload"]));
    }
    if let Some(folder) = &facts.packaged {
        steps.push(Step::Note(format!(
            "{} stays: it belongs to a package, which is removed as any other",
            folder.join(SERVICE).display()
        )));
    }
    if steps.is_empty() {
        steps.push(Step::Note("there is no such service".to_owned()));
    }
    Ok(steps)
}

/// Whether anything can be done at all.
fn usable(facts: &Facts, what: &str) -> Result<(), Failure> {
    let Facts { whose, manager, is_root, user, .. } = facts;
    match manager {
        Manager::NotSystemd => {
            return Err(Failure::new(
                ExitCode::Other,
                "this machine was not started by systemd, so there is nobody to give the service to",
            )
            .hint(
                "without a service, the first command that needs a daemon starts one: procurify-token list",
            ));
        }
        Manager::NoneForUser => {
            return Err(Failure::new(
                ExitCode::Other,
                format!("there is no service manager for {user} at this moment"),
            )
            .hint(format!(
                "log in as {user}, not by su or sudo; or first: sudo loginctl enable-linger {user}"
            )));
        }
        Manager::Running => {}
    }
    if *whose == Whose::System && !is_root {
        return Err(Failure::new(ExitCode::Denied, "the system's services are root's to change")
            .hint(format!("sudo procurify-token service {what} --system, or for yourself: --user")));
    }
    Ok(())
}

/// Whether a unit is another one now.
fn unit_steps(facts: &Facts, steps: &mut Vec<Step>) -> Result<bool, Failure> {
    if let Some(folder) = &facts.packaged {
        return Ok(make_room_for_packaged(facts, folder, steps));
    }
    if let (Whose::System, Some(path)) = (facts.whose, &facts.changeable_by_others) {
        let (daemon, path) = (facts.daemon.display(), path.display());
        let message = format!("{daemon} cannot be the system's service: others than root may change {path}");
        let hint = "sudo install -m 755 procurify-token procurify-tokend /usr/local/bin/, and call that one";
        return Err(Failure::new(ExitCode::Denied, message).hint(hint));
    }
    let mut changed = false;
    for (unit, there) in units::units(facts.whose, &facts.daemon)?.into_iter().zip(&facts.there) {
        let path = facts.folder.join(unit.name);
        match there {
            Some(text) if *text == unit.text => continue,
            Some(text) if !units::is_ours(text) => {
                let message = format!("{} is there, and was not written by this command", path.display());
                let hint = "if it may go, move it away; if it is what you want, it is enabled by: systemctl enable --now";
                let hint = format!("{hint} {SOCKET} {SERVICE}");
                return Err(Failure::new(ExitCode::Conflict, message).hint(hint));
            }
            _ => {}
        }
        changed = true;
        steps.push(Step::Write { path, text: unit.text });
    }
    Ok(changed)
}

/// Whether units of ours, from before the package, have to go: they would have the old program started for ever.
fn make_room_for_packaged(facts: &Facts, packaged: &Path, steps: &mut Vec<Step>) -> bool {
    let mut changed = false;
    for (name, there) in [SOCKET, SERVICE].into_iter().zip(&facts.there) {
        let path = facts.folder.join(name);
        match there {
            Some(text) if units::is_ours(text) => {
                steps.push(Step::Remove(path));
                changed = true;
            }
            Some(_) => steps.push(Step::Note(format!(
                "{} is used instead of the package's: procurify-token service install has not written it",
                path.display()
            ))),
            None => steps.push(Step::Note(format!("{} is used as it is", packaged.join(name).display()))),
        }
    }
    changed
}

fn user_steps(facts: &Facts, steps: &mut Vec<Step>) {
    if facts.has_service_user {
        return;
    }
    let path = "/etc/sysusers.d/procurify-token.conf";
    if facts.packaged.is_none() {
        steps.push(Step::Write { path: path.into(), text: SYSUSERS.to_owned() });
    }
    steps.push(Step::run(["systemd-sysusers", "procurify-token.conf"]));
}

/// Whether the service has to be started anew for it.
fn key_steps(facts: &Facts, key_file: bool, steps: &mut Vec<Step>) -> bool {
    if facts.sealed_key == SealedKey::There && key_file && !facts.has_key_file {
        // The daemon looks for a key file whenever it needs one. What is sealed may be what opens a vault.
        steps.push(Step::Note(format!("the sealed key {SEALED} stays beside the key file")));
        steps.push(Step::Script { name: "make-vault-key", text: MAKE_KEY });
    } else if facts.sealed_key == SealedKey::There {
        steps.push(Step::Note(format!("the sealed key {SEALED} is used as it is")));
    } else if facts.has_key_file {
        steps.push(Step::Note(format!("the key file {KEY_FILE} is used as it is")));
    } else if facts.sealed_key == SealedKey::Hidden {
        let note = format!("only root sees whether {SEALED} is there; where it is not, a key is made");
        steps.push(Step::Note(note));
        return false;
    } else if key_file || !facts.can_seal {
        if !key_file {
            let note = "there is no systemd-creds of version 252 or later, so the vault's key is not sealed: it is in a file";
            steps.push(Step::Note(note.to_owned()));
        }
        steps.push(Step::Script { name: "make-vault-key", text: MAKE_KEY });
    } else {
        steps.push(Step::Seal { daemon: facts.daemon.clone(), sealed: SEALED.into() });
    }
    facts.sealed_key == SealedKey::Missing && !facts.has_key_file
}

#[cfg(test)]
mod tests {
    use super::super::facts::State;
    use super::*;

    fn facts(whose: Whose) -> Facts {
        Facts {
            whose,
            manager: Manager::Running,
            is_root: true,
            user: "eve".to_owned(),
            daemon: "/usr/local/bin/procurify-tokend".into(),
            changeable_by_others: None,
            packaged: None,
            folder: "/units".into(),
            there: [None, None],
            service: State::default(),
            socket: State::default(),
            stray: None,
            has_service_user: false,
            sealed_key: SealedKey::Missing,
            has_key_file: false,
            can_seal: true,
            key_stays_sealed: None,
            next_start_lacks: None,
            lingers: false,
        }
    }

    fn lines(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    fn running(facts: Facts) -> Facts {
        let state = State {
            active: "active".to_owned(),
            enabled: "enabled".to_owned(),
            file: "/units/x".to_owned(),
            ..State::default()
        };
        let there = units::units(facts.whose, &facts.daemon).unwrap().map(|unit| Some(unit.text));
        Facts {
            there,
            service: state.clone(),
            socket: state,
            has_service_user: true,
            sealed_key: SealedKey::There,
            lingers: true,
            ..facts
        }
    }

    #[test]
    fn on_a_bare_machine_everything_is_made_and_the_key_is_sealed_before_the_start() {
        let steps = install(&facts(Whose::System), false).unwrap();
        assert_eq!(
            lines(&steps),
            [
                "write: /units/procurify-tokend.socket",
                "write: /units/procurify-tokend.service",
                "write: /etc/sysusers.d/procurify-token.conf",
                "run: systemd-sysusers procurify-token.conf",
                "run: /usr/local/bin/procurify-tokend --new-key | systemd-creds encrypt --name=procurify-token.vault-key - \
                 /etc/credstore.encrypted/procurify-token.vault-key",
                "run: systemctl --system daemon-reload",
                "run: systemctl --system enable --now procurify-tokend.socket procurify-tokend.service",
            ]
        );
    }

    #[test]
    fn a_second_time_nothing_is_done() {
        for whose in [Whose::System, Whose::User] {
            let steps = install(&running(facts(whose)), false).unwrap();
            assert!(steps.iter().all(|step| matches!(step, Step::Note(_))), "{steps:#?}");
        }
    }

    #[test]
    fn for_a_user_a_daemon_that_a_command_started_makes_room_and_the_service_outlives_the_session() {
        let stray = Some(("/s".into(), 7));
        let steps = install(&Facts { stray, is_root: false, ..facts(Whose::User) }, false).unwrap();
        assert_eq!(
            lines(&steps)[2..],
            [
                "stop: the daemon at /s (pid 7), which no service manager has started",
                "run: systemctl --user daemon-reload",
                "run: systemctl --user enable --now procurify-tokend.socket procurify-tokend.service",
                "run: loginctl enable-linger eve",
            ]
        );
    }

    #[test]
    fn a_changed_unit_is_replaced_and_its_service_started_anew() {
        let mut facts = running(facts(Whose::User));
        facts.daemon = "/elsewhere/procurify-tokend".into();
        assert_eq!(
            lines(&install(&facts, false).unwrap()),
            [
                "write: /units/procurify-tokend.service",
                "run: systemctl --user daemon-reload",
                "run: systemctl --user stop procurify-tokend.service",
                "run: systemctl --user enable --now procurify-tokend.socket procurify-tokend.service",
            ]
        );
    }

    #[test]
    fn units_of_a_package_are_used_and_stay() {
        let facts = Facts { packaged: Some("/usr/lib/systemd/system".into()), ..facts(Whose::System) };
        let steps = install(&facts, false).unwrap();
        assert!(!steps.iter().any(|step| matches!(step, Step::Write { .. })), "{steps:#?}");
        let facts = Facts { packaged: facts.packaged.clone(), ..running(facts) };
        let facts = Facts { there: [None, None], ..facts };
        let steps = lines(&uninstall(&facts).unwrap());
        assert_eq!(steps.len(), 2, "{steps:#?}");
        assert!(steps[0].contains("disable --now") && steps[1].contains("belongs to a package"));
    }

    #[test]
    fn units_of_ours_from_before_the_package_make_room_for_its_own() {
        for whose in [Whose::System, Whose::User] {
            let facts = Facts { packaged: Some("/usr/lib/systemd/system".into()), ..running(facts(whose)) };
            let facts = Facts { daemon: "/usr/bin/procurify-tokend".into(), ..facts };
            let steps = lines(&install(&facts, false).unwrap());
            let steps: Vec<_> = steps.iter().filter(|step| !step.starts_with("note")).collect();
            let option = whose.option();
            assert_eq!(
                steps,
                [
                    "remove: /units/procurify-tokend.socket",
                    "remove: /units/procurify-tokend.service",
                    &format!("run: systemctl {option} daemon-reload"),
                    &format!("run: systemctl {option} stop procurify-tokend.service"),
                    &format!(
                        "run: systemctl {option} enable --now procurify-tokend.socket procurify-tokend.service"
                    ),
                ]
            );
            // Somebody else's is theirs to remove.
            let there = [None, Some("[Service]\n".to_owned())];
            let steps = install(&Facts { there, ..facts }, false).unwrap();
            assert!(!steps.iter().any(|step| matches!(step, Step::Remove(_))), "{steps:#?}");
        }
    }

    #[test]
    fn a_service_of_a_package_that_runs_without_a_key_is_started_anew_with_one() {
        let packaged =
            Facts { packaged: Some("/usr/lib/systemd/system".into()), ..running(facts(Whose::System)) };
        let steps = lines(&install(&Facts { sealed_key: SealedKey::Missing, ..packaged }, false).unwrap());
        assert!(
            steps.contains(&"run: systemctl --system stop procurify-tokend.service".to_owned()),
            "{steps:#?}"
        );
        assert!(steps.iter().any(|step| step.contains("systemd-creds encrypt")), "{steps:#?}");
    }

    #[test]
    fn a_unit_of_somebody_elses_is_neither_replaced_nor_removed() {
        let foreign = Facts { there: [None, Some("[Service]\n".to_owned())], ..facts(Whose::User) };
        let Err(Failure::Told { code, message, .. }) = install(&foreign, false) else { panic!("installed") };
        assert_eq!(code, ExitCode::Conflict);
        assert!(message.contains("/units/procurify-tokend.service"), "{message}");
        let steps = uninstall(&foreign).unwrap();
        assert!(!steps.iter().any(|step| matches!(step, Step::Remove(_))), "{steps:#?}");
    }

    #[test]
    fn nothing_of_a_users_is_ever_removed() {
        for whose in [Whose::System, Whose::User] {
            let steps = uninstall(&running(facts(whose))).unwrap();
            let removed = steps.iter().filter_map(|step| match step {
                Step::Remove(path) => Some(path.as_path()),
                _ => None,
            });
            assert!(
                removed.clone().all(|path| path.starts_with("/units")) && removed.count() == 2,
                "{steps:#?}"
            );
        }
    }

    #[test]
    fn where_nothing_can_be_sealed_or_nothing_shall_be_the_key_is_in_a_file() {
        let cannot = Facts { can_seal: false, ..facts(Whose::System) };
        for (facts, key_file) in [(&cannot, false), (&facts(Whose::System), true)] {
            let steps = lines(&install(facts, key_file).unwrap());
            assert!(steps.contains(&"run: make-vault-key".to_owned()), "{steps:#?}");
        }
        let there = [(SealedKey::There, false), (SealedKey::Missing, true), (SealedKey::Hidden, false)];
        for (sealed_key, has_key_file) in there {
            let facts = Facts { sealed_key, has_key_file, ..facts(Whose::System) };
            let steps = install(&facts, false).unwrap();
            let makes = |step: &Step| matches!(step, Step::Script { .. } | Step::Seal { .. });
            assert!(!steps.iter().any(makes), "a vault may need what is there: {steps:#?}");
        }
    }

    #[test]
    fn who_wants_a_key_file_gets_one_beside_what_is_sealed_and_the_service_runs_on() {
        let facts = running(facts(Whose::System));
        let steps = lines(&install(&facts, true).unwrap());
        assert!(steps.contains(&"run: make-vault-key".to_owned()), "{steps:#?}");
        assert!(steps.iter().any(|step| step.contains("stays beside the key file")), "{steps:#?}");
        assert!(!steps.iter().any(|step| step.starts_with("run: systemctl")), "{steps:#?}");
        let there = Facts { has_key_file: true, ..facts };
        let steps = install(&there, true).unwrap();
        assert!(steps.iter().all(|step| matches!(step, Step::Note(_))), "{steps:#?}");
    }

    #[test]
    fn where_it_cannot_be_it_is_said_what_to_type() {
        let told = |facts: Facts| match install(&facts, false) {
            Err(Failure::Told { code, hint, .. }) => (code, hint),
            other => panic!("{other:?}"),
        };
        let system = || facts(Whose::System);
        let (code, hint) = told(Facts { is_root: false, ..system() });
        assert_eq!(
            (code, hint.contains("sudo procurify-token service install --system")),
            (ExitCode::Denied, true)
        );
        let (_, hint) = told(Facts { manager: Manager::NoneForUser, ..facts(Whose::User) });
        assert!(hint.contains("enable-linger eve"), "{hint}");
        let (_, hint) = told(Facts { manager: Manager::NotSystemd, ..system() });
        assert!(hint.contains("procurify-token list"), "{hint}");
        let (code, hint) = told(Facts { changeable_by_others: Some("/home".into()), ..system() });
        assert_eq!((code, hint.contains("/usr/local/bin")), (ExitCode::Denied, true));
    }
}
