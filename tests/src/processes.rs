//! Where the real programs are; waiting for processes, and clearing them away.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long anything is waited for that should come by itself. Reached only when it does not come at all.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The path of one of the product's programs, built with the same profile as the test or benchmark that asks.
pub fn program(name: &str) -> PathBuf {
    let asks = std::env::current_exe().expect("a program knows its own path");
    let folder = asks.parent().expect("a program stands in a folder");
    // A test stands in target/PROFILE/deps, a benchmark above.
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    let path = profile.expect("target/PROFILE").join(name);
    assert!(path.is_file(), "{} is missing; build it with: cargo build --workspace", path.display());
    path
}

/// The path of an example of the client crate or of the command, built with the same profile.
pub(crate) fn example(name: &str) -> PathBuf {
    let path = program("procurify-token").with_file_name("examples").join(name);
    let build = "cargo build -p procurify-token-client -p procurify-token --examples --all-features";
    assert!(path.is_file(), "{} is missing; build it with: {build}", path.display());
    path
}

/// Waits until a process has ended, one's own child or not. Says whether it did within `limit`.
pub fn wait_for_end(pid: i32, limit: Duration) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let limit = Timespec::try_from(limit).expect("a limit of less than centuries");
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    matches!(poll(&mut ended, Some(&limit)), Ok(1..))
}

/// Sends a signal to a process that may have ended already.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// The processes whose home this is: whoever was started in it, at whatever remove.
pub(crate) fn living_in(home: &Path) -> Vec<i32> {
    let variable = [b"HOME=", home.as_os_str().as_bytes()].concat();
    let lives_here = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(lives_here).collect()
}

/// Whether [`Home::start_asleep`](crate::Home::start_asleep) works on this machine: it takes root and Linux 5.6.
pub fn has_time_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--time", "--boottime", "1", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}
