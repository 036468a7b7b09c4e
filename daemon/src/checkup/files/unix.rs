//! Owners and modes.
//!
//! A file of ours is closed to others by itself, and so is its folder; the folders above are nobody's to change but ours and
//! root's, for whoever may rename a folder may put another in its place.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use procurify_token_protocol::{Finding, Severity};

use super::super::{Places, quoted};
use super::{Kind, files_of, finding, judge_room};

pub(in crate::checkup) fn examine(places: &Places) -> Vec<Finding> {
    let own = places.owner;
    let mut found = Vec::new();
    let mut folders = BTreeSet::new();
    for (what, path, kind) in files_of(places) {
        let folder = path.parent().unwrap_or(Path::new("/"));
        folders.insert(folder.to_owned());
        match fs::symlink_metadata(&path) {
            Ok(metadata) => found.extend(judge_file(what, &path, kind, Facts::of(&path, &metadata), own)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.push(finding(
                Severity::Problem,
                &path,
                format!("the {what} cannot be looked at: {error}"),
                format!("ls -ld {}", quoted(folder)),
            )),
        }
    }
    // An ancestor of several is told of once.
    let mut seen = BTreeSet::new();
    for folder in &folders {
        let Ok(folder) = fs::canonicalize(folder) else { continue };
        for (depth, above) in folder.ancestors().enumerate() {
            if !seen.insert(above.to_owned()) {
                break;
            }
            if let Ok(metadata) = fs::metadata(above) {
                found.extend(judge_folder(above, depth == 0, metadata.uid(), metadata.mode() & 0o7777, own));
            }
        }
    }
    found.extend(room_beside(&places.vault.vault));
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    File,
    Link,
    Socket,
    Other,
}

/// A file, and how far others get on their way to it.
#[derive(Clone, Copy, Debug)]
struct Facts {
    form: Form,
    owner: u32,
    group: u32,
    mode: u32,
    /// Of what it stands in.
    owner_above: u32,
    /// Whether every folder above lets everybody through.
    is_reached: bool,
    has_access_list: bool,
}

impl Facts {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        let lets_through = |folder: &Path| fs::metadata(folder).is_ok_and(|m| m.mode() & 0o001 != 0);
        Self {
            form: match metadata.file_type() {
                form if form.is_file() => Form::File,
                form if form.is_symlink() => Form::Link,
                form if form.is_socket() => Form::Socket,
                _ => Form::Other,
            },
            owner: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode() & 0o7777,
            owner_above: path.parent().and_then(|above| fs::metadata(above).ok()).map_or(0, |m| m.uid()),
            is_reached: path.ancestors().skip(1).all(lets_through),
            has_access_list: has_access_list(path),
        }
    }

    /// Who could read it besides its owner and root.
    fn readers(self) -> String {
        let whoever = if self.mode & 0o007 != 0 {
            "every user of this machine".to_owned()
        } else if self.has_access_list {
            format!("whoever its access list names (getfacl), and group {}", self.group)
        } else {
            format!("group {}", self.group)
        };
        if self.is_reached { whoever } else { format!("{whoever}, once a folder above is opened,") }
    }
}

#[cfg(target_os = "linux")]
fn has_access_list(path: &Path) -> bool {
    let mut nothing: [u8; 0] = [];
    rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut nothing).is_ok_and(|length| length > 0)
}

#[cfg(not(target_os = "linux"))]
fn has_access_list(_: &Path) -> bool {
    false
}

fn judge_file(what: &str, path: &Path, kind: Kind, facts: Facts, own: u32) -> Vec<Finding> {
    let Facts { owner, mode, .. } = facts;
    let mut found = Vec::new();
    let mut problem = |told: String, mend: String| found.push(finding(Severity::Problem, path, told, mend));
    if facts.form == Form::Link && kind == Kind::Closed {
        problem(
            format!("the {what} is a symbolic link, and links are not followed"),
            format!("ls -l {}; then put the file itself there", quoted(path)),
        );
        return found;
    }
    if kind == Kind::Socket && facts.form != Form::Socket {
        problem(
            "stands in the socket's place and is none".to_owned(),
            format!("mv -n {0} {0}.old", quoted(path)),
        );
        return found;
    }
    if kind != Kind::Socket && matches!(facts.form, Form::Socket | Form::Other) {
        problem(
            format!("the {what} is not a regular file, so it is not read"),
            format!("mv -n {0} {0}.old; then put the file itself there", quoted(path)),
        );
        return found;
    }
    // A socket that the system's service manager keeps is root's, and anybody may knock.
    let may_be_roots = matches!(kind, Kind::Readable | Kind::Socket) && owner == 0;
    if owner != own && !may_be_roots {
        let or_root = if kind == Kind::Readable && own != 0 { " or to root" } else { "" };
        let wanted = if kind == Kind::Readable && facts.owner_above == 0 { 0 } else { own };
        problem(
            format!("the {what} belongs to user {owner} and must belong to user {own}{or_root}"),
            format!("sudo chown {wanted} {}", quoted(path)),
        );
    }
    let wrong = match kind {
        Kind::Closed => mode & 0o077,
        Kind::Readable | Kind::Socket => mode & 0o022,
    };
    match kind {
        Kind::Closed if wrong != 0 => {
            let lists = if facts.has_access_list {
                format!("setfacl -b {} && ", quoted(path))
            } else {
                String::new()
            };
            problem(
                format!("the {what} has mode {mode:04o}: {} could get at it", facts.readers()),
                format!("{lists}chmod 600 {}", quoted(path)),
            );
        }
        Kind::Readable if wrong != 0 => problem(
            format!("the {what} has mode {mode:04o}: others could change it"),
            format!("chmod go-w {}", quoted(path)),
        ),
        // Who may speak to the daemon is judged by who connects.
        _ => {}
    }
    if found.is_empty() {
        let to = match kind {
            Kind::Closed => "closed to others",
            Kind::Readable => "changed by nobody else",
            Kind::Socket => "who may do what there is for the daemon to say",
        };
        found.push(finding(
            Severity::Fine,
            path,
            format!("the {what}: mode {mode:04o}, {to}"),
            String::new(),
        ));
    }
    found
}

fn judge_folder(folder: &Path, is_ours: bool, owner: u32, mode: u32, own: u32) -> Option<Finding> {
    const STICKY: u32 = 0o1000;
    // Whoever owns the root has the whole machine; in a namespace it may seem to be nobody's.
    if owner != own && owner != 0 && folder.parent().is_some() {
        let found = format!("the folder belongs to user {owner}, who could exchange what is in it");
        let mend = format!("sudo chown {own} {}", quoted(folder));
        return Some(finding(Severity::Problem, folder, found, mend));
    }
    let is_open = mode & 0o022 != 0;
    // In a sticky folder nobody else can rename or remove what is ours.
    if is_open && (is_ours || mode & STICKY == 0) {
        let found = format!("the folder has mode {mode:04o}: others could exchange what is in it");
        // By its name it is for nothing else.
        let is_for_us =
            folder.file_name().is_some_and(|name| name == "procurify-token") && mode & STICKY == 0;
        let mend = if is_for_us && owner != own {
            format!("sudo chmod go-w {}", quoted(folder))
        } else if is_ours && (mode & STICKY != 0 || owner != own) {
            "others need this folder as it is: move what is ours, and name its new place in the configuration"
                .to_owned()
        } else {
            format!("chmod {} {}", if is_ours { "700" } else { "go-w" }, quoted(folder))
        };
        return Some(finding(Severity::Problem, folder, found, mend));
    }
    is_ours.then(|| finding(Severity::Fine, folder, format!("the folder: mode {mode:04o}"), String::new()))
}

/// A change to the vault writes it anew beside the old one.
fn room_beside(vault: &Path) -> Option<Finding> {
    let folder = vault.parent()?;
    let room = rustix::fs::statvfs(folder).ok()?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let needed = fs::metadata(vault).map_or(0, |metadata| metadata.len());
    if room.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let found = "its file system is mounted read-only: no change can be stored".to_owned();
        return Some(finding(
            Severity::Problem,
            folder,
            found,
            format!("findmnt --target {}", quoted(folder)),
        ));
    }
    judge_room(folder, free, needed, &format!("df -h {}", quoted(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const OWN: u32 = 1000;
    const GOOD: Facts = Facts {
        form: Form::File,
        owner: OWN,
        group: 100,
        mode: 0o600,
        owner_above: OWN,
        is_reached: true,
        has_access_list: false,
    };

    fn told(kind: Kind, facts: Facts) -> (Severity, String, String) {
        let found = judge_file("key file", Path::new("/k/it's"), kind, facts, OWN).remove(0);
        (found.severity, found.found, found.mend)
    }

    #[rstest]
    #[case::others(Facts { mode: 0o604, ..GOOD }, "every user of this machine")]
    #[case::group(Facts { mode: 0o640, ..GOOD }, "group 100")]
    #[case::shielded(Facts { mode: 0o644, is_reached: false, ..GOOD }, "once a folder above is opened")]
    #[case::access_list(Facts { mode: 0o640, has_access_list: true, ..GOOD }, "getfacl")]
    #[case::owner(Facts { owner: 7, ..GOOD }, "belongs to user 7")]
    #[case::link(Facts { form: Form::Link, ..GOOD }, "symbolic link")]
    #[case::folder(Facts { form: Form::Other, ..GOOD }, "not a regular file")]
    fn a_secret_file_that_others_reach_is_a_problem_and_says_whose(
        #[case] facts: Facts,
        #[case] words: &str,
    ) {
        let (severity, found, mend) = told(Kind::Closed, facts);
        assert!(severity == Severity::Problem && found.contains(words), "{found}");
        assert!(mend.contains(r"'/k/it'\''s'"), "{mend}");
    }

    #[test]
    fn no_advice_takes_a_folder_from_those_who_share_it() {
        let mend = |owner, mode| judge_folder(Path::new("/shared"), true, owner, mode, OWN).unwrap().mend;
        assert_eq!(mend(OWN, 0o770), "chmod 700 '/shared'");
        for mend in [mend(0, 0o1777), mend(0, 0o775), mend(OWN, 0o1777)] {
            assert!(mend.contains("move what is ours"), "{mend}");
        }
        assert!(judge_folder(Path::new("/"), false, 65534, 0o755, OWN).is_none());
    }

    #[test]
    fn roots_own_folder_for_us_is_closed_and_what_is_roots_is_given_back_to_root() {
        let mend =
            |owner| judge_folder(Path::new("/etc/procurify-token"), true, owner, 0o777, OWN).unwrap().mend;
        assert_eq!(mend(0), "sudo chmod go-w '/etc/procurify-token'");
        assert_eq!(mend(OWN), "chmod 700 '/etc/procurify-token'");
        let (_, found, mend) = told(Kind::Readable, Facts { owner: 7, owner_above: 0, ..GOOD });
        assert!(found.ends_with("must belong to user 1000 or to root"), "{found}");
        assert!(mend.starts_with("sudo chown 0 "), "{mend}");
        let (_, _, mend) = told(Kind::Readable, Facts { owner: 7, ..GOOD });
        assert!(mend.starts_with("sudo chown 1000 "), "{mend}");
    }

    #[test]
    fn what_is_closed_is_fine_and_a_configuration_may_be_read() {
        assert_eq!(told(Kind::Closed, GOOD).0, Severity::Fine);
        assert_eq!(told(Kind::Readable, Facts { mode: 0o644, owner: 0, ..GOOD }).0, Severity::Fine);
        assert_eq!(told(Kind::Readable, Facts { mode: 0o664, ..GOOD }).0, Severity::Problem);
        assert_eq!(told(Kind::Socket, GOOD).0, Severity::Problem, "a file where the socket should be");
        let socket = |owner| Facts { form: Form::Socket, mode: 0o666, owner, ..GOOD };
        assert_eq!(told(Kind::Socket, socket(0)).0, Severity::Fine, "the service manager's");
        assert_eq!(told(Kind::Socket, socket(7)).0, Severity::Problem, "a stranger's");
    }

    #[rstest]
    #[case::ours(true, OWN, 0o700, Some(Severity::Fine))]
    #[case::ours_open(true, OWN, 0o770, Some(Severity::Problem))]
    #[case::ours_sticky(true, OWN, 0o1777, Some(Severity::Problem))]
    #[case::above(false, 0, 0o755, None)]
    #[case::above_sticky(false, 0, 0o1777, None)]
    #[case::above_open(false, 0, 0o777, Some(Severity::Problem))]
    #[case::above_a_strangers(false, 7, 0o755, Some(Severity::Problem))]
    fn whoever_could_exchange_a_folder_is_a_problem(
        #[case] is_ours: bool,
        #[case] owner: u32,
        #[case] mode: u32,
        #[case] severity: Option<Severity>,
    ) {
        let found = judge_folder(Path::new("/f"), is_ours, owner, mode, OWN);
        assert_eq!(found.map(|finding| finding.severity), severity);
    }
}
