//! The whole daemon with 10, 1,000 and 100,000 credentials: start-up, resident memory, `get` over the socket, paging, and
//! what a start costs Procurify, with a full cache and with none.
//!
//! The vault and the cache are made here, as an earlier run would have left them: tokens of all ages below four fifths of
//! their life. A `get` is measured as a round trip on one connection, so its floor is the exchange itself.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use procurify_token_protocol::{AccessToken, CredentialCopy, CredentialName, Fingerprint, NewSlot, Request};
use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::{Daemon, Home, credential, name};
use procurify_tokend::cache::{Cache, CachedToken, Entry, TokenChange};
use procurify_tokend::clock::{Clock as _, Stamp, SystemClock};
use procurify_tokend::refresh::History;
use procurify_tokend::vault::{Vault, VaultPaths};

fn main() {
    println!(
        "| credentials | start | memory | each | get, median | get, 99 % | a page of 100 | requests in 10 s | without a cache | a get meanwhile |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut base_memory = 0;
    for number in [10, 1_000, 100_000] {
        let home = Home::new(&DOMAINS);
        let names = furnish(&home, number);
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

/// A vault, and a cache with a token for each of its credentials.
fn furnish(home: &Home, number: usize) -> Vec<CredentialName> {
    let names: Vec<_> =
        (0..number).map(|n| name(&format!("{}/n{n:06}", DOMAINS[n % DOMAINS.len()]))).collect();
    let paths = VaultPaths::new(home.data_folder().join("vault"), home.config_folder().join("vault.key"));
    let (mut vault, _) = Vault::create(&paths, &[NewSlot::KeyFile], now()).expect("a vault can be made");
    let copy = |name: &CredentialName| CredentialCopy {
        credential: credential(name.as_str()),
        added_at: None,
        staged: None,
        previous: None,
    };
    vault.take_in(names.iter().map(copy).collect(), now()).expect("they can be stored");
    private_folder(&home.state_folder());
    let (mut cache, _) = Cache::open(&home.state_folder().join("tokens.redb"), vault.cache_keys())
        .expect("a cache can be made");
    let boot = SystemClock.boot();
    let youngest = LIFE.mul_f64(0.8) / u32::try_from(number).expect("not that many");
    let entries: Vec<_> = (0_u32..)
        .zip(&names)
        .map(|(n, name)| {
            let age = youngest * n;
            let left = LIFE.saturating_sub(age);
            let token = format!("{n:0>TOKEN_LENGTH$}").into();
            let fingerprint = Fingerprint::from_bytes(u64::from(n).to_be_bytes());
            let token = AccessToken::new(token, fingerprint, now() + left).expect("a token");
            let pair_version = vault.credential(name).expect("it is stored").current.version;
            let (issued, expires) = (boot - age, boot + left);
            let token =
                TokenChange::Store(CachedToken { token: token.into(), issued, expires, pair_version });
            Entry { name, token, history: (History::default(), pair_version) }
        })
        .collect();
    cache.store(&entries, &Stamp::of(&SystemClock)).expect("they can be kept");
    names
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

fn private_folder(path: &std::path::Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).expect("a folder can be made");
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = stopwatch();
    let result = work();
    (result, begun.elapsed())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn stopwatch() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "tokens are of today")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

const DOMAINS: [&str; 8] = ["acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "tyrell"];
const LIFE: Duration = Duration::from_hours(24);
const TOKEN_LENGTH: usize = 1200;
const GETS: usize = 20_000;
const TEN_SECONDS: Duration = Duration::from_secs(10);
