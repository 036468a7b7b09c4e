//! One user's private folders and sandbox, and what is done in them.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use procurify_sandbox::{Config, Controls, Running, Sandbox};
use procurify_token_client::{Client, Options, blocking};
use procurify_token_protocol::{Answer, BaseUrl, NewCredential, NewSlot, Request, TokenUrl};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::credentials::credential;
use crate::daemon::{Daemon, DidNotStart};
use crate::processes::{self, PATIENCE, example, program, wait_for_end};
use crate::typed::Invocation;

/// A user of this machine with nothing but a sandbox. Dropping it ends every process that lives in it, however it was
/// started, and removes its folder.
#[derive(Debug)]
pub struct Home {
    sandbox: Running,
    proxy: String,
    typed: AtomicUsize,
    folder: TempDir,
}

impl Home {
    /// A home with a sandbox of these domains, a configuration that trusts it, and neither daemon nor vault.
    pub fn new(domains: &[&str]) -> Self {
        Self::of_sandbox(Config::of(domains))
    }

    /// The same, with a sandbox of one's own making.
    pub fn of_sandbox(config: Config) -> Self {
        let sandbox = Sandbox::spawn(config).expect("a sandbox starts");
        // A socket's path may have about 100 bytes, so not below a long TMPDIR.
        let folder = tempfile::Builder::new()
            .prefix("ptt-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        let home = Self { proxy: sandbox.proxy_url(), sandbox, typed: AtomicUsize::new(0), folder };
        for folder in FOLDERS {
            make_private(&home.path().join(folder));
        }
        make_private(&home.config_folder());
        fs::write(home.ca_file(), home.sandbox.ca_pem()).expect("the CA can be written");
        home.configure("");
        home
    }

    /// Programs that are started from now on reach the network through this proxy instead of the sandbox's.
    #[must_use]
    pub fn behind(mut self, proxy: impl Into<String>) -> Self {
        self.proxy = proxy.into();
        self
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &Controls {
        &self.sandbox
    }

    /// The private folder that everything below is in; it is `HOME`, too.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where `config.toml` and the key file are.
    pub fn config_folder(&self) -> PathBuf {
        self.path().join("config/procurify-token")
    }

    /// Where the vault is.
    pub fn data_folder(&self) -> PathBuf {
        self.path().join("data/procurify-token")
    }

    /// Where the sealed tokens are, and the log of a daemon that a command started.
    pub fn state_folder(&self) -> PathBuf {
        self.path().join("state/procurify-token")
    }

    /// The folder that temporary files go to, the demo's included.
    pub fn temporary_folder(&self) -> PathBuf {
        self.path().join("tmp")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.path().join("run/procurify-token/tokend.sock")
    }

    /// The sandbox's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.path().join("sandbox-ca.pem")
    }

    /// Writes `config.toml`: `[issuer]` with the sandbox's certificate, and `rest`, which begins within `[issuer]`.
    pub fn configure(&self, rest: &str) {
        let trusting = format!("[issuer]\nextra-ca = \"{}\"\n{rest}\n", self.ca_file().display());
        fs::write(self.config_folder().join("config.toml"), trusting).expect("config.toml can be written");
    }

    /// What the daemons that [`start`](Self::start) started have written to stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// One with a daemon, and acme enrolled, which has its first token.
    #[track_caller]
    pub fn enrolled() -> (Self, Daemon) {
        let home = Self::new(&["acme"]);
        let daemon = home.start();
        home.enrol("acme");
        home.await_issued("acme", 1);
        (home, daemon)
    }

    /// Starts a daemon, and returns when it is ready.
    #[track_caller]
    pub fn start(&self) -> Daemon {
        match self.try_start() {
            Ok(daemon) => daemon,
            Err(DidNotStart { status, stderr }) => panic!("the daemon did not start ({status}):\n{stderr}"),
        }
    }

    /// Starts a daemon, or says how that failed.
    ///
    /// # Errors
    /// It ended before it was ready.
    pub fn try_start(&self) -> Result<Daemon, DidNotStart> {
        self.try_start_with(self.daemon_command())
    }

    /// The same with options, environment or wrapper of one's own: begin with
    /// [`daemon_command`](Self::daemon_command).
    ///
    /// # Errors
    /// It ended before it was ready.
    pub fn try_start_with(&self, mut command: Command) -> Result<Daemon, DidNotStart> {
        let before = self.log().len();
        let log = OpenOptions::new().append(true).create(true).open(self.log_file());
        command.stderr(log.expect("the log can be opened"));
        Daemon::start(command).map_err(|status| DidNotStart { status, stderr: self.log().split_off(before) })
    }

    /// Starts a daemon on a machine whose boot-time clock has run on for so many seconds, as after a suspend.
    #[track_caller]
    pub fn start_asleep(&self, seconds: u32) -> Daemon {
        let daemon = self.daemon_command();
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", &seconds.to_string()]).arg(daemon.get_program());
        command.env_clear().current_dir(self.path());
        command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.try_start_with(command).expect("the daemon starts in a time namespace")
    }

    /// A daemon that has not been started.
    pub fn daemon_command(&self) -> Command {
        self.program("procurify-tokend")
    }

    /// `procurify-token` with these words. It starts no daemon by itself unless
    /// `PROCURIFY_TOKEN_AUTOSTART` is removed.
    pub fn command(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Invocation {
        let mut command = self.program("procurify-token");
        command.args(words);
        self.invocation(command)
    }

    /// `/bin/sh -c SCRIPT`, with `procurify-token` in its `PATH`.
    pub fn shell(&self, script: &str) -> Invocation {
        let programs = program("procurify-token");
        let programs = programs.parent().expect("a program stands in a folder").display();
        let mut command = Command::new("/bin/sh");
        self.furnish(&mut command);
        command.env("PATH", format!("{programs}:{PATH}")).args(["-c", script]);
        self.invocation(command)
    }

    /// Where the client crate finds the daemon of this home. Without a cache: tests are about what the daemon says.
    pub fn options(&self) -> Options {
        self.caching_options().without_cache()
    }

    /// The same as programs have it.
    pub fn caching_options(&self) -> Options {
        Options::new().socket(self.socket()).deadline(PATIENCE)
    }

    /// The client crate, blocking.
    #[track_caller]
    pub fn client(&self) -> blocking::Client {
        blocking::Client::connect(&self.options()).expect("a daemon answers")
    }

    /// The client crate on tokio.
    pub async fn async_client(&self) -> Client {
        Client::connect(&self.options()).await.expect("a daemon answers")
    }

    /// Makes a vault with a key file.
    #[track_caller]
    pub fn init(&self) {
        let init = Request::Init { slots: vec![NewSlot::KeyFile] };
        let answer = self.client().request(&init, PATIENCE);
        assert!(matches!(answer, Ok(Answer::Initialised { .. })), "{answer:?}");
    }

    /// Enrols a credential as the sandbox has it, making the vault where there is none. Nobody waits for its token.
    #[track_caller]
    pub fn enrol(&self, name: &str) {
        self.add(credential(name));
    }

    /// The same at the sandbox's address without TLS, for programs that speak none.
    #[track_caller]
    pub fn enrol_plainly(&self, name: &str) {
        let base = self.sandbox.plain_base_url(crate::name(name).domain().as_str());
        let base_url: BaseUrl = base.parse().expect("a base URL");
        let token_url = TokenUrl::below(&base_url);
        self.add(NewCredential { base_url, token_url, ..credential(name) });
    }

    /// Enrols a credential, making the vault where there is none. Nobody waits for its token.
    #[track_caller]
    pub fn add(&self, credential: NewCredential) {
        if !self.data_folder().join("vault").exists() {
            self.init();
        }
        let answer = self.client().request(&Request::Add(Box::new(credential)), PATIENCE);
        assert!(matches!(answer, Ok(Answer::Done)), "{answer:?}");
    }

    /// Waits until the sandbox has issued this many tokens for a domain.
    #[track_caller]
    pub fn await_issued(&self, domain: &str, count: u64) {
        self.await_ledger(|tally| tally.issued >= count, domain);
    }

    /// Waits until the sandbox has been asked this often for a token for a domain.
    #[track_caller]
    pub fn await_token_requests(&self, domain: &str, count: u64) {
        self.await_ledger(|tally| tally.token_requests >= count, domain);
    }

    /// The processes that live in this home.
    pub fn processes(&self) -> Vec<i32> {
        processes::living_in(self.path())
    }

    #[track_caller]
    fn await_ledger(&self, enough: impl Fn(procurify_sandbox::Tally) -> bool, domain: &str) {
        let ledger = self.sandbox.ledger();
        assert!(
            ledger.wait_for(PATIENCE, |book| enough(book.tally(domain))),
            "the ledger of {domain} stands still: {:#?}",
            ledger.tally(domain)
        );
    }

    /// One of the command's examples: the program that writes man pages and completions.
    pub fn documents(&self, folder: &Path) -> Invocation {
        let mut command = Command::new(example("documents"));
        self.furnish(&mut command);
        command.arg(folder);
        self.invocation(command)
    }

    /// One of the client crate's examples, with these words and without a proxy, which the sandbox's plain address needs none of.
    pub fn example(&self, name: &str, words: &[&str]) -> Invocation {
        let mut command = Command::new(example(name));
        self.furnish(&mut command);
        command.args(words).env_remove("HTTPS_PROXY");
        self.invocation(command)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        self.furnish(&mut command);
        command
    }

    fn furnish(&self, command: &mut Command) {
        command.env_clear().current_dir(self.path());
        command.env("HOME", self.path()).env("TMPDIR", self.temporary_folder());
        for (variable, folder) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            command.env(variable, self.path().join(folder));
        }
        command.env("PATH", PATH).env("HTTPS_PROXY", &self.proxy);
        command.env("PROCURIFY_TOKEN_AUTOSTART", "never");
    }

    fn invocation(&self, command: Command) -> Invocation {
        let number = self.typed.fetch_add(1, Ordering::Relaxed);
        Invocation::new(command, self.path().join(format!("typed/{number:04}")))
    }

    fn log_file(&self) -> PathBuf {
        self.path().join("tokend.log")
    }
}

impl Drop for Home {
    #[expect(clippy::print_stderr, reason = "a failed test should show what the daemon said")]
    fn drop(&mut self) {
        // Until nobody is left: one that is killed may just have started another.
        for _ in 0..10 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for pid in left {
                processes::signal(pid, Signal::KILL);
                wait_for_end(pid, Duration::from_secs(5));
            }
        }
        if std::thread::panicking() {
            let started = fs::read_to_string(self.state_folder().join("tokend.log")).unwrap_or_default();
            for (whose, log) in [("test", self.log()), ("command", started)] {
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
                eprintln!("the last lines of the daemons that the {whose} started:\n{last}");
            }
        }
    }
}

/// Makes a folder that only its owner may enter, with those above it.
fn make_private(folder: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).expect("a private folder");
    let opened = File::open(folder).and_then(|folder| folder.metadata()).expect("a folder");
    assert_eq!(opened.permissions().mode() & 0o777, 0o700, "{}", folder.display());
}

const FOLDERS: [&str; 7] = ["config", "data", "state", "cache", "run", "tmp", "typed"];
const LINES_SHOWN: usize = 40;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
