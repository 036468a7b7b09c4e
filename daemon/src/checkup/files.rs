//! Every file and folder: whose it is, and who else could read or replace it. How that is told, each system has in a file of its
//! own.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fs;
use std::path::{Path, PathBuf};

use procurify_token_protocol::{Area, Finding, Severity};

use super::Places;
use crate::vault::Vault;

#[cfg(unix)]
pub(super) use unix::examine;
#[cfg(windows)]
pub(super) use windows::examine;

/// What a file may be to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nobody else may read it.
    Closed,
    /// Nobody else may change it.
    Readable,
    #[cfg_attr(windows, expect(dead_code, reason = "a pipe is no file"))]
    Socket,
}

fn files_of(places: &Places) -> Vec<(&'static str, PathBuf, Kind)> {
    let vault = &places.vault;
    let mut files = vec![
        ("configuration", places.config.clone(), Kind::Readable),
        ("key file", vault.key_file.clone(), Kind::Closed),
        ("vault", vault.vault.clone(), Kind::Closed),
    ];
    let generations = Vault::generations_at(vault).into_iter();
    files.extend(generations.map(|older| ("older vault", PathBuf::from(older.path), Kind::Closed)));
    files.extend(asides_of(&vault.vault).into_iter().map(|path| ("vault put aside", path, Kind::Closed)));
    files.push(("token cache", places.cache.clone(), Kind::Closed));
    files.push(("audit key", vault.audit_key(), Kind::Closed));
    let records = fs::read_dir(&places.audit).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut records: Vec<_> = records.filter(|path| path.is_file()).collect();
    records.sort();
    files.extend(records.into_iter().map(|path| ("audit file", path, Kind::Closed)));
    #[cfg(unix)]
    files.extend(places.sockets.iter().map(|socket| ("socket", socket.clone(), Kind::Socket)));
    files
}

/// What had the vault's place when somebody went back to an older generation.
pub(super) fn asides_of(vault: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (vault.parent(), vault.file_name()) else { return Vec::new() };
    let prefix = format!("{}.aside-", name.to_string_lossy());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut asides: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    asides.sort();
    asides
}

fn finding(severity: Severity, path: &Path, found: String, mend: String) -> Finding {
    Finding { severity, area: Area::Files, subject: path.display().to_string(), found, mend }
}

/// `needed` is what a change to the vault takes.
fn judge_room(folder: &Path, free: u64, needed: u64, mend: &str) -> Option<Finding> {
    let kb = free / 1024;
    let (severity, found) = if free <= needed {
        (Severity::Problem, format!("{kb} kB are free on its disk, too little for a change to be stored"))
    } else if free < needed.saturating_mul(2).max(LITTLE_ROOM) {
        let found = format!(
            "only {kb} kB are free on its disk; once it is full no change can be stored, and tokens are handed out all the same"
        );
        (Severity::Notice, found)
    } else {
        return None;
    };
    Some(finding(severity, folder, found, mend.to_owned()))
}

/// Less than this may be gone in a moment.
const LITTLE_ROOM: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_no_problem_before_a_change_finds_none() {
        let seen = |free, needed| judge_room(Path::new("/d"), free, needed, "df").map(|found| found.severity);
        assert_eq!(seen(LITTLE_ROOM, 1000), None);
        assert_eq!(seen(LITTLE_ROOM - 1, 1000), Some(Severity::Notice));
        assert_eq!(seen(30_000_000, 20_000_000), Some(Severity::Notice));
        assert_eq!(seen(1000, 1000), Some(Severity::Problem));
    }
}
