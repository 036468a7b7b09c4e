//! Both clients with their caches, against the fake daemon that the crate offers to others.

use std::time::Duration;

use procurify_token_client::testing::{Asked, FakeDaemon};
use procurify_token_client::{Client, CredentialName, Error, RefusalCode, Token, TokenOptions, blocking};
use tokio::time::Instant;

/// Reached only where the code is broken.
const LONGEST: Duration = Duration::from_secs(20);

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

/// Looks again and again, with everything else on the runtime in between.
async fn at_last<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < LONGEST {
        if let Some(seen) = look().await {
            return seen;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came")
}

/// The same without a runtime.
fn at_last_blocking<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < LONGEST {
        if let Some(seen) = look() {
            return seen;
        }
        std::thread::yield_now();
    }
    panic!("it never came")
}

/// Asks until another token than this one is handed out, which it is as soon as the news have arrived.
async fn another_than(token: &Token, client: &Client) -> Token {
    let is_another = |next: &Token| next.fingerprint() != token.fingerprint();
    at_last(async || Some(client.token(&acme()).await.expect("a token")).filter(is_another)).await
}

/// Asks until the daemon's refusal is handed on.
async fn refusal(client: &Client) -> RefusalCode {
    match at_last(async || client.token(&acme()).await.err()).await {
        Error::Refused(why) => why.code,
        error => panic!("not refused: {error:?}"),
    }
}

/// The same without a runtime.
fn refusal_blocking(client: &mut blocking::Client) -> RefusalCode {
    match at_last_blocking(|| client.token(&acme()).err()) {
        Error::Refused(why) => why.code,
        error => panic!("not refused: {error:?}"),
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
    let refusal = at_last(async || {
        let outcome = client.token(&acme()).await;
        outcome.inspect(|token| assert_eq!(token.fingerprint(), two.fingerprint())).err()
    });
    assert!(matches!(refusal.await, Error::Refused(why) if why.code == RefusalCode::UNKNOWN_CREDENTIAL));
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
    at_last(async || (daemon.gets() == 1).then_some(())).await;
    // The one who asks for all goes away.
    callers.remove(0).abort();
    at_last(async || (daemon.gets() == 2).then_some(())).await;
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
    client.token_with(&acme(), &soon()).await.expect_err("what was refused is no spare");
}

/// On one thread, where the watch runs only when the caller lets it.
#[tokio::test]
async fn who_never_waits_is_told_all_the_same() {
    let daemon = daemon_with("one");
    let client = client_of(&daemon).await;
    client.token(&acme()).await.unwrap();
    daemon.remove("acme");
    let began = Instant::now();
    let mut outcome = client.token(&acme()).await;
    while outcome.is_ok() && began.elapsed() < LONGEST {
        outcome = client.token(&acme()).await;
    }
    assert!(matches!(outcome, Err(Error::Refused(_))), "{outcome:?}");
}

/// What the daemon says that has no token for this caller, and will not have one by itself.
const DENIALS: [RefusalCode; 4] =
    [RefusalCode::UNKNOWN_CREDENTIAL, RefusalCode::LOCKED, RefusalCode::DENIED, RefusalCode::REJECTED];

fn soon() -> TokenOptions {
    TokenOptions { deadline: Some(Duration::from_millis(50)), ..TokenOptions::default() }
}

#[tokio::test]
async fn what_the_daemon_has_refused_is_no_spare() {
    for denial in DENIALS {
        let mut daemon = daemon_with("one");
        let client = client_of(&daemon).await;
        client.token(&acme()).await.unwrap();
        daemon.stop();
        daemon.refuse("acme", denial);
        daemon.restart().unwrap();
        assert_eq!(refusal(&client).await, denial);
        daemon.stop();
        client.token_with(&acme(), &soon()).await.expect_err("it was refused");
    }
}

#[tokio::test]
async fn a_daemon_that_cannot_for_a_while_leaves_the_spare() {
    let mut daemon = daemon_with("one");
    let client = client_of(&daemon).await;
    let one = client.token(&acme()).await.unwrap();
    daemon.stop();
    daemon.refuse("acme", RefusalCode::THROTTLED);
    daemon.restart().unwrap();
    assert_eq!(refusal(&client).await, RefusalCode::THROTTLED);
    daemon.stop();
    assert_eq!(client.token(&acme()).await.unwrap().fingerprint(), one.fingerprint());
}

#[tokio::test]
async fn what_is_reported_while_somebody_asks_is_no_spare_for_that_one() {
    let mut daemon = FakeDaemon::start().unwrap();
    daemon.set_token_for("acme", "one", Duration::from_secs(60));
    let client = Client::connect(&daemon.options().patience(Duration::from_millis(50))).await.unwrap();
    let one = client.token(&acme()).await.unwrap();
    let long = TokenOptions { min_ttl: Duration::from_secs(600), deadline: Some(Duration::from_secs(1)) };
    let (acme, patient) = (acme(), client.clone());
    // Each is begun before the connection gets to send anything.
    let (asked, reported, ()) = tokio::join!(
        biased;
        patient.token_with(&acme, &long),
        client.invalidate(&one),
        async { daemon.stop() }
    );
    reported.expect_err("there is no daemon");
    asked.expect_err("it was refused meanwhile");
}

#[test]
fn what_the_daemon_has_refused_is_no_spare_for_the_blocking_client() {
    for denial in DENIALS {
        let mut daemon = daemon_with("one");
        let mut client = blocking::Client::connect(&daemon.options()).unwrap();
        for _ in 0..2 {
            client.token(&acme()).unwrap();
        }
        daemon.stop();
        daemon.refuse("acme", denial);
        daemon.restart().unwrap();
        assert_eq!(refusal_blocking(&mut client), denial);
        daemon.stop();
        client.token_with(&acme(), &soon()).expect_err("it was refused");
    }
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
    at_last(async || (metrics.num_alive_tasks() == 0).then_some(())).await;
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
    let is_another = |next: &Token| next.fingerprint() != one.fingerprint();
    let two = at_last_blocking(|| Some(client.token(&acme()).unwrap()).filter(is_another));
    client.token(&acme()).unwrap();
    daemon.stop();
    assert_eq!(client.token(&acme()).unwrap().fingerprint(), two.fingerprint());
    daemon.restart().unwrap();
    assert_eq!(client.token(&acme()).unwrap().fingerprint(), two.fingerprint());
    daemon.set_next_token("acme", "three");
    client.invalidate(&two).unwrap();
    assert_ne!(client.token(&acme()).unwrap().fingerprint(), two.fingerprint());
    daemon.refuse("acme", RefusalCode::LOCKED);
    assert_eq!(refusal_blocking(&mut client), RefusalCode::LOCKED);
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

/// Whoever is watched by a test without a client: its question is asked, and read by the fake, before the fake is told anything.
#[cfg(unix)]
#[test]
fn what_the_fake_is_told_has_been_written_to_who_watches_when_the_call_returns() {
    use procurify_token_client::protocol::{Answer, Request, codec, frame};
    use std::io::{Read as _, Write as _};

    let daemon = daemon_with("one");
    let socket = blocking::Client::connect(&daemon.options()).expect("it listens").socket_path().to_owned();
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
    let mut incoming = frame::FrameBuffer::new(frame::MAX_ANSWER);
    let mut told = |stream: &mut std::os::unix::net::UnixStream| loop {
        if let Some(frame) = incoming.next_frame().expect("a frame") {
            match codec::decode_reply(frame).expect("a reply") {
                Ok(Answer::Watched(watched)) => break *watched,
                other => panic!("not watched: {other:?}"),
            }
        }
        let count = stream.read(incoming.space()).expect("it has been written");
        incoming.filled(count);
    };
    let asked_to_watch = || daemon.requests().iter().filter(|asked| matches!(asked, Asked::Watch(_))).count();
    let (mut seen, mut asked) = (None, 0);
    let mut watch = |stream: &mut std::os::unix::net::UnixStream, seen| {
        let request = Request::Watch { name: acme(), seen, deadline: LONGEST };
        stream.write_all(&codec::encode_request(1, &request).expect("it fits")).expect("it is taken");
        asked += 1;
        at_last_blocking(|| (asked_to_watch() == asked).then_some(()));
    };
    // Often, for it is a race where it is wrong.
    for round in 0..50 {
        let changes: [(&dyn Fn(), bool); 3] = [
            (&|| daemon.expire("acme"), false),
            (&|| daemon.set_next_token("acme", &format!("two-{round}")), true),
            (&|| daemon.set_token("acme", &format!("three-{round}")), true),
        ];
        if seen.is_none() {
            watch(&mut stream, None);
            seen = Some(told(&mut stream).revision);
        }
        for (number, (change, has_token)) in changes.into_iter().enumerate() {
            watch(&mut stream, seen);
            change();
            stream.set_nonblocking(true).expect("a socket");
            let watched = told(&mut stream);
            stream.set_nonblocking(false).expect("a socket");
            assert_eq!(watched.token.is_some(), has_token, "{number}");
            seen = Some(watched.revision);
        }
    }
    // Nothing that is told: it does not wait for anybody to be told.
    watch(&mut stream, seen);
    daemon.set_next_token("acme", "four");
    stream.set_nonblocking(true).expect("a socket");
    let nothing = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock));
}
