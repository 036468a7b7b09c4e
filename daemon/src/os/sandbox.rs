//! The daemon denies itself what it does not need: landlock(7), and no new privileges.
//!
//! It keeps its own folders and loses the rest of the disk but for what name resolution and trust in certificates read; it
//! runs no program. Where the configuration names a command that prints a key, that has to be able to run, and what it runs
//! cannot be known: then reading and executing are free, and writing is confined to the user's own places. System calls are not
//! filtered here: which of them the libraries need changes with each of their versions; the systemd unit does it with the
//! manager's own groups of them.

use std::path::PathBuf;

/// What is left to the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Files and folders in which it may do anything.
    pub writable: Vec<PathBuf>,
    /// Files and folders that it may read, beside the system's.
    pub readable: Vec<PathBuf>,
    /// Whether programs may run.
    pub may_execute: bool,
}

/// How much was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Nothing: the system has no landlock.
    None,
    /// To write beyond the user's own places.
    Loosened,
    /// Everything else.
    Full,
}

/// The system refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfineError(String);

/// Confines this thread and all that it starts from now on, for good.
///
/// # Errors
/// What the kernel says; nothing is denied then.
#[cfg(target_os = "linux")]
pub fn confine(places: &Places) -> Result<Confinement, ConfineError> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, RulesetStatus, path_beneath_rules,
    };
    let abi = ABI::V5;
    let reading = AccessFs::from_read(abi);
    let all = AccessFs::from_all(abi);
    let refused = |error: landlock::RulesetError| ConfineError(error.to_string());
    let (read, write) = if places.may_execute {
        (vec![PathBuf::from("/")], user_places())
    } else {
        (SYSTEM.map(PathBuf::from).to_vec(), DEVICES.map(PathBuf::from).to_vec())
    };
    let reading = if places.may_execute { reading } else { reading & !AccessFs::Execute };
    let writing = if places.may_execute { all } else { all & !AccessFs::Execute };
    let certificates = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
    let certificates = certificates.map(PathBuf::from);
    // What is not there needs no rule; nor could it have one.
    let read = read.into_iter().chain(places.readable.iter().cloned()).chain(certificates);
    let read = read.filter(|path| path.exists());
    let write = write.into_iter().chain(places.writable.iter().cloned()).filter(|path| path.exists());
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(|rules| rules.handle_access(AccessNet::BindTcp))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(read, reading)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(write, writing)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(refused)?;
    Ok(match (status.ruleset, places.may_execute) {
        (RulesetStatus::NotEnforced, _) => Confinement::None,
        (_, true) => Confinement::Loosened,
        (_, false) => Confinement::Full,
    })
}

/// There is nothing of the kind here.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn confine(_: &Places) -> Result<Confinement, ConfineError> {
    Ok(Confinement::None)
}

/// Where the programs of a password manager may keep their locks and sockets.
#[cfg(target_os = "linux")]
fn user_places() -> Vec<PathBuf> {
    let named = ["HOME", "XDG_RUNTIME_DIR", "TMPDIR"].into_iter().filter_map(std::env::var_os);
    named
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .chain(["/tmp", "/dev"].map(PathBuf::from))
        .collect()
}

/// What name resolution, libraries and trust in certificates read.
#[cfg(target_os = "linux")]
const SYSTEM: [&str; 13] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/proc/self",
    "/proc/sys",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/var/lib/ca-certificates",
];
#[cfg(target_os = "linux")]
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/random"];

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    /// What a thread of its own may do once it is confined: the test's other threads stay as they are.
    fn confined<T: Send>(places: &Places, work: impl FnOnce(Confinement) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || work(confine(places).unwrap()));
            thread.join().unwrap()
        })
    }

    #[test]
    fn what_is_not_its_own_is_closed_to_the_daemon() {
        let own = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("file"), "x").unwrap();
        let places = Places { writable: vec![own.path().to_owned()], ..Places::default() };
        confined(&places, |confinement| {
            if confinement == Confinement::None {
                return say_skipped("landlock, which this kernel does not have");
            }
            assert_eq!(confinement, Confinement::Full);
            fs::write(own.path().join("a"), "x").unwrap();
            fs::rename(own.path().join("a"), own.path().join("b")).unwrap();
            fs::hard_link(own.path().join("b"), own.path().join("c")).unwrap();
            fs::remove_file(own.path().join("c")).unwrap();
            assert!(fs::read("/etc/hosts").is_ok());
            assert!(fs::read(other.path().join("file")).is_err(), "another's file");
            assert!(fs::write(other.path().join("new"), "x").is_err(), "another's folder");
            assert!(Command::new("/bin/true").status().is_err(), "a program");
        });
    }

    #[test]
    fn where_a_command_is_configured_programs_run_and_write_where_the_user_may() {
        let places = Places { may_execute: true, ..Places::default() };
        confined(&places, |confinement| {
            if confinement == Confinement::None {
                return say_skipped("landlock, which this kernel does not have");
            }
            assert_eq!(confinement, Confinement::Loosened);
            assert!(Command::new("/bin/true").status().unwrap().success());
            assert!(fs::write("/var/lib/nothing-of-ours", "x").is_err());
        });
    }

    #[expect(clippy::print_stderr, reason = "what is skipped is skipped aloud")]
    fn say_skipped(what: &str) {
        eprintln!("SKIPPED: {what}");
    }
}
