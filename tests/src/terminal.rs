//! A person at a terminal: a pseudo-terminal of some size, what appears on it, and what is typed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::home::Home;
use crate::processes::{self, PATIENCE, program};

/// A command line that was typed at a terminal and has not ended.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    screen: Vec<u8>,
    /// How much of the screen was waited for by now.
    read: usize,
}

/// What was seen on the screen from first to last, and how the command ended.
#[derive(Debug)]
pub struct Screen {
    /// Everything, escape sequences included.
    pub text: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// That signal.
    pub signal: Option<i32>,
    /// Whether the terminal shows what is typed, as it did before.
    pub echoes: bool,
}

impl Terminal {
    /// Types `procurify-token` with these words at a terminal of so many columns and rows, with more in its environment.
    pub fn open(
        home: &Home,
        words: &[&str],
        (columns, rows): (u16, u16),
        environment: &[(&str, &str)],
    ) -> Self {
        let mut own = home.daemon_command();
        own.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").envs(environment.iter().copied());
        Self::of(&own, &program("procurify-token"), words, (columns, rows))
    }

    /// The same with any program, in the folder and the environment of a command.
    pub(crate) fn of(
        own: &Command,
        program: &Path,
        words: &[impl AsRef<OsStr>],
        (columns, rows): (u16, u16),
    ) -> Self {
        // Tests run side by side: no other's command may hold this one's terminal open.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("the pseudo-terminal is ours");
        tcsetwinsize(&master, size(columns, rows)).expect("a size");
        let terminal = ioctl_tiocgptpeer(&master, flags).expect("its other end");
        // It becomes the command, in a session of its own.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program).args(words).env_clear();
        own.get_current_dir().map(|folder| command.current_dir(folder));
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid can be run");
        // The command keeps copies of the ends; with these gone too, the screen goes dark when it ends.
        Self { master: File::from(master), child, screen: Vec::new(), read: 0 }
    }

    /// Waits until this appears, behind what was waited for before.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> &mut Self {
        // What is drawn anew each second would never fall silent.
        for _ in 0..MOST_PIECES {
            let found = find(&self.screen[self.read..], text.as_bytes());
            if let Some(at) = found {
                self.read += at + text.len();
                return self;
            }
            assert!(self.more(), "it ended before it showed {text:?}: {}", self.text());
        }
        panic!("{text:?} is not shown: {}", self.text());
    }

    /// Types, as soon as what is typed is no longer shown.
    #[track_caller]
    pub fn types(&mut self, keys: &str) -> &mut Self {
        // A person begins to type when the question stands there; this one waits the blink that the terminal needs.
        while self.echoes() {
            std::thread::yield_now();
        }
        self.types_at_once(keys)
    }

    /// Types, whether or not anybody asks.
    #[track_caller]
    pub fn types_at_once(&mut self, keys: &str) -> &mut Self {
        self.master.write_all(keys.as_bytes()).expect("a terminal takes what is typed");
        self
    }

    /// Gives it another size.
    pub fn resize(&mut self, columns: u16, rows: u16) -> &mut Self {
        tcsetwinsize(&self.master, size(columns, rows)).expect("a size");
        self
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) -> &mut Self {
        processes::signal(i32::try_from(self.child.id()).expect("a pid fits into pid_t"), signal);
        self
    }

    /// What has appeared so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen).into_owned()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn ends(&mut self) -> Screen {
        while self.more() {}
        let status = self.child.wait().expect("a child can be waited for");
        Screen { text: self.text(), code: status.code(), signal: status.signal(), echoes: self.echoes() }
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.master).expect("a terminal's modes").local_modes.contains(LocalModes::ECHO)
    }

    /// Reads what has appeared; false at the end.
    #[track_caller]
    fn more(&mut self) -> bool {
        let limit = Timespec::try_from(PATIENCE).expect("a limit of less than centuries");
        let mut readable = [PollFd::new(&self.master, PollFlags::IN)];
        assert_eq!(poll(&mut readable, Some(&limit)), Ok(1), "nothing more appears: {}", self.text());
        let mut chunk = [0; 4096];
        // The other end is gone: EIO on Linux.
        let count = self.master.read(&mut chunk).unwrap_or(0);
        self.screen.extend(&chunk[..count]);
        count > 0
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// In how many pieces what is waited for may appear.
const MOST_PIECES: usize = 2000;
