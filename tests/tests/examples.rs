//! The client crate's examples, as they are, against the real daemon and the sandbox.

use procurify_token_tests::{Daemon, Home};

#[test]
fn a_job_without_a_runtime_reads_vendors() {
    let (home, _daemon) = enrolled();
    home.example("sync_job", &["acme"]).run().succeeds().showing(&["200 OK", "\"results\""]);
    is_served_once_refused(&home, "sync_job");
}

#[test]
fn a_service_reads_pages_beside_each_other_with_one_token() {
    let (home, _daemon) = enrolled();
    let typed = home.example("async_service", &["acme"]).run().succeeds();
    assert_eq!(typed.stdout, "200 OK\n200 OK\n200 OK\n");
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
    is_served_once_refused(&home, "async_service");
}

#[test]
fn a_client_made_of_layers_calls_with_both_headers() {
    let (home, _daemon) = enrolled();
    let typed = home.example("tower_client", &["acme"]).run().succeeds();
    assert_eq!(typed.stdout, "/api/v3/users/me/ 200 OK\n/api/v2/vendors/ 200 OK\n");
    let calls = home.sandbox().ledger().api_calls("acme");
    assert!(calls.iter().all(|call| call.head.x_procurify_client.as_deref() == Some("api")));
    is_served_once_refused(&home, "tower_client");
}

/// With a token that the API refuses, each gets another one and goes on.
fn is_served_once_refused(home: &Home, example: &str) {
    home.sandbox().revoke("acme").expect("there is such a domain");
    let typed = home.example(example, &["acme"]).run().succeeds();
    assert!(typed.stdout.contains("200 OK") && !typed.stdout.contains("401"), "{typed:#?}");
    let calls = home.sandbox().ledger().api_calls("acme");
    assert!(calls.iter().any(|call| call.status == Some(401)), "{calls:#?}");
    assert_eq!(home.sandbox().ledger().issued("acme"), 2);
}

fn enrolled() -> (Home, Daemon) {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol_plainly("acme");
    home.await_issued("acme", 1);
    (home, daemon)
}
