//! Whether a service manager is in charge of the daemon: then the command must not start a second one beside it.
//!
//! Looks for unit files; whether the service is enabled or failed is the service manager's to say, which only `doctor` asks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use procurify_token_protocol::endpoint::{self, Platform};

use crate::system;

/// Who is in charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Supervisor {
    /// The file that says so.
    pub(crate) unit: PathBuf,
    manager: Manager,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    SystemdUser,
    SystemdSystem,
    LaunchdUser,
    LaunchdSystem,
}

impl Supervisor {
    /// Who is in charge of the daemon on this machine, if anybody is.
    pub(crate) fn here() -> Option<Self> {
        if cfg!(windows) {
            return None;
        }
        let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME");
        let config = folder("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let found = || Self::find(Path::new("/"), home.as_deref(), config.as_deref());
        // A package has units of both kinds, and root hardly means his own.
        if system::is_root() { Self::of_system().or_else(found) } else { found() }
    }

    /// Who is in charge of the daemon that listens there.
    pub(crate) fn of_socket(socket: &Path) -> Option<Self> {
        if socket == endpoint::system_wide(Platform::HERE).path { Self::of_system() } else { Self::here() }
    }

    fn of_system() -> Option<Self> {
        if cfg!(windows) {
            return None;
        }
        Self::first(SYSTEM_UNITS.map(|folder| (Some(folder.into()), Manager::SystemdSystem)))
    }

    /// What starts the daemon.
    pub(crate) fn start_command(&self) -> String {
        match self.manager {
            Manager::SystemdUser => "systemctl --user start procurify-tokend".to_owned(),
            Manager::SystemdSystem => "sudo systemctl start procurify-tokend".to_owned(),
            Manager::LaunchdUser => format!("launchctl kickstart gui/$(id -u)/{}", self.label()),
            Manager::LaunchdSystem => format!("sudo launchctl kickstart system/{}", self.label()),
        }
    }

    /// Whether the daemon is the whole system's.
    pub(crate) fn is_of_system(&self) -> bool {
        matches!(self.manager, Manager::SystemdSystem | Manager::LaunchdSystem)
    }

    /// Of a daemon that it has given up, or starts again and again: how it says so, and what shows more. Asks systemd.
    pub(crate) fn down(&self) -> Option<Down> {
        let (user, sudo): (&[_], _) = match self.manager {
            Manager::SystemdUser => (&["--user"], ""),
            Manager::SystemdSystem => (&[], if system::is_root() { "" } else { "sudo " }),
            Manager::LaunchdUser | Manager::LaunchdSystem => return None,
        };
        let mut asked = Command::new("systemctl");
        asked.args(user).args(["show", "--property=ActiveState,SubState", UNITS[0]]);
        let answer = asked.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let state = down_state(&String::from_utf8_lossy(&answer.stdout))?;
        let user = if user.is_empty() { "" } else { "--user " };
        Some(Down { state, look: format!("{sudo}journalctl {user}-u procurify-tokend -n 20") })
    }

    /// Whether it listens for the daemon while that does not run.
    pub(crate) fn keeps_the_socket(&self) -> bool {
        let is_systemd = matches!(self.manager, Manager::SystemdUser | Manager::SystemdSystem);
        is_systemd && self.unit.with_file_name(SOCKET_UNIT).exists()
    }

    /// What has it not listen any more.
    pub(crate) fn close_command(&self) -> String {
        self.start_command().replace(" start procurify-tokend", " stop procurify-tokend.socket")
    }

    /// The socket of a system's daemon, where this user may not even look whether it is there.
    pub(crate) fn closed_to_us(&self) -> Option<PathBuf> {
        let is_system = matches!(self.manager, Manager::SystemdSystem | Manager::LaunchdSystem);
        let socket = endpoint::system_wide(Platform::HERE).path;
        let looked = std::fs::symlink_metadata(&socket);
        let is_closed = looked.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        (is_system && is_closed).then_some(socket)
    }

    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> Option<Self> {
        Self::find(root, Some(&root.join("home")), Some(&root.join("home/.config")))
    }

    fn find(root: &Path, home: Option<&Path>, config: Option<&Path>) -> Option<Self> {
        let below = |folder: &str| root.join(folder);
        let users = [
            (config.map(|config| config.join("systemd/user")), Manager::SystemdUser),
            (Some(below("etc/systemd/user")), Manager::SystemdUser),
            (Some(below("usr/lib/systemd/user")), Manager::SystemdUser),
            (Some(below("lib/systemd/user")), Manager::SystemdUser),
        ];
        let systems =
            SYSTEM_UNITS.map(|folder| (Some(below(folder.trim_start_matches('/'))), Manager::SystemdSystem));
        let launchd = [
            (home.map(|home| home.join("Library/LaunchAgents")), Manager::LaunchdUser),
            (Some(below("Library/LaunchAgents")), Manager::LaunchdUser),
            (Some(below("Library/LaunchDaemons")), Manager::LaunchdSystem),
        ];
        Self::first(users.into_iter().chain(systems)).or_else(|| {
            launchd
                .into_iter()
                .find_map(|(folder, manager)| Some(Self { unit: plist_in(&folder?)?, manager }))
        })
    }

    fn first(folders: impl IntoIterator<Item = (Option<PathBuf>, Manager)>) -> Option<Self> {
        folders.into_iter().find_map(|(folder, manager)| {
            let folder = folder?;
            let unit = UNITS.iter().map(|unit| folder.join(unit)).find(|unit| unit.exists())?;
            Some(Self { unit, manager })
        })
    }

    fn label(&self) -> String {
        self.unit.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A daemon that does not come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Down {
    /// In the service manager's words.
    pub(crate) state: String,
    /// Shows why.
    pub(crate) look: String,
}

/// What systemd says of a service, if it says that it is down. One that nobody has asked for yet is not, nor one that starts.
fn down_state(properties: &str) -> Option<String> {
    let value = |name: &str| {
        properties.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let (active, sub) = (value("ActiveState"), value("SubState"));
    (active == "failed" || sub.starts_with("auto-restart")).then(|| format!("{active} ({sub})"))
}

fn plist_in(folder: &Path) -> Option<PathBuf> {
    let mut plists: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.contains("procurify") && path.extension().is_some_and(|extension| extension == "plist")
        })
        .collect();
    plists.sort();
    plists.into_iter().next()
}

const SYSTEM_UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
const SOCKET_UNIT: &str = "procurify-tokend.socket";
const UNITS: [&str; 2] = ["procurify-tokend.service", SOCKET_UNIT];

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("home/.config/systemd/user/procurify-tokend.socket", "systemctl --user start procurify-tokend")]
    #[case("etc/systemd/user/procurify-tokend.service", "systemctl --user start procurify-tokend")]
    #[case("usr/lib/systemd/user/procurify-tokend.service", "systemctl --user start procurify-tokend")]
    #[case("etc/systemd/system/procurify-tokend.service", "sudo systemctl start procurify-tokend")]
    #[case("lib/systemd/system/procurify-tokend.socket", "sudo systemctl start procurify-tokend")]
    #[case("home/Library/LaunchAgents/io.procurify.plist", "launchctl kickstart gui/$(id -u)/io.procurify")]
    #[case("Library/LaunchDaemons/io.procurify.plist", "sudo launchctl kickstart system/io.procurify")]
    fn a_unit_anywhere_is_found_and_says_how_to_start_it(#[case] unit: &str, #[case] command: &str) {
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join(unit);
        std::fs::create_dir_all(unit.parent().unwrap()).unwrap();
        std::fs::write(&unit, "").unwrap();
        let found = find(root.path()).unwrap();
        assert_eq!((found.unit.clone(), found.start_command()), (unit, command.to_owned()));
    }

    #[rstest]
    #[case("ActiveState=failed\nSubState=failed\n", Some("failed (failed)"))]
    #[case("SubState=auto-restart\nActiveState=activating\n", Some("activating (auto-restart)"))]
    #[case("ActiveState=active\nSubState=running\n", None)]
    #[case("ActiveState=activating\nSubState=start\n", None)]
    #[case("ActiveState=inactive\nSubState=dead\n", None)]
    #[case("", None)]
    fn a_service_that_does_not_come_up_is_told_from_one_that_waits(
        #[case] properties: &str,
        #[case] state: Option<&str>,
    ) {
        assert_eq!(down_state(properties).as_deref(), state);
    }

    #[test]
    fn other_units_are_nobody() {
        let root = tempfile::tempdir().unwrap();
        for unit in ["etc/systemd/system/procurify-other.service", "Library/LaunchAgents/com.apple.plist"] {
            let unit = root.path().join(unit);
            std::fs::create_dir_all(unit.parent().unwrap()).unwrap();
            std::fs::write(&unit, "").unwrap();
        }
        assert_eq!(find(root.path()), None);
    }

    fn find(root: &Path) -> Option<Supervisor> {
        Supervisor::below(root)
    }
}
