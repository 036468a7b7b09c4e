//! A person at a terminal: a pseudo-terminal of some size, what appears on it, and what is typed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
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

/// What is typed once something stands on the screen.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// To this question of ours: a line.
    Line(&'a str, &'a str),
    /// Behind this text of anybody's: keys, without the one that ends a line.
    Keys(&'a str, &'a str),
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

/// Types a command at a terminal as wide as a page, and each answer when it is time for it.
#[track_caller]
pub(crate) fn run(typed: &Command, answers: &[Answer<'_>]) -> Screen {
    let mut terminal = Terminal::of(typed, PAGE);
    for answer in answers {
        match answer {
            Answer::Line(question, text) => terminal.shows(question).types(&format!("{text}\r")),
            Answer::Keys(text, keys) => terminal.shows(text).types_at_once(keys),
        };
    }
    terminal.ends()
}

impl Terminal {
    /// Types `procurify-token` with these words at a terminal of so many columns and rows, with more in its environment.
    pub fn open(home: &Home, words: &[&str], size: (u16, u16), environment: &[(&str, &str)]) -> Self {
        let own = home.daemon_command();
        let mut typed = Command::new(program("procurify-token"));
        typed.args(words).env_clear().current_dir(home.path());
        typed.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        typed.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").envs(environment.iter().copied());
        Self::of(&typed, size)
    }

    /// The same with a command that is ready.
    pub(crate) fn of(typed: &Command, (columns, rows): (u16, u16)) -> Self {
        // Tests run side by side: no other's command may hold this one's terminal open.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("the pseudo-terminal is ours");
        tcsetwinsize(&master, size(columns, rows)).expect("a size");
        let terminal = ioctl_tiocgptpeer(&master, flags).expect("its other end");
        // It becomes the command, in a session of its own.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(typed.get_program()).args(typed.get_args()).env_clear();
        command.envs(typed.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = typed.get_current_dir() {
            command.current_dir(folder);
        }
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

/// Columns and rows.
const PAGE: (u16, u16) = (120, 50);
/// In how many pieces what is waited for may appear.
const MOST_PIECES: usize = 120;
