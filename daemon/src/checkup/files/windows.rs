//! Owners and access lists. What is ours has a list of its own; who may change the folders above is not looked at.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use procurify_token_protocol::{Finding, Severity};
use procurify_token_windows::{Grants, Security, closing, free_space, own_identity};

use super::super::Places;
use super::{Kind, files_of, finding, judge_room};

pub(in crate::checkup) fn examine(places: &Places) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut folders = BTreeSet::new();
    for (what, path, kind) in files_of(places) {
        folders.extend(path.parent().map(Path::to_owned));
        let right: fn(&Grants) -> bool = match kind {
            Kind::Closed => |grants| grants.reading() || grants.writing(),
            _ => Grants::writing,
        };
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => found.push(judge(what, &path, right)),
            Ok(_) => found.push(finding(
                Severity::Problem,
                &path,
                format!("the {what} is not a regular file, and links are not followed"),
                format!("move \"{0}\" \"{0}.old\"; then put the file itself there", path.display()),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.push(unseen(what, &path, &error)),
        }
    }
    let there = folders.iter().filter(|folder| folder.exists());
    found.extend(there.map(|folder| judge("folder", folder, Grants::writing)));
    found.extend(room_beside(&places.vault.vault));
    found
}

fn judge(what: &str, path: &Path, right: fn(&Grants) -> bool) -> Finding {
    let looked = own_identity().and_then(|own| Ok((own.user, Security::of_path(path)?)));
    let (own, security) = match looked {
        Ok(looked) => looked,
        Err(error) => return unseen(what, path, &error),
    };
    match security.stranger(&own, right) {
        None => finding(Severity::Fine, path, format!("the {what}: closed to others"), String::new()),
        Some(who) => finding(Severity::Problem, path, format!("the {what} is open to {who}"), closing(path)),
    }
}

fn unseen(what: &str, path: &Path, error: &io::Error) -> Finding {
    let found = format!("the {what} cannot be looked at: {error}");
    finding(Severity::Problem, path, found, format!("icacls \"{}\"", path.display()))
}

/// A change to the vault writes it anew beside the old one.
fn room_beside(vault: &Path) -> Option<Finding> {
    let folder = vault.parent()?;
    let free = free_space(folder).ok()?;
    let needed = fs::metadata(vault).map_or(0, |metadata| metadata.len());
    judge_room(folder, free, needed, "free some space")
}
