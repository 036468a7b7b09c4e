//! A token in a file: whole at any moment, as private as was asked for, and fresh for as long as it is followed.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use procurify_token_tests::sandbox::{Fault, Knobs, RetryAfter};
use procurify_token_tests::{Daemon, Home, PATIENCE, wait_for_end};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_file_is_written_once_in_any_form() {
    let (home, _daemon) = enrolled();
    let path = home.path().join("token");
    for (form, mode) in [("", ""), ("--header", "0640"), ("--env", "0400"), ("--curl-config", "0660")] {
        let printed = home.shell(&format!("procurify-token get acme {form}")).run().succeeds().stdout;
        let option = if mode.is_empty() { String::new() } else { format!("--mode {mode}") };
        let script = format!("umask 077; procurify-token get acme {form} --file token {option}");
        let typed = home.shell(&script).run().succeeds();
        assert_eq!((typed.stdout.as_str(), typed.stderr.as_str()), ("", ""));
        assert_eq!(fs::read_to_string(&path).expect("it is there"), printed);
        let expected = u32::from_str_radix(if mode.is_empty() { "600" } else { mode }, 8).expect("octal");
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o7777, expected);
    }
    for wrong in [
        &["--mode", "0640"][..],
        &["--file", "token", "--mode", "0644"],
        &["--follow"],
        &["--file", "token", "--on-change", "true"],
        &["globex", "--file", "token"],
    ] {
        home.command([&["get", "acme"], wrong].concat()).run().fails_with(2);
    }
    home.command(["get", "hooli", "--file", "other"]).run().fails_with(5);
    assert!(!home.path().join("other").exists());
}

#[test]
fn a_place_that_others_may_change_is_refused() {
    let (home, _daemon) = enrolled();
    let open = home.path().join("open");
    fs::create_dir(&open).expect("a folder");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("it is ours");
    fs::write(home.path().join("target"), "old").expect("a file");
    symlink("target", home.path().join("link")).expect("a link");
    for follow in [&[][..], &["--follow"]] {
        for (path, why, hint) in [
            ("open/token", "others may write in the folder", "hint: chmod go-w"),
            ("link", "symbolic link", "hint: name what it leads to"),
            ("open", "something else than a file", "hint: "),
            ("nowhere/token", "there is no folder", "hint: mkdir"),
        ] {
            let words = [&["get", "acme", "--file", path], follow].concat();
            home.command(words).run().fails_with(1).saying(&[path, why, hint]);
        }
    }
    assert_eq!(fs::read_to_string(home.path().join("target")).expect("it is there"), "old");
    assert_eq!(fs::read_dir(&open).expect("a folder").count(), 0);
}

#[test]
fn a_followed_file_has_each_new_token_and_is_never_half_written() {
    let (home, _daemon) = enrolled();
    let mut follower =
        Follower::of(&home, &["--on-change", "echo $PROCURIFY_TOKEN_NAME $PROCURIFY_TOKEN_FILE >> changes"]);
    follower.writes();
    let path = home.path().join("token");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&path).expect("it is always there");
                assert!(
                    text.starts_with("eyJ") && text.ends_with('\n') && text.lines().count() == 1,
                    "{text:?}"
                );
                if seen.last() != Some(&text) {
                    seen.push(text);
                }
            }
            seen
        });
        for _ in 0..10 {
            home.command(["refresh", "acme"]).run().succeeds();
            follower.writes();
            let current = home.command(["get", "acme"]).run().succeeds().stdout;
            assert_eq!(fs::read_to_string(&path).expect("it is there"), current);
        }
        is_over.store(true, Ordering::Relaxed);
        let seen = reader.join().expect("the reader saw whole tokens only");
        assert!(seen.len() > 1, "it was read while it changed");
    });
    follower.end_by(Signal::TERM);
    let changes = fs::read_to_string(home.path().join("changes")).expect("it was run");
    let told = format!("acme {}", path.display());
    assert!(changes.lines().count() > 1 && changes.lines().all(|line| line == told), "{changes}");
    let names: Vec<_> = fs::read_dir(home.path())
        .expect("a folder")
        .map(|entry| entry.expect("a file").file_name())
        .collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".token")), "{names:?}");
}

#[test]
fn a_follower_goes_on_over_a_restart_of_the_daemon_and_says_when_the_token_has_ended() {
    let (home, daemon) = enrolled();
    let mut follower = Follower::of(&home, &[]);
    follower.writes();
    let first = fs::read_to_string(home.path().join("token")).expect("it is there");
    daemon.kill9();
    follower.says_at_last(&["warning: ", "has token", "until", "no procurify-tokend answers"]);
    let _daemon = home.start();
    home.command(["refresh", "acme"]).run().succeeds();
    follower.writes();
    assert_ne!(fs::read_to_string(home.path().join("token")).expect("it is there"), first);

    home.sandbox().set("acme", Knobs::failing(later())).expect("a knob");
    let current = home.command(["get", "acme", "--json"]).run().succeeds().json();
    let fingerprint = current["fingerprint"].as_str().expect("it has one");
    home.command(["invalidate", "acme", "--fingerprint", fingerprint]).run().succeeds();
    follower.says_at_last(&["warning: ", fingerprint, "which is not valid any more"]);
    home.sandbox().clear("acme").expect("a knob");
    // That, and the daemon by itself, may each have brought a token.
    home.command(["refresh", "acme", "--retry"]).run().succeeds();
    let current = home.command(["get", "acme"]).run().succeeds().stdout;
    while fs::read_to_string(home.path().join("token")).expect("it is there") != current {
        follower.writes();
    }

    home.command(["lock"]).run().succeeds();
    follower.says_at_last(&["warning: ", "the vault is locked"]);
    home.command(["unlock"]).run().succeeds();
    home.command(["remove", "acme", "--yes"]).run().succeeds();
    follower.says_at_last(&["has token", "no credential is named acme"]);
    assert_eq!(follower.ends(), Some(5));
}

#[test]
fn a_command_that_fails_or_hangs_is_told_and_stops_nothing() {
    let (home, _daemon) = enrolled();
    let line = "[ -e first ] && exit 3; touch first; exec sleep 1000";
    let mut follower = Follower::of(&home, &["--on-change", line, "--on-change-timeout", "1s"]);
    follower.writes();
    follower.says(&["warning: ", "took longer than 1 s and was ended", "sleep 1000"]);
    home.command(["refresh", "acme"]).run().succeeds();
    follower.writes();
    follower.says(&["warning: ", "ended with exit status: 3"]);
    follower.end_by(Signal::INT);
}

/// Whoever ends the follower ends what it runs, too, and no two of them ever run beside each other.
#[test]
fn a_command_runs_alone_and_ends_with_the_follower() {
    let (home, _daemon) = enrolled();
    let line = "mkdir alone || touch together; echo begun >> begun; exec sleep 1000";
    let mut follower = Follower::of(&home, &["--on-change", line, "--on-change-timeout", "10m"]);
    follower.writes();
    for _ in 0..3 {
        home.command(["refresh", "acme"]).run().succeeds();
        follower.writes();
    }
    let begun = home.path().join("begun");
    while !begun.exists() {
        std::thread::yield_now();
    }
    follower.end_by(Signal::TERM);
    assert!(!home.path().join("together").exists());
    let left: Vec<_> = home.processes().into_iter().filter(|pid| is_sleep(*pid)).collect();
    assert!(left.iter().all(|pid| wait_for_end(*pid, PATIENCE)), "it goes on: {left:?}");
    assert_eq!(fs::read_to_string(begun).expect("it is there"), "begun\n");
}

fn is_sleep(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "sleep")
}

/// Down for longer than anybody waits.
fn later() -> Fault {
    Fault::ServiceUnavailable503 { retry_after: Some(RetryAfter::Seconds(600)) }
}

struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Follower {
    fn of(home: &Home, more: &[&str]) -> Self {
        let words = ["get", "acme", "--file", "token", "--follow"];
        let mut command = home.command(words.iter().chain(more)).into_command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it can be run");
        let lines = BufReader::new(child.stderr.take().expect("its stderr is a pipe")).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it goes on").expect("it can be read")
    }

    /// Its next line but for hints.
    #[track_caller]
    fn says(&mut self, parts: &[&str]) {
        let mut line = self.line();
        while line.starts_with("hint: ") {
            line = self.line();
        }
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line:?}");
        assert!(!line.contains("eyJ"), "the token itself is never told");
    }

    /// It says that it has written the file, after whatever else it has to say.
    #[track_caller]
    fn writes(&mut self) {
        self.says_at_last(&["token: token ", " of acme, until "]);
    }

    #[track_caller]
    fn says_at_last(&mut self, parts: &[&str]) {
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| parts.iter().all(|part| line.contains(part))) {
            said.push(self.line());
            assert!(said.len() < 20, "{parts:?} in {said:#?}");
        }
    }

    #[track_caller]
    fn end_by(mut self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
        assert_eq!(self.ends(), Some(0));
    }

    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        assert!(wait_for_end(i32::try_from(self.child.id()).expect("a pid"), PATIENCE), "it does not end");
        self.child.wait().expect("it is a child").code()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn enrolled() -> (Home, Daemon) {
    let home = Home::new(&["acme", "globex"]);
    home.configure("[budget]\nper-hour = 1000\nper-day = 1000");
    let daemon = home.start();
    home.enrol("acme");
    home.await_issued("acme", 1);
    (home, daemon)
}
