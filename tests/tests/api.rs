//! `api` beyond one request: pages in every shape, fields, patience, and answers of any length.

use procurify_token_tests::sandbox::{Config, Fault, Knobs, Pages, RetryAfter, Sandbox};
use procurify_token_tests::{Home, PATIENCE};
use serde_json::Value;

#[test]
fn pages_that_are_only_numbered_are_walked_through() {
    let (home, _daemon) = Home::enrolled();
    home.sandbox().set("acme", Knobs { pages: Pages::Numbered, ..Knobs::default() }).expect("a knob");
    for (path, members) in
        [("/api/v3/vendors/?page_size=20", "data"), ("/api/v2/vendors/?page=2&page_size=20", "results")]
    {
        let printed = home.command(["api", "acme", path, "--paginate"]).run().succeeds().stdout;
        let pages: Vec<Value> =
            printed.lines().map(|page| serde_json::from_str(page).expect("JSON")).collect();
        let vendors: usize = pages.iter().map(|page| page[members].as_array().expect("a list").len()).sum();
        assert_eq!((pages.len(), vendors), if members == "data" { (3, 45) } else { (2, 25) }, "{path}");
    }
}

#[test]
fn a_next_page_at_another_host_is_named_and_not_asked_for() {
    let (home, _daemon) = Home::enrolled();
    let elsewhere = Sandbox::spawn(Config::of(&["globex"])).expect("a sandbox");
    let there = elsewhere.plain_base_url("globex");
    home.sandbox()
        .set("acme", Knobs { pages: Pages::At(there.clone()), ..Knobs::default() })
        .expect("a knob");
    let typed = home.command(["api", "acme", "/api/v3/vendors/", "--paginate"]).run().ends_with(22);
    assert_eq!(typed.stdout.lines().count(), 1, "the first page");
    typed.saying(&[&format!("{there}/api/v3/vendors/?page=2"), "not followed"]);
    assert!(elsewhere.ledger().api_calls("globex").is_empty());
}

#[test]
fn fields_make_a_body_or_a_query() {
    let (home, _daemon) = Home::enrolled();
    let words = [
        "api",
        "acme",
        "/api/v3/vendors/",
        "-f",
        "name=New vendor",
        "-F",
        "active=false",
        "-F",
        "tags=[1,2]",
    ];
    let created = home.command(words).run().succeeds().json();
    assert_eq!(created["data"]["name"], "New vendor");
    assert_eq!(created["data"]["tags"], serde_json::json!([1, 2]));
    assert_eq!(created["data"]["active"], false);
    let words = ["api", "acme", "/api/v3/vendors/", "-X", "GET", "-F", "page_size=40", "--paginate"];
    assert_eq!(home.command(words).run().succeeds().stdout.lines().count(), 2);
    for wrong in [
        &["-f", "name"][..],
        &["-f", "a=1", "-d", "{}"],
        &["-f", "a=1", "-F", "a=2"],
        &["-f", "a=1", "--paginate"],
    ] {
        home.command([&["api", "acme", "/api/v3/vendors/"], wrong].concat()).run().fails_with(2);
    }
}

#[test]
fn patience_that_is_asked_for_is_had_within_the_deadline() {
    let (home, _daemon) = Home::enrolled();
    put_off(&home, 1);
    let call = home.command(["api", "acme", "/api/v3/users/me/"]).into_command();
    let mut call = call;
    let call = call
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let ledger = home.sandbox().ledger();
    assert!(ledger.wait_for(PATIENCE, |book| book.api_calls().any(|call| call.status == Some(429))));
    home.sandbox().clear("acme").expect("there is such a domain");
    let output = call.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && stderr.contains("asks for patience (HTTP 429): waiting for 1 s"),
        "{stderr}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("integration@acme.example"));

    put_off(&home, 600);
    let before = ledger.api_calls("acme").len();
    let typed = home.command(["api", "acme", "/api/v3/users/me/", "--deadline", "5m"]).run().ends_with(22);
    typed.saying(&["429", "10 min", "--deadline"]);
    assert_eq!(ledger.api_calls("acme").len(), before + 1, "it was not asked in vain");
}

/// In a process that may not hold half of it.
#[test]
fn an_answer_of_any_length_is_passed_on_without_being_held() {
    let (home, _daemon) = Home::enrolled();
    let length: u64 = 200 * 1024 * 1024;
    let fault = Some(Fault::OversizedBody { bytes: length, chunked: true });
    home.sandbox().set("acme", Knobs { api_fault: fault, ..Knobs::default() }).expect("a knob");
    for option in ["", "--paginate"] {
        let script = format!("ulimit -v 100000; procurify-token api acme /api/v3/vendors/ {option} | wc -c");
        let typed = home.shell(&script).run().succeeds();
        assert_eq!(typed.stderr, "");
        assert!(typed.line().parse::<u64>().expect("a number") > length, "{typed:#?}");
    }
}

fn put_off(home: &Home, seconds: u64) {
    let fault =
        Fault::Throttled429 { retry_after: Some(RetryAfter::Seconds(seconds)), ratelimit_reset_s: None };
    home.sandbox().set("acme", Knobs { api_fault: Some(fault), ..Knobs::default() }).expect("a knob");
}
