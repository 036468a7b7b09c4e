//! Every command with `--json`, against the page that says what it prints: what the tables of `client/cli/json.md` list and what is
//! printed is the same, in both directions.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use procurify_token_tests::sandbox::{Application, Fault, Knobs};
use procurify_token_tests::{Answer, Home, Typed};
use serde_json::Value;

#[test]
fn every_command_prints_what_the_page_says() {
    let page = Page::read();
    let mut seen = Seen::default();
    let home = Home::new(&["acme", "globex"]);
    let daemon = home.start();
    let run = |words: &[&str]| home.command(words.iter().chain(&["--json"])).run();

    seen.add("status", &run(&["status"]).succeeds());
    let made = run(&["init", "--no-confirm"]).succeeds();
    let code = made.json()["recovery_code"].as_str().unwrap().to_owned();
    seen.add("init", &made);
    enrol(&home, "acme");
    home.sandbox()
        .set("globex", Knobs::failing(Fault::Throttled429 { retry_after: None, ratelimit_reset_s: None }))
        .unwrap();
    home.enrol("globex");
    run(&["get", "globex"]).ends_with(11);
    seen.watch(&home, "acme");
    seen.watch(&home, "globex");
    seen.add("get NAME", &run(&["get", "acme"]).succeeds());
    seen.add("list", &run(&["list"]).succeeds());
    seen.add("status", &run(&["status"]).succeeds());
    seen.add("status NAME", &run(&["status", "acme"]).succeeds());
    seen.add("status NAME", &run(&["status", "globex"]).succeeds());
    seen.add("doctor", &run(&["doctor"]));
    seen.add("refresh NAME", &run(&["refresh", "acme"]).succeeds());
    let invalidated = run(&["invalidate", "acme"]).succeeds();
    assert!(invalidated.json()["invalidated"].is_string());
    seen.add("invalidate NAME", &invalidated);
    let nothing = run(&["invalidate", "globex"]).succeeds();
    assert!(nothing.json()["invalidated"].is_null());
    seen.add("invalidate NAME", &nothing);

    let second =
        Application { client_id: "two".into(), client_secret: "second".into(), ..Application::of("acme") };
    home.sandbox().put_client("acme", second).unwrap();
    let rotate = ["rotate", "acme", "--client-id", "two", "--secret-stdin", "--json"];
    let rotated = home.command(rotate).stdin("second").run().succeeds();
    assert_eq!(rotated.json()["uses"], "new");
    seen.add("rotate NAME", &rotated);
    let back = run(&["rotate", "acme", "--rollback"]).succeeds();
    assert_eq!(back.json()["uses"], "previous");
    seen.add("rotate NAME", &back);

    seen.add("access explain USER NAME", &run(&["access", "explain", "0", "acme"]).succeeds());
    seen.add("audit verify", &run(&["audit", "verify"]).succeeds());
    let records = run(&["audit", "show"]).succeeds();
    assert!(records.stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{records:?}");

    let copy = home.path().join("copy.vault");
    let copy = copy.to_str().unwrap();
    seen.add("backup FILE", &run(&["backup", copy]).succeeds());
    let added =
        home.command(["slot", "add", "passphrase", "--passphrase-stdin", "--json"]).stdin("words\n").run();
    let id = added.json()["slot"]["id"].as_str().unwrap().to_owned();
    seen.add("slot add KIND", &added.succeeds());
    seen.add("slot list", &run(&["slot", "list"]).succeeds());
    let with_code = |words: &[&str], keys: &str| {
        home.command(words.iter().chain(&["--keys-stdin", "--json"])).stdin(keys.to_owned()).run().succeeds()
    };
    let removed = with_code(&["slot", "remove", &id], &format!("{code}\n"));
    assert_eq!(
        (&removed.json()["removed"][0], &removed.json()["opens_by_itself"]),
        (&id.as_str().into(), &true.into())
    );
    seen.add("slot remove ID", &removed);
    seen.add("rekey", &with_code(&["rekey"], &format!("{code}\n")));
    seen.add("lock", &run(&["lock"]).succeeds());
    seen.add("unlock", &run(&["unlock"]).succeeds());
    seen.add("remove NAME", &run(&["remove", "globex", "--yes"]).succeeds());
    damage_an_audit_record(&home);
    seen.add("audit verify", &run(&["audit", "verify"]).ends_with(15));
    let stopped = run(&["stop"]).succeeds();
    assert_eq!(stopped.json()["pid"], daemon.pid());
    seen.add("stop", &stopped);

    on_another_machine(&mut seen, copy);
    page.must_be(&seen);
}

/// What takes a machine without a vault.
fn on_another_machine(seen: &mut Seen, copy: &str) {
    let restored = Home::new(&["acme"]);
    let _daemon = restored.start();
    seen.add("restore FILE", &restored.command(["restore", copy, "--json"]).run().succeeds());

    let other = Home::new(&["acme"]);
    let _daemon = other.start();
    let import = |text: &str| {
        other
            .command(["import", "-", "--json"])
            .stdin(format!("name,client_id,client_secret\n{text}"))
            .run()
            .succeeds()
    };
    let first = import("acme,sandbox-acme,sandbox-acme-secret\n");
    assert!(first.json()["made"]["vault"].is_string(), "{first:?}");
    seen.add("import FILE", &first);
    let second = import("acme/b,sandbox-acme,sandbox-acme-secret\n");
    assert!(second.json()["made"].is_null() && second.json()["count"] == 1, "{second:?}");
    seen.add("import FILE", &second);
    let another = Home::new(&["acme"]);
    let _daemon = another.start();
    let add = |words: &[&str]| {
        let words =
            ["add"].iter().chain(words).chain(&["--client-id", "sandbox-acme", "--secret-stdin", "--json"]);
        another.command(words).stdin("sandbox-acme-secret").run().succeeds()
    };
    let first = add(&["acme"]);
    assert!(first.json()["made"]["vault"].is_string() && first.json()["token"].is_object(), "{first:?}");
    seen.add("add NAME", &first);
    let second = add(&["acme/b", "--no-try"]);
    assert!(second.json()["made"].is_null() && second.json()["token"].is_null(), "{second:?}");
    seen.add("add NAME", &second);
    seen.add("service status", &another.command(["service", "status", "--user", "--json"]).run());
    // A key file is named where a slot takes one.
    let passphrase = Home::new(&[]);
    let _daemon = passphrase.start();
    let init = ["init", "--passphrase-stdin", "--no-recovery-code", "--json"];
    seen.add("init", &passphrase.command(init).stdin("words\n").run().succeeds());
    let add = |words: &[&str]| {
        let words = ["slot", "add"].iter().chain(words).chain(&["--key-stdin", "--json"]);
        passphrase.command(words).stdin("words\n").run().succeeds()
    };
    seen.add("slot add KIND", &add(&["key-file"]));
    seen.add("slot add KIND", &add(&["recovery-code", "--no-confirm"]));
}

#[test]
fn a_failure_is_told_to_a_program_as_an_object_on_stderr() {
    let page = Page::read();
    let mut seen = Seen::default();
    let home = Home::new(&["acme"]);
    let mut fails = |words: &[&str], code: i32| {
        let typed = home.command(words).run().ends_with(code);
        let last = typed.stderr.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON: {typed:#?}"));
        assert_eq!((&told["version"], &told["error"]["code"]), (&1.into(), &code.into()), "{typed:#?}");
        seen.add_value("Errors", &told);
        told["error"].clone()
    };
    let told = fails(&["get", "acme", "--json"], 3);
    assert_eq!((&told["kind"], &told["credential"]), (&"no-daemon".into(), &"acme".into()));
    let _daemon = home.start();
    assert_eq!(fails(&["lock", "--json"], 4)["kind"], "locked");
    home.enrol("acme");
    assert!(
        fails(&["status", "acmee", "--json"], 5)["next"].as_str().unwrap().starts_with("did you mean acme?")
    );
    assert_eq!(fails(&["remove", "acme", "--json"], 2)["kind"], "usage");
    // A command line that clap does not take, and one that it takes.
    let told = fails(&["get", "acme", "--json", "--min-ttl", "soon"], 2);
    assert!(told["message"].as_str().unwrap().contains("--min-ttl"), "{told}");
    assert!(told.get("credential").is_none(), "{told}");
    let told = fails(&["rotate", "acme", "--json", "--client-secret=canary"], 2);
    assert!(!told.to_string().contains("canary"), "{told}");
    fails(&["backup", "/", "--json"], 12);
    // Without it, and behind `--`, it is told to a person.
    for words in [&["get", "acmee"][..], &["exec", "acmee", "--", "true", "--json"]] {
        let typed = home.command(words).run().fails_with(5).saying(&["did you mean acme?"]);
        assert!(!typed.stderr.contains('{'), "{typed:#?}");
    }
    page.must_have("Errors", &seen);
}

#[test]
fn a_name_is_suggested_only_to_who_may_see_it_and_only_if_it_is_like_the_one_that_was_typed() {
    let home = Home::new(&["acme", "globex"]);
    let _daemon = home.start();
    home.enrol("acme");
    home.enrol("acme/reporting");
    home.enrol("globex");
    let hint = |words: &[&str]| home.command(words).run().fails_with(5).stderr;
    assert!(hint(&["get", "amce"]).contains("did you mean acme?"));
    assert!(hint(&["refresh", "acme/reportin"]).contains("did you mean acme/reporting or acme?"));
    assert!(hint(&["get", "acme", "globexx"]).contains("did you mean globex?"));
    assert!(!hint(&["get", "initech"]).contains("did you mean"));
    // The command's own names are clap's affair.
    home.command(["refesh", "acme"]).run().fails_with(2).saying(&["'refresh'"]);
    home.command(["slot", "lst"]).run().fails_with(2).saying(&["'list'"]);
}

#[test]
fn at_a_terminal_what_is_asked_comes_before_the_object() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    let answers = [Answer::Line("New passphrase: ", "words"), Answer::Line("The same again: ", "words")];
    let init = home.command(["init", "--passphrase", "--no-recovery-code", "--json"]);
    let screen = init.at_terminal(&answers);
    assert_eq!(screen.code, Some(0), "{}", screen.text);
    let shown = screen.text;
    let printed: Value = serde_json::from_str(shown.lines().last().unwrap().trim()).unwrap();
    assert!(printed["vault"].is_string() && printed["recovery_code"].is_null(), "{printed}");
}

/// What was printed under each heading: a path, and the types that were there.
#[derive(Default)]
struct Seen(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Seen {
    #[track_caller]
    fn add(&mut self, heading: &str, typed: &Typed) {
        assert_eq!(typed.stdout.lines().count(), 1, "one object on one line: {typed:#?}");
        self.add_value(heading, &typed.json());
    }

    fn add_value(&mut self, heading: &str, value: &Value) {
        collect(self.0.entry(heading.to_owned()).or_default(), "", value);
    }

    /// The first line of `watch`, which goes on otherwise.
    fn watch(&mut self, home: &Home, name: &str) {
        let mut watch = home.command(["watch", name, "--json"]).into_command();
        let mut watch =
            watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
        watch.kill().unwrap();
        watch.wait().unwrap();
        self.add_value("watch NAME", &serde_json::from_str(&line).unwrap());
    }
}

fn collect(into: &mut BTreeMap<String, BTreeSet<String>>, path: &str, value: &Value) {
    let kind = match value {
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                collect(into, &format!("{path}{dot}{name}"), member);
            }
            "object"
        }
        Value::Array(elements) => {
            let each = format!("{path}[]");
            // A list may be empty in all of them, such as that of the warnings.
            into.entry(each.clone()).or_default();
            for element in elements {
                collect(into, &each, element);
            }
            return;
        }
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => "time",
        Value::String(_) => "string",
    };
    into.entry(path.to_owned()).or_default().insert(kind.to_owned());
}

/// The tables of the page: under each heading, a path and its types.
struct Page(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Page {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/cli/json.md");
        let text = fs::read_to_string(path).unwrap();
        let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        let mut heading = String::new();
        for line in text.lines() {
            if line.starts_with('#') {
                line.trim_start_matches('#').trim().trim_matches('`').clone_into(&mut heading);
            }
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if let ["", member, kind, _, ""] = cells[..]
                && member.starts_with('`')
            {
                tables
                    .entry(heading.clone())
                    .or_default()
                    .push((member.trim_matches('`').to_owned(), kind.to_owned()));
            }
        }
        // `a credential` stands for the table of that heading.
        let resolved = |rows: &[(String, String)]| {
            let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (path, kind) in rows {
                let shape = kind.strip_prefix("a ").map(|what| format!("A {what}"));
                match shape.and_then(|shape| tables.get(&shape)) {
                    Some(shape) => {
                        for (inner, kind) in shape {
                            members.insert(
                                format!("{path}.{inner}"),
                                kind.split(" or ").map(str::to_owned).collect(),
                            );
                        }
                    }
                    None => {
                        members.insert(path.clone(), kind.split(" or ").map(str::to_owned).collect());
                    }
                }
            }
            members
        };
        let all = tables.iter().filter(|(heading, _)| !heading.starts_with("A "));
        Self(all.map(|(heading, rows)| (heading.clone(), resolved(rows))).collect())
    }

    fn must_be(&self, seen: &Seen) {
        for heading in self.0.keys().filter(|heading| *heading != "Errors") {
            assert!(
                seen.0.contains_key(heading),
                "the page has `{heading}`, and no command was tried for it"
            );
            self.must_have(heading, seen);
        }
        for heading in seen.0.keys() {
            assert!(self.0.contains_key(heading), "the page does not have `{heading}`");
        }
    }

    fn must_have(&self, heading: &str, seen: &Seen) {
        let (page, seen) = (&self.0[heading], &seen.0[heading]);
        for (path, kinds) in seen {
            // An object is there by its members, and needs a line of its own only where it may be missing.
            if kinds.iter().all(|kind| kind == "object") {
                continue;
            }
            let Some(documented) = page.get(path) else {
                panic!("`{heading}` prints {path:?}, which client/cli/json.md does not list: {kinds:?}");
            };
            assert!(
                kinds.is_subset(documented),
                "`{heading}`: {path:?} is {kinds:?}, documented as {documented:?}"
            );
        }
        for (path, documented) in page {
            let is_there = seen.contains_key(path);
            assert!(
                is_there,
                "`{heading}` is documented to print {path:?} ({documented:?}), and never did: {seen:#?}"
            );
        }
    }
}

fn enrol(home: &Home, name: &str) {
    let words = ["add", name, "--client-id", "sandbox-acme", "--secret-stdin", "--description", "nightly"];
    let _ = home.command(words).stdin("sandbox-acme-secret").run().succeeds();
}

fn damage_an_audit_record(home: &Home) {
    let folder = home.state_folder().join("audit");
    let files = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
    let file = files.filter(|file| file.extension().is_some_and(|kind| kind == "jsonl")).min().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"act\":\"get\"", "\"act\":\"got\"", 1)).unwrap();
}
