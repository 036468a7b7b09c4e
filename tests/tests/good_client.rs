//! What a good client of Procurify does, one test for each of its fourteen habits: the real programs against a sandbox
//! that behaves as badly as that habit is there for.
//!
//! Where hours have to pass, the daemon is started again on a machine whose boot-time clock has run on. What cannot be
//! seen from outside in finite time (every jitter, every order of events) is for the simulation.

use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use procurify_token_tests::sandbox::{
    Application, ExpiresIn, Fault, Knobs, RetryAfter, Scope, Token, TokenType,
};
use procurify_token_tests::{Gate, Home, Typed, has_time_namespaces, skipped};
use serde_json::Value;

#[test]
fn h01_one_domain_is_made_of_what_people_paste_and_nothing_else_passes_for_one() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    let add = |pasted: &str| {
        let words = ["add", pasted, "--client-id", "sandbox-acme", "--secret-stdin"];
        home.command(words).stdin("sandbox-acme-secret").run()
    };
    add(" https://Acme.procurify.com/ ").succeeds().showing(&["acme is stored durably"]);
    for pasted in ["acme", "ACME", "acme.procurify.com", "https://acme.procurify.com", "acme.procurify.com/"]
    {
        add(pasted).fails_with(12).saying(&["acme is enrolled already"]);
    }
    for pasted in [
        "acme.procurify.com.evil.com",
        "https://acme.procurify.com@evil.com/",
        "https://user:word@acme.procurify.com/",
        "https://acme.procurify.com:8443/",
        "https://evil.com/acme.procurify.com",
        "-acme",
        "acme\nevil",
        "acmé",
        "",
    ] {
        add(pasted).fails_with(2);
    }
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 1);
}

#[test]
fn h02_credentials_follow_no_redirect_trust_no_stranger_and_take_no_flood() {
    let home = Home::new(&["acme", "globex", "initech"]);
    let elsewhere = format!("{}/oauth/token", home.sandbox().base_url("globex"));
    home.sandbox().set("acme", Knobs::failing(Fault::redirect(&elsewhere))).unwrap();
    home.sandbox().set("initech", Knobs::failing(Fault::oversized(true))).unwrap();
    let daemon = home.start();
    home.enrol("acme");
    home.enrol("initech");
    get(&home, "acme").fails_with(8).saying(&["redirect"]);
    assert_ne!(get_at_once(&home, "initech").code, Some(0));
    assert_eq!(home.sandbox().ledger().tally("globex").token_requests, 0, "no secret went elsewhere");
    assert!(daemon.stop().success());

    fs::write(home.config_folder().join("config.toml"), "").unwrap();
    let _daemon = home.start();
    home.enrol("globex");
    let refused = get_at_once(&home, "globex");
    assert_ne!(refused.code, Some(0));
    refused.saying(&["certificate"]);
    assert_eq!(home.sandbox().ledger().tally("globex").token_requests, 0, "nothing was said to a stranger");
}

#[test]
fn h03_a_life_may_be_written_in_many_ways_and_counts_from_the_asking() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    let month = 30 * 24 * 3600;
    let lives = [
        ("integer", ExpiresIn::Seconds(3600), Some(3600)),
        ("float", ExpiresIn::Float(3600.0), Some(3600)),
        ("text", ExpiresIn::Text("3600".to_owned()), Some(3600)),
        ("missing", ExpiresIn::Missing, Some(900)),
        ("endless", ExpiresIn::Seconds(10 * month), Some(month)),
        ("zero", ExpiresIn::Seconds(0), None),
        ("negative", ExpiresIn::Seconds(-5), None),
    ];
    for (label, expires_in, expected) in lives {
        // With a delay, which is not to be counted to the token's good.
        home.sandbox().set("acme", Knobs { expires_in, latency_ms: 700, ..Knobs::default() }).unwrap();
        let name = format!("acme/{label}");
        home.enrol(&name);
        let Some(expected) = expected else {
            let refused = get(&home, &name);
            assert!(refused.code != Some(0) && refused.stdout.is_empty(), "{label}: {refused:#?}");
            continue;
        };
        let expires_at = time(&get_json(&home, &name)["expires_at"]);
        let asked = home.sandbox().ledger().token_requests("acme").pop().unwrap().at;
        let life = expires_at - asked;
        assert!(
            life <= TimeDelta::seconds(expected) && life > TimeDelta::seconds(expected - 5),
            "{label}: {life}"
        );
    }
}

#[test]
fn h04_nothing_but_a_bearer_token_passes_for_one() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    let named = |kind: &str| Knobs { token_type: TokenType::Named(kind.to_owned()), ..Knobs::default() };
    let of = |token| Knobs { token, ..Knobs::default() };
    home.sandbox().set("acme", named("bEARER")).unwrap();
    home.enrol("acme");
    get(&home, "acme").succeeds();
    for (label, knobs) in [
        ("mac", named("mac")),
        ("error", Knobs::failing(Fault::ErrorIn200)),
        ("html", Knobs::failing(Fault::Html200)),
        ("empty", of(Token::Empty)),
        ("missing", of(Token::Missing)),
        ("forged", of(Token::ControlCharacters)),
    ] {
        home.sandbox().set("acme", knobs).unwrap();
        let name = format!("acme/{label}");
        home.enrol(&name);
        let refused = get(&home, &name);
        assert!(refused.code != Some(0) && refused.stdout.is_empty(), "{label}: {refused:#?}");
    }
}

#[test]
fn h05_a_token_for_another_domain_is_refused_by_its_name() {
    let home = Home::new(&["acme"]);
    let scope = Scope::OtherDomain("globex".to_owned());
    home.sandbox().set("acme", Knobs { scope, ..Knobs::default() }).unwrap();
    let _daemon = home.start();
    home.enrol("acme");
    let refused = get(&home, "acme");
    assert!(refused.code != Some(0) && refused.stdout.is_empty(), "{refused:#?}");
    refused.saying(&["another domain", "globex"]);
}

#[test]
fn h06_a_token_is_refreshed_at_a_random_point_late_in_its_life_and_handed_out_to_its_end() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    let names: Vec<_> = (0..12).map(|number| format!("acme/n{number}")).collect();
    for name in &names {
        home.enrol(name);
    }
    let mut shares = Vec::new();
    for name in &names {
        get(&home, name).succeeds();
        let status = status(&home, name);
        let token = &status["token"];
        let [issued, due, ends] =
            [&token["issued_at"], &status["next_attempt_at"], &token["expires_at"]].map(time);
        let share = (due - issued).as_seconds_f64() / (ends - issued).as_seconds_f64();
        assert!((0.799..0.901).contains(&share), "{name} is refreshed after {share} of its life");
        shares.push(share);
    }
    shares.sort_by(f64::total_cmp);
    assert!(shares[11] - shares[0] > 0.01, "they were enrolled together and do not refresh together");

    let down = Fault::ServiceUnavailable503 { retry_after: Some(RetryAfter::Seconds(600)) };
    home.sandbox().set("acme", Knobs::failing(down)).unwrap();
    home.command(["refresh", &names[0]]).run().fails_with(9);
    get(&home, &names[0]).succeeds();
}

#[test]
fn h07_however_many_wait_there_is_one_request_and_who_leaves_cancels_nothing() {
    let home = Home::new(&["acme"]);
    let gate = Gate::before(home.sandbox().http_addr());
    let home = home.behind(gate.proxy_url());
    let _daemon = home.start();
    home.enrol("acme");
    gate.await_knocks(1);
    let mut callers: Vec<_> = (0..10).map(|_| home.command(["get", "acme"]).spawn()).collect();
    home.command(["status"]).run().succeeds();
    for mut leaver in callers.split_off(5) {
        leaver.kill().unwrap();
        leaver.wait().unwrap();
    }
    gate.open();
    for mut caller in callers {
        assert!(caller.wait().unwrap().success());
    }
    let tally = home.sandbox().ledger().tally("acme");
    assert_eq!((tally.token_requests, tally.issued), (1, 1));
}

#[test]
fn h08_a_server_that_says_when_is_believed_in_every_form_and_over_a_restart() {
    let home = Home::new(&["acme"]);
    let mut daemon = home.start();
    let unavailable =
        |form: fn(i64) -> RetryAfter| Fault::ServiceUnavailable503 { retry_after: Some(form(7200)) };
    let reset = Fault::Throttled429 { retry_after: None, ratelimit_reset_s: Some(7200) };
    let forms = [
        ("seconds", unavailable(|seconds| RetryAfter::Seconds(seconds.unsigned_abs())), 9),
        ("imf", unavailable(RetryAfter::ImfDate), 9),
        ("rfc850", unavailable(RetryAfter::Rfc850Date), 9),
        ("asctime", unavailable(RetryAfter::Asctime), 9),
        ("reset", reset, 11),
    ];
    for (asked, (label, fault, code)) in forms.into_iter().enumerate() {
        home.sandbox().set("acme", Knobs::failing(fault)).unwrap();
        let name = format!("acme/{label}");
        home.enrol(&name);
        let refused = get(&home, &name).fails_with(code);
        assert!(
            ["next attempt in 1 h 59 min", "next attempt in 2 h"]
                .iter()
                .any(|time| refused.stderr.contains(time)),
            "{refused:#?}"
        );
        daemon.kill9();
        daemon = home.start();
        home.sandbox().clear("acme").unwrap();
        get(&home, &name).fails_with(code);
        let requests = home.sandbox().ledger().tally("acme").token_requests;
        assert_eq!(requests, asked as u64 + 1, "{label}: it is left alone");
    }
    if !has_time_namespaces() {
        return skipped("what a server asked for, hours later", "unshare -T does not work here");
    }
    drop(daemon);
    let _daemon = home.start_asleep(7300);
    get(&home, "acme/asctime").succeeds();

    // Without a word from the server: again and again, at growing distances.
    home.configure("[refresh]\nbackoff-cap = \"1s\"");
    home.command(["stop"]).run().succeeds();
    let _daemon = home.start();
    home.sandbox().set("acme", Knobs::failing_at_first(3, Fault::TruncatedBody)).unwrap();
    home.enrol("acme/patience");
    get(&home, "acme/patience").succeeds();
}

#[test]
fn h09_a_rejected_pair_is_left_alone_until_it_is_another_or_somebody_insists() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    let asked = || home.sandbox().ledger().tally("acme").token_requests;
    let as_sandbox =
        |secret: &str| Application { client_secret: secret.to_owned(), ..Application::of("acme") };
    home.sandbox().put_client("acme", as_sandbox("another")).unwrap();
    home.enrol("acme");
    get(&home, "acme").fails_with(7).saying(&["rotate acme"]);
    daemon.kill9();
    let daemon = home.start();
    get(&home, "acme").fails_with(7);
    home.command(["refresh", "acme"]).run().fails_with(7);
    assert_eq!(asked(), 1, "one that is rejected is not tried in vain");
    home.command(["refresh", "acme", "--retry"]).run().fails_with(7);
    assert_eq!(asked(), 2, "unless somebody insists");
    assert!(daemon.stop().success());

    if has_time_namespaces() {
        let daemon = home.start_asleep(3700);
        home.await_token_requests("acme", 3);
        get(&home, "acme").fails_with(7);
        assert_eq!(asked(), 3, "one probe an hour");
        assert!(daemon.stop().success());
    } else {
        skipped("a probe an hour later", "unshare -T does not work here");
    }

    let _daemon = home.start();
    let rotate = ["rotate", "acme", "--client-id", "sandbox-acme", "--secret-stdin"];
    home.command(rotate).stdin("another").run().succeeds();
    get(&home, "acme").succeeds();

    // Right after a rotation a 401 may be the old state of a server: it does not bar the pair.
    home.sandbox().put_client("acme", as_sandbox("sandbox-acme-secret")).unwrap();
    home.sandbox().set("acme", Knobs::failing_at_first(1, Fault::Wrapper401)).unwrap();
    let before = asked();
    home.command(["rotate", "acme", "--rollback"]).run().succeeds();
    home.await_issued("acme", 2);
    assert_eq!(asked(), before + 2);
}

#[test]
fn h10_a_wrong_address_is_an_error_of_its_own_with_advice() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    for (label, fault) in [
        ("lost", Fault::NotFound404),
        ("moved", Fault::redirect("https://login.example/")),
        ("page", Fault::Html200),
    ] {
        home.sandbox().set("acme", Knobs::failing(fault)).unwrap();
        let name = format!("acme/{label}");
        home.enrol(&name);
        get(&home, &name).fails_with(8).saying(&[&name, "hint: "]);
        home.command(["status", &name]).run().succeeds().showing(&["what to do:"]);
    }
}

#[test]
fn h11_a_restart_within_a_tokens_life_issues_nothing() {
    let home = Home::new(&["acme"]);
    let mut daemon = home.start();
    home.enrol("acme");
    let token = get(&home, "acme").succeeds().stdout;
    for round in 0..6 {
        if round % 2 == 0 {
            daemon.kill9();
        } else {
            assert!(daemon.stop().success());
        }
        daemon = home.start();
        assert_eq!(get(&home, "acme").succeeds().stdout, token);
    }
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 1);
}

#[test]
fn h12_no_more_tokens_are_issued_than_the_budget_allows_unless_somebody_insists() {
    let home = Home::new(&["acme"]);
    home.configure("[budget]\nper-hour = 2");
    let daemon = home.start();
    home.enrol("acme");
    get(&home, "acme").succeeds();
    home.command(["refresh", "acme"]).run().succeeds();
    let spent = home.command(["refresh", "acme"]).run().fails_with(11);
    spent.saying(&["budget", "procurify-token refresh acme --over-budget"]);
    get(&home, "acme").succeeds();

    // Even with nothing to hand out: a caller is told when there will be something.
    home.sandbox().set("acme", Knobs { expires_in: ExpiresIn::Seconds(1), ..Knobs::default() }).unwrap();
    home.command(["refresh", "acme", "--over-budget"]).run().succeeds();
    home.sandbox().clear("acme").unwrap();
    let refused = loop {
        let typed = get(&home, "acme");
        if typed.code != Some(0) {
            break typed;
        }
    };
    refused.fails_with(11).saying(&["budget", "next attempt in 59 min"]);
    daemon.kill9();
    let daemon = home.start();
    get(&home, "acme").fails_with(11).saying(&["budget"]);
    assert_eq!(home.sandbox().ledger().issued("acme"), 3, "nor after a restart");
    assert!(daemon.stop().success());

    if !has_time_namespaces() {
        return skipped("a budget an hour later", "unshare -T does not work here");
    }
    let _daemon = home.start_asleep(3700);
    get(&home, "acme").succeeds();
    assert_eq!(home.sandbox().ledger().issued("acme"), 4);
}

#[test]
fn h13_a_token_that_the_api_refused_is_replaced_once_and_a_403_replaces_none() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    get(&home, "acme").succeeds();
    let issued = || home.sandbox().ledger().issued("acme");
    let call = || home.command(["api", "acme", "/api/v3/users/me/"]).run();

    home.sandbox().set("acme", Knobs { api_forbidden: true, ..Knobs::default() }).unwrap();
    home.command(["api", "acme", "/api/v3/vendors/"]).run().ends_with(22);
    assert_eq!(issued(), 1, "a 403 is not the token's fault");
    home.sandbox().clear("acme").unwrap();

    home.sandbox().revoke("acme").unwrap();
    call().succeeds();
    assert_eq!(issued(), 2);
    home.command(["invalidate", "acme", "--fingerprint", "0123456789abcdef"]).run().succeeds();
    assert_eq!(issued(), 2, "only the current token is forgotten");

    // The one that replaced it is refused as well: a third would hardly fare better.
    for _ in 0..3 {
        home.sandbox().revoke("acme").unwrap();
        assert_ne!(call().code, Some(0));
    }
    assert_eq!(issued(), 2);
    let state = status(&home, "acme");
    assert_eq!(state["last_failure"]["code"], "tokens-refused");
    let left = time(&state["next_attempt_at"]) - now();
    assert!(left > TimeDelta::minutes(4) && left <= TimeDelta::minutes(5), "it cools down for {left}");
    home.command(["status", "acme"]).run().succeeds().showing(&["401"]);
}

#[test]
fn h14_clocks_that_lie_take_no_token_away_and_keep_none_alive() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    let warned = || home.command(["status"]).run().succeeds().stdout.contains("timedatectl");
    for (label, date_skew_s, is_warned) in
        [("right", 0, false), ("near", 40, false), ("ahead", 7200, true), ("behind", -7200, true)]
    {
        let knobs = Knobs { date_skew_s, expires_in: ExpiresIn::Seconds(3600), ..Knobs::default() };
        home.sandbox().set("acme", knobs).unwrap();
        let name = format!("acme/{label}");
        home.enrol(&name);
        let left = time(&get_json(&home, &name)["expires_at"]) - now();
        assert!(left > TimeDelta::minutes(59) && left <= TimeDelta::hours(1), "{label}: it lives for {left}");
        assert_eq!(warned(), is_warned, "{label}");
    }
    if !has_time_namespaces() {
        return skipped("a suspended machine", "unshare -T does not work here");
    }
    let before = get(&home, "acme/right").succeeds().stdout;
    home.command(["stop"]).run().succeeds();
    let daemon = home.start_asleep(1200);
    assert_eq!(get(&home, "acme/right").succeeds().stdout, before);
    assert!(daemon.stop().success());
    let _daemon = home.start_asleep(3700);
    assert_ne!(get(&home, "acme/right").succeeds().stdout, before, "it has ended while the machine slept");
}

fn get(home: &Home, name: &str) -> Typed {
    home.command(["get", name]).run()
}

/// Without waiting for things to get better.
fn get_at_once(home: &Home, name: &str) -> Typed {
    home.command(["get", name, "--deadline", "2s"]).run()
}

fn get_json(home: &Home, name: &str) -> Value {
    home.command(["get", name, "--json"]).run().succeeds().json()
}

fn status(home: &Home, name: &str) -> Value {
    home.command(["status", name, "--json"]).run().succeeds().json()["credential"].take()
}

#[track_caller]
fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("not a time: {value}"))
}

#[expect(clippy::disallowed_methods, reason = "the test compares with the machine's own clock")]
fn now() -> DateTime<Utc> {
    Utc::now()
}
