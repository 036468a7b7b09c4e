//! The client crate, async and blocking, against the real daemon.

use procurify_sandbox::{Fault, Knobs};
use procurify_token_tests::client::{
    Client, Error, Options, RefusalCode, TokenOptions, VaultState, blocking,
};
use procurify_token_tests::protocol::{Answer, Request};
use procurify_token_tests::{Home, PATIENCE, credential, name, text_of};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_async_client_lives_through_a_restart() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    let client = home.async_client().await;
    let before = client.token(&name("acme")).await.unwrap();
    let first = client.status().await.unwrap();
    assert_eq!((first.vault, first.credentials), (VaultState::Open, 1));

    daemon.kill9();
    let daemon = home.start();
    let after = client.token(&name("acme")).await.unwrap();
    assert_eq!(text_of(&after), text_of(&before));
    assert_eq!(i64::from(client.status().await.unwrap().pid), i64::from(daemon.pid()));

    // One that asks while nobody is there waits for the next one.
    assert!(daemon.stop().success());
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.token(&name("acme")).await }
    });
    let _daemon = home.start();
    assert_eq!(text_of(&waiting.await.unwrap().unwrap()), text_of(&before));
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
}

#[test]
fn the_blocking_client_lives_through_a_restart() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    let mut client = home.client();
    let before = client.token(&name("acme")).unwrap();
    daemon.kill9();
    let daemon = home.start();
    assert_eq!(text_of(&client.token(&name("acme")).unwrap()), text_of(&before));

    assert!(daemon.stop().success());
    let _daemon = home.start();
    let add = Request::Add(Box::new(credential("acme/second")));
    assert!(matches!(client.request(&add, PATIENCE), Ok(Answer::Done)), "it was never delivered before");
    let names: Vec<_> = client.list().unwrap().into_iter().map(|status| status.name.to_string()).collect();
    assert_eq!(names, ["acme", "acme/second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_holds_up_no_other_of_the_same_connection() {
    let home = Home::new(&["acme", "globex"]);
    home.sandbox().set("acme", Knobs::failing(Fault::Hang)).unwrap();
    let _daemon = home.start();
    home.enrol("acme");
    home.enrol("globex");
    let client = home.async_client().await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.token(&name("acme")).await }
    });
    home.await_token_requests("acme", 1);
    client.token(&name("globex")).await.unwrap();
    assert!(!slow.is_finished());
    slow.abort();
    client.token(&name("globex")).await.expect("a call that was given up disturbs none of the others");
}

#[test]
fn refusals_come_as_what_a_caller_can_decide_on() {
    let home = Home::new(&["acme"]);
    let nobody = blocking::Client::connect(&home.options()).unwrap_err();
    assert!(matches!(nobody, Error::NoDaemon { .. }) && nobody.is_transient());

    let _daemon = home.start();
    let mut client = home.client();
    let code = |outcome: Result<_, Error>| match outcome {
        Err(Error::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(client.token(&name("acme"))), RefusalCode::NO_VAULT);
    home.init();
    assert_eq!(code(client.token(&name("acme"))), RefusalCode::UNKNOWN_CREDENTIAL);
    home.sandbox().set("acme", Knobs::failing(Fault::Hang)).unwrap();
    home.enrol("acme");
    let soon = TokenOptions { deadline: Some(Duration::from_secs(1)), ..TokenOptions::default() };
    assert_eq!(code(client.token_with(&name("acme"), &soon)), RefusalCode::DEADLINE);
    client.status().expect("the connection is still good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_refused_is_replaced_by_its_fingerprint() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    let client = Client::connect(&Options::new().socket(home.socket())).await.unwrap();
    let first = client.token(&name("acme")).await.unwrap();
    client.invalidate_fingerprint(&name("acme"), first.fingerprint()).await.unwrap();
    let second = client.token(&name("acme")).await.unwrap();
    assert_ne!(text_of(&second), text_of(&first));
    client.invalidate_fingerprint(&name("acme"), first.fingerprint()).await.unwrap();
    assert_eq!(text_of(&client.token(&name("acme")).await.unwrap()), text_of(&second));
    let described = client.describe(&name("acme")).await.unwrap().token.unwrap();
    assert_eq!(described.fingerprint, second.fingerprint());
    assert_eq!(home.sandbox().ledger().issued("acme"), 2);
}
