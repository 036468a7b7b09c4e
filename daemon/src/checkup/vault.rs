//! What opens the vault, what is kept of it, and whether it would survive a loss. What is in it is not read for that.

use procurify_token_protocol::{Area, Finding, GenerationStatus, Severity, SlotKind, SlotStatus};

use super::files::asides_of;
use super::quoted;
use crate::vault::{Vault, VaultError, VaultPaths};

pub(super) fn examine(paths: &VaultPaths) -> Vec<Finding> {
    let generations = Vault::generations_at(paths);
    let mut found = match Vault::slots_at(paths) {
        Ok(slots) => {
            let mut found = judge_slots(paths, &slots);
            if slots.iter().any(|slot| slot.kind == SlotKind::KeyFile) {
                found.extend(Vault::try_key_file(paths).err().as_ref().and_then(judge_key_file));
            }
            found
        }
        Err(error) => vec![judge_unreadable(paths, &error, &generations)],
    };
    found.extend(judge_generations(&generations));
    found.extend(asides_of(&paths.vault).iter().map(|aside| {
        let told = "was put aside when somebody went back to an older vault; it may hold secrets that are nowhere else, and \
                    what opened it then still does";
        let mend = format!("once all is well, keep it as you keep a backup: mv -n {} FOLDER", quoted(aside));
        Finding { subject: aside.display().to_string(), ..finding(Severity::Notice, told, mend) }
    }));
    found
}

fn judge_slots(paths: &VaultPaths, slots: &[SlotStatus]) -> Vec<Finding> {
    let kinds: Vec<_> = slots.iter().map(|slot| slot.kind.to_string()).collect();
    let opened_by = format!("opened by: {}", kinds.join(", "));
    let mut found = vec![finding(Severity::Fine, &opened_by, "")];
    if slots.len() == 1 {
        let told = "has one key slot only: if that is lost, every client secret is";
        found.push(finding(Severity::Notice, told, "procurify-token slot add recovery-code"));
    }
    if !slots.iter().any(|slot| slot.kind.is_unattended()) {
        let told = "is opened by a person only: after each start of the daemon no job gets a token until that is done";
        found.push(finding(Severity::Notice, told, "procurify-token unlock"));
    }
    let has = |kind| slots.iter().any(|slot| slot.kind == kind);
    if has(SlotKind::KeyFile) && !paths.key_file.exists() {
        let told = format!("the key file {} is missing", paths.key_file.display());
        found.push(finding(
            Severity::Problem,
            &told,
            "put it back from your backup, or open the vault with another slot: procurify-token unlock",
        ));
    }
    if has(SlotKind::KeyFile) && paths.key_file.parent() == paths.vault.parent() {
        let told = "its key file is in its own folder: a copy of that folder opens it";
        found.push(finding(
            Severity::Notice,
            told,
            "move the key file, and name it in the configuration: [vault] key-file",
        ));
    }
    if has(SlotKind::Command) && paths.command.is_none() {
        let told = "has a slot for a command, and none is configured";
        found.push(finding(
            Severity::Problem,
            told,
            "name it in the configuration: [vault] command = [\"PROGRAM\", \"ARGUMENT\"]",
        ));
    }
    found
}

/// Owner and mode are told of with the files, and that it is missing with the slots.
fn judge_key_file(error: &VaultError) -> Option<Finding> {
    let is_wrong = matches!(
        error,
        VaultError::WrongKey { .. } | VaultError::KeyFileMalformed { .. } | VaultError::NoSuchSlot { .. }
    );
    let mend = "put the right one back from your backup, or open the vault with another slot: procurify-token unlock";
    is_wrong.then(|| finding(Severity::Problem, &error.to_string(), mend))
}

fn judge_unreadable(paths: &VaultPaths, error: &VaultError, generations: &[GenerationStatus]) -> Finding {
    let good = generations.iter().find(|older| older.is_whole);
    let told = error.to_string();
    match (error, good) {
        (VaultError::Missing { .. }, None) => {
            let told = format!("there is none yet at {}", paths.vault.display());
            finding(Severity::Notice, &told, "procurify-token init")
        }
        (VaultError::Newer { .. }, _) => {
            finding(Severity::Problem, &told, "install the newer procurify-token again")
        }
        (VaultError::OnlyOlder { .. }, None) => finding(
            Severity::Problem,
            &told,
            "see what keeps the older generations from being read; only then move them away, and: procurify-token restore FILE",
        ),
        (
            VaultError::Missing { .. }
            | VaultError::OnlyOlder { .. }
            | VaultError::Damaged { .. }
            | VaultError::Truncated { .. }
            | VaultError::NotAVault { .. },
            Some(older),
        ) => {
            finding(Severity::Problem, &told, format!("procurify-token unlock --generation {}", older.number))
        }
        (VaultError::Damaged { .. } | VaultError::Truncated { .. } | VaultError::NotAVault { .. }, None) => {
            finding(
                Severity::Problem,
                &told,
                "move it away, do not delete it, then: procurify-token restore FILE",
            )
        }
        // It may be as good as ever: what keeps it from being read is all there is to mend.
        _ => finding(Severity::Problem, &told, "mend that, then: procurify-token unlock"),
    }
}

fn judge_generations(generations: &[GenerationStatus]) -> Vec<Finding> {
    let (whole, broken): (Vec<_>, Vec<_>) = generations.iter().partition(|older| older.is_whole);
    let mut found = Vec::new();
    if !whole.is_empty() {
        let told = format!("older generations that are kept: {}", whole.len());
        found.push(finding(Severity::Fine, &told, ""));
    }
    found.extend(broken.into_iter().map(|older| Finding {
        subject: older.path.clone(),
        ..finding(Severity::Notice, "an older generation is not whole, or may not be read as it is", "")
    }));
    found
}

fn finding(severity: Severity, found: &str, mend: impl Into<String>) -> Finding {
    Finding {
        severity,
        area: Area::Vault,
        subject: "vault".to_owned(),
        found: found.trim_end_matches('.').to_owned(),
        mend: mend.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use procurify_token_protocol::{Description, SlotId};

    fn slot(kind: SlotKind) -> SlotStatus {
        SlotStatus {
            id: SlotId::from_bytes([0; 4]),
            kind,
            description: Description::default(),
            added_at: None,
        }
    }

    fn told(kinds: &[SlotKind]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("config/vault.key");
        std::fs::create_dir(folder.path().join("config")).unwrap();
        std::fs::write(&key_file, "").unwrap();
        let paths = VaultPaths::new(folder.path().join("data/vault"), key_file);
        let found = judge_slots(&paths, &kinds.iter().copied().map(slot).collect::<Vec<_>>());
        let line = |finding: Finding| format!("{}: {} → {}\n", finding.severity, finding.found, finding.mend);
        found.into_iter().map(line).collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_vault_that_one_loss_closes_for_ever_is_told_of() {
        let one = told(&[SlotKind::KeyFile]);
        assert!(
            one.contains("notice: has one key slot only") && one.contains("slot add recovery-code"),
            "{one}"
        );
        assert_eq!(told(&[SlotKind::KeyFile, SlotKind::RecoveryCode]).lines().count(), 1);
        assert!(told(&[SlotKind::Passphrase, SlotKind::RecoveryCode]).contains("by a person only"));
        assert!(
            told(&[SlotKind::Command, SlotKind::RecoveryCode]).contains("problem: has a slot for a command")
        );
    }

    #[test]
    fn a_vault_that_cannot_be_read_leads_to_the_generation_that_can() {
        let paths = VaultPaths::new("/d/vault", "/c/key");
        let older =
            |number, is_whole| GenerationStatus { number, path: String::new(), written_at: None, is_whole };
        let damaged = VaultError::Damaged { path: "/d/vault".into() };
        let found = judge_unreadable(&paths, &damaged, &[older(1, false), older(2, true)]);
        assert!(found.severity == Severity::Problem && found.mend.ends_with("--generation 2"), "{found:?}");
        let closed = VaultError::FolderMode { path: "/d".into(), found: 0o770 };
        let found = judge_unreadable(&paths, &closed, &[older(1, true)]);
        assert!(!found.mend.contains("generation"), "it is not damaged: {found:?}");
        let missing = VaultError::Missing { path: "/d/vault".into() };
        assert_eq!(judge_unreadable(&paths, &missing, &[]).severity, Severity::Notice);
    }
}
