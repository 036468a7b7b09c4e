//! Somebody who types at a terminal: a pseudo-terminal, and answers given when they are asked for.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::processes::PATIENCE;

/// What is typed once something stands on the screen.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// To this question: a line that the terminal shows.
    Shown(&'a str, &'a str),
    /// To this question: a line that is not shown, once the terminal no longer does.
    Hidden(&'a str, &'a str),
    /// Behind this text: keys, without the one that ends a line.
    Keys(&'a str, &'a str),
}

/// What is seen on the screen, and how the command ended.
#[derive(Clone, Debug)]
pub struct Screen {
    /// Everything that appeared, as it came.
    pub text: Vec<u8>,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
}

impl Screen {
    /// What appeared, as text.
    pub fn shown(&self) -> String {
        shown(&self.text)
    }
}

/// Runs a command at a terminal of its own, as wide as a page, and types each answer when it is time for it.
#[track_caller]
pub(crate) fn run(typed: &Command, answers: &[Answer<'_>]) -> Screen {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("a pseudo-terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("the pseudo-terminal is ours");
    let terminal = ioctl_tiocgptpeer(&master, flags).expect("its other end");
    let size = Winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).expect("a terminal has a size");
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg("--wait").arg(typed.get_program()).args(typed.get_args()).env_clear();
    command.envs(typed.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = typed.get_current_dir() {
        command.current_dir(folder);
    }
    let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid can be run");
    // It keeps copies of the ends; with these gone too, the screen goes dark when the command ends.
    drop((command, terminal));

    let mut screen = Vec::new();
    let mut master = File::from(master);
    for answer in answers {
        let (question, text) = match answer {
            Answer::Shown(question, text) | Answer::Hidden(question, text) => (question, format!("{text}\r")),
            Answer::Keys(question, keys) => (question, (*keys).to_owned()),
        };
        let asked_from = screen.len();
        while !contains(&screen[asked_from..], question.as_bytes()) {
            let goes_on = more(&mut master, &mut screen);
            assert!(goes_on, "it ended before it asked {question:?}: {}", shown(&screen));
        }
        if matches!(answer, Answer::Hidden(..)) {
            // A person begins to type when the question stands there; this one waits the blink that the terminal needs.
            while tcgetattr(&master).expect("a terminal's modes").local_modes.contains(LocalModes::ECHO) {
                std::thread::yield_now();
            }
        }
        master.write_all(text.as_bytes()).expect("a terminal takes what is typed");
    }
    while more(&mut master, &mut screen) {}
    Screen { text: screen, code: child.wait().expect("a child can be waited for").code() }
}

/// Reads what has appeared; false at the end.
#[track_caller]
fn more(master: &mut File, screen: &mut Vec<u8>) -> bool {
    let limit = Timespec::try_from(PATIENCE).expect("a limit of less than centuries");
    let readable = master.as_fd();
    assert_eq!(
        poll(&mut [PollFd::new(&readable, PollFlags::IN)], Some(&limit)),
        Ok(1),
        "nothing more appears: {}",
        shown(screen)
    );
    let mut chunk = [0; 4096];
    // The other end is gone: EIO on Linux.
    let count = master.read(&mut chunk).unwrap_or(0);
    screen.extend(&chunk[..count]);
    count > 0
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

fn shown(screen: &[u8]) -> String {
    String::from_utf8_lossy(screen).into_owned()
}
