//! Both clients with their caches, against the fake daemon that the crate offers to others.

use std::time::Duration;

use procurify_token_client::testing::{Asked, FakeDaemon};
use procurify_token_client::{Client, CredentialName, Error, RefusalCode, Token, TokenOptions, blocking};

fn acme() -> CredentialName {
    "acme".parse().expect("a name")
}

fn daemon_with(token: &str) -> FakeDaemon {
    let daemon = FakeDaemon::start().expect("it starts");
    daemon.set_token("acme", token);
    daemon
}

async fn client_of(daemon: &FakeDaemon) -> Client {
    Client::connect(&daemon.options()).await.expect("it listens")
}

/// Asks until another token than this one is handed out, which it is as soon as the news have arrived.
async fn another_than(token: &Token, client: &Client) -> Token {
    loop {
        let next = client.token(&acme()).await.expect("a token");
        if next.fingerprint() != token.fingerprint() {
            return next;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_token_that_is_held_is_not_asked_for() {
    let daemon = daemon_with("one");
    let client = client_of(&daemon).await;
    for _ in 0..100 {
        client.clone().token(&acme()).await.unwrap();
    }
    assert_eq!(daemon.gets(), 0, "the watch has brought it");
    assert!(daemon.requests().len() <= 2, "{:?}", daemon.requests());
}

#[tokio::test]
async fn a_watch_brings_the_next_token_and_the_end_of_one() {
    let daemon = daemon_with("one");
    let client = client_of(&daemon).await;
    let one = client.token(&acme()).await.unwrap();
    daemon.set_token("acme", "two");
    let two = another_than(&one, &client).await;
    daemon.remove("acme");
    let refusal = loop {
        match client.token(&acme()).await {
            Ok(token) => assert_eq!(token.fingerprint(), two.fingerprint()),
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(refusal, Error::Refused(why) if why.code == RefusalCode::UNKNOWN_CREDENTIAL));
}

#[tokio::test]
async fn many_who_want_the_same_ask_once_and_none_who_leaves_hurts_another() {
    let daemon = daemon_with("one");
    daemon.expire("acme");
    let client = client_of(&daemon).await;
    let mut callers: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.token(&acme()).await.unwrap().fingerprint() })
        })
        .collect();
    while daemon.gets() == 0 {
        tokio::task::yield_now().await;
    }
    // The one who asks for all goes away.
    callers.remove(0).abort();
    while daemon.gets() < 2 {
        tokio::task::yield_now().await;
    }
    daemon.set_token("acme", "two");
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(daemon.gets(), 2);
}

#[tokio::test]
async fn a_refused_token_is_not_handed_out_again_unless_by_the_daemon() {
    let daemon = daemon_with("one");
    let client = client_of(&daemon).await;
    let one = client.token(&acme()).await.unwrap();
    daemon.set_next_token("acme", "two");
    client.invalidate(&one).await.unwrap();
    let two = client.token(&acme()).await.unwrap();
    assert_ne!(one.fingerprint(), two.fingerprint());
    client.invalidate(&one).await.unwrap();
    assert_eq!(client.token(&acme()).await.unwrap().fingerprint(), two.fingerprint());
    assert!(daemon.requests().contains(&Asked::Invalidate(acme(), one.fingerprint())));
}

#[tokio::test]
async fn a_daemon_that_is_gone_leaves_what_is_known_to_be_valid() {
    let mut daemon = daemon_with("one");
    let options = daemon.options().patience(Duration::from_millis(50));
    let client = Client::connect(&options).await.unwrap();
    let one = client.token(&acme()).await.unwrap();
    daemon.stop();
    assert_eq!(client.token(&acme()).await.unwrap().fingerprint(), one.fingerprint());
    daemon.set_token("acme", "two");
    daemon.restart().unwrap();
    let two = another_than(&one, &client).await;
    daemon.stop();
    client.invalidate(&two).await.unwrap_err();
    let soon = TokenOptions { deadline: Some(Duration::from_millis(50)), ..TokenOptions::default() };
    client.token_with(&acme(), &soon).await.expect_err("what was refused is no spare");
}

#[tokio::test]
async fn a_token_that_lives_too_short_is_asked_for() {
    let daemon = FakeDaemon::start().unwrap();
    daemon.set_token_for("acme", "one", Duration::from_secs(60));
    let client = client_of(&daemon).await;
    let long = TokenOptions { min_ttl: Duration::from_secs(600), deadline: None };
    client.token(&acme()).await.unwrap();
    client.token_with(&acme(), &long).await.unwrap();
    assert_eq!(daemon.gets(), 1);
    daemon.set_token_for("acme", "ended", Duration::ZERO);
    client.token_with(&acme(), &long).await.unwrap();
    client.token(&acme()).await.unwrap();
    assert_eq!(daemon.gets(), 3, "what has ended is never held");
}

#[tokio::test]
async fn the_last_clone_takes_its_watchers_with_it() {
    let daemon = daemon_with("one");
    let client = client_of(&daemon).await;
    client.token(&acme()).await.unwrap();
    let metrics = tokio::runtime::Handle::current().metrics();
    assert!(metrics.num_alive_tasks() >= 2);
    drop(client);
    while metrics.num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_blocking_client_watches_what_it_is_asked_for_again() {
    let mut daemon = daemon_with("one");
    let mut client = blocking::Client::connect(&daemon.options()).unwrap();
    let one = client.token(&acme()).unwrap();
    assert_eq!(daemon.requests(), [Asked::Get(acme())], "who asks once pays for no cache");
    for _ in 0..10 {
        client.token(&acme()).unwrap();
    }
    assert_eq!(daemon.gets(), 1);

    daemon.set_token("acme", "two");
    let two = loop {
        let next = client.token(&acme()).unwrap();
        if next.fingerprint() != one.fingerprint() {
            break next;
        }
    };
    client.token(&acme()).unwrap();
    daemon.stop();
    assert_eq!(client.token(&acme()).unwrap().fingerprint(), two.fingerprint());
    daemon.restart().unwrap();
    assert_eq!(client.token(&acme()).unwrap().fingerprint(), two.fingerprint());
    daemon.set_next_token("acme", "three");
    client.invalidate(&two).unwrap();
    assert_ne!(client.token(&acme()).unwrap().fingerprint(), two.fingerprint());
    daemon.refuse("acme", RefusalCode::LOCKED);
    let refusal = loop {
        if let Err(error) = client.token(&acme()) {
            break error;
        }
    };
    assert!(matches!(refusal, Error::Refused(why) if why.code == RefusalCode::LOCKED));
}

#[test]
fn without_a_cache_each_token_is_asked_for() {
    let daemon = daemon_with("one");
    let mut client = blocking::Client::connect(&daemon.options().without_cache()).unwrap();
    for _ in 0..3 {
        client.token(&acme()).unwrap();
    }
    assert_eq!(daemon.requests().len(), 3);
    assert_eq!(daemon.gets(), 3);
}
