//! The whole daemon with 10, 1,000 and 100,000 credentials: start-up, resident memory, `get` over the socket, paging, and
//! what a start costs Procurify, with a full cache and with none.
//!
//! A `get` is measured as a round trip on one connection, so its floor is the exchange itself.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs;
use std::time::{Duration, Instant};

use procurify_token_bench::{furnish, stopwatch, timed};
use procurify_token_protocol::{CredentialName, Request};
use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::{Daemon, Home, name};

fn main() {
    println!(
        "| credentials | start | memory | each | get, median | get, 99 % | a page of 100 | requests in 10 s | without a cache | a get meanwhile |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut base_memory = 0;
    for number in [10, 1_000, 100_000] {
        let home = Home::new(&DOMAINS);
        let names: Vec<_> =
            (0..number).map(|n| name(&format!("{}/n{n:06}", DOMAINS[n % DOMAINS.len()]))).collect();
        furnish(&home, &names);
        let (daemon, start) = timed(|| home.start());
        let begun = stopwatch();
        let mut client = home.client();
        let waits = gets(&mut client, &names);
        let page = page(&mut client, &names);
        let requests = requests_within(&home, begun, TEN_SECONDS);
        let memory = resident(&daemon);
        if base_memory == 0 {
            base_memory = memory;
        }
        let each = (memory - base_memory) * 1024 / number;
        drop(client);
        assert!(daemon.stop().success());

        fs::remove_file(home.state_folder().join("tokens.redb")).expect("there is a cache");
        let before = requested(&home);
        let _daemon = home.start();
        let begun = stopwatch();
        // The last one in line, had it to wait for its turn.
        let (_, jump) = timed(|| home.client().token(&names[number - 1]).expect("a token"));
        let storm = requests_within(&home, begun, TEN_SECONDS) - before;
        let micros = |wait: Duration| format!("{:.0} µs", wait.as_secs_f64() * 1e6);
        println!(
            "| {number} | {:.0} ms | {} MB | {} | {} | {} | {} | {requests} | {storm} | {:.0} ms |",
            start.as_secs_f64() * 1e3,
            memory / 1024,
            if each == 0 { "–".to_owned() } else { format!("{each} B") },
            micros(waits[waits.len() / 2]),
            micros(waits[waits.len() * 99 / 100]),
            micros(page),
            jump.as_secs_f64() * 1e3,
        );
    }
}

fn gets(client: &mut Client, names: &[CredentialName]) -> Vec<Duration> {
    let mut waits: Vec<_> = (0..GETS)
        .map(|_| {
            let name = &names[fastrand::usize(..names.len())];
            timed(|| client.token(name).expect("a token is ready")).1
        })
        .collect();
    waits.sort_unstable();
    waits
}

fn page(client: &mut Client, names: &[CredentialName]) -> Duration {
    let mut waits: Vec<_> = (0..100)
        .map(|_| {
            let after = Some(names[fastrand::usize(..names.len())].clone());
            timed(|| client.request(&Request::List { after }, TEN_SECONDS).expect("a page")).1
        })
        .collect();
    waits.sort_unstable();
    waits[waits.len() / 2]
}

fn requests_within(home: &Home, begun: Instant, time: Duration) -> u64 {
    std::thread::sleep(time.saturating_sub(begun.elapsed()));
    requested(home)
}

fn requested(home: &Home) -> u64 {
    DOMAINS.iter().map(|domain| home.sandbox().ledger().tally(domain).token_requests).sum()
}

fn resident(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

const DOMAINS: [&str; 8] = ["acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "tyrell"];
const GETS: usize = 20_000;
const TEN_SECONDS: Duration = Duration::from_secs(10);
