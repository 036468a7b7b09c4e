//! The forms in which a token leaves the command, and what is done with one: `get`, `exec`, `api`.

use procurify_sandbox::Knobs;
use procurify_token_tests::{Home, skipped};
use serde_json::Value;

#[test]
fn a_token_is_printed_in_the_form_that_its_reader_wants() {
    let (home, _daemon) = Home::enrolled();
    let token = home.command(["get", "acme"]).run().succeeds();
    assert_eq!(token.stdout.lines().count(), 1);
    assert!(token.line().starts_with("eyJ") && token.stderr.is_empty());

    let json = home.command(["get", "acme", "--json"]).run().succeeds().json();
    assert_eq!(json["access_token"], token.line());
    assert_eq!(json["domain"], "acme");
    assert_eq!(json["base_url"], "https://acme.procurify.com");
    let header = home.command(["get", "acme", "--header"]).run().succeeds().stdout;
    assert_eq!(header, format!("Authorization: Bearer {}\nX-Procurify-Client: api\n", token.line()));

    let two = home.command(["get", "acme", "globex"]).run().fails_with(5);
    assert_eq!(two.stdout, "", "all or none");
    home.command(["get", "acme", "globex", "--header"]).run().fails_with(2);
}

#[test]
fn a_shell_evaluates_what_env_prints() {
    let (home, _daemon) = Home::enrolled();
    let script = r#"eval "$(procurify-token get acme --env)"; echo "$PROCURIFY_DOMAIN $PROCURIFY_BASE_URL"; sh -c 'echo $PROCURIFY_TOKEN'"#;
    let printed = home.shell(script).run().succeeds().stdout;
    let token = home.command(["get", "acme"]).run().succeeds().stdout;
    assert_eq!(printed, format!("acme https://acme.procurify.com\n{token}"));
}

#[test]
fn curl_takes_both_forms_that_are_made_for_it() {
    let (home, _daemon) = Home::enrolled();
    if home.shell("command -v curl").run().code != Some(0) {
        return skipped("curl_takes_both_forms_that_are_made_for_it", "there is no curl");
    }
    let curl = format!("curl -sS --fail --cacert {}", home.ca_file().display());
    let url = "https://acme.procurify.com/api/v3/users/me/";
    for script in [
        format!("procurify-token get acme --header | {curl} -H @- {url}"),
        format!("procurify-token get acme --curl-config | {curl} -K - {url}"),
    ] {
        let user = home.shell(&script).run().succeeds();
        assert!(user.stdout.contains("integration@acme.example"), "{user:#?}");
    }
    let calls = home.sandbox().ledger().api_calls("acme");
    assert!(calls.iter().all(|call| call.head.x_procurify_client.as_deref() == Some("api")));
}

#[test]
fn exec_hands_the_token_over_and_its_exit_code_on() {
    let (home, _daemon) = Home::enrolled();
    let token = home.command(["get", "acme"]).run().succeeds().stdout;
    let script = r#"echo "$PROCURIFY_TOKEN"; echo "$PROCURIFY_DOMAIN $PROCURIFY_BASE_URL $1" >&2; exit 42"#;
    let typed = home.command(["exec", "acme", "--", "sh", "-c", script, "sh", "--json"]).run().ends_with(42);
    assert_eq!(typed.stdout, token);
    assert_eq!(typed.stderr, "acme https://acme.procurify.com --json\n", "its words are its own");

    home.command(["exec", "acme", "--", "no-such-program"]).run().fails_with(127);
    home.command(["exec", "acme", "--", "./config/procurify-token/config.toml"]).run().fails_with(126);
    home.command(["exec", "globex", "--", "touch", "ran"]).run().fails_with(5);
    assert!(!home.path().join("ran").exists(), "without a token nothing is run");
}

#[test]
fn api_calls_with_both_headers_and_walks_both_kinds_of_pages() {
    let (home, _daemon) = Home::enrolled();
    let vendors = home.command(["api", "acme", "/api/v3/vendors/"]).run().succeeds().json();
    assert!(vendors["data"].is_array());
    for (path, members) in [("/api/v3/vendors/", "data"), ("/api/v2/vendors/", "results")] {
        let pages = home.command(["api", "acme", path, "--paginate"]).run().succeeds().stdout;
        let pages: Vec<Value> = pages.lines().map(|page| serde_json::from_str(page).unwrap()).collect();
        assert!(pages.len() > 1, "{path} has several pages");
        let count: usize = pages.iter().map(|page| page[members].as_array().unwrap().len()).sum();
        assert_eq!(count, 45, "{path}: every vendor of the sandbox");
    }
    let posted = ["api", "acme", "/api/v3/vendors/", "-d", r#"{"name": "Newcomer"}"#, "--include"];
    home.command(posted).run().succeeds().showing(&["201", "x-request-id: ", "Newcomer"]);
    home.command(["api", "acme", "/api/v3/nowhere/"]).run().ends_with(22).saying(&["404"]);
    home.command(["api", "acme", "https://globex.procurify.com/api/v3/vendors/"]).run().fails_with(2);

    home.sandbox().set("acme", Knobs { api_forbidden: true, ..Knobs::default() }).unwrap();
    home.command(["api", "acme", "/api/v3/vendors/"])
        .run()
        .ends_with(22)
        .saying(&["403", "lacks a permission"]);
    let calls = home.sandbox().ledger().api_calls("acme");
    assert!(calls.iter().all(|call| call.head.x_procurify_client.as_deref() == Some("api")));
    assert_eq!(home.sandbox().ledger().issued("acme"), 1, "a 403 is not the token's fault");
}

#[test]
fn a_token_that_the_api_refuses_is_replaced_once_and_the_call_repeated() {
    let (home, _daemon) = Home::enrolled();
    let before = home.command(["get", "acme"]).run().succeeds().stdout;
    home.sandbox().revoke("acme").unwrap();
    home.command(["api", "acme", "/api/v3/users/me/"])
        .run()
        .succeeds()
        .showing(&["integration@acme.example"]);
    let statuses = home.sandbox().ledger().api_calls("acme").into_iter().map(|call| call.status);
    assert_eq!(statuses.collect::<Vec<_>>(), [Some(401), Some(200)]);
    assert_eq!(home.sandbox().ledger().issued("acme"), 2);
    assert_ne!(home.command(["get", "acme"]).run().succeeds().stdout, before);
}
