//! What is there: units, users, keys, and whether a daemon runs that nobody looks after. Only looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use procurify_token_client::blocking::Client;
use procurify_token_client::{Options, Surroundings};
use procurify_token_protocol::endpoint::{self, Platform};
use procurify_token_protocol::{Answer, Request, SlotKind, VaultState};

use super::Whose;
use super::units::{CREDENTIAL, SERVICE, SOCKET};
use crate::autostart::program_beside_us;
use crate::exit::{ExitCode, Failure};

/// See the [room's front page](self).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that is so or not")]
pub(super) struct Facts {
    pub(super) whose: Whose,
    /// Whether a systemd runs that can be asked.
    pub(super) manager: Manager,
    pub(super) is_root: bool,
    /// Who asks, by name.
    pub(super) user: String,
    /// The daemon's program.
    pub(super) daemon: PathBuf,
    /// The first folder or file on the way to it that others than root may change.
    pub(super) changeable_by_others: Option<PathBuf>,
    /// Where a package, or the administrator for all users, has put units.
    pub(super) packaged: Option<PathBuf>,
    /// Where ours belong, with what is there: the socket's and the service's.
    pub(super) folder: PathBuf,
    pub(super) there: [Option<String>; 2],
    pub(super) service: State,
    pub(super) socket: State,
    /// A daemon that answers and is not the service's.
    pub(super) stray: Option<(PathBuf, u32)>,
    /// Whether the system service's own user exists.
    pub(super) has_service_user: bool,
    /// Whether a key is sealed, whether one is in a file, and whether one could be sealed.
    pub(super) sealed_key: SealedKey,
    pub(super) has_key_file: bool,
    pub(super) can_seal: bool,
    /// Why systemd cannot open the sealed key, where that keeps the service from starting.
    pub(super) key_stays_sealed: Option<StaysSealed>,
    /// Why the next start would leave the vault locked that is open now, as far as root sees that.
    pub(super) next_start_lacks: Option<Lack>,
    /// Whether this user's services run on when he has logged out.
    pub(super) lingers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    Running,
    /// The machine was not started by systemd.
    NotSystemd,
    /// It was, but this user has no manager of his own now.
    NoneForUser,
}

/// Others than root may not enter the folder that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealedKey {
    There,
    Missing,
    Hidden,
}

/// What a vault misses that only a sealed key opens without a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// No key is sealed.
    NoKey,
    /// One is, and systemd cannot open it.
    Unopened(StaysSealed),
    /// One is, and the service that runs was started without: nobody knows whether it opens the vault.
    Untried,
}

impl Lack {
    /// From what the daemon says opens the vault, and what root sees.
    fn of(
        kinds: &[SlotKind],
        key: SealedKey,
        was_handed_over: bool,
        stays_sealed: impl FnOnce() -> Option<StaysSealed>,
    ) -> Option<Self> {
        let is_other = |kind: &SlotKind| kind.is_unattended() && *kind != SlotKind::Credential;
        if !kinds.contains(&SlotKind::Credential) || kinds.iter().any(is_other) {
            return None;
        }
        match key {
            SealedKey::Missing => Some(Self::NoKey),
            SealedKey::Hidden => None,
            SealedKey::There => match stays_sealed() {
                Some(why) => Some(Self::Unopened(why)),
                None => (!was_handed_over).then_some(Self::Untried),
            },
        }
    }
}

impl SealedKey {
    fn at(path: &Path) -> Self {
        match path.try_exists() {
            Ok(true) => Self::There,
            Ok(false) => Self::Missing,
            Err(_) => Self::Hidden,
        }
    }
}

/// Why systemd cannot open what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StaysSealed {
    /// It was sealed for another machine, TPM or firmware, or is damaged: what systemd-creds says then differs by version and by where
    /// the damage is.
    Foreign,
    /// The TPM counts each power cut as a guess that somebody has hidden, and after some of them answers nobody for a while (TPM 2.0
    /// Library, Part 1, "Dictionary Attack Protection").
    TpmLocked,
}

impl StaysSealed {
    /// By what systemd-creds complains of. The words are of `tpm2-util.c` from 251 on, and of tpm2-tss before.
    fn told_by(complaint: &str) -> Self {
        if complaint.contains("lockout mode") { Self::TpmLocked } else { Self::Foreign }
    }
}

/// What systemd says of a unit; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) active: String,
    pub(super) enabled: String,
    pub(super) file: String,
    pub(super) since: String,
    pub(super) status: String,
    pub(super) result: String,
    pub(super) pid: u32,
}

impl State {
    pub(super) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "activating")
    }

    /// As opposed to one that is starting, at whose socket a caller waits.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading")
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled == "enabled"
    }

    fn does_not_come_up(&self) -> bool {
        matches!(self.active.as_str(), "failed" | "activating")
    }

    fn parse(shown: &str) -> Self {
        let value = |name: &str| {
            let line = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        Self {
            active: value("ActiveState"),
            enabled: value("UnitFileState"),
            file: value("FragmentPath"),
            since: value("ActiveEnterTimestamp"),
            status: value("StatusText"),
            result: value("Result"),
            pid: value("MainPID").parse().unwrap_or_default(),
        }
    }
}

impl Facts {
    pub(super) fn gather(whose: Whose) -> Result<Self, Failure> {
        let around = Surroundings::of_process();
        let folder = match whose {
            Whose::System => PathBuf::from("/etc/systemd/system"),
            Whose::User => {
                let none = || Failure::new(ExitCode::Other, "there is no home folder: set HOME (absolute)");
                let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
                let config = config.filter(|path| path.is_absolute());
                let config = config.or_else(|| Some(around.home.as_ref()?.join(".config")));
                config.ok_or_else(none)?.join("systemd/user")
            }
        };
        let manager = manager(whose);
        let ask = |unit| if manager == Manager::Running { state(whose, unit) } else { State::default() };
        let (service, socket) = (ask(SERVICE), ask(SOCKET));
        let user = said("id", &["-un"]).unwrap_or_default();
        let daemon = found(&program_beside_us("procurify-tokend"))?;
        let is_root = crate::system::is_root();
        Ok(Self {
            manager,
            is_root,
            key_stays_sealed: (whose == Whose::System && is_root && service.does_not_come_up())
                .then(stays_sealed)
                .flatten(),
            next_start_lacks: (whose == Whose::System && is_root && service.is_up())
                .then(next_start_lacks)
                .flatten(),
            changeable_by_others: changeable_by_others(&daemon),
            daemon,
            packaged: packaged(whose),
            there: [SOCKET, SERVICE].map(|unit| fs::read_to_string(folder.join(unit)).ok()),
            folder,
            // To knock where the service manager listens would start the daemon that has been stopped; and nobody else listens there.
            stray: if socket.is_active() { None } else { stray(whose, &around, service.pid) },
            service,
            socket,
            has_service_user: said("id", &["-u", "procurify-token"]).is_some(),
            sealed_key: SealedKey::at(Path::new(SEALED)),
            has_key_file: Path::new(KEY_FILE).exists(),
            can_seal: can_seal(),
            lingers: Path::new("/var/lib/systemd/linger").join(&user).exists(),
            user,
            whose,
        })
    }
}

/// What `systemctl` and its like have to be told to find the manager.
pub(super) fn environment(whose: Whose) -> Vec<(&'static str, PathBuf)> {
    match (whose, std::env::var_os(RUNTIME)) {
        (Whose::User, None) => vec![(RUNTIME, runtime_folder())],
        _ => Vec::new(),
    }
}

fn runtime_folder() -> PathBuf {
    let given = std::env::var_os(RUNTIME).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = || format!("/run/user/{}", rustix::process::geteuid().as_raw()).into();
    given.unwrap_or_else(own)
}

fn manager(whose: Whose) -> Manager {
    if !Path::new("/run/systemd/system").is_dir() {
        return Manager::NotSystemd;
    }
    match whose {
        Whose::User if !runtime_folder().join("systemd/private").exists() => Manager::NoneForUser,
        Whose::System | Whose::User => Manager::Running,
    }
}

fn state(whose: Whose, unit: &str) -> State {
    let mut command = Command::new("systemctl");
    command.args([whose.option(), "show", "--property", PROPERTIES, unit]).envs(environment(whose));
    State::parse(&output(command).unwrap_or_default())
}

/// Its standard output, where it succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    output(command)
}

fn output(mut command: Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where the daemon's program is.
fn found(program: &Path) -> Result<PathBuf, Failure> {
    let on_path = || {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
    };
    let found = if program.is_absolute() { Some(program.to_owned()) } else { on_path() };
    // Not through links: what a link leads to may be another program tomorrow.
    found.and_then(|path| fs::canonicalize(path).ok()).ok_or_else(|| {
        Failure::new(ExitCode::CommandNotFound, "procurify-tokend is not installed")
            .hint("install it beside procurify-token")
    })
}

/// The first folder or file on the way to a program that others than root may change.
pub(super) fn changeable_by_others(program: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let is_roots = |path: &&Path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
    };
    program.ancestors().find(|path| !is_roots(path)).map(Path::to_owned)
}

fn packaged(whose: Whose) -> Option<PathBuf> {
    let folders: &[&str] = match whose {
        Whose::System => &["/usr/lib/systemd/system", "/lib/systemd/system"],
        Whose::User => &["/etc/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user"],
    };
    folders.iter().map(PathBuf::from).find(|folder| folder.join(SERVICE).exists())
}

/// A daemon at the service's own sockets that the service manager has not started.
fn stray(whose: Whose, around: &Surroundings, pid_of_service: u32) -> Option<(PathBuf, u32)> {
    let places = match whose {
        Whose::System => vec![endpoint::system_wide(Platform::HERE)],
        Whose::User => endpoint::per_user(Platform::HERE, around),
    };
    places.into_iter().map(|place| place.path).find_map(|socket| {
        let options = Options::new().without_cache().deadline(PATIENCE).socket(&socket);
        let pid = Client::connect(&options).ok()?.status().ok()?.pid;
        (pid != pid_of_service).then_some((socket, pid))
    })
}

/// From this version on a unit finds what is sealed by its name, and starts where it finds nothing.
fn can_seal() -> bool {
    let version = said("systemd-creds", &["--version"]);
    let number = version.as_deref().and_then(|text| text.split_whitespace().nth(1)?.parse::<u32>().ok());
    number.is_some_and(|number| number >= 252)
}

/// Asks the daemon, which runs: to ask starts none.
fn next_start_lacks() -> Option<Lack> {
    let options = Options::new().without_cache().deadline(PATIENCE);
    let place = endpoint::system_wide(Platform::HERE).path;
    let mut client = Client::connect(&options.socket(&place)).ok()?;
    if !can_seal() || client.status().ok()?.vault != VaultState::Open {
        return None;
    }
    let Answer::Slots { slots, .. } = client.request(&Request::Slots, PATIENCE).ok()? else { return None };
    let kinds: Vec<_> = slots.iter().map(|slot| slot.kind).collect();
    Lack::of(&kinds, SealedKey::at(Path::new(SEALED)), Path::new(HANDED_OVER).exists(), stays_sealed)
}

/// Why systemd cannot open the sealed key, if it is there and cannot be opened. The key goes nowhere.
fn stays_sealed() -> Option<StaysSealed> {
    if !Path::new(SEALED).exists() || !can_seal() {
        return None;
    }
    let mut command = Command::new("systemd-creds");
    command.args(["decrypt", &format!("--name={CREDENTIAL}"), SEALED, "-"]);
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().ok()?;
    (!output.status.success()).then(|| StaysSealed::told_by(&String::from_utf8_lossy(&output.stderr)))
}

pub(super) const SEALED: &str = "/etc/credstore.encrypted/procurify-token.vault-key";
/// Where systemd puts it for the service (systemd.exec(5)).
const HANDED_OVER: &str = "/run/credentials/procurify-tokend.service/procurify-token.vault-key";
pub(super) const KEY_FILE: &str = "/etc/procurify-token/vault.key";
const RUNTIME: &str = "XDG_RUNTIME_DIR";
const PROPERTIES: &str =
    "ActiveState,UnitFileState,FragmentPath,ActiveEnterTimestamp,StatusText,Result,MainPID";
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_shows_is_read() {
        let shown = "Result=success\nMainPID=42\nStatusText=1 credential, healthy: a=b\nActiveState=active\n\
                     UnitFileState=enabled\nFragmentPath=/etc/systemd/system/x\nActiveEnterTimestamp=Thu 2026-11-26\n";
        let state = State::parse(shown);
        assert!(state.is_active() && state.is_enabled());
        assert_eq!((state.pid, state.status.as_str()), (42, "1 credential, healthy: a=b"));
        assert_eq!(State::parse(""), State::default());
        let starting = State::parse("ActiveState=activating");
        assert!(state.is_up() && starting.is_active() && !starting.is_up());
    }

    #[test]
    fn a_tpm_that_is_locked_is_told_from_another_one() {
        // As systemd-creds 252 complains.
        let locked = "ERROR:esys:src/tss2-esys/api/Esys_Load.c:112:Esys_Load() Esys Finish ErrorCode (0x00000921) \n\
                      TPM2 device is in dictionary attack lockout mode.\n";
        assert_eq!(StaysSealed::told_by(locked), StaysSealed::TpmLocked);
        let foreign = "Failed to decrypt secret: Object is remote\n";
        assert_eq!(StaysSealed::told_by(foreign), StaysSealed::Foreign);
    }

    #[test]
    fn what_the_next_start_lacks_is_seen_where_only_a_sealed_key_opens_the_vault_by_itself() {
        use SealedKey::{Hidden, Missing, There};
        use SlotKind::{Credential, KeyFile, RecoveryCode};
        let with_code = &[Credential, RecoveryCode][..];
        let foreign = Some(StaysSealed::Foreign);
        for (kinds, key, was_handed_over, stays_sealed, lack) in [
            (with_code, Missing, false, None, Some(Lack::NoKey)),
            // It was there when the service was started.
            (with_code, Missing, true, None, Some(Lack::NoKey)),
            (with_code, There, true, foreign, Some(Lack::Unopened(StaysSealed::Foreign))),
            (with_code, There, false, None, Some(Lack::Untried)),
            (with_code, There, true, None, None),
            (with_code, Hidden, false, None, None),
            (&[RecoveryCode], Missing, false, None, None),
            (&[Credential, KeyFile], Missing, false, None, None),
        ] {
            let found = Lack::of(kinds, key, was_handed_over, || stays_sealed);
            assert_eq!(found, lack, "{kinds:?} {key:?} {was_handed_over} {stays_sealed:?}");
        }
    }

    #[test]
    fn a_sealed_key_has_the_name_that_the_unit_asks_for() {
        assert!(SEALED.ends_with(CREDENTIAL) && HANDED_OVER.ends_with(CREDENTIAL));
        assert!(HANDED_OVER.contains(SERVICE));
    }

    #[test]
    fn a_key_that_cannot_be_looked_for_is_not_taken_for_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        assert_eq!(SealedKey::at(&file), SealedKey::Missing);
        fs::write(&file, "").unwrap();
        assert_eq!(SealedKey::at(&file), SealedKey::There);
        // Root, who may run this test, is refused by no mode.
        assert_eq!(SealedKey::at(&file.join("below")), SealedKey::Hidden);
    }

    #[test]
    fn a_program_in_a_folder_of_a_user_is_no_program_for_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("d");
        fs::write(&program, "").unwrap();
        // Below /tmp, which anybody may change.
        assert!(changeable_by_others(&program).is_some());
        assert_eq!(changeable_by_others(Path::new("/nowhere/at/all")), Some("/nowhere/at/all".into()));
    }
}
