//! How things are read: tables as wide as the terminal, plain fields in a pipe, a live view that survives the daemon.

use std::fs;

use procurify_token_protocol::{Description, NewCredential};
use procurify_token_tests::{Home, Screen, Terminal, credential};
use rustix::process::Signal;

#[test]
fn in_a_pipe_there_are_fields_and_nothing_else() {
    let home = home();
    let _daemon = home.start();
    enrol_both(&home);
    let listed = home.command(["list"]).env("CLICOLOR_FORCE", "0").run().succeeds();
    let rows: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATE", "TOKEN ENDS", "NEXT REQUEST", "DESCRIPTION"]);
    assert_eq!((rows[1][0], rows[1][1], rows[1][4]), ("acme", "ok", "nightly report 日本"));
    let json = home.command(["list", "--json"]).run().succeeds().json();
    assert_eq!(rows[1][2], json["credentials"][0]["token"]["expires_at"]);
    assert_eq!(rows[2][0], "globex/a-rather-long-label");
    assert!(rows.iter().all(|row| row.len() == 5) && !listed.stdout.contains('\u{1b}'), "{}", listed.stdout);
    assert_eq!(json["version"], 1);
}

#[test]
fn a_table_is_never_wider_than_the_terminal() {
    let home = home();
    let _daemon = home.start();
    enrol_both(&home);
    for columns in [40, 60, 80, 120, 200] {
        let screen = looked(&home, &["list"], columns, &[]);
        for line in plain(&screen).lines() {
            assert!(line.chars().count() <= usize::from(columns), "{columns}: {line:?}");
        }
        for word in ["acme", "globex/a-rather-long-label", "█", "in 23 h 59 min", "ok"] {
            assert!(screen.text.contains(word), "{word:?} is not shown at {columns}: {}", screen.text);
        }
    }
    let screen = looked(&home, &["list"], 0, &[]);
    assert!(
        screen.text.contains("NEXT REQUEST"),
        "a terminal of no width is as wide as it needs to be: {}",
        screen.text
    );
    for words in [&["status"][..], &["status", "acme"]] {
        let screen = looked(&home, words, 40, &[]);
        let long = |line: &&str| line.chars().count() > 40 && line.trim().contains(' ');
        assert_eq!(
            plain(&screen).lines().find(long),
            None,
            "{words:?}: only what has no space in it is longer"
        );
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let home = home();
    let _daemon = home.start();
    enrol_both(&home);
    assert!(looked(&home, &["list"], 80, &[]).text.contains("\u{1b}[32mok"));
    for no in [("NO_COLOR", "1"), ("TERM", "dumb"), ("CLICOLOR", "0")] {
        let screen = looked(&home, &["list"], 80, &[no]);
        assert!(!screen.text.contains('\u{1b}'), "{no:?}: {:?}", screen.text);
    }
    let screen = looked(&home, &["list"], 80, &[("LANG", "C")]);
    assert!(screen.text.contains("##########") && !screen.text.contains('█'), "{}", screen.text);
}

#[test]
fn the_live_view_shows_what_changes_and_survives_the_daemon() {
    let home = home();
    let daemon = home.start();
    home.enrol("acme");
    home.await_issued("acme", 1);
    let mut terminal = Terminal::open(&home, &["status", "--watch"], (80, 20), &[]);
    terminal.shows(ENTERED).shows("acme").shows("q quits");
    home.add(credential("globex/later"));
    terminal.shows("globex/later").shows("q quits");
    terminal.resize(40, 20).shows("until 20").shows("q quits").resize(80, 20);
    let before = daemon.pid();
    assert!(daemon.stop().success());
    terminal.shows("has been gone for");
    let daemon = home.start();
    terminal.shows(&format!("pid {}, before {before}.", daemon.pid()));
    terminal.types("q");
    left(&terminal.ends(), Some(0), None);
}

#[test]
fn the_live_view_leaves_the_terminal_as_it_was_however_it_ends() {
    let home = home();
    let _daemon = home.start();
    home.enrol("acme");
    home.await_issued("acme", 1);
    let watch = |words: &[&str]| {
        let mut terminal = Terminal::open(&home, words, (80, 20), &[]);
        terminal.shows(ENTERED).shows("acme").shows("q quits");
        terminal
    };
    left(&watch(&["status", "--watch"]).types("\x03").ends(), Some(0), None);
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        left(&watch(&["status", "--watch"]).signal(signal).ends(), None, Some(signal));
    }
    let mut one = watch(&["status", "acme", "--watch"]);
    one.shows("tokens issued").types("q");
    left(&one.ends(), Some(0), None);
}

#[test]
fn a_live_view_needs_a_terminal_and_a_daemon_to_begin_with() {
    let home = home();
    home.command(["status", "--watch"])
        .run()
        .fails_with(2)
        .saying(&["not a terminal", "procurify-token watch NAME"]);
    home.command(["status", "--watch", "--json"]).run().fails_with(2);
    let dumb = looked(&home, &["status", "--watch"], 80, &[("TERM", "dumb")]);
    assert!(dumb.code == Some(2) && dumb.text.contains("cannot be drawn on"), "{dumb:?}");
    let mut terminal = Terminal::open(&home, &["status", "--watch"], (80, 20), &[]);
    let screen = terminal.ends();
    assert_eq!((screen.code, screen.text.contains(ENTERED)), (Some(3), false), "{}", screen.text);
}

#[test]
fn long_work_shows_how_far_it_is_where_somebody_looks_and_nowhere_else() {
    let home = home();
    let _daemon = home.start();
    let many = |domain: &str| {
        let line = |n| format!("{domain}/l{n},id,secret-{n},{}", "x".repeat(150));
        let lines: Vec<String> = (0..2000).map(line).collect();
        let file = home.path().join(format!("{domain}.csv"));
        fs::write(&file, format!("name,client_id,client_secret,description\n{}\n", lines.join("\n")))
            .expect("a file can be written");
        file.to_str().expect("a path is text").to_owned()
    };
    let file = &many("acme");
    let mut terminal = Terminal::open(&home, &["import", file], (80, 24), &[]);
    terminal.shows("sending to the daemon ... ").shows(" %").shows("storing durably ...");
    terminal.shows("2000 credentials are stored durably").shows("[Y/n] ").types("n\r");
    assert_eq!(terminal.ends().code, Some(0));

    let typed = home.command(["import", &many("globex")]).run().succeeds();
    assert!(!typed.stderr.contains("...") && !typed.stdout.contains("..."), "{typed:?}");
}

fn home() -> Home {
    Home::new(&["acme", "globex"])
}

fn enrol_both(home: &Home) {
    let description: Description = "nightly report 日本".parse().expect("a description");
    home.add(NewCredential { description, ..credential("acme") });
    home.enrol("globex/a-rather-long-label");
    home.await_issued("acme", 1);
    home.await_issued("globex", 1);
    // The ledger is ahead of the daemon: this waits for it.
    home.command(["get", "acme", "globex/a-rather-long-label"]).run().succeeds();
}

fn looked(home: &Home, words: &[&str], columns: u16, environment: &[(&str, &str)]) -> Screen {
    Terminal::open(home, words, (columns, 40), environment).ends()
}

/// What is read, without the styles.
fn plain(screen: &Screen) -> String {
    let mut parts = screen.text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[track_caller]
fn left(screen: &Screen, code: Option<i32>, signal: Option<Signal>) {
    assert_eq!((screen.code, screen.signal), (code, signal.map(Signal::as_raw)), "{}", screen.text);
    let (entered, gone) = (screen.text.rfind(ENTERED), screen.text.rfind(LEFT));
    assert!(
        gone > entered && screen.text.ends_with(SHOWN),
        "the terminal is not given back: {:?}",
        screen.text
    );
    assert!(screen.echoes);
}

const ENTERED: &str = "\u{1b}[?1049h";
const LEFT: &str = "\u{1b}[?1049l";
const SHOWN: &str = "\u{1b}[?25h";
