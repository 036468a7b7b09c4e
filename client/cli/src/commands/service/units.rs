//! The files that a service manager reads, as the packages have them, with the paths of this installation put in.

use std::path::Path;

use super::Whose;
use crate::exit::{ExitCode, Failure};

/// A unit file: its name and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// The units, for a daemon whose program is there.
pub(super) fn units(whose: Whose, daemon: &Path) -> Result<[Unit; 2], Failure> {
    let (socket, service) = match whose {
        Whose::User => (USER_SOCKET, USER_SERVICE),
        Whose::System => (SYSTEM_SOCKET, SYSTEM_SERVICE),
    };
    let daemon = plain(daemon)?;
    let unit = |name, text: &str| Unit { name, text: format!("{MARK}\n{text}") };
    let installed = format!("ExecStart={daemon}");
    Ok([unit(SOCKET, socket), unit(SERVICE, &service.replace(PACKAGED, &installed))])
}

/// The property list of launchd, for a daemon whose program is there: an agent of the user's, or the machine's daemon.
pub(super) fn job(whose: Whose, daemon: &Path) -> Result<String, Failure> {
    let job = match whose {
        Whose::User => AGENT,
        Whose::System => DAEMON,
    };
    Ok(job.replace("/usr/local/bin/procurify-tokend", plain(daemon)?))
}

/// Whether a unit file was written here, so that it may be replaced and removed.
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

/// In a unit file and in a property list some characters mean something.
fn plain(path: &Path) -> Result<&str, Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    path.to_str().filter(|path| path.chars().all(is_plain)).ok_or_else(|| {
        let message = format!("a service manager cannot be given the path {}", path.display());
        Failure::new(ExitCode::Other, message)
            .hint("install both programs elsewhere, for example in /usr/local/bin")
    })
}

pub(super) const SOCKET: &str = "procurify-tokend.socket";
pub(super) const SERVICE: &str = "procurify-tokend.service";
/// The system service's own user.
pub(super) const SYSUSERS: &str =
    include_str!("../../../../../packaging/systemd/sysusers.d/procurify-token.conf");
/// A shell's script that makes the key file of the system service.
pub(super) const MAKE_KEY: &str = include_str!("../../../../../packaging/systemd/system/make-vault-key");
/// The name that a vault's key is sealed under.
pub(super) const CREDENTIAL: &str = "procurify-token.vault-key";

const MARK: &str =
    "# Written by procurify-token service install. Changes belong beside it: systemctl edit procurify-tokend";
const PACKAGED: &str = "ExecStart=/usr/bin/procurify-tokend";
const SYSTEM_SERVICE: &str = include_str!("../../../../../packaging/systemd/system/procurify-tokend.service");
const SYSTEM_SOCKET: &str = include_str!("../../../../../packaging/systemd/system/procurify-tokend.socket");
const USER_SERVICE: &str = include_str!("../../../../../packaging/systemd/user/procurify-tokend.service");
const USER_SOCKET: &str = include_str!("../../../../../packaging/systemd/user/procurify-tokend.socket");
const AGENT: &str = include_str!("../../../../../packaging/launchd/local.procurify-tokend.plist");
const DAEMON: &str = include_str!("../../../../../packaging/launchd/local.procurify-tokend.system.plist");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_path_is_put_in_where_it_is_started_and_its_options_stay() {
        let [socket, service] = units(Whose::System, Path::new("/opt/p/procurify-tokend")).unwrap();
        assert!(is_ours(&socket.text) && is_ours(&service.text));
        assert!(service.text.contains("\nExecStart=/opt/p/procurify-tokend --system\n"), "{}", service.text);
        let [_, service] = units(Whose::User, Path::new("/opt/p/procurify-tokend")).unwrap();
        assert!(service.text.contains("\nExecStart=/opt/p/procurify-tokend\n"), "{}", service.text);
        assert!(!service.text.contains("ExecStart=/usr/bin"));
        for whose in [Whose::User, Whose::System] {
            let job = job(whose, Path::new("/opt/x/procurify-tokend")).unwrap();
            assert!(job.contains("<string>/opt/x/procurify-tokend</string>"), "{job}");
            assert_eq!(job.contains("<string>--system</string>"), whose == Whose::System, "{job}");
        }
    }

    #[test]
    fn a_path_that_would_mean_something_else_is_refused() {
        for path in
            ["/opt/my programs/d", "/opt/%h/d", "/opt/$HOME/d", "/opt/a\nExecStart=/bin/sh", "/opt/<x>"]
        {
            assert!(units(Whose::User, Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn what_a_package_has_brought_is_not_ours() {
        assert!(!is_ours(SYSTEM_SERVICE) && !is_ours(USER_SOCKET));
    }
    /// It builds from a copy of less than the whole source.
    #[test]
    fn the_container_is_given_all_that_is_compiled_in_from_here() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let container = std::fs::read_to_string(root.join("packaging/container/Containerfile")).unwrap();
        let copied: Vec<&str> = container
            .lines()
            .filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
            .flat_map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                // The last is where they go.
                words[1..words.len() - 1].to_vec()
            })
            .collect();
        let mut folders: Vec<_> =
            ["client", "daemon", "protocol"].map(|folder| root.join(folder)).into_iter().collect();
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let source = std::fs::read_to_string(path).unwrap();
                    // What stands in quotes, and leads there by `../`.
                    for included in source
                        .split('"')
                        .filter_map(|text| text.split_once("../packaging/"))
                        .filter(|(_, included)| !included.is_empty())
                    {
                        let included = format!("packaging/{}", included.1);
                        assert!(
                            copied.iter().any(|copied| Path::new(&included).starts_with(copied)),
                            "{included}"
                        );
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 5, "only {found} were found");
    }
}
