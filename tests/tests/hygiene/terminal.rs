//! Somebody who types at a terminal: a pseudo-terminal, and answers given when they are asked for.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use procurify_token_tests::{Home, PATIENCE, program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// What is seen on the screen, and how the command ended.
pub(crate) struct Screen {
    pub(crate) text: Vec<u8>,
    pub(crate) code: Option<i32>,
}

/// Types a command line, and each answer once its question stands there and what is typed is no longer shown.
pub(crate) fn typed_in(home: &Home, words: &[&str], answers: &[(&str, &str)]) -> Screen {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("a pseudo-terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("the pseudo-terminal is ours");
    let terminal = ioctl_tiocgptpeer(&master, flags).expect("its other end");
    let own = home.daemon_command();
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg("--wait").arg(program("procurify-token")).args(words);
    command.env_clear().current_dir(home.path());
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid can be run");
    // It keeps copies of the ends; with these gone too, the screen goes dark when the command ends.
    drop((command, terminal));

    let mut screen = Vec::new();
    let mut master = File::from(master);
    for (question, answer) in answers {
        let asked_from = screen.len();
        while !contains(&screen[asked_from..], question.as_bytes()) {
            assert!(
                more(&mut master, &mut screen),
                "it ended before it asked {question:?}: {}",
                shown(&screen)
            );
        }
        // A person begins to type when the question stands there; this one waits the blink that the terminal needs.
        while tcgetattr(&master).expect("a terminal's modes").local_modes.contains(LocalModes::ECHO) {
            std::thread::yield_now();
        }
        master.write_all(format!("{answer}\r").as_bytes()).expect("a terminal takes what is typed");
    }
    while more(&mut master, &mut screen) {}
    Screen { text: screen, code: child.wait().expect("a child can be waited for").code() }
}

/// Reads what has appeared; false at the end.
fn more(master: &mut File, screen: &mut Vec<u8>) -> bool {
    let limit = Timespec::try_from(PATIENCE).expect("a limit of less than centuries");
    let mut readable = [PollFd::new(master, PollFlags::IN)];
    assert_eq!(poll(&mut readable, Some(&limit)), Ok(1), "nothing more appears: {}", shown(screen));
    let mut chunk = [0; 4096];
    // The other end is gone: EIO on Linux.
    let count = master.read(&mut chunk).unwrap_or(0);
    screen.extend(&chunk[..count]);
    count > 0
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn shown(screen: &[u8]) -> String {
    String::from_utf8_lossy(screen).into_owned()
}
