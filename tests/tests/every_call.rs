//! Every single call to the system that a save of the vault consists of fails in turn, or the daemon is killed at it: the
//! old state stays, the answer says so, and nothing that was reported stored is ever gone.
//!
//! The calls are found out by strace(1), and struck by it: the real daemon, the real kernel.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::client::{Error, RefusalCode};
use procurify_token_tests::protocol::{Answer, Request};
use procurify_token_tests::{Daemon, Home, PATIENCE, credential, name, skipped};

#[test]
fn whatever_call_of_an_addition_fails_the_old_state_stays_and_is_told() {
    let add = || Request::Add(Box::new(credential("acme/new")));
    every_call("whatever_call_of_an_addition_fails_the_old_state_stays_and_is_told", add, "acme/new");
}

#[test]
fn whatever_call_of_a_removal_fails_the_old_state_stays_and_is_told() {
    let remove = || Request::Remove { name: name("acme/old") };
    every_call("whatever_call_of_a_removal_fails_the_old_state_stays_and_is_told", remove, "acme/old");
}

/// The change is tried with each call struck, in each way, until there is no further call to strike.
fn every_call(test: &str, change: fn() -> Request, subject: &str) {
    if !has_strace() {
        return skipped(test, "strace cannot look into processes here");
    }
    let home = Home::new(&[]);
    // Its thread's calls would be struck as well, and come when they like.
    home.configure("[audit]\nkeep = \"off\"");
    let daemon = home.start();
    for enrolled in ["acme/old", "acme/a", "acme/b", "acme/c"] {
        home.enrol(enrolled);
    }
    assert!(daemon.stop().success());
    let before = Saved::of(&home);
    let mut struck = BTreeSet::new();
    for way in [Way::Error("EIO"), Way::Error("ENOSPC"), Way::Kill] {
        for calls in CALLS {
            for nth in 1..=MOST_CALLS {
                before.put_back(&home);
                match strike(&home, calls, nth, way, change, subject) {
                    Struck::Nothing => break,
                    Struck::SomethingElse => {}
                    Struck::Save(call) => drop(struck.insert(call)),
                }
            }
        }
    }
    report(test, &struck);
    let names: BTreeSet<&str> = struck.iter().map(|call| call.split('(').next().unwrap()).collect();
    for wanted in ["openat", "write", "fsync", "rename"] {
        assert!(names.iter().any(|name| name.starts_with(wanted)), "{wanted} was never struck: {names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("link")), "no link was struck: {names:?}");
}

#[expect(clippy::print_stderr, reason = "what was struck is worth a look when the calls of a save change")]
fn report(test: &str, struck: &BTreeSet<String>) {
    eprintln!("{test}: {} different calls were struck:", struck.len());
    for call in struck {
        eprintln!("  {call}");
    }
}

/// What a strike met.
enum Struck {
    Save(String),
    /// A call that has nothing to do with the vault: what comes of that is told elsewhere.
    SomethingElse,
    /// There was no such call any more.
    Nothing,
}

/// One change with one call struck.
fn strike(home: &Home, calls: &str, nth: u32, way: Way, change: fn() -> Request, subject: &str) -> Struck {
    let daemon = home.start();
    let mut client = home.client();
    let was_there = is_there(&mut client, subject);
    let strace = Strace::attach(home, &daemon, calls, nth, way);
    let answer = client.request(&change(), PATIENCE);
    let struck = strace.struck();
    let folder = home.data_folder().display().to_string();
    if struck.as_ref().is_some_and(|call| !call.contains(&folder)) {
        daemon.kill9();
        return Struck::SomethingElse;
    }
    let told = match answer {
        Ok(Answer::Done) => Told::Done,
        Err(Error::Refused(refusal)) if refusal.code == RefusalCode::NOT_STORED => {
            Told::NotStored(refusal.message)
        }
        Err(Error::Refused(refusal)) if refusal.code == RefusalCode::NOT_CONFIRMED => Told::NotConfirmed,
        Err(Error::Connection(_) | Error::NoDaemon { .. }) => Told::Nothing,
        other => panic!("{calls} {nth} {way:?}: {other:?}"),
    };
    if let (Told::NotStored(message), Way::Error(_)) = (&told, way) {
        assert_eq!(is_there(&mut client, subject), was_there, "memory is as before: {calls} {nth} {way:?}");
        assert!(message.contains("was not stored"), "{message}");
    }
    daemon.kill9();
    let daemon = home.start();
    let is_there = is_there(&mut home.client(), subject);
    let context = format!("{calls} {nth} {way:?}: {struck:?}, told {told:?}");
    if let (Way::Error(_), Some(call)) = (way, &struck) {
        assert!(!matters(call) || !matches!(told, Told::Done), "nobody was told: {context}");
    }
    match told {
        Told::Done => assert_ne!(is_there, was_there, "it was reported as done: {context}"),
        Told::NotStored(_) => assert_eq!(is_there, was_there, "it was reported as not stored: {context}"),
        // In memory and under the vault's name it was made; only a power loss could undo it.
        Told::NotConfirmed => assert_ne!(is_there, was_there, "it was reported as made: {context}"),
        Told::Nothing => assert!(matches!(way, Way::Kill), "no answer, though nobody was killed: {context}"),
    }
    for kept in ["acme/a", "acme/b", "acme/c"] {
        assert!(self::is_there(&mut home.client(), kept), "{kept} is gone: {context}");
    }
    assert!(daemon.stop().success());
    let left = fs::read_dir(home.data_folder()).unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?} is left behind: {context}");
    struck.map_or(Struck::Nothing, Struck::Save)
}

/// What only compares the newest generation with the one before, or tidies up, may fail in silence.
fn matters(call: &str) -> bool {
    let looks_at_older = call.contains("/vault.1>") || call.contains("/vault.1\", O_RDONLY");
    !looks_at_older && !call.starts_with("unlink")
}

fn is_there(client: &mut Client, credential: &str) -> bool {
    match client.describe(&name(credential)) {
        Ok(_) => true,
        Err(Error::Refused(refusal)) if refusal.code == RefusalCode::UNKNOWN_CREDENTIAL => false,
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Error(&'static str),
    Kill,
}

#[derive(Debug)]
enum Told {
    Done,
    NotStored(String),
    NotConfirmed,
    Nothing,
}

/// The vault with its older generations, as it was before.
struct Saved(Vec<(std::ffi::OsString, Vec<u8>)>);

impl Saved {
    fn of(home: &Home) -> Self {
        let files = fs::read_dir(home.data_folder()).unwrap().flatten();
        Self(files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect())
    }

    fn put_back(&self, home: &Home) {
        for file in fs::read_dir(home.data_folder()).unwrap().flatten() {
            fs::remove_file(file.path()).unwrap();
        }
        for (file, bytes) in &self.0 {
            use std::os::unix::fs::PermissionsExt as _;
            let path = home.data_folder().join(file);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// An strace that strikes the n-th of some calls that have to do with the vault's folder.
struct Strace {
    child: Child,
    log: std::path::PathBuf,
}

impl Strace {
    fn attach(home: &Home, daemon: &Daemon, calls: &str, nth: u32, way: Way) -> Self {
        let log = home.path().join("strace");
        let _ = fs::remove_file(&log);
        let injection = match way {
            Way::Error(error) => format!("inject={calls}:error={error}:when={nth}"),
            Way::Kill => format!("inject={calls}:signal=KILL:when={nth}"),
        };
        let mut command = Command::new("strace");
        // Of one thread alone: without -f the others are neither counted nor struck.
        let thread = thread_of(daemon, "driver").to_string();
        command.args(["-q", "-y", "-p", &thread, "-e", &format!("trace={calls}")]);
        command.args(["-e", &injection, "-o"]).arg(&log).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It says so when it is there.
        let status = format!("/proc/{}/task/{}/status", daemon.pid(), thread_of(daemon, "driver"));
        while !fs::read_to_string(&status).is_ok_and(|status| {
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        }) {
            assert!(child.try_wait().unwrap().is_none(), "strace ended");
            std::thread::yield_now();
        }
        Self { child, log }
    }

    /// Ends it. The call that it struck.
    fn struck(mut self) -> Option<String> {
        use rustix::process::{Pid, Signal, kill_process};
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let mut lines =
            log.lines().map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '));
        let is_killed = log.contains("+++ killed by SIGKILL");
        let last = lines.clone().rfind(|line| line.contains('('));
        let injected = lines.find(|line| line.contains("(INJECTED)"));
        injected.or(if is_killed { last } else { None }).map(str::to_owned)
    }
}

fn thread_of(daemon: &Daemon, wanted: &str) -> i32 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
    let named = |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == wanted);
    let task = tasks.map(|task| task.path()).find(|path| named(path)).unwrap();
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn has_strace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-q", "-o", "/dev/null", "true"]);
    probe.output().is_ok_and(|output| output.status.success())
}

/// Each of these is counted by itself. What only looks is struck as well: a save that cannot see must not write.
const MOST_CALLS: u32 = 40;
const CALLS: [&str; 8] = [
    "openat",
    "read",
    "write",
    "fsync,fdatasync",
    "link,linkat",
    "rename,renameat,renameat2",
    "unlink,unlinkat",
    "statx,fstat,newfstatat,lseek",
];
