//! Who may know whom, and what only one room may do: the structure as `ARCHITECTURE.md` draws it, read from the source.
//!
//! A rule that fails here is a decision to be made, not an obstacle: either the code goes where it belongs, or the
//! table below and `ARCHITECTURE.md` change together.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use source::{Source, root};

/// A room of the daemon: the rooms it may name, as narrowly as it does, and the crates.
struct Room {
    name: &'static str,
    knows: &'static [&'static str],
    crates: &'static [&'static str],
}

/// Every room but `startup`, the one place where the parts are joined.
const ROOMS: [Room; 20] = [
    Room { name: "access", knows: &["principal"], crates: &[PROTOCOL, "glob", "serde", "thiserror"] },
    Room {
        name: "audit",
        knows: &[
            "clock",
            "os",
            "principal",
            "refresh::Moment",
            "vault::AuditKey",
            "vault::AuditKeyIs",
            "vault::create_folders",
            "vault::open_or_create",
        ],
        crates: &[PROTOCOL, "chrono", "serde", "serde_json", "thiserror", "tokio", "tracing"],
    },
    Room {
        name: "cache",
        knows: &[
            "clock::Anchor",
            "clock::Stamp",
            "refresh::History",
            "refresh::Moment",
            "refresh::Setback",
            "vault",
        ],
        crates: &[PROTOCOL, "chrono", "redb", "serde", "thiserror"],
    },
    Room {
        name: "checkup",
        knows: &["guarded::Protection", "issuer::Reach", "os::sandbox::Confinement", "vault"],
        crates: &[PROTOCOL, "chrono", WINDOWS, "rustix"],
    },
    Room { name: "cli", knows: &[], crates: &["clap"] },
    Room {
        name: "clock",
        knows: &["refresh::Moment", "refresh::Now"],
        crates: &["boot_time", "chrono", "rustix", "tokio"],
    },
    Room {
        name: "config",
        knows: &[
            "access",
            "audit::Keep",
            "audit::Limits",
            "audit::Settings",
            "os",
            "principal",
            "refresh::Policy",
            "refresh::Terms",
            "vault::KeyCommand",
            "vault::VaultPaths",
        ],
        crates: &[PROTOCOL, "etcetera", "humantime", "serde", "thiserror", "toml", "tracing"],
    },
    Room {
        name: "driver",
        knows: &[
            "access::Peer",
            "access::Scope",
            "audit",
            "cache",
            "checkup",
            "clock",
            "explain",
            "guarded",
            "issuer",
            "lookup",
            "os::sandbox::Confinement",
            "refresh",
            "vault",
        ],
        crates: &[PROTOCOL, "chrono", "futures_util", "tokio", "tracing", "zeroize"],
    },
    Room {
        name: "explain",
        knows: &[
            "access::Ground",
            "audit::ReadError",
            "refresh::Refused",
            "vault::ChangeError",
            "vault::VaultError",
        ],
        crates: &[PROTOCOL, "chrono", "humantime"],
    },
    Room { name: "guarded", knows: &[], crates: &["libc", WINDOWS, "rustix", "zeroize"] },
    Room {
        name: "ipc",
        knows: &[
            "access",
            "audit",
            "clock",
            "driver::Handle",
            "driver::Upload",
            "explain",
            "lookup",
            "os",
            "principal",
            "refresh::Moment",
        ],
        crates: &[
            PROTOCOL,
            "futures_util",
            "interprocess",
            "listenfd",
            WINDOWS,
            "rustix",
            "thiserror",
            "tokio",
            "tokio_util",
            "tracing",
            "widestring",
            "zeroize",
        ],
    },
    Room {
        name: "issuer",
        knows: &[],
        crates: &[
            PROTOCOL,
            "base64ct",
            "chrono",
            "http",
            "http_body_util",
            "httpdate",
            "hyper",
            "hyper_util",
            "rustls",
            "rustls_platform_verifier",
            "secrecy",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tokio_rustls",
            "tower_service",
            "zeroize",
        ],
    },
    Room {
        name: "logging",
        knows: &["os"],
        crates: &["anyhow", "tracing", "tracing_journald", "tracing_subscriber"],
    },
    Room { name: "lookup", knows: &["refresh::Moment"], crates: &[PROTOCOL, "zeroize"] },
    Room { name: "main", knows: &["cli", "startup"], crates: &["clap", "zeroizing_alloc"] },
    Room {
        name: "os",
        knows: &["principal"],
        crates: &[
            "futures_util",
            "landlock",
            "libc",
            "nix",
            WINDOWS,
            "rustix",
            "signal_hook",
            "signal_hook_tokio",
            "thiserror",
            "tokio",
        ],
    },
    Room { name: "principal", knows: &[], crates: &[WINDOWS] },
    Room { name: "refresh", knows: &[], crates: &[PROTOCOL, "chrono"] },
    Room {
        name: "supervisor",
        knows: &[
            "clock::Clock",
            "driver::Condition",
            "driver::Vitals",
            "os::ask_to_stop",
            "os::judge_way",
            "refresh::Moment",
        ],
        crates: &["anyhow", "sd_notify", "tracing", "windows_service"],
    },
    Room {
        name: "vault",
        knows: &["guarded"],
        crates: &[
            PROTOCOL,
            "apple_native_keyring_store",
            "argon2",
            "bincode",
            "chrono",
            "keyring_core",
            WINDOWS,
            "ring",
            "rustix",
            "secrecy",
            "serde",
            "thiserror",
            "windows_native_keyring_store",
            "zbus_secret_service_keyring_store",
            "zeroize",
        ],
    },
];

/// The crates of ours that each package's manifest may name for what it ships.
const MANIFESTS: [(&str, &[&str]); 6] = [
    ("protocol", &[]),
    ("protocol/windows", &[]),
    ("client", &["procurify-token-protocol", "procurify-token-windows"]),
    ("client/cli", &["procurify-token-client", "procurify-token-protocol", "procurify-token-windows"]),
    ("daemon", &["procurify-token-protocol", "procurify-token-windows"]),
    ("tests/sandbox", &[]),
];

/// What the protocol may stand on, and what the client crate adds.
const PROTOCOL_CRATES: &[&str] = &["bincode", "chrono", "http", "secrecy", "serde", "thiserror", "zeroize"];
const CLIENT_CRATES: &[&str] = &[
    "chrono",
    "http",
    "interprocess",
    PROTOCOL,
    WINDOWS,
    "rustix",
    "secrecy",
    "tempfile",
    "thiserror",
    "tokio",
    "tower_layer",
    "tower_service",
    "zeroize",
];

/// What touches the world. Pure code names none of it.
const WORLD: [&str; 9] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Pure code, and the few names from [`WORLD`] that are data there.
const PURE: [(&str, &[&str]); 7] = [
    // An address is a number; the environment is read by the one constructor of `Surroundings`.
    ("protocol/src", &["std::net::IpAddr", "std::env"]),
    ("client/cli/src/commands/curl/words.rs", &[]),
    ("client/cli/src/commands/follow/standing.rs", &[]),
    ("daemon/src/refresh", &[]),
    ("daemon/src/lookup.rs", &[]),
    ("daemon/src/access", &[]),
    ("daemon/src/explain.rs", &[]),
];

/// What only these files may name.
const ALONE: [(&str, &[&str]); 14] = [
    ("ring", &["daemon/src/vault/seal.rs"]),
    ("bincode", &["daemon/src/vault/record.rs", "protocol/src/codec.rs"]),
    ("argon2", &["daemon/src/vault/stretch.rs"]),
    ("keyring_core", &["daemon/src/vault/keychain.rs"]),
    ("redb", &["daemon/src/cache/mod.rs"]),
    (
        "libc",
        &[
            "client/cli/src/entry.rs",
            "daemon/src/guarded/page.rs",
            "daemon/src/os/groups.rs",
            "daemon/src/os/heap.rs",
        ],
    ),
    ("landlock", &["daemon/src/os/sandbox.rs"]),
    ("boot_time", &["daemon/src/clock.rs"]),
    ("toml", &["daemon/src/config.rs"]),
    ("sd_notify", &["daemon/src/supervisor/systemd.rs"]),
    ("windows_service", &["client/cli/src/commands/service/windows.rs", "daemon/src/supervisor/windows.rs"]),
    ("signal_hook_tokio", &["daemon/src/os/signals.rs"]),
    ("crossterm", &["client/cli/src/say.rs", "client/cli/src/screen.rs", "client/cli/src/terminal.rs"]),
    ("std::env::set_var", &[]),
];

/// Where the time is asked for: the clocks, and those who hand tokio its own timers' time.
const CLOCKS: [&str; 7] = [
    "client/cli/src/clock.rs",
    "client/src/clock.rs",
    "client/src/deadline.rs",
    "client/src/line.rs",
    "daemon/src/clock.rs",
    "daemon/src/ipc/session.rs",
    "daemon/src/issuer/connect.rs",
];

/// The audit of secret exposure: in which file a secret is opened, and how often.
const OPENED: [(&str, usize); 11] = [
    // A token's way to the caller, and a recovery code's to the paper.
    ("client/cli/src/bearer.rs", 2),
    // An export.
    ("client/cli/src/records.rs", 2),
    // Two typed passphrases are compared, a line end is taken off, lines are parted, a page is taken apart, and nothing is told
    // from something.
    ("client/cli/src/secret_input.rs", 6),
    // The header that a token is for.
    ("client/src/http.rs", 1),
    // The client secret is written into the one request it is for.
    ("daemon/src/issuer/body.rs", 1),
    // The token's own expiry is read; a server's words are searched for the secret.
    ("daemon/src/issuer/classify.rs", 2),
    // The client secret is sealed.
    ("daemon/src/vault/contents.rs", 1),
    // The fingerprint of a token.
    ("daemon/src/vault/seal.rs", 1),
    // A passphrase becomes a key.
    ("daemon/src/vault/stretch.rs", 1),
    // Grammar, the codec, what is written otherwise than it would be, and the bytes of a code.
    ("protocol/src/recovery_code.rs", 6),
    ("protocol/src/token.rs", 6),
];

#[test]
fn every_room_of_the_daemon_knows_only_whom_it_may_know() {
    let mut wrong = Wrong::default();
    for source in Source::of_folder(DAEMON) {
        let name = source.room(DAEMON);
        if ["lib", "startup"].contains(&name) {
            continue;
        }
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            wrong.say(&source, "is in no room that the table in tests/tests/structure knows");
            continue;
        };
        for path in rooms_named(&source).filter(|path| !is_within(path, room.name)) {
            if !room.knows.iter().any(|known| is_within(&path, known)) {
                let known =
                    if room.knows.is_empty() { "no other room".into() } else { room.knows.join(", ") };
                wrong.say(&source, &format!("names {path}, but `{name}` may know {known}"));
            }
        }
        for krate in crates_named(&source, DAEMON) {
            if !room.crates.contains(&krate.as_str()) {
                wrong.say(&source, &format!("uses the crate {krate}, which is not for `{name}`"));
            }
        }
    }
    wrong.must_be_empty();
}

#[test]
fn the_table_of_rooms_promises_nothing_that_is_not_used() {
    let sources = Source::of_folder(DAEMON);
    for Room { name, knows, crates } in ROOMS {
        let own: Vec<&Source> = sources.iter().filter(|source| source.room(DAEMON) == name).collect();
        assert!(!own.is_empty(), "there is no room `{name}` any more");
        for known in knows {
            let is_used = own.iter().any(|source| rooms_named(source).any(|path| is_within(&path, known)));
            assert!(is_used, "`{name}` no longer knows {known}: take it out of the table");
        }
        for krate in crates {
            let is_used = own.iter().any(|source| crates_named(source, DAEMON).contains(*krate));
            assert!(is_used, "`{name}` no longer uses {krate}: take it out of the table");
        }
    }
}

#[test]
fn packages_depend_only_downwards() {
    for (package, ours) in MANIFESTS {
        let named: Vec<String> =
            dependencies(package).into_iter().filter(|name| name.starts_with("procurify-")).collect();
        for name in &named {
            assert!(
                ours.contains(&name.as_str()),
                "{package}/Cargo.toml depends on {name}; allowed are {ours:?}"
            );
        }
    }
    for (package, allowed) in [("protocol", PROTOCOL_CRATES), ("client", CLIENT_CRATES)] {
        for name in dependencies(package) {
            let name = name.replace('-', "_");
            assert!(
                allowed.contains(&name.as_str()),
                "{package}/Cargo.toml depends on {name}; allowed are {allowed:?}"
            );
        }
    }
}

#[test]
fn pure_code_touches_nothing_in_the_world() {
    let mut wrong = Wrong::default();
    let everything = everything();
    for (place, data) in PURE {
        let pure: Vec<&Source> = everything.iter().filter(|source| source.path.starts_with(place)).collect();
        assert!(!pure.is_empty(), "{place} has moved");
        for source in pure {
            for path in &source.paths {
                let touches = WORLD.iter().any(|name| is_within(path, name));
                if touches && !data.iter().any(|name| is_within(path, name)) {
                    wrong.say(source, &format!("names {path}, but {place} is pure"));
                }
            }
            for word in ["tokio", "tracing", "rand", "async fn", ".await"] {
                if contains_word(&source.code, word) {
                    wrong.say(source, &format!("says {word}, but {place} is pure"));
                }
            }
        }
    }
    wrong.must_be_empty();
}

#[test]
fn some_things_are_known_to_one_file_alone() {
    let mut wrong = Wrong::default();
    let everything = everything();
    for (thing, files) in ALONE {
        let who: BTreeSet<&str> = everything
            .iter()
            .filter(|source| source.paths.iter().any(|path| is_within(path, thing)))
            .map(|source| source.path.as_str())
            .collect();
        for stranger in who.iter().filter(|path| !files.contains(path)) {
            wrong.0.push(format!("{stranger} names {thing}, which only {files:?} may"));
        }
        for missing in files.iter().filter(|path| !who.contains(*path)) {
            wrong.0.push(format!("{missing} no longer names {thing}: mend the table"));
        }
    }
    wrong.must_be_empty();
}

#[test]
fn every_duration_on_the_wire_has_one_form() {
    let mut wrong = Wrong::default();
    for source in Source::of_folder("protocol/src").iter().filter(|source| source.path != PATTERNS) {
        let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let field = pair[1].ends_with(": Duration,") || pair[1].ends_with(": Option<Duration>,");
            if field && !pair[0].starts_with("#[serde(deserialize_with") {
                wrong.say(source, &format!("reads `{}` in more than one form: see {PATTERNS}", pair[1]));
            }
        }
    }
    wrong.must_be_empty();
}

#[test]
fn only_clocks_ask_the_time() {
    let asks = |source: &&Source| {
        ["Instant::now", "SystemTime::now", "Utc::now", "Local::now"]
            .iter()
            .any(|call| contains_word(&source.code, call))
    };
    let everything = everything();
    let who: Vec<&str> = everything.iter().filter(asks).map(|source| source.path.as_str()).collect();
    assert_eq!(who, CLOCKS, "who asks the time (left) is not who may (right)");
}

/// The fenced files in which something is.
const UNSAFE_FILES: [&str; 11] = [
    "client/cli/src/entry.rs",
    "daemon/src/guarded/page.rs",
    "daemon/src/os/groups.rs",
    "daemon/src/os/heap.rs",
    "daemon/src/os/settled.rs",
    "protocol/windows/src/memory.rs",
    "protocol/windows/src/pipe.rs",
    "protocol/windows/src/process.rs",
    "protocol/windows/src/security.rs",
    "protocol/windows/src/sid.rs",
    "protocol/windows/src/token.rs",
];

#[test]
fn nothing_else_is_unsafe_and_no_lint_is_switched_off() {
    let mut wrong = Wrong::default();
    for source in everything().iter().chain(&Source::of_folder("tests/sandbox/src")) {
        if !UNSAFE_FILES.contains(&source.path.as_str()) && contains_word(&source.code, "unsafe") {
            wrong.say(source, "says unsafe: find another way");
        }
        for (word, instead) in [
            ("#[allow(", "use #[expect(…, reason = \"…\")]"),
            ("#![allow(", "use #[expect(…, reason = \"…\")]"),
        ] {
            if contains_word(&source.code, word) {
                wrong.say(source, &format!("says {word}: {instead}"));
            }
        }
    }
    wrong.must_be_empty();
}

#[test]
fn secrets_are_opened_where_the_audit_says_and_each_time_with_its_reason() {
    let mut wrong = Wrong::default();
    let mut opened = BTreeMap::new();
    for source in everything() {
        let lines: Vec<&str> = source.code.lines().collect();
        let sites = (0..lines.len()).filter(|&at| lines[at].contains("expose_secret"));
        for site in sites {
            *opened.entry(source.path.clone()).or_insert(0) += lines[site].matches("expose_secret").count();
            if !stands_in_expecting_function(&lines, site) {
                let why = "opens a secret without #[expect(clippy::disallowed_methods, reason = …)] on its function";
                wrong.say(&source, &format!("line {}: {why}", site + 1));
            }
        }
    }
    wrong.must_be_empty();
    let audited: BTreeMap<String, usize> =
        OPENED.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
    assert_eq!(opened, audited, "where secrets are opened (left) is not what was audited (right)");
}

#[test]
fn every_file_says_what_it_is_for_and_why_it_is_long() {
    let mut wrong = Wrong::default();
    for source in everything().iter().chain(&Source::of_folder("tests/sandbox/src")) {
        let is_included = source.text.starts_with("#![doc = include_str!(");
        if source.header().is_empty() && !is_included {
            wrong.say(source, "does not begin with a //! header");
        }
        let lines = source.code_lines();
        let justifies = ["long", "in one place", "one table", "one file"]
            .iter()
            .any(|words| contains_word(&source.header(), words));
        if lines > LONGEST_FILE && !justifies {
            let wanted = "its header has to say why the file is long";
            wrong.say(source, &format!("has {lines} lines of code; beyond {LONGEST_FILE} {wanted}"));
        }
    }
    wrong.must_be_empty();
}

#[test]
fn the_scanner_reads_what_rust_reads() {
    let code = r##"
        //! use crate::comment::X;
        use crate::{explain, vault::{self, Vault as V, seal::*}};
        use super::session::{Service, converse};
        /* crate::block::X /* nested */ */
        fn f<'a>(x: &'a str) -> char { log("crate::text::X \" y", r#"crate::raw::"X"#); 'x'; '\''; '"' }
        fn g() { crate::inline::call(); tokio::select! {} x.collect::<Vec<_>>(); 1.0_f64 }
        #[cfg(test)]
        mod tests { use crate::in_tests::X; fn t() { if x { } } }
        #[cfg(test)]
        pub(super) mod faults;
        fn h() { crate::after::call() }
    "##;
    let (code, modules) = source::without_tests(&source::bare(code));
    let paths: Vec<String> = source::paths(&code).into_iter().collect();
    assert_eq!(
        paths,
        [
            "crate::after::call",
            "crate::explain",
            "crate::inline::call",
            "crate::vault",
            "crate::vault::Vault",
            "crate::vault::seal::*",
            "super::session::Service",
            "super::session::converse",
            "tokio::select",
        ]
    );
    assert_eq!(modules, ["faults"]);
}

#[test]
fn an_opened_secret_without_its_reason_is_seen() {
    let good =
        ["#[expect(clippy::disallowed_methods, reason = \"\")]", "fn f() {", "    x.expose_secret()", "}"];
    let other =
        ["#[expect(clippy::disallowed_methods)]", "fn f() {", "}", "", "fn g() { x.expose_secret() }"];
    assert!(stands_in_expecting_function(&good, 2));
    assert!(!stands_in_expecting_function(&other, 4));
}

/// What is wrong, one line each.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn say(&mut self, source: &Source, what: &str) {
        self.0.push(format!("{} {what}", source.path));
    }

    fn must_be_empty(self) {
        assert!(self.0.is_empty(), "the structure is broken:\n  {}\n", self.0.join("\n  "));
    }
}

/// What is shipped.
fn everything() -> Vec<Source> {
    ["client/cli/src", "client/src", DAEMON, "protocol/src", "protocol/windows/src"]
        .into_iter()
        .flat_map(Source::of_folder)
        .collect()
}

/// `vault::Vault` for each `crate::vault::Vault`.
fn rooms_named(source: &Source) -> impl Iterator<Item = String> {
    let own = |path: &&String| path.starts_with("crate::") || path.starts_with("procurify_tokend::");
    source.paths.iter().filter(own).map(|path| path.split_once("::").unwrap().1.to_owned())
}

fn crates_named(source: &Source, folder: &str) -> BTreeSet<String> {
    let package = folder.trim_end_matches("/src");
    let known: BTreeSet<String> =
        dependencies(package).into_iter().map(|name| name.replace('-', "_")).collect();
    let first = |path: &String| path.split("::").next().unwrap().to_owned();
    source.paths.iter().map(first).filter(|name| known.contains(name)).collect()
}

/// The names under `[dependencies]`, those for one system alone included.
fn dependencies(package: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
    let mut is_within = false;
    let entries = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            is_within =
                *line == "[dependencies]" || line.starts_with("[target.") && line.ends_with(".dependencies]");
            return false;
        }
        is_within && line.contains('=')
    });
    entries
        .map(|line| line.split(['.', ' ', '=']).next().unwrap().to_owned())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect()
}

/// Whether `path` is `place` or below it.
fn is_within(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn contains_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        let runs_on = word.starts_with(is_part) && before.is_some_and(is_part)
            || word.ends_with(is_part) && after.is_some_and(is_part);
        !runs_on
    })
}

/// Whether the function around this line carries the lifted lint.
fn stands_in_expecting_function(lines: &[&str], site: usize) -> bool {
    let is_function = |line: &str| contains_word(line, "fn");
    let Some(start) = (0..=site).rev().find(|&at| is_function(lines[at])) else { return false };
    let is_attribute = |line: &&&str| !line.trim().is_empty() && !line.trim_end().ends_with(['}', ';', '{']);
    let attributes: Vec<&str> = lines[..start].iter().rev().take_while(is_attribute).copied().collect();
    attributes.iter().any(|line| line.contains("clippy::disallowed_methods"))
}

const DAEMON: &str = "daemon/src";
/// How a duration is read from the wire.
const PATTERNS: &str = "protocol/src/pattern.rs";
const PROTOCOL: &str = "procurify_token_protocol";
/// What is asked of Windows.
const WINDOWS: &str = "procurify_token_windows";
const LONGEST_FILE: usize = 300;
