//! Serving tokens: what a `get` costs the daemon, and what a crowd or a restart costs Procurify.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use procurify_sandbox::{ExpiresIn, Fault, Knobs, Outcome, RetryAfter};
use procurify_token_tests::client::Client;
use procurify_token_tests::{Gate, Home, name, text_of};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cold_callers_at_once_cost_one_token_request() {
    const CALLERS: usize = 1000;
    let home = Home::new(&["acme"]);
    let gate = Gate::before(home.sandbox().http_addr());
    let home = home.behind(gate.proxy_url());
    let _daemon = home.start();
    home.enrol("acme");

    let (mut callers, asking) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let clients = connections(&home, 8).await;
    for client in clients.iter().cycle().take(CALLERS) {
        let (client, asking) = (client.clone(), Arc::clone(&asking));
        callers.spawn(async move {
            asking.fetch_add(1, Ordering::Relaxed);
            text_of(&client.token(&name("acme")).await.unwrap())
        });
    }
    while asking.load(Ordering::Relaxed) < CALLERS {
        tokio::task::yield_now().await;
    }
    // Requests of one connection are read in their order: behind its own answer, the daemon knows of the others.
    for client in &clients {
        client.status().await.unwrap();
    }
    gate.await_knocks(1);
    assert!(callers.try_join_next().is_none(), "nobody has a token while the gate is closed");
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 0);

    gate.open();
    let tokens = callers.join_all().await;
    assert_eq!(tokens.len(), CALLERS);
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 1, "all were handed the same token");
    let tally = home.sandbox().ledger().tally("acme");
    assert_eq!((tally.issued, tally.token_requests, tally.max_in_flight), (1, 1, 1));
    assert_eq!(gate.knocks(), 1, "no further connection was even tried");
}

async fn connections(home: &Home, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(home.async_client().await);
    }
    clients
}

#[test]
fn a_restart_within_a_tokens_life_costs_no_token_request() {
    let home = Home::new(&["acme", "globex"]);
    let daemon = home.start();
    let names = [name("acme"), name("globex")];
    for name in &names {
        home.enrol(name.as_str());
    }
    let tokens = || {
        let mut client = home.client();
        names.clone().map(|name| text_of(&client.token(&name).unwrap()))
    };
    let before = tokens();

    assert!(daemon.stop().success(), "SIGTERM is a clean end");
    let daemon = home.start();
    assert_eq!(tokens(), before);
    daemon.kill9();
    let _daemon = home.start();
    assert_eq!(tokens(), before);

    for domain in ["acme", "globex"] {
        let tally = home.sandbox().ledger().tally(domain);
        assert_eq!((tally.issued, tally.token_requests), (1, 1), "{domain}");
    }
}

#[test]
fn a_token_is_on_the_disk_before_anybody_is_handed_it() {
    let home = Home::new(&["acme"]);
    let mut daemon = home.start();
    home.init();
    for round in 0..5 {
        let label = format!("acme/round-{round}");
        home.enrol(&label);
        let handed = text_of(&home.client().token(&name(&label)).unwrap());
        daemon.kill9();
        daemon = home.start();
        assert_eq!(text_of(&home.client().token(&name(&label)).unwrap()), handed);
    }
    assert_eq!(home.sandbox().ledger().issued("acme"), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_domains_are_asked_at_once_and_each_once() {
    const DOMAINS: [&str; 5] = ["acme", "globex", "initech", "umbrella", "hooli"];
    let home = Home::new(&DOMAINS);
    let _daemon = home.start();
    for domain in DOMAINS {
        home.enrol(domain);
    }
    let client = home.async_client().await;
    let mut callers = JoinSet::new();
    for domain in DOMAINS.into_iter().cycle().take(50) {
        let client = client.clone();
        callers.spawn(async move {
            let grant = client.token(&name(domain)).await.unwrap();
            assert_eq!(grant.base_url().as_str(), format!("https://{domain}.procurify.com"));
            (domain, text_of(&grant))
        });
    }
    let answers: HashSet<_> = callers.join_all().await.into_iter().collect();
    assert_eq!(answers.len(), DOMAINS.len(), "one token for each domain");
    for domain in DOMAINS {
        assert_eq!(home.sandbox().ledger().tally(domain).token_requests, 1, "{domain}");
    }
}

#[test]
fn a_hung_upstream_does_not_hold_up_another_credential() {
    let home = Home::new(&["acme", "globex"]);
    home.sandbox().set("acme", Knobs::failing(Fault::Hang)).unwrap();
    let _daemon = home.start();
    home.enrol("acme");
    home.await_token_requests("acme", 1);
    home.enrol("globex");
    home.command(["get", "globex"]).run().succeeds();

    assert_eq!(home.sandbox().ledger().tally("acme").in_flight, 1, "it was out all the while");

    let typed = home.command(["get", "acme", "--deadline", "1s"]).run();
    typed.fails_with(10).saying(&["acme", "procurify-token status acme"]);
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 1, "and nobody asked again");
}

#[test]
fn a_caller_may_ask_for_a_token_that_still_lives_for_a_while() {
    let home = Home::new(&["acme"]);
    // Left alone, the daemon would ask again after 570 s.
    home.configure("[refresh]\nfrom = 0.95\nto = 0.95");
    home.sandbox().set("acme", living(600)).unwrap();
    let _daemon = home.start();
    home.enrol("acme");
    let first = home.command(["get", "acme"]).run().succeeds();
    let get = |min_ttl| home.command(["get", "acme", "--min-ttl", min_ttl]).run().succeeds();
    // One that is a few seconds old is the best there is; then a newer one is asked for.
    while !issued_meanwhile(&home, 2) {
        get("598s");
    }
    let newer = get("5m");
    assert_eq!(newer.stderr, "");
    assert_ne!(newer.stdout, first.stdout);
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 2);
}

#[test]
fn a_wish_that_no_token_can_fulfil_gets_the_best_there_is_and_a_warning() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    let held = home.command(["get", "acme"]).run().succeeds();
    let typed = home.command(["get", "acme", "--min-ttl", "48h"]).run().succeeds();
    assert_eq!(typed.stdout, held.stdout);
    typed.saying(&["the token of acme lives for", "procurify-token status acme"]);
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 1);
}

#[test]
fn an_outage_is_not_noticed_while_the_token_is_valid_and_ends_by_itself() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    let held = home.command(["get", "acme"]).run().succeeds().stdout;

    let retry_after = Some(RetryAfter::Seconds(600));
    home.sandbox().set("acme", Knobs::failing(Fault::ServiceUnavailable503 { retry_after })).unwrap();
    home.command(["refresh", "acme"]).run().fails_with(9).saying(&["HTTP 503"]);
    assert_eq!(home.command(["get", "acme"]).run().succeeds().stdout, held);
    home.command(["status", "acme"]).run().succeeds().showing(&["failing, token valid", "HTTP 503"]);
    daemon.kill9();
    let _daemon = home.start();
    assert_eq!(home.command(["get", "acme"]).run().succeeds().stdout, held, "nor does a restart lose it");

    home.sandbox().clear("acme").unwrap();
    home.command(["refresh", "acme", "--retry"]).run().succeeds().showing(&["New token"]);
    assert_ne!(home.command(["get", "acme"]).run().succeeds().stdout, held);
}

#[test]
fn a_cold_start_in_an_outage_recovers_without_anybody_asking_twice() {
    let home = Home::new(&["acme"]);
    home.configure("[refresh]\nbackoff-cap = \"1s\"");
    home.sandbox().set("acme", Knobs::failing_at_first(2, Fault::Reset)).unwrap();
    let _daemon = home.start();
    home.enrol("acme");
    home.await_issued("acme", 1);
    home.command(["get", "acme"]).run().succeeds();
    let outcomes = home.sandbox().ledger().token_requests("acme").into_iter().map(|request| request.outcome);
    assert_eq!(
        outcomes.collect::<Vec<_>>(),
        [Outcome::Fault("reset"), Outcome::Fault("reset"), Outcome::Issued]
    );
}

#[test]
fn a_token_is_replaced_before_it_ends_and_no_caller_notices() {
    let home = Home::new(&["acme"]);
    home.sandbox().set("acme", living(13)).unwrap();
    let _daemon = home.start();
    home.enrol("acme");
    let (mut client, acme) = (home.client(), name("acme"));
    let first = client.token(&acme).unwrap();
    while !issued_meanwhile(&home, 2) {
        client.token(&acme).unwrap();
    }
    // What was issued is on its way; until it is here, the first one is served.
    let second = loop {
        let grant = client.token(&acme).unwrap();
        if grant.fingerprint() != first.fingerprint() {
            break grant;
        }
    };
    let requests = home.sandbox().ledger().token_requests("acme");
    assert_eq!(requests.len(), 2);
    assert!(requests[1].at < first.expires_at(), "asked for ahead of time");
    assert!(second.expires_at() > first.expires_at());
    assert_eq!(home.sandbox().ledger().max_in_flight("acme"), 1);
}

fn living(seconds: i64) -> Knobs {
    Knobs { expires_in: ExpiresIn::Seconds(seconds), ..Knobs::default() }
}

/// Waits a little for the sandbox to have issued so many tokens, so that the test asks again and again without being busy.
fn issued_meanwhile(home: &Home, count: u64) -> bool {
    let ledger = home.sandbox().ledger();
    ledger.wait_for(Duration::from_millis(100), |book| book.tally("acme").issued >= count)
}
