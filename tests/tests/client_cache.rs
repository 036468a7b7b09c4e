//! The client crate's own cache, against the real daemon: what empties it, and what does not.

use procurify_token_tests::client::{Client, Error, RefusalCode, Token, blocking};
use procurify_token_tests::protocol::{Request, UnlockWith};
use procurify_token_tests::{Daemon, Home, PATIENCE, name, text_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_others_replace_leaves_the_cache() {
    let (home, _daemon) = enrolled();
    let client = Client::connect(&home.caching_options()).await.unwrap();
    let first = client.token(&name("acme")).await.unwrap();
    for _ in 0..100 {
        assert_eq!(client.token(&name("acme")).await.unwrap().fingerprint(), first.fingerprint());
    }
    home.command(["refresh", "acme"]).run().succeeds();
    let second = another_than(&first, &client).await;
    home.command(["invalidate", "acme"]).run().succeeds();
    let third = another_than(&second, &client).await;
    assert_ne!(text_of(&third), text_of(&first));
    assert_eq!(home.sandbox().ledger().issued("acme"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_vault_and_a_removal_empty_the_cache() {
    let (home, _daemon) = enrolled();
    let client = Client::connect(&home.caching_options()).await.unwrap();
    client.token(&name("acme")).await.unwrap();
    home.command(["lock"]).run().succeeds();
    assert_eq!(refusal(&client).await, RefusalCode::LOCKED);
    let unlock = Request::Unlock { key: UnlockWith::Unattended, generation: 0 };
    client.request(&unlock, PATIENCE).await.unwrap();
    client.token(&name("acme")).await.unwrap();
    home.command(["remove", "acme", "--yes"]).run().succeeds();
    assert_eq!(refusal(&client).await, RefusalCode::UNKNOWN_CREDENTIAL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_started_again_is_asked_again() {
    let (home, daemon) = enrolled();
    let client = Client::connect(&home.caching_options()).await.unwrap();
    let first = client.token(&name("acme")).await.unwrap();
    daemon.kill9();
    assert_eq!(client.token(&name("acme")).await.unwrap().fingerprint(), first.fingerprint());
    let _daemon = home.start();
    assert_eq!(client.token(&name("acme")).await.unwrap().fingerprint(), first.fingerprint());
    home.command(["refresh", "acme"]).run().succeeds();
    another_than(&first, &client).await;
}

#[test]
fn the_blocking_client_notices_the_same() {
    let (home, daemon) = enrolled();
    let mut client = blocking::Client::connect(&home.caching_options()).unwrap();
    let acme = name("acme");
    let first = client.token(&acme).unwrap();
    client.token(&acme).unwrap();
    home.command(["refresh", "acme"]).run().succeeds();
    let second = loop {
        let next = client.token(&acme).unwrap();
        if next.fingerprint() != first.fingerprint() {
            break next;
        }
    };
    client.token(&acme).unwrap();
    daemon.kill9();
    assert_eq!(client.token(&acme).unwrap().fingerprint(), second.fingerprint());
    let _daemon = home.start();
    client.token(&acme).unwrap();
    home.command(["remove", "acme", "--yes"]).run().succeeds();
    let refusal = loop {
        if let Err(error) = client.token(&acme) {
            break error;
        }
    };
    assert!(matches!(refusal, Error::Refused(why) if why.code == RefusalCode::UNKNOWN_CREDENTIAL));
}

#[test]
fn a_call_that_the_api_refuses_twice_is_made_twice_and_no_more() {
    let (home, _daemon) = enrolled();
    let mut client = blocking::Client::connect(&home.caching_options()).unwrap();
    let http: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut sent = 0;
    let request = http::Request::get("/api/v3/users/me/").body(()).unwrap();
    let response = client.send(&name("acme"), request, |mut request| {
        sent += 1;
        // As if the API refused every token.
        request.headers_mut().remove("x-procurify-client");
        http.run(request)
    });
    assert_eq!((response.unwrap().status().as_u16(), sent), (401, 2));

    let mut sent = 0;
    let elsewhere = http::Request::get("https://globex.procurify.com/api/v3/users/me/").body(()).unwrap();
    let refused = client.send(&name("acme"), elsewhere, |request| {
        sent += 1;
        http.run(request)
    });
    assert!(refused.is_err() && sent == 0);
}

/// Asks until another token is handed out, which it is as soon as the news have arrived.
async fn another_than(token: &Token, client: &Client) -> Token {
    loop {
        let next = client.token(&name("acme")).await.expect("a token");
        if next.fingerprint() != token.fingerprint() {
            return next;
        }
        tokio::task::yield_now().await;
    }
}

async fn refusal(client: &Client) -> RefusalCode {
    loop {
        match client.token(&name("acme")).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(Error::Refused(refusal)) => return refusal.code,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn enrolled() -> (Home, Daemon) {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol_plainly("acme");
    home.await_issued("acme", 1);
    (home, daemon)
}
