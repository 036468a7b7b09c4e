//! A real run: the daemon with 2,000 credentials whose tokens live for a minute, for ten minutes, through an outage of
//! two. Prints a report, and ends with 1 where what must hold did not.
//!
//! Callers ask all the while, on connections of their own, and use every tenth token on the API. What must hold: nobody
//! is handed a token that has ended or that the API refuses, nobody is refused while a valid one is held, and the
//! sandbox's ledger shows no burst above the set rate. `--short` is a fifth of everything, to try it out.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::HashMap;
use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::protocol::{Answer, CredentialName, Request};
use procurify_token_tests::sandbox::{Config, ExpiresIn, Fault, Knobs, Outcome};
use procurify_token_tests::{Daemon, Home, name, text_of};

fn main() -> ExitCode {
    let scale = if std::env::args().any(|word| word == "--short") { 5 } else { 1 };
    let credentials = 2_000 / scale;
    let minutes = |count: u32| Duration::from_secs(60) * count / scale;

    let mut config = Config::from_flags(Vec::new(), credentials);
    config.domains.retain(|domain| domain.name.starts_with("load-"));
    config.domains.iter_mut().for_each(|domain| domain.knobs = short_lived());
    let home = Home::of_sandbox(config);
    home.configure(&format!(
        "[refresh]\nrate = {RATE}\nconcurrency = {CONCURRENCY}\n[budget]\nper-hour = 100000\nper-day = 100000"
    ));
    let daemon = home.start();
    let names: Vec<_> = (1..=credentials).map(|number| name(&format!("load-{number:05}"))).collect();
    let begun = now();
    for name in &names {
        home.enrol(name.as_str());
    }
    println!("{credentials} credentials enrolled in {}", seconds(begun, now()));

    let (start, is_over) = (now(), AtomicBool::new(false));
    let (mut calls, mut outage) = (Vec::new(), (start, start));
    std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| call_until(&is_over, &home, &names))).collect();
        std::thread::sleep(minutes(4));
        outage.0 = now();
        let down = Knobs { fault: Some(Fault::ServiceUnavailable503 { retry_after: None }), ..short_lived() };
        set_all(&home, &names, &down);
        std::thread::sleep(minutes(2));
        outage.1 = now();
        set_all(&home, &names, &short_lived());
        std::thread::sleep(minutes(4));
        is_over.store(true, Ordering::Relaxed);
        calls =
            callers.into_iter().flat_map(|caller| caller.join().expect("a caller does not fail")).collect();
    });
    let memory = memory(&daemon);
    assert!(daemon.stop().success());
    report(&Run { home, start, end: now(), outage, calls, memory })
}

/// One `get`, and what came of it.
struct Call {
    name: CredentialName,
    at: DateTime<Utc>,
    took: Duration,
    outcome: Got,
}

enum Got {
    Token {
        is_expired: bool,
        /// What the API thought of it, where it was asked.
        status: Option<u16>,
    },
    Refused,
}

fn call_until(is_over: &AtomicBool, home: &Home, names: &[CredentialName]) -> Vec<Call> {
    let mut client = home.client();
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let mut calls = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let name = &names[fastrand::usize(..names.len())];
        let is_used = fastrand::u8(0..10) == 0;
        calls.push(call(&mut client, home, &agent, name, is_used));
        std::thread::sleep(Duration::from_millis(4));
    }
    calls
}

fn call(client: &mut Client, home: &Home, agent: &ureq::Agent, name: &CredentialName, is_used: bool) -> Call {
    let (at, begun) = (now(), stopwatch());
    let request = Request::Get { name: name.clone(), min_ttl: Duration::ZERO, deadline: DEADLINE };
    let answer = client.request(&request, DEADLINE + Duration::from_secs(5));
    let took = begun.elapsed();
    let outcome = match answer {
        Ok(Answer::Token(grant)) => {
            let is_expired = grant.token.expires_at() <= now();
            // One that ends on its way would tell nothing.
            let has_time = grant.token.expires_at() > now() + TimeDelta::seconds(2);
            let status = (is_used && has_time).then(|| {
                let url = format!("{}/api/v3/users/me/", home.sandbox().plain_base_url(name.as_str()));
                let bearer = format!("Bearer {}", text_of(&grant.token));
                let call =
                    agent.get(&url).header("Authorization", bearer).header("X-Procurify-Client", "api");
                call.call().expect("the sandbox answers").status().as_u16()
            });
            Got::Token { is_expired, status }
        }
        Err(procurify_token_tests::client::Error::Refused(_)) => Got::Refused,
        other => panic!("neither a token nor a refusal: {other:?}"),
    };
    Call { name: name.clone(), at, took, outcome }
}

struct Run {
    home: Home,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    outage: (DateTime<Utc>, DateTime<Utc>),
    calls: Vec<Call>,
    memory: String,
}

fn report(run: &Run) -> ExitCode {
    let Run { home, start, end, outage, calls, memory } = run;
    let requests = home.sandbox().ledger().report(None).token_requests;
    let mut issued: HashMap<&str, Vec<DateTime<Utc>>> = HashMap::new();
    for request in requests.iter().filter(|request| request.outcome == Outcome::Issued) {
        issued.entry(request.head.domain.as_str()).or_default().push(request.at);
    }
    // Asked for a second ago it may still be on its way; a second before its end it may have ended.
    let is_held = |call: &Call| {
        let times = issued.get(call.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let margin = TimeDelta::seconds(1);
        times.iter().any(|at| *at + margin < call.at && call.at + margin < *at + TimeDelta::seconds(LIFE))
    };
    let refused: Vec<_> = calls.iter().filter(|call| matches!(call.outcome, Got::Refused)).collect();
    let wrongly = refused.iter().filter(|call| is_held(call)).count();
    let outside = refused.iter().filter(|call| call.at < outage.0).count();
    let expired = count(calls, |got| matches!(got, Got::Token { is_expired: true, .. }));
    let used = count(calls, |got| matches!(got, Got::Token { status: Some(_), .. }));
    let turned_away = count(calls, |got| matches!(got, Got::Token { status: Some(401), .. }));
    let in_run: Vec<_> = requests.iter().map(|request| request.at).filter(|at| at >= start).collect();
    let (busiest, busiest_at) = busiest_second(&in_run);
    let last_refusal = refused.iter().map(|call| call.at).max().unwrap_or(outage.1);
    let after =
        |from: DateTime<Utc>, to: DateTime<Utc>| in_run.iter().filter(|at| **at >= from && **at < to).count();
    let mut waits: Vec<_> = calls.iter().map(|call| call.took).collect();
    waits.sort_unstable();
    let share = |per_mille: usize| waits[(waits.len() - 1) * per_mille / 1000];

    println!();
    println!("| what | |");
    println!("| --- | --- |");
    println!(
        "| run | {} with tokens of {LIFE} s, outage from {} to {} |",
        seconds(*start, *end),
        seconds(*start, outage.0),
        seconds(*start, outage.1)
    );
    println!("| `get`s | {} |", calls.len());
    println!("| handed out after its end | {expired} |");
    println!("| tokens used on the API, refused there | {used}, {turned_away} |");
    println!(
        "| refused | {} ({outside} of them before the outage), the last one {} after its end |",
        refused.len(),
        seconds(outage.1, last_refusal.max(outage.1))
    );
    println!("| refused while a valid token was held | {wrongly} |");
    println!(
        "| `get`: median, 99 %, 99.9 %, longest | {:?}, {:?}, {:?}, {:?} |",
        share(500),
        share(990),
        share(999),
        share(1000)
    );
    println!(
        "| token requests before, in and after the outage | {}, {}, {} |",
        after(*start, outage.0),
        after(outage.0, outage.1),
        after(outage.1, *end)
    );
    println!(
        "| most in any second (set rate: {RATE}) | {busiest}, {} after the start |",
        seconds(*start, busiest_at)
    );
    println!("| the daemon's memory | {memory} |");
    let holds =
        expired == 0 && turned_away == 0 && wrongly == 0 && outside == 0 && busiest <= RATE + TOLERANCE;
    println!(
        "\n{}",
        if holds { "All that must hold has held." } else { "Something that must hold did not." }
    );
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn count(calls: &[Call], is_so: impl Fn(&Got) -> bool) -> usize {
    calls.iter().filter(|call| is_so(&call.outcome)).count()
}

fn busiest_second(times: &[DateTime<Utc>]) -> (usize, DateTime<Utc>) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let mut from = 0;
    let mut busiest = (0, DateTime::UNIX_EPOCH);
    for (to, at) in sorted.iter().enumerate() {
        while sorted[from] + TimeDelta::seconds(1) <= *at {
            from += 1;
        }
        busiest = busiest.max((to - from + 1, *at));
    }
    busiest
}

fn short_lived() -> Knobs {
    Knobs { expires_in: ExpiresIn::Seconds(LIFE), ..Knobs::default() }
}

fn set_all(home: &Home, names: &[CredentialName], knobs: &Knobs) {
    for name in names {
        home.sandbox().set(name.as_str(), knobs.clone()).expect("the domain exists");
    }
}

fn memory(daemon: &Daemon) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap_or_default();
    let line =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
    format!("{} resident, {} at most", line("VmRSS:"), line("VmHWM:"))
}

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    format!("{:.1} s", (to - from).as_seconds_f64())
}

#[expect(clippy::disallowed_methods, reason = "it is compared with the times of the ledger")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn stopwatch() -> Instant {
    Instant::now()
}

const LIFE: i64 = 60;
const RATE: usize = 100;
const CONCURRENCY: usize = 32;
const CALLERS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(5);
/// Requests are counted where they arrive: of those that are under way at once, some catch up.
const TOLERANCE: usize = 5;
