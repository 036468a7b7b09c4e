//! Clocks that lie, to the real daemon: a boot-time clock that has run on, a wall clock that is set, a server whose date
//! is another. Whatever they say, no token that has ended is handed out, and none that lives is lost.

use std::fs;
use std::path::{Path, PathBuf};

use procurify_token_tests::sandbox::{ExpiresIn, Knobs};
use procurify_token_tests::{Daemon, Home, has_time_namespaces, skipped};

#[test]
fn a_machine_that_slept_within_a_tokens_life_serves_it_and_one_that_slept_beyond_does_not() {
    if !has_time_namespaces() {
        return skipped("a machine that slept", "unshare -T does not work here: it takes root and Linux 5.6");
    }
    let home = Home::new(&["acme"]);
    home.sandbox().set("acme", living(3600)).unwrap();
    let first = first_token(&home, home.start());

    let daemon = home.start_asleep(40 * 60);
    assert_eq!(get(&home), first, "it lives for another twenty minutes");
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
    assert!(daemon.stop().success());

    let daemon = home.start_asleep(2 * 3600);
    let second = get(&home);
    assert_ne!(second, first, "it ended an hour ago");
    assert!(daemon.stop().success());

    // By this clock the second token was issued in the future.
    let _daemon = home.start();
    assert_ne!(get(&home), second, "nothing is known of its life");
    assert_eq!(home.sandbox().ledger().issued("acme"), 3);
}

#[test]
fn a_wall_clock_that_is_set_takes_no_token_away_and_keeps_none_alive() {
    let Some(library) = faketime() else {
        return skipped("a wall clock that is set", "libfaketime is not installed: apt install faketime");
    };
    let home = Home::new(&["acme"]);
    home.sandbox().set("acme", living(3600)).unwrap();
    // Where the sandboxed daemon may read it.
    let set = home.config_folder().join("faketime");
    let start = || {
        let mut command = home.daemon_command();
        command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &set);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        home.try_start_with(command).expect("the daemon starts under faketime")
    };
    fs::write(&set, "+0").unwrap();
    let daemon = start();
    home.enrol("acme");
    let first = get(&home);
    let days_ahead = |home: &Home| {
        let status = home.command(["status", "acme", "--json"]).run().succeeds().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).expect("status prints JSON");
        let ends = status["credential"]["token"]["expires_at"].as_str().expect("a token is held").to_owned();
        let ends: chrono::DateTime<chrono::Utc> = ends.parse().expect("a time");
        (ends - now()).num_days()
    };
    assert_eq!(days_ahead(&home), 0);

    // Back: the same token, which ends at the same moment, called otherwise.
    fs::write(&set, "-10d").unwrap();
    assert_eq!(days_ahead(&home), -9, "the end is told by the clock as it stands");
    assert_eq!(get(&home), first);
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
    assert!(daemon.stop().success());
    let daemon = start();
    assert_eq!(get(&home), first, "a restart goes by the boot-time clock");
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);

    // Forward, beyond the token's end: the machine may have stood still, so a new one is asked for, and only one.
    fs::write(&set, "+30d").unwrap();
    assert!(days_ahead(&home) >= 29);
    home.await_issued("acme", 2);
    // What was issued is on its way; until it is here, the first one is served.
    let second = std::iter::repeat_with(|| get(&home)).find(|token| *token != first).unwrap();
    assert!(daemon.stop().success());
    let _daemon = start();
    assert_eq!(get(&home), second);
    assert_eq!(home.sandbox().ledger().issued("acme"), 2);
}

fn living(seconds: i64) -> Knobs {
    Knobs { expires_in: ExpiresIn::Seconds(seconds), ..Knobs::default() }
}

fn first_token(home: &Home, daemon: Daemon) -> String {
    home.enrol("acme");
    let token = get(home);
    assert!(daemon.stop().success());
    token
}

fn get(home: &Home) -> String {
    home.command(["get", "acme"]).run().succeeds().stdout
}

fn faketime() -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime"];
    places.iter().map(|place| Path::new(place).join("libfaketime.so.1")).find(|library| library.exists())
}

#[expect(clippy::disallowed_methods, reason = "the test compares with the machine's own clock")]
fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}
