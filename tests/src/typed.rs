//! A command line that is typed, and what comes of it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::processes::{PATIENCE, wait_for_end};
use crate::terminal::{Screen, Terminal};

/// A command line that is about to be typed.
#[derive(Debug)]
pub struct Invocation {
    command: Command,
    stdin: Option<Vec<u8>>,
    /// Where its output is kept, without `.stdout` and `.stderr`.
    kept: PathBuf,
}

/// What is typed at a terminal once something stands there.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// To this question of ours: a line, once the terminal no longer shows what is typed.
    Line(&'a str, &'a str),
    /// Behind this text: keys, without the one that ends a line.
    Keys(&'a str, &'a str),
}

/// What came of a command line.
#[derive(Clone, Debug)]
pub struct Typed {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
}

impl Invocation {
    pub(crate) fn new(command: Command, kept: PathBuf) -> Self {
        Self { command, stdin: None, kept }
    }

    /// With this on its stdin, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    /// With this variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without this variable.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Another program instead, found in `PATH`, in the same environment.
    #[must_use]
    pub fn instead<A: AsRef<OsStr>>(mut self, program: &str, words: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(program);
        command.args(words).env_clear();
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        self.command = command;
        self
    }

    /// Types it and waits for its end.
    pub fn run(self) -> Typed {
        let kept = self.kept.clone();
        let mut child = self.spawn();
        let pid = i32::try_from(child.id()).expect("a pid fits into pid_t");
        if !wait_for_end(pid, PATIENCE) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("this command line does not end; its output is {}.*", kept.display());
        }
        let code = child.wait().expect("a child can be waited for").code();
        let read = |extension| {
            let bytes = fs::read(kept.with_extension(extension)).expect("its output was kept");
            String::from_utf8(bytes).expect("its output is text")
        };
        Typed { code, stdout: read("stdout"), stderr: read("stderr") }
    }

    /// The command itself, for a test that listens to what it prints meanwhile.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Types it at a terminal, and each answer when it is asked for.
    #[track_caller]
    pub fn at_terminal(self, answers: &[Answer<'_>]) -> Screen {
        let (command, words) = (&self.command, self.command.get_args().collect::<Vec<_>>());
        let mut terminal = Terminal::of(command, Path::new(command.get_program()), &words, WIDE);
        for answer in answers {
            match answer {
                Answer::Line(question, line) => terminal.shows(question).types(&format!("{line}\r")),
                Answer::Keys(text, keys) => terminal.shows(text).types_at_once(keys),
            };
        }
        terminal.ends()
    }

    /// Types it and does not wait. Its output goes to files below the home, so that nobody has to read it meanwhile.
    pub fn spawn(mut self) -> Child {
        let file = |extension| File::create(self.kept.with_extension(extension)).expect("output can be kept");
        self.command.stdout(file("stdout")).stderr(file("stderr"));
        self.command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.command.spawn().expect("the program can be run");
        if let (Some(text), Some(mut stdin)) = (self.stdin, child.stdin.take()) {
            // A command that does not read it says so itself. What is longer than a pipe would need a thread.
            let _ = stdin.write_all(&text);
        }
        child
    }
}

#[expect(clippy::return_self_not_must_use, reason = "they assert, which is often all that is wanted")]
impl Typed {
    /// The same, after it has been made sure that it ended with 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    /// The same, after it has been made sure that it ended with this code, with nothing on stdout and a message on
    /// stderr.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> Self {
        let typed = self.ends_with(code);
        assert_eq!(typed.stdout, "", "a failure leaves stdout empty: {typed:#?}");
        assert!(typed.stderr.starts_with("procurify-token: ") || code == 2, "it says who failed: {typed:#?}");
        typed
    }

    /// The same, after it has been made sure that it ended with this code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The same, after it has been made sure that stderr has all of these in it.
    #[track_caller]
    pub fn saying(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not on stderr: {self:#?}");
        }
        self
    }

    /// The same, after it has been made sure that stdout has all of these in it.
    #[track_caller]
    pub fn showing(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "{part:?} is not on stdout: {self:#?}");
        }
        self
    }

    /// Its stdout, read as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("stdout is not JSON ({error}): {self:#?}"),
        }
    }

    /// Its stdout without the line end.
    pub fn line(&self) -> &str {
        self.stdout.trim_end()
    }
}

/// Columns and rows of a terminal where nothing that is shown is folded.
const WIDE: (u16, u16) = (250, 50);
