//! The product: a home with tokens in it, its daemon, and the command as it is packaged.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use procurify_token_bench::{furnish, timed};
use procurify_token_protocol::{CredentialName, Request, codec};
use procurify_token_tests::{Home, PATIENCE, name, program};

use crate::load::{Exchange, connect};

/// A home with so many credentials and a token for each.
pub(crate) struct House {
    pub(crate) home: Home,
    pub(crate) names: Vec<CredentialName>,
}

impl House {
    pub(crate) fn new(credentials: usize) -> Self {
        let home = Home::new(&["acme"]);
        let names: Vec<_> = (0..credentials)
            .map(|n| if n == 0 { name("acme") } else { name(&format!("domain-{n:06}")) })
            .collect();
        furnish(&home, &names);
        Self { home, names }
    }

    /// A daemon that has said `ready`.
    pub(crate) fn start(&self) -> Tokend {
        let mut command = self.installed("procurify-tokend");
        command.arg("--announce-ready").stdin(Stdio::null()).stdout(Stdio::piped());
        let log = fs::File::options().append(true).create(true).open(self.home.path().join("log"));
        let mut child = command.stderr(log.expect("a log")).spawn().expect("it can be run");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("it speaks");
        assert_eq!(
            line,
            "ready\n",
            "{}",
            fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
        );
        Tokend(child)
    }

    /// `procurify-token get acme`.
    pub(crate) fn get(&self) -> Command {
        let mut command = self.installed("procurify-token");
        command.args(["get", "acme"]);
        command
    }

    /// A program as it is packaged, where it was built, in a copy as installing makes one: pages that a linker wrote here and there
    /// are slower to come by than those of a file that was written from its beginning to its end.
    fn installed(&self, name: &str) -> Command {
        let copy = self.home.path().join(name);
        if !copy.exists() {
            let built = packaged_program(name).unwrap_or_else(|| program(name));
            fs::copy(built, &copy).expect("there is room for it");
        }
        let like = self.home.daemon_command();
        let mut command = Command::new(copy);
        command.env_clear().envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// The frame that asks for a token.
    pub(crate) fn request(name: &CredentialName) -> Vec<u8> {
        let get = Request::Get { name: name.clone(), min_ttl: Duration::ZERO, deadline: PATIENCE };
        codec::encode_request(1, &get).expect("it fits").to_vec()
    }

    /// A `get` on the daemon's socket.
    pub(crate) fn exchange(&self, name: &CredentialName) -> Exchange {
        let request = Self::request(name);
        let socket = self.home.socket();
        let mut stream = connect(&socket);
        stream.write_all(&request).expect("it takes requests");
        let mut head = [0; 4];
        stream.read_exact(&mut head).expect("it answers");
        let answer = head.len() + u32::from_le_bytes(head) as usize;
        assert!(answer > 1000, "a token was asked for");
        Exchange { socket, request, answer }
    }
}

/// A daemon that runs.
pub(crate) struct Tokend(Child);

impl Tokend {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a service manager does.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.0.wait().expect("it is a child").success());
    }

    /// What no other process shares, in kB.
    pub(crate) fn private_memory(&self) -> f64 {
        let rollup =
            fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("Linux, as root");
        rollup.lines().filter(|line| line.starts_with("Private_")).map(number_in).sum()
    }

    /// How often its threads were put to sleep or pushed aside so far.
    pub(crate) fn switches(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let status =
            |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let counts = |status: String| -> f64 {
            status.lines().filter(|line| line.contains("ctxt_switches")).map(number_in).sum()
        };
        threads.flatten().map(status).map(counts).sum()
    }
}

impl Drop for Tokend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end with a text on its stdin, as a script does that wants its output.
pub(crate) fn run(command: &mut Command, stdin: &str) -> (Vec<u8>, Duration) {
    command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    timed(|| {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        if let Some(mut input) = child.stdin.take() {
            input.write_all(stdin.as_bytes()).expect("it reads");
        }
        let mut output = Vec::with_capacity(4096);
        child.stdout.take().expect("it is a pipe").read_to_end(&mut output).expect("it can be read");
        child.wait().expect("it is a child");
        output
    })
}

/// Whether the programs are as `packaging/build` makes them.
pub(crate) fn are_packaged() -> bool {
    packaged_program("procurify-token").is_some() && packaged_program("procurify-tokend").is_some()
}

fn packaged_program(name: &str) -> Option<PathBuf> {
    let release = program(name);
    let built = release.parent().and_then(Path::parent)?.join("dist").join(name);
    built.is_file().then_some(built)
}

fn number_in(line: &str) -> f64 {
    line.split_whitespace().find_map(|word| word.parse().ok()).expect("there is a number in it")
}
