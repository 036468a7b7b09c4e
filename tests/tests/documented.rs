//! Every command that the documents show is run here, in the order in which they show it, and what it prints is compared with what
//! they say it prints: loosely, since ids, times and folders are others.
//!
//! [`COMMANDS`] says of each how it is run, or why it cannot be; one that is not there fails the test.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use procurify_token_tests::sandbox::Application;
use procurify_token_tests::{Answer, Home, Invocation, Typed, program};

/// How a command of the documents is run.
enum How {
    /// As it stands there, after something was made ready for it.
    Run(fn(&House)),
    /// At a terminal, where the document shows lines with these words that only another machine prints.
    But(fn(&House), &'static [&'static str]),
    /// At a terminal, by somebody who answers what is asked; tables may look otherwise there.
    Answering(fn(&House), &'static [Answer<'static>]),
    /// Until it has printed its first line, or this one; it goes on by itself.
    Until(&'static str),
    /// On a machine of its own.
    Alone(fn(&House)),
    /// Not here, and why.
    Not(&'static str),
}
use How::{Alone, Answering, But, Not, Run, Until};

const COMMANDS: &[(&str, How)] = &[
    // README.md: two commands, and five minutes.
    ("cargo build --release && target/release/procurify-token demo", Not("a step of .ci/run")),
    ("cargo test --workspace", Not("what runs this test")),
    ("mkdir -p ~/.local/bin", Run(nothing)),
    (
        "install -m 755 target/release/procurify-token target/release/procurify-tokend ~/.local/bin/",
        Run(nothing),
    ),
    ("procurify-token add acme", Answering(nothing, ADD)),
    ("TOKEN=$(procurify-token get acme)", Run(nothing)),
    (
        "procurify-token get acme --header | curl -sS -H @- https://acme.procurify.com/api/v3/vendors/",
        Run(nothing),
    ),
    (
        "procurify-token exec acme -- sh -c 'echo \"$PROCURIFY_DOMAIN $PROCURIFY_BASE_URL ${#PROCURIFY_TOKEN}\"; exit 3'; echo $?",
        Run(nothing),
    ),
    ("procurify-token api acme '/api/v3/vendors/?page_size=2'", Run(nothing)),
    ("procurify-token api acme /api/v3/vendors/ -d '{\"name\":\"New vendor\"}'", Run(nothing)),
    ("procurify-token list", Answering(House::globex_is_rejected, &[])),
    ("procurify-token status globex", Answering(nothing, &[])),
    ("procurify-token doctor", Run(House::the_key_is_open_to_a_group)),
    ("procurify-token rotate acme", Answering(House::a_second_application, ROTATE)),
    ("procurify-token watch acme", Until("")),
    ("procurify-token slot list", Answering(House::a_recovery_code, &[])),
    ("procurify-token slot add passphrase --description Anna", Answering(nothing, PASSPHRASE)),
    (
        "procurify-token slot remove 9b31d007",
        Not("a slot's id is another each time; vault_commands.rs removes some"),
    ),
    ("printf 'name,client_id,client_secret\\nacme,ID,SECRET\\n' | procurify-token import -", Alone(nothing)),
    ("procurify-token export | age -r RECIPIENT > procurify.age", Run(nothing)),
    ("age -d procurify.age | procurify-token import -", Alone(House::with_an_export)),
    ("procurify-token audit show --since 1h", But(nothing, &["get denied"])),
    ("procurify-token audit verify", Run(nothing)),
    ("procurify-tokend --new-key | pass insert -m procurify-token", Run(nothing)),
    ("procurify-token slot add command", Run(House::a_key_from_pass)),
    ("procurify-sandbox", Until("ready")),
    (
        "curl --noproxy '*' -X PUT http://127.0.0.1:44833/_sandbox/domains/acme/knobs -d '{\"burst\": {\"count\": 3, \"fault\": \"wrapper-401\"}}'",
        Run(nothing),
    ),
    // As a service, there and in packaging/README.md.
    ("procurify-token stop", Run(House::a_daemon_runs)),
    ("sudo install -m 755 target/dist/procurify-token target/dist/procurify-tokend /usr/bin/", Not(ROOT)),
    ("systemctl --user daemon-reload", Not(SERVICE)),
    ("loginctl enable-linger", Not(SERVICE)),
    (
        "sudo install -D -m 644 packaging/systemd/sysusers.d/procurify-token.conf /etc/sysusers.d/procurify-token.conf",
        Not(ROOT),
    ),
    ("sudo systemctl daemon-reload", Not(ROOT)),
    ("sudo procurify-token add acme", Not(ROOT)),
    (
        "sudo install -m 755 target/release/procurify-token target/release/procurify-tokend /usr/local/bin/",
        Not(ROOT),
    ),
    ("cp packaging/launchd/local.procurify-tokend.plist ~/Library/LaunchAgents/", Not("macOS")),
    (
        "launchctl bootstrap \"gui/$(id -u)\" ~/Library/LaunchAgents/local.procurify-tokend.plist",
        Not("macOS"),
    ),
    // client/cli/json.md.
    ("procurify-token get acmee --json", Run(nothing)),
    // CONTRIBUTING.md and tests/bench/README.md.
    ("cargo build --release", Not(CHECKS)),
    ("cargo fmt --all --check", Not(CHECKS)),
    ("cargo clippy --workspace --all-targets -- -D warnings", Not(CHECKS)),
    ("RUSTDOCFLAGS=\"-D warnings\" cargo doc --workspace --no-deps", Not(CHECKS)),
    ("packaging/build", Not(SLOW)),
    ("cargo run --release -p procurify-token-bench --bin serving", Not(SLOW)),
    ("target/release/serving --soak 10", Not(SLOW)),
    ("cargo run --release -p procurify-token-bench --bin scale", Not(SLOW)),
    ("cargo run --release -p procurify-token-bench --bin house", Not(SLOW)),
    ("cargo run --release -p procurify-token-bench --bin vault", Not(SLOW)),
    ("cargo run --release -p procurify-token-bench --bin outage", Not(SLOW)),
    ("eval \"$variables\"", Not("it takes two credentials; scripts.rs runs it")),
    ("install -D -m 644 -t ~/.config/systemd/user packaging/systemd/user/procurify-tokend.*", Alone(nothing)),
    ("podman build --format docker -f packaging/container/Containerfile -t procurify-token .", Not(PODMAN)),
    ("podman exec -it tokens procurify-token add acme", Not(PODMAN)),
    ("podman exec -it tokens procurify-token init", Not(PODMAN)),
    ("podman exec tokens procurify-token get acme", Not(PODMAN)),
    (
        "podman run -d --name tokens --read-only -v tokens-settings:/etc/procurify-token -v tokens-vault:/var/lib/procurify-token -v tokens-socket:/run/procurify-token procurify-token",
        Not(PODMAN),
    ),
    (
        "procurify-token curl acme -sS --fail-with-body -o vendors.json '/api/v3/vendors/?page_size=100'",
        Run(nothing),
    ),
    (
        "procurify-token get acme --header --file /run/report/headers --mode 0640 --follow --on-change 'systemctl reload report'",
        Not("it goes on for ever; files.rs follows a file"),
    ),
    (
        "procurify-tokend --new-key | sudo systemd-creds encrypt --name=procurify-token.vault-key - /etc/credstore.encrypted/procurify-token.vault-key",
        Not(ROOT),
    ),
    ("sudo cp packaging/launchd/local.procurify-tokend.system.plist /Library/LaunchDaemons/", Not("macOS")),
    ("sudo install -d -m 700 /etc/credstore.encrypted", Not(ROOT)),
    ("sudo install -m 644 -t /etc/systemd/system packaging/systemd/system/procurify-tokend.s*", Not(ROOT)),
    (
        "sudo launchctl bootstrap system /Library/LaunchDaemons/local.procurify-tokend.system.plist",
        Not("macOS"),
    ),
    ("sudo procurify-token init --slot credential", Not(ROOT)),
    ("sudo procurify-token service install --system", Not(ROOT)),
    ("sudo procurify-token service status", Not(ROOT)),
    ("sudo systemctl enable --now procurify-tokend.socket procurify-tokend.service", Not(ROOT)),
    ("sudo systemd-sysusers procurify-token.conf", Not(ROOT)),
    ("systemctl --user enable --now procurify-tokend.socket procurify-tokend.service", Not(SERVICE)),
    (
        "variables=$(procurify-token get acme globex --env)",
        Not("it takes two credentials; scripts.rs runs it"),
    ),
];

const ADD: &[Answer<'static>] = &[
    Answer::Line("Description (may be empty): ", "nightly report"),
    Answer::Line("Client id: ", "sandbox-acme"),
    Answer::Line("Client secret: ", "sandbox-acme-secret"),
    Answer::Line("Make one now? [Y/n] ", "n"),
];
const ROTATE: &[Answer<'static>] = &[
    Answer::Line("Client id: ", "sandbox-acme-2"),
    Answer::Line("Client secret: ", "sandbox-acme-2-secret"),
];
const PASSPHRASE: &[Answer<'static>] =
    &[Answer::Line("New passphrase: ", "a passphrase"), Answer::Line("The same again: ", "a passphrase")];

const ROOT: &str = "it changes folders of the system; packaging/README.md says how that was tested";
const SERVICE: &str = "it wants a service manager; packaging/README.md says how the units were tested";
const CHECKS: &str = "a step of .ci/run";
const PODMAN: &str = "there is no podman; packaging/README.md says how the container was tested";
const SLOW: &str = "a benchmark";

/// In the order in which somebody reads them. Other documents show no command, which is tested.
const DOCUMENTS: [&str; 5] =
    ["README.md", "client/cli/json.md", "packaging/README.md", "CONTRIBUTING.md", "tests/bench/README.md"];

#[test]
fn every_command_that_a_document_shows_does_what_it_says() {
    let house = House::new();
    let mut run = 0;
    for document in DOCUMENTS {
        for shown in Shown::all(document) {
            let place = format!("{document}:{}", shown.line);
            let how = COMMANDS.iter().find(|(command, _)| *command == shown.command);
            let Some((_, how)) = how else {
                panic!(
                    "{place} shows a command that COMMANDS does not have, so nobody says how it is run:\n{}",
                    shown.command
                );
            };
            run += usize::from(!matches!(how, Not(_)));
            house.try_out(how, &shown, &place);
        }
    }
    assert!(run > 25, "only {run} commands were run");
}

#[test]
fn no_other_document_shows_a_command_and_no_command_of_the_table_is_forgotten() {
    let root = root();
    let mut shown: Vec<String> = Vec::new();
    for document in documents(&root) {
        let name = document.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let all = Shown::all(&name);
        assert!(
            all.is_empty() || DOCUMENTS.contains(&name.as_str()),
            "{name} shows commands and is not in DOCUMENTS"
        );
        shown.extend(all.into_iter().map(|shown| shown.command));
    }
    for (command, how) in COMMANDS {
        assert!(shown.iter().any(|shown| shown == command), "no document shows any more: {command}");
        assert!(!matches!(how, Not("")), "{command}: why not?");
    }
}

#[test]
fn every_command_that_a_sentence_names_exists_with_its_options() {
    let home = Home::new(&[]);
    let mut count = 0;
    for document in documents(&root()) {
        if document.ends_with("CHANGELOG.md") {
            continue;
        }
        let text = fs::read_to_string(&document).unwrap();
        // Every second piece stands between the marks; blocks of code are left out.
        let text: String = text.split("```").step_by(2).collect();
        for code in text.split('`').skip(1).step_by(2) {
            let Some(words) = code.split("procurify-token ").nth(1) else { continue };
            let words: Vec<&str> =
                words.split([' ', '|', ')', ';']).take_while(|word| !word.is_empty()).collect();
            let is_word = |word: &&&str| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
            };
            let mut command: Vec<&str> = words.iter().take_while(is_word).copied().collect();
            let takes_another =
                ["slot", "audit", "access", "service"].contains(command.first().unwrap_or(&""));
            command.truncate(if takes_another { 2 } else { 1 });
            if command.is_empty()
                || command == ["export"] && words.contains(&"export") && code.contains("version")
            {
                continue;
            }
            let help = home.command(command.iter().chain(&["--help"])).run();
            assert_eq!(help.code, Some(0), "{}: `{code}`: {help:#?}", document.display());
            for option in words.iter().take_while(|word| **word != "--").filter(|word| word.starts_with("--"))
            {
                let option = option.split('=').next().unwrap();
                assert!(
                    help.stdout.contains(option),
                    "{}: `{code}`: there is no {option}",
                    document.display()
                );
            }
            count += 1;
        }
    }
    assert!(count > 15, "only {count} were found");
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_help() {
    let help = Home::new(&[]).command(["--help"]).run().succeeds().stdout;
    let codes = help.split("Exit codes:\n").nth(1).unwrap();
    let told: Vec<(String, String)> = codes
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| (code.to_owned(), meaning.replace('`', "")))
        .collect();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("\n## Exit codes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let shown: Vec<(String, String)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .filter(|(code, _)| code.parse::<u8>().is_ok())
        .map(|(code, meaning)| (code.to_owned(), meaning.replace('`', "")))
        .collect();
    assert_eq!(shown, told);
}

/// A command that a document shows, and what it says that it prints.
struct Shown {
    line: usize,
    command: String,
    printed: Vec<String>,
}

impl Shown {
    /// Those of the blocks that are marked `sh` or `console`.
    fn all(document: &str) -> Vec<Self> {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let mut all: Vec<Self> = Vec::new();
        let mut block = None;
        for (number, line) in text.lines().enumerate() {
            let trimmed = line.trim_start();
            if let Some(language) = trimmed.strip_prefix("```") {
                block = if block.is_none() { Some(language) } else { None };
                continue;
            }
            let command = match block {
                Some("sh") if !trimmed.is_empty() && !trimmed.starts_with('#') => trimmed,
                Some("console") => {
                    if let Some(command) = trimmed.strip_prefix("$ ") {
                        command
                    } else {
                        let last = all.last_mut().expect("a console begins with a command");
                        last.printed.push(line.to_owned());
                        continue;
                    }
                }
                _ => continue,
            };
            // A remark is set apart by two spaces at least.
            let command = command.split("  #").next().unwrap().trim_end().to_owned();
            all.push(Self { line: number + 1, command, printed: Vec::new() });
        }
        all
    }

    /// Each line that is shown is there, in that order; between two of them there may be others.
    fn must_be_in(&self, seen: &str, but: &[&str], place: &str) {
        let seen: Vec<String> = seen.lines().map(masked).collect();
        let mut rest = seen.iter();
        for line in &self.printed {
            if line.trim().is_empty() || line.trim() == "…" || but.iter().any(|words| line.contains(words))
            {
                continue;
            }
            let line = masked(line);
            let parts: Vec<&str> = line.split('…').collect();
            assert!(
                rest.any(|seen| has_in_order(seen, &parts)),
                "{place} shows for {}\n{line}\nand it printed\n{}",
                self.command,
                seen.join("\n")
            );
        }
    }
}

fn has_in_order(text: &str, parts: &[&str]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// A line without what differs each time: ids, numbers, points and lengths of time, folders, and how much space is between words.
fn masked(line: &str) -> String {
    // The home of a test is closed to others as a whole.
    let line = line.replace(", once a folder above is opened,", "");
    let words: Vec<String> = line.split_whitespace().map(masked_word).collect();
    let mut rest = words.as_slice();
    let mut masked = Vec::new();
    while let [word, after @ ..] = rest {
        if let Some(length) = distance(rest) {
            masked.push("D");
            rest = &rest[length..];
        } else {
            masked.push(word);
            rest = after;
        }
    }
    masked.join(" ")
}

/// How many of the words at the beginning say how far away something is: `in 23 h 59 min`, `2 d ago`, `now`.
fn distance(words: &[String]) -> Option<usize> {
    let plain = |place: usize| words.get(place).map(|word| word.trim_end_matches([',', ')']));
    if plain(0) == Some("now") {
        return Some(1);
    }
    let start = usize::from(plain(0) == Some("in"));
    let is_pair = |place: &usize| {
        plain(*place) == Some("N") && matches!(plain(place + 1), Some("d" | "h" | "min" | "s"))
    };
    let pairs = (start..).step_by(2).take_while(is_pair).count();
    let end = start + 2 * pairs;
    (pairs > 0).then(|| end + usize::from(plain(end) == Some("ago")))
}

fn masked_word(word: &str) -> String {
    // A bar, as a terminal without Unicode has it.
    let word = &word.replace('█', "#");
    // A folder of ours, wherever it is.
    let word = match (word.find('/'), word.find("procurify-")) {
        (Some(start), Some(name)) if start < name && !word.contains("://") => {
            format!("{}P/{}", &word[..start], &word[name..])
        }
        _ => word.to_owned(),
    };
    // And a file with a name of chance.
    let word = match word.split_once("-ca-") {
        Some((start, end)) if end.contains(".pem") => format!("{start}-ca.pem"),
        _ => word,
    };
    let mut masked = String::new();
    let mut run = String::new();
    for c in word.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() || c == '*' {
            run.push(c);
            continue;
        }
        let is_id = run.len() >= 8 && run.chars().any(|c| c.is_ascii_digit()) && !run.contains('*');
        if is_id {
            masked.push('#');
        } else if run.contains('*') {
            masked.push('*');
        } else {
            let mut was_digit = false;
            for c in run.chars() {
                let is_digit = c.is_ascii_digit();
                if !(is_digit && was_digit) {
                    masked.push(if is_digit { 'N' } else { c });
                }
                was_digit = is_digit;
            }
        }
        run.clear();
        if c != '\0' {
            masked.push(c);
        }
    }
    masked
}

/// A person's machine, with what the documents take for granted.
struct House {
    home: Home,
}

impl House {
    fn new() -> Self {
        let home = Home::new(&["acme", "globex"]);
        let programs = program("procurify-token");
        fs::create_dir(home.path().join("target")).unwrap();
        for profile in ["release", "dist"] {
            symlink(programs.parent().unwrap(), home.path().join("target").join(profile)).unwrap();
        }
        symlink(root().join("packaging"), home.path().join("packaging")).unwrap();
        let tools = home.path().join("tools");
        fs::create_dir(&tools).unwrap();
        // Stand-ins: what these programs do with what they are given is not ours.
        for (name, script) in [
            ("age", "if [ \"$1\" = -d ]; then base64 -d \"$2\"; else base64; fi"),
            ("pass", "if [ \"$1\" = insert ]; then cat > \"$0.kept\"; else cat \"$0.kept\"; fi"),
        ] {
            let path = tools.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { home }
    }

    /// A line of shell, by somebody whose daemon starts when it is needed.
    fn shell(&self, line: &str) -> Invocation {
        let line = line.replace("http://127.0.0.1:44833", &self.home.sandbox().proxy_url());
        let path = format!(
            "{}:{}:/usr/local/bin:/usr/bin:/bin",
            program("procurify-token").parent().unwrap().display(),
            self.home.path().join("tools").display()
        );
        let shell = self.home.shell(&format!("exec 2>&1\n{line}")).env_remove("PROCURIFY_TOKEN_AUTOSTART");
        shell.env("PATH", path).env("CURL_CA_BUNDLE", self.home.ca_file()).env("NO_COLOR", "1")
    }

    fn does(&self, line: &str) -> Typed {
        self.shell(line).run().succeeds()
    }

    fn try_out(&self, how: &How, shown: &Shown, place: &str) {
        match how {
            Run(prepare) => {
                prepare(self);
                self.run(shown, place);
            }
            But(prepare, but) => {
                prepare(self);
                self.answer(&[], shown, but, place);
            }
            Answering(prepare, answers) => {
                prepare(self);
                self.answer(answers, shown, &[], place);
            }
            Until(last) => self.run_until(last, shown, place),
            Alone(prepare) => {
                let other = Self::new();
                prepare(&other);
                other.run(shown, place);
            }
            Not(_) => {}
        }
    }

    fn answer(&self, answers: &[Answer<'_>], shown: &Shown, but: &[&str], place: &str) {
        let screen = self.shell(&shown.command).at_terminal(answers);
        assert_eq!(screen.code, Some(0), "{place}: {}", screen.text);
        shown.must_be_in(&screen.text, but, place);
    }

    fn run(&self, shown: &Shown, place: &str) {
        let typed = self.shell(&shown.command).run();
        // What is shown to fail says so itself.
        let is_shown_to_fail = shown
            .printed
            .iter()
            .any(|line| line.starts_with("procurify-token: ") || line.starts_with("{\"error\""));
        assert!(typed.code == Some(0) || is_shown_to_fail, "{place}: {typed:#?}");
        shown.must_be_in(&typed.stdout, &[], place);
    }

    /// Reads up to a line, and lets go of it then.
    fn run_until(&self, last: &str, shown: &Shown, place: &str) {
        let mut command = self.shell(&format!("exec {}", shown.command)).into_command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut seen = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            seen.push_str(&line);
            seen.push('\n');
            if last.is_empty() || line == last {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        shown.must_be_in(&seen, &[], place);
    }

    fn a_daemon_runs(&self) {
        self.does("procurify-token status || procurify-token list");
    }

    /// Its token is valid still, and no other comes.
    fn globex_is_rejected(&self) {
        self.does("printf sandbox-globex-secret | procurify-token add globex --client-id sandbox-globex --secret-stdin");
        let other = Application { client_secret: "another".into(), ..Application::of("globex") };
        self.home.sandbox().put_client("globex", other).unwrap();
        self.does("procurify-token refresh globex || test $? = 7");
    }

    /// And nothing else is amiss.
    fn the_key_is_open_to_a_group(&self) {
        self.does("procurify-token remove globex --yes");
        let key = self.home.config_folder().join("vault.key");
        fs::set_permissions(key, fs::Permissions::from_mode(0o640)).unwrap();
    }

    fn a_second_application(&self) {
        let key = self.home.config_folder().join("vault.key");
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
        let second = Application {
            client_id: "sandbox-acme-2".into(),
            client_secret: "sandbox-acme-2-secret".into(),
            ..Application::of("acme")
        };
        self.home.sandbox().put_client("acme", second).unwrap();
    }

    fn a_recovery_code(&self) {
        self.does("procurify-token slot add recovery-code --no-confirm");
    }

    fn with_an_export(&self) {
        let lines =
            "printf 'name,client_id,client_secret\\nacme,ID,SECRET\\n' | age -r RECIPIENT > procurify.age";
        self.does(lines);
    }

    /// As the remark in that block says.
    fn a_key_from_pass(&self) {
        let pass = self.home.path().join("tools/pass");
        self.home.configure(&format!(
            "[vault]\ncommand = [\"{}\", \"show\", \"procurify-token\"]\n",
            pass.display()
        ));
        self.does("procurify-token stop");
    }
}

fn nothing(_: &House) {}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every document of the repository.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_others = name == "target" || name == "node_modules" || name.to_string_lossy().starts_with('.');
        if entry.file_type().unwrap().is_dir() && !is_others {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|kind| kind == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}
