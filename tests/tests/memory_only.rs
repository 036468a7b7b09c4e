//! A `get` whose token is in memory does no disk and no network I/O in the daemon, where no audit records are kept: the kernel is asked,
//! by `strace`. Where they are, one thread writes them beside that.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::{Daemon, Home, PATIENCE, credential, name, protocol, skipped, wait_for_end};
use protocol::{Answer, Request};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_get_from_memory_touches_the_callers_socket_and_nothing_else() {
    const GETS: usize = 100;
    let home = Home::new(&["acme"]);
    home.configure("[audit]\nkeep = \"off\"");
    let daemon = home.start();
    home.enrol("acme");
    let mut client = home.client();
    client.token(&name("acme")).unwrap();

    let Some(strace) = Strace::attach(&daemon, &home.path().join("gets.strace")) else {
        return skipped(
            "a_get_from_memory_touches_the_callers_socket_and_nothing_else",
            "strace cannot attach",
        );
    };
    // One more than is counted: strace may let go in the middle of the last one.
    for _ in 0..=GETS {
        client.token(&name("acme")).unwrap();
    }
    let calls = strace.detach();

    let replies = calls.iter().filter(|call| call.is_send() && call.is_to_a_caller()).count();
    assert!(replies >= GETS, "the trace saw only {replies} replies");
    let others: BTreeSet<_> = calls
        .iter()
        .filter(|call| !(call.is_waiting() || call.is_to_a_caller()))
        .map(|call| &call.0)
        .collect();
    assert_eq!(others, BTreeSet::new(), "calls to the system that a get from memory has no need of");
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 1);

    the_same_trace_shows_disk_and_network(&home, &daemon, &mut client);
}

/// Or else the silence above would prove nothing.
fn the_same_trace_shows_disk_and_network(home: &Home, daemon: &Daemon, client: &mut Client) {
    let strace = Strace::attach(daemon, &home.path().join("add.strace")).expect("strace attached before");
    let add = Request::Add(Box::new(credential("acme/second")));
    assert!(matches!(client.request(&add, PATIENCE), Ok(Answer::Done)));
    client.token(&name("acme/second")).expect("a token");
    let calls = strace.detach();
    for expected in ["fsync(", "rename", "connect("] {
        assert!(calls.iter().any(|call| call.0.starts_with(expected)), "{expected} is not in the trace");
    }
}

struct Strace {
    child: Child,
    output: std::path::PathBuf,
}

/// One line of the trace without its process id.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Call(String);

impl Strace {
    /// `None` where there is no strace, or where it may not attach.
    fn attach(daemon: &Daemon, output: &Path) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-yy", "-s", "0", "-o"]).arg(output).args(["-p", &daemon.pid().to_string()]);
        let mut child = strace.stderr(Stdio::piped()).spawn().ok()?;
        let mut said = BufReader::new(child.stderr.take()?);
        let mut line = String::new();
        said.read_line(&mut line).ok()?;
        if !line.contains("attached") {
            child.wait().ok()?;
            return None;
        }
        // It goes on talking when it detaches.
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(drop));
        Some(Self { child, output: output.to_owned() })
    }

    fn detach(mut self) -> Vec<Call> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("strace runs");
        assert!(wait_for_end(pid.as_raw_nonzero().get(), PATIENCE), "strace does not detach");
        self.child.wait().expect("a child can be waited for");
        let trace = std::fs::read_to_string(&self.output).expect("the trace was written");
        let calls = trace.lines().filter_map(|line| line.split_once(' ')).map(|(_, call)| call.trim());
        // The second half of a call that another thread interrupted names nothing new.
        let calls = calls.filter(|call| !call.starts_with("<...") && !call.contains("<detached"));
        calls.map(|call| Call(call.to_owned())).collect()
    }
}

impl Call {
    /// Waiting for events, telling the time, waking another thread, and memory.
    fn is_waiting(&self) -> bool {
        let name = self.0.split('(').next().unwrap_or_default();
        let without_descriptor = self.0.contains("MAP_ANONYMOUS");
        match name {
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "futex" | "clock_gettime" | "sched_yield"
            | "restart_syscall" | "madvise" | "munmap" | "mremap" | "brk" | "getrandom"
            | "rt_sigprocmask" => true,
            "mmap" => without_descriptor,
            // A thread that wakes another's event loop.
            "write" | "read" => self.0.contains("<anon_inode:[eventfd]>"),
            _ => false,
        }
    }

    fn is_send(&self) -> bool {
        ["sendto(", "sendmsg(", "write(", "writev("].iter().any(|call| self.0.starts_with(call))
    }

    /// A call about a connected socket of the daemon's own endpoint: `sendto(11<UNIX-STREAM:[1->2, "…/tokend.sock"]>`.
    fn is_to_a_caller(&self) -> bool {
        let is_about_a_stream =
            ["recvfrom(", "recvmsg(", "read(", "readv("].iter().any(|call| self.0.starts_with(call))
                || self.is_send();
        let descriptor = self.0.split_once('(').map_or("", |(_, arguments)| arguments);
        let descriptor = descriptor.split(',').next().unwrap_or_default();
        is_about_a_stream && descriptor.contains("<UNIX-STREAM:[")
    }
}
