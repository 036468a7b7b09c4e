//! Completion, in real shells, against a daemon that runs, hangs, or is not there; and the man pages.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use procurify_token_tests::{Answer, Daemon, Home, Screen, skipped_unless_required};
use rustix::process::Signal;

#[test]
fn bash_completes_commands_options_and_names() {
    let (home, _daemon) = enrolled();
    let script = documents(&home).join("bash/procurify-token");
    let typed = |keys: &str| {
        let shell = home.shell("").instead("bash", ["--norc", "--noprofile", "-i"]).env("PS1", "ready> ");
        let source =
            format!("bind 'set enable-bracketed-paste off'; source '{}'; PS1='go> '\r", script.display());
        shown(shell.env("TERM", "dumb").at_terminal(&[
            Answer::Keys("ready> ", &source),
            Answer::Keys("\ngo> ", &format!("{keys}{TABS}")),
            Answer::Keys("acme/reporting", "\x15exit\r"),
        ]))
    };
    assert!(typed("procurify-token get acme/r").contains("get acme/reporting "));
    // What is typed so far is not run to complete what follows.
    typed("procurify-token get '$(touch ran)' `touch ran` $(touch ran) acme/r");
    assert!(!home.path().join("ran").exists(), "a word was run");
    assert!(
        typed("procurify-token invalidate globex; procurify-token status acme/")
            .contains("status acme/reporting ")
    );
    // What the function puts into COMPREPLY, without a terminal in between.
    let replies = |words: &str, word: &str| {
        let count = words.split(' ').count();
        let run = format!(
            "source '{}'; COMP_WORDS=({words} {word}); COMP_CWORD={count}; _procurify_token procurify-token '{word}' x; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        home.shell("").instead("bash", ["-c", &run]).run().succeeds().stdout
    };
    assert_eq!(replies("procurify-token", "ref"), "refresh\n");
    assert_eq!(replies("procurify-token get acme", "--min"), "--min-ttl\n");
    in_the_end(&"acme\nacme/reporting\nglobex\n".to_owned(), || replies("procurify-token watch", "''"));
    assert_eq!(replies("procurify-token slot add", "pass"), "passphrase\n");
    assert_eq!(replies("procurify-token --autostart =", "al"), "always\n");
    assert_eq!(replies("procurify-token add", "ac"), "\n", "the name of a new one is nobody's to know");
}

#[test]
fn zsh_completes_commands_options_and_names() {
    if !there("zsh", "zsh_completes_commands_options_and_names") {
        return;
    }
    let (home, _daemon) = enrolled();
    let folder = documents(&home).join("zsh");
    let typed = |keys: &str, expected: &str| {
        let start = format!(
            "PS1='go''> '; fpath=('{}' $fpath); autoload -Uz compinit; compinit -u -D; unsetopt prompt_sp\r",
            folder.display()
        );
        let shell = home.shell("").instead("zsh", ["-f", "-i"]).env("PS1", "ready> ").env("TERM", "dumb");
        shown(shell.at_terminal(&[
            Answer::Keys("ready> ", &start),
            Answer::Keys("go> ", &format!("{keys}{TABS}")),
            Answer::Keys(expected, "\x15exit\r"),
        ]))
    };
    typed("procurify-token get acme/r", "get acme/reporting");
    typed("procurify-token refr", "token refresh");
    // What is typed so far is not run to complete what follows.
    typed("procurify-token get '$(touch ran)' `touch ran` $(touch ran) acme/r", "acme/reporting");
    assert!(!home.path().join("ran").exists(), "a word was run");
    typed("procurify-token get acme --min", "--min-ttl");
    typed("procurify-token slot add pass", "add passphrase");
}

#[test]
fn fish_completes_commands_options_and_names() {
    if !there("fish", "fish_completes_commands_options_and_names") {
        return;
    }
    let (home, _daemon) = enrolled();
    let script = documents(&home).join("fish/procurify-token.fish");
    let replies = |line: &str| {
        let run = format!("source '{}'; complete --do-complete '{line}'", script.display());
        let typed = home.shell("").instead("fish", ["--no-config", "-c", &run]).run().succeeds();
        typed.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    in_the_end(&words(&["acme", "acme/reporting"]), || replies("procurify-token get a"));
    assert_eq!(replies("procurify-token refr"), ["refresh"]);
    // What is typed so far is not run to complete what follows.
    in_the_end(&words(&["acme/reporting"]), || replies("procurify-token get (touch ran) acme/r"));
    assert!(!home.path().join("ran").exists(), "a word was run");
    assert_eq!(replies("procurify-token get acme --min"), ["--min-ttl"]);
    assert_eq!(replies("procurify-token slot add pass"), ["passphrase"]);
}

#[test]
#[ignore = "no usual registry has a PowerShell; where there is a pwsh: cargo test --test completions -- --ignored"]
fn powershell_completes_commands_options_and_names() {
    let (home, _daemon) = enrolled();
    let script = documents(&home).join("powershell/procurify-token.ps1");
    let line = "procurify-token get acme/r";
    let run = format!(
        ". '{}'; (TabExpansion2 '{line}' {}).CompletionMatches.CompletionText",
        script.display(),
        line.len()
    );
    let typed = home.shell("").instead("pwsh", ["-NoProfile", "-Command", &run]).run().succeeds();
    assert_eq!(typed.line(), "acme/reporting");
}

#[test]
fn names_are_silent_where_no_daemon_runs_and_none_is_started() {
    let home = Home::new(&["acme"]);
    let complete = |word: &str| {
        let words = ["complete", "bash", word, "--", "procurify-token", "get"];
        home.command(words).env_remove("PROCURIFY_TOKEN_AUTOSTART").run().succeeds()
    };
    let typed = complete("=");
    assert_eq!((typed.stdout.as_str(), typed.stderr.as_str()), ("", ""));
    assert!(home.processes().is_empty(), "a daemon was started");
    // Nor where the vault is locked.
    let _daemon = home.start();
    home.enrol("acme");
    in_the_end(&"acme\n".to_owned(), || complete("=").stdout);
    assert_eq!(complete("=b").stdout, "");
    home.command(["lock"]).run().succeeds();
    let typed = complete("=");
    assert_eq!((typed.stdout.as_str(), typed.stderr.as_str()), ("", ""));
}

#[test]
fn a_daemon_that_hangs_holds_nobody_up() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    daemon.signal(Signal::STOP);
    // A request may take half a minute; who types is not kept from going on for so long.
    let typed =
        home.shell("timeout 20 procurify-token complete zsh = -- procurify-token get").run().succeeds();
    assert_eq!((typed.stdout.as_str(), typed.stderr.as_str()), ("", ""));
    daemon.signal(Signal::CONT);
}

#[test]
fn the_socket_that_is_named_on_the_line_is_asked() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    let socket = home.socket();
    let socket = socket.to_str().unwrap();
    let words = ["complete", "fish", "=", "--", "procurify-token", "--socket", socket, "get"];
    in_the_end(&"acme\t\n".to_owned(), || {
        let asked = home.command(words).env("XDG_RUNTIME_DIR", "/nonexistent").env("HOME", "/nonexistent");
        asked.run().succeeds().stdout
    });
}

#[test]
fn the_scripts_are_those_that_the_command_prints_and_are_clean() {
    let home = Home::new(&[]);
    let folder = documents(&home);
    for (shell, path) in [
        ("bash", "bash/procurify-token"),
        ("zsh", "zsh/_procurify-token"),
        ("fish", "fish/procurify-token.fish"),
        ("powershell", "powershell/procurify-token.ps1"),
    ] {
        let printed = home.command(["completions", shell]).run().succeeds().stdout;
        assert_eq!(printed, fs::read_to_string(folder.join(path)).unwrap(), "{shell}");
    }
    let test = "the_scripts_are_those_that_the_command_prints_and_are_clean";
    if there("shellcheck", test) {
        passes(Command::new("shellcheck").args(["--shell=bash"]).arg(folder.join("bash/procurify-token")));
        // What clap_complete writes: its style is its own.
        let tokend = folder.join("bash/procurify-tokend");
        passes(Command::new("shellcheck").args(["--shell=bash", "--severity=error"]).arg(tokend));
    }
    for (shell, script) in [("zsh", "zsh/_procurify-tokend"), ("fish", "fish/procurify-tokend.fish")] {
        if there(shell, test) {
            passes(Command::new(shell).arg("-n").arg(folder.join(script)));
        }
    }
}

#[test]
fn every_command_has_a_man_page_and_every_page_is_clean() {
    let home = Home::new(&[]);
    let folder = documents(&home);
    let pages: Vec<PathBuf> = ["man1", "man5", "man8"]
        .iter()
        .flat_map(|section| fs::read_dir(folder.join(section)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    let has = |name: &str| pages.iter().any(|page| page.ends_with(name));
    for page in [
        "procurify-token.1",
        "procurify-token-get.1",
        "procurify-token-slot-add.1",
        "procurify-token-audit-verify.1",
        "procurify-token.toml.5",
        "procurify-tokend.8",
    ] {
        assert!(has(page), "{page} is missing in {pages:#?}");
    }
    assert!(!has("procurify-token-detached.1") && !has("procurify-token-complete.1"));
    // The main page names every command, so each of those has a page.
    let main = fs::read_to_string(folder.join("man1/procurify-token.1")).unwrap().replace("\\-", "-");
    let named = main.lines().filter_map(|line| line.strip_suffix("(1)")).filter(|name| !name.contains(' '));
    let mut count = 0;
    for name in named {
        assert!(has(&format!("{name}.1")), "{name} has no page");
        count += 1;
    }
    assert!(count > 20, "only {count} commands are named in\n{main}");
    let get = fs::read_to_string(folder.join("man1/procurify-token-get.1")).unwrap();
    for part in ["SYNOPSIS", "EXAMPLES", "TOKEN=$(procurify\\-token get acme)", "EXIT STATUS", "SEE ALSO"] {
        assert!(get.contains(part), "{part} is missing in\n{get}");
    }
    let test = "every_command_has_a_man_page_and_every_page_is_clean";
    if there("mandoc", test) {
        // What is missing below this level is a matter of taste, such as the order of sections.
        passes(Command::new("mandoc").args(["-Tlint", "-Wwarning"]).args(&pages));
    }
    if there("man", test) {
        for page in &pages {
            let mut reader = Command::new("man");
            reader
                .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
                .arg(page)
                .env("LC_ALL", "C.UTF-8")
                .env("MANWIDTH", "80");
            let output = reader.output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && told.is_empty(), "{}: {told}", page.display());
        }
    }
}

/// Who completes waits for a daemon no longer than a person does not notice, and a busy machine may take longer: it is asked again.
#[track_caller]
fn in_the_end<T: PartialEq + std::fmt::Debug>(expected: &T, ask: impl Fn() -> T) {
    let is_given = (0..TRIES).any(|_| ask() == *expected);
    assert!(is_given, "wanted: {expected:?}, given again and again: {:?}", ask());
}

fn enrolled() -> (Home, Daemon) {
    let home = Home::new(&["acme", "globex"]);
    let daemon = home.start();
    for name in ["acme", "acme/reporting", "globex"] {
        home.enrol(name);
    }
    (home, daemon)
}

/// What a package installs, in the home.
fn documents(home: &Home) -> PathBuf {
    let folder = home.path().join("documents");
    home.documents(&folder).run().succeeds();
    folder
}

fn shown(screen: Screen) -> String {
    assert_eq!(screen.code, Some(0), "{}", screen.text);
    screen.text
}

fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&told));
}

fn there(tool: &str, test: &str) -> bool {
    let is_there = is_there(tool);
    if !is_there {
        skipped_unless_required(test, &format!("there is no {tool}"));
    }
    is_there
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

const TRIES: usize = 50;
/// As somebody presses it who is not answered at once.
const TABS: &str = "\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t";
