//! systemd: looks, plans, and does or shows it; and how the service stands.

use std::fs;
use std::time::Duration;

use procurify_token_client::blocking::Client;
use procurify_token_client::{Options, Surroundings};
use procurify_token_protocol::VaultState;
use procurify_token_protocol::endpoint::{self, Platform};
use serde_json::json;

use super::Whose;
use super::facts::{self, Facts, Lack, Manager, StaysSealed};
use super::plan;
use super::step::Step;
use super::units;
use crate::exit::{ExitCode, Failure};
use crate::{report, say, table, text};

pub(super) fn install(whose: Whose, dry_run: bool, key_file: bool) -> Result<(), Failure> {
    let facts = gather(whose, dry_run)?;
    if let Some(why @ StaysSealed::Foreign) = facts.key_stays_sealed {
        // As long as it is there systemd starts nothing, whatever is installed.
        return Err(Failure::new(ExitCode::Other, unopened(why)).hint(when_unopened(why)));
    }
    let steps = plan::install(&facts, key_file)?;
    if dry_run {
        return steps.iter().try_for_each(Step::show_all);
    }
    take(whose, &steps)?;
    let is_sealed = steps.iter().any(|step| matches!(step, Step::Seal { .. }));
    let has_new_file = steps.iter().any(|step| matches!(step, Step::Script { .. }));
    if is_sealed {
        sealed_by().map_or(Ok(()), say::line)?;
    }
    say::line(format!("The daemon is a service {}.", kind(whose)))?;
    let new_slot = match (is_sealed, has_new_file) {
        (true, _) => Some("credential"),
        (_, true) => Some("key-file"),
        _ => None,
    };
    let vault = new_slot.and_then(|_| vault(whose));
    match new_slot.and_then(|kind| with_new_key(vault, kind)) {
        Some(next) => say::line(format!("Next: {next}")),
        None => say::line(format!("Next: {}", next(&Facts::gather(whose)?))),
    }
}

/// What a person types next, where the machine's service has a key that it did not have: a vault from before has no slot for it.
fn with_new_key(vault: Option<VaultState>, kind: &str) -> Option<String> {
    match vault? {
        VaultState::Locked => {
            Some(format!("sudo procurify-token unlock, then sudo procurify-token slot add {kind}"))
        }
        VaultState::Open => Some(format!("sudo procurify-token slot add {kind}")),
        VaultState::Missing => (kind == "key-file").then(|| format!("sudo {INIT}")),
    }
}

pub(super) fn uninstall(whose: Whose, dry_run: bool) -> Result<(), Failure> {
    let steps = plan::uninstall(&gather(whose, dry_run)?)?;
    if dry_run {
        return steps.iter().try_for_each(Step::show_all);
    }
    take(whose, &steps)?;
    say::line("Vault, keys, configuration and audit records are where they were.")
}

pub(super) fn status(whose: Whose, as_json: bool) -> Result<(), Failure> {
    let facts = Facts::gather(whose)?;
    let Facts { service, socket, .. } = &facts;
    let next = next(&facts);
    let installed = match (&facts.packaged, service.file.as_str(), facts.manager) {
        (Some(folder), "", _) => folder.display().to_string(),
        (_, "", Manager::Running) | (None, "", _) => String::new(),
        (_, file, _) => file.to_owned(),
    };
    if as_json {
        report::print_json(&[(
            "service",
            json!({
                "whose": if whose == Whose::System { "system" } else { "user" },
                "installed": !installed.is_empty(),
                "unit": installed,
                "enabled": service.is_enabled(),
                "socket_enabled": socket.is_enabled(),
                "listening": socket.is_active(),
                "running": service.is_active(),
                "pid": service.pid,
                "since": service.since,
                "status": service.status,
                "next": next,
            }),
        )])?;
    } else {
        let or = |text: &str, otherwise: &str| if text.is_empty() { otherwise } else { text }.to_owned();
        let running = match (service.active.as_str(), facts.key_stays_sealed) {
            ("active" | "reloading", _) => format!("yes, pid {}, since {}", service.pid, service.since),
            (_, Some(why)) => format!("no: {}", unopened(why)),
            ("activating", _) => "it is starting".to_owned(),
            ("failed", _) => format!("no, it has failed ({})", service.result),
            _ if socket.is_active() => "no; the next caller has it started".to_owned(),
            _ => "no".to_owned(),
        };
        table::facts(&[
            ("service", kind(whose).to_owned()),
            ("installed", or(&installed, "no")),
            ("enabled", or(&service.enabled, "no")),
            ("sockets", if socket.is_active() { "listening" } else { "closed" }.to_owned()),
            ("running", running),
            ("says", service.status.clone()),
            ("next start", facts.next_start_lacks.map(lacking).unwrap_or_default()),
            ("what to type", next.clone()),
        ])?;
    }
    if service.is_active() && facts.key_stays_sealed.is_none() {
        return Ok(());
    }
    let message = match (&facts.stray, facts.key_stays_sealed) {
        (_, Some(why)) => format!("the service does not run: {}", unopened(why)),
        (Some((socket, pid)), None) => format!(
            "the service does not run; another daemon (pid {pid}) answers at {}",
            text::one_line(&socket.display().to_string())
        ),
        (None, None) => "the service does not run".to_owned(),
    };
    Err(Failure::new(ExitCode::NoDaemon, message).hint(next))
}

fn gather(whose: Whose, dry_run: bool) -> Result<Facts, Failure> {
    let mut facts = Facts::gather(whose)?;
    // Whoever only looks need not be root.
    facts.is_root |= dry_run;
    Ok(facts)
}

fn take(whose: Whose, steps: &[Step]) -> Result<(), Failure> {
    let environment = facts::environment(whose);
    steps.iter().try_for_each(|step| {
        step.take(&environment).map_err(|failure| match failure {
            Failure::Told { code, message, hint } if hint.is_empty() => Failure::Told {
                code,
                message,
                hint: format!("{}, and then the same once more", journal(whose)),
            },
            other => other,
        })
    })
}

/// By what the vault's key was sealed: systemd-creds chooses, and without a word where it cannot use the machine's TPM.
fn sealed_by() -> Option<&'static str> {
    described(&fs::read_to_string(facts::SEALED).ok()?)
}

/// What systemd-creds writes begins with the id of its way to seal.
fn described(sealed: &str) -> Option<&'static str> {
    let by_tpm = [BY_TPM, BY_TPM_AND_HOST].iter().any(|id| sealed.starts_with(id));
    if by_tpm {
        return Some("The vault's key is sealed with this machine's TPM.");
    }
    sealed.starts_with(BY_HOST).then_some(
        "The vault's key is sealed with a key that only this machine's root reads, not with a TPM: systemd-creds has-tpm2 says why.",
    )
}

fn kind(whose: Whose) -> &'static str {
    match whose {
        Whose::User => "for this user",
        Whose::System => "for the machine",
    }
}

fn journal(whose: Whose) -> &'static str {
    match whose {
        Whose::User => "journalctl --user -u procurify-tokend -n 20",
        Whose::System => "sudo journalctl -u procurify-tokend -n 20",
    }
}

/// What a person types next.
fn next(facts: &Facts) -> String {
    let Facts { whose, service, .. } = facts;
    let sudo = if *whose == Whose::System { "sudo " } else { "" };
    let is_installed = !service.file.is_empty() || facts.packaged.is_some();
    let is_ours = |there: &Option<String>| there.as_deref().is_some_and(units::is_ours);
    let shadows = facts.packaged.is_some() && facts.there.iter().any(is_ours);
    match (facts.manager, service.active.as_str(), facts.key_stays_sealed) {
        (Manager::NotSystemd, ..) => "procurify-token list starts a daemon without a service".to_owned(),
        (Manager::NoneForUser, ..) => format!("sudo loginctl enable-linger {}", facts.user),
        _ if !is_installed || shadows => format!("{sudo}procurify-token service install {}", whose.option()),
        (_, _, Some(why)) => when_unopened(why),
        (_, "failed" | "activating", _) => journal(*whose).to_owned(),
        (_, "active" | "reloading", _) => match facts.next_start_lacks {
            Some(lack) => when_lacking(lack),
            None => format!("{sudo}{}", for_vault(vault(*whose), &service.status)),
        },
        _ if !service.is_enabled() => format!("{sudo}procurify-token service install {}", whose.option()),
        _ => format!("{sudo}systemctl {} start procurify-tokend", whose.option()).replace(" --system", ""),
    }
}

/// By what the daemon says of itself to the service manager: it knows whether it was handed a key, which only root sees otherwise,
/// and it says it also of whom it does not serve.
fn for_vault(vault: Option<VaultState>, said: &str) -> &'static str {
    let says = |words: &&str| said.contains(*words);
    match vault {
        Some(VaultState::Open) => "procurify-token list",
        Some(VaultState::Locked) => UNLOCK,
        Some(VaultState::Missing) => [INIT_SEALED].into_iter().find(says).unwrap_or(INIT),
        None => [INIT_SEALED, INIT, UNLOCK].into_iter().find(says).unwrap_or("procurify-token status"),
    }
}

fn unopened(why: StaysSealed) -> &'static str {
    match why {
        StaysSealed::Foreign => {
            "systemd cannot open the vault's sealed key here: it was sealed for another machine, TPM or firmware, or is damaged"
        }
        StaysSealed::TpmLocked => {
            "the TPM opens nothing for now, as after several power cuts; the service starts by itself once it does"
        }
    }
}

fn when_unopened(why: StaysSealed) -> String {
    let sealed = facts::SEALED;
    match why {
        // With a new key the service starts, locked: then somebody with the recovery code opens the vault, and has it take the new key.
        StaysSealed::Foreign => {
            format!("sudo mv {sealed} {sealed}.foreign && sudo procurify-token service install --system")
        }
        StaysSealed::TpmLocked => "sudo tpm2_dictionarylockout --clear-lockout".to_owned(),
    }
}

fn lacking(lack: Lack) -> String {
    let why = match lack {
        Lack::NoKey => format!("{} is missing", facts::SEALED),
        Lack::Unopened(why) => unopened(why).to_owned(),
        Lack::Untried => "this one was given no key, and nobody knows whether the sealed one fits".to_owned(),
    };
    format!("leaves the vault locked, or no service: {why}")
}

fn when_lacking(lack: Lack) -> String {
    match lack {
        Lack::NoKey => "sudo procurify-token service install --system".to_owned(),
        Lack::Unopened(why) => when_unopened(why),
        Lack::Untried => "sudo systemctl restart procurify-tokend && sudo procurify-token unlock, then sudo procurify-token slot add \
             credential"
            .to_owned(),
    }
}

fn vault(whose: Whose) -> Option<VaultState> {
    let places = match whose {
        Whose::System => vec![endpoint::system_wide(Platform::HERE)],
        Whose::User => endpoint::per_user(Platform::HERE, &Surroundings::of_process()),
    };
    places.into_iter().find_map(|place| {
        let options = Options::new().without_cache().deadline(PATIENCE).socket(place.path);
        Some(Client::connect(&options).ok()?.status().ok()?.vault)
    })
}

const PATIENCE: Duration = Duration::from_secs(10);
const INIT: &str = "procurify-token init";
const INIT_SEALED: &str = "procurify-token init --slot credential";
const UNLOCK: &str = "procurify-token unlock";
/// The ids of systemd's `creds-util.h` in base64, but for the last character, which has bits of what follows.
const BY_HOST: &str = "Whxqht+dQJax1aZeCGLxm";
const BY_TPM: &str = "DHzAexF2RZGcSwvqCLwg/";
const BY_TPM_AND_HOST: &str = "k6iUCUh0RJCQyvL8k8q1U";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_is_what_the_daemon_says() {
        let sealed = "no vault yet: procurify-token init --slot credential";
        for (vault, said, next) in [
            (Some(VaultState::Missing), sealed, INIT_SEALED),
            (Some(VaultState::Missing), "no vault yet: procurify-token init", INIT),
            (Some(VaultState::Open), "1 credential, healthy", "procurify-token list"),
            (None, sealed, INIT_SEALED),
            (None, "locked, waiting for procurify-token unlock", UNLOCK),
            (None, "1 credential, healthy", "procurify-token status"),
        ] {
            assert_eq!(for_vault(vault, said), next, "{vault:?} {said}");
        }
    }

    #[test]
    fn a_new_key_is_followed_by_what_has_the_vault_take_it() {
        let next = |vault, kind| with_new_key(Some(vault), kind);
        let twice = "sudo procurify-token unlock, then sudo procurify-token slot add credential";
        assert_eq!(next(VaultState::Locked, "credential").as_deref(), Some(twice));
        let once = "sudo procurify-token slot add key-file";
        assert_eq!(next(VaultState::Open, "key-file").as_deref(), Some(once));
        // A sealed key may lie about, which init is not to take.
        assert_eq!(next(VaultState::Missing, "key-file").as_deref(), Some("sudo procurify-token init"));
        assert_eq!(next(VaultState::Missing, "credential"), None);
    }

    #[test]
    fn what_keeps_the_next_start_from_opening_the_vault_is_said_with_what_to_type() {
        for (lack, why, typed) in [
            (Lack::NoKey, "is missing", "sudo procurify-token service install --system"),
            (Lack::Unopened(StaysSealed::Foreign), "or is damaged", "--system"),
            (Lack::Untried, "given no key", "slot add credential"),
        ] {
            assert!(lacking(lack).contains(why) && when_lacking(lack).ends_with(typed), "{lack:?}");
        }
    }

    #[test]
    fn by_what_a_key_is_sealed_is_told_from_how_it_begins() {
        // As systemd-creds 252 writes them.
        let with_tpm = described("k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAADAAAABAAAAC1lFmb");
        assert!(with_tpm.is_some_and(|text| text.contains("this machine's TPM")));
        let without = described("Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAAA");
        assert!(without.is_some_and(|text| text.contains("not with a TPM")));
        assert_eq!(described("something that comes later"), None);
    }
}
