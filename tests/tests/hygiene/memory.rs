//! The memory of a running daemon, read as root reads it (`/proc/PID/mem`, what a debugger or a core file would show), and
//! searched for planted secrets.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

/// Everything in a process's memory that can be read.
pub(crate) struct Image {
    parts: Vec<(String, Vec<u8>)>,
}

impl Image {
    /// Stops the process for as long as it is read, so that the image is of one moment. What the process keeps out of core
    /// files is left out as a debugger's `gcore` leaves it out, unless it is asked for.
    pub(crate) fn of(pid: i32, with_undumped: bool) -> Self {
        let stopped = Stopped::new(pid);
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let is_head = |line: &&str| line.split_once(' ').is_some_and(|(range, _)| range.contains('-'));
        let heads = maps.lines().filter(is_head);
        let flags = maps.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
        let is_wanted = |flags: &str| with_undumped || !flags.split_whitespace().any(|flag| flag == "dd");
        let wanted = heads.zip(flags).filter(|(_, flags)| is_wanted(flags));
        let parts = wanted.filter_map(|(head, _)| part(&memory, head)).collect();
        drop(stopped);
        Self { parts }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Where something is found: the mappings, by the names that the kernel gives them.
    pub(crate) fn places(&self, find: impl Fn(&[u8]) -> Vec<String>) -> Vec<String> {
        let found = self
            .parts
            .iter()
            .flat_map(|(name, bytes)| find(bytes).into_iter().map(move |what| format!("{what} in {name}")));
        found.collect()
    }
}

/// A readable mapping. What the kernel itself keeps from root, secret memory and its own pages, is no part of the image.
fn part(memory: &File, line: &str) -> Option<(String, Vec<u8>)> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let is_readable = words.next()?.starts_with('r');
    let name = words.nth(3).unwrap_or("anonymous memory").to_owned();
    let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
    let mut bytes = vec![0; usize::try_from(to - from).ok()?];
    let is_read = is_readable && memory.read_exact_at(&mut bytes, from).is_ok();
    is_read.then_some((name, bytes))
}

struct Stopped(rustix::process::Pid);

impl Stopped {
    fn new(pid: i32) -> Self {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        // It is stopped once the kernel says so, of every thread.
        while !fs::read_dir(format!("/proc/{pid}/task", pid = pid.as_raw_nonzero())).unwrap().flatten().all(
            |task| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
            },
        ) {
            std::thread::yield_now();
        }
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        rustix::process::kill_process(self.0, rustix::process::Signal::CONT).unwrap();
    }
}
