//! What is measured, row by row.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use procurify_token_bench::{stopwatch, timed};
use procurify_token_tests::client::Client;

use crate::load::{Exchange, pin, pin_here};
use crate::ours::{self, House, run};
use crate::table::{Goal, bounded, not_measured, row};
use crate::{Wanted, floor, peers};

/// Measures what is wanted and prints its rows.
pub(crate) fn measure(wanted: &Wanted) {
    if !ours::are_packaged() {
        eprintln!("NOT AS PACKAGED: these are the programs of target/release; run packaging/build first");
    }
    let folder = tempfile::Builder::new().prefix("ptb-").tempdir_in("/tmp").expect("a folder");
    let house = House::new(10);
    if wanted.wants("process") {
        process(&house, folder.path());
    }
    if wanted.wants("requests") {
        requests(&house, folder.path());
    }
    if wanted.wants("client") {
        client(&house);
    }
    if wanted.wants("idle") {
        idle(&house, wanted.idle);
    }
    if wanted.wants("start") {
        start(&house, folder.path());
    }
    if wanted.wants("scale") {
        scale(&house);
    }
}

/// Says where a daemon runs, and waits.
pub(crate) fn hold() {
    let house = House::new(10);
    let daemon = house.start();
    println!(
        "export HOME={home} XDG_RUNTIME_DIR={home}/run XDG_CONFIG_HOME={home}/config PID={pid}",
        home = house.home.path().display(),
        pid = daemon.pid()
    );
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// The whole command, from its start to its end.
fn process(house: &House, folder: &Path) {
    let programs = floor::compile(folder);
    let daemon = house.start();
    let exchange = house.exchange(&house.names[0]);
    let socket = folder.join("c");
    let server = programs.serve(&socket, exchange.request.len(), exchange.answer);
    crate::load::connect(&socket);
    let mut least = Command::new(&programs.client);
    least.env_clear().arg(&socket).args([exchange.request.len().to_string(), exchange.answer.to_string()]);
    let git = peers::git_cache(folder, exchange.answer);
    let ssh = peers::ssh_agent(folder);

    let mut contestants = vec![("ours", house.get(), String::new()), ("floor", least, String::new())];
    let (mut git_server, mut ssh_server) = (None, None);
    if let Some((server, command, stdin)) = git {
        git_server = Some(server);
        contestants.push(("`git credential-cache get`", command, stdin));
    } else {
        not_measured("`git credential-cache get`", "–", "git is not installed");
    }
    if let Some((server, command)) = ssh {
        ssh_server = Some(server);
        contestants.push(("`ssh-add -l`", command, String::new()));
    } else {
        not_measured("`ssh-add -l`", "–", "openssh-client is not installed");
    }
    let mut times = vec![Vec::new(); contestants.len()];
    for (_, command, stdin) in &mut contestants {
        let output = run(command, stdin).0;
        assert!(!output.is_empty(), "{command:?} says nothing");
    }
    for _ in 0..PROCESSES {
        for ((_, command, stdin), times) in contestants.iter_mut().zip(&mut times) {
            times.push(run(command, stdin).1);
        }
    }
    let medians: Vec<_> = times.into_iter().map(|times| micros(median(times))).collect();
    let ours = (medians[0], "µs");
    row("`procurify-token get acme`, spawn to exit", ours, (medians[1], "µs"), "in C", Goal::AtMost(1.25));
    for ((peer, _, _), time) in contestants.iter().zip(&medians).skip(2) {
        row("the same", ours, (*time, "µs"), peer, Goal::AtMost(0.65));
    }
    not_measured(
        "the same beside `oidc-token`",
        "≤ 0.65 ×",
        "its agent serves no account without a provider",
    );
    drop((daemon, server, git_server, ssh_server));
}

/// What the socket carries.
fn requests(house: &House, folder: &Path) {
    let daemon = house.start();
    let exchange = house.exchange(&house.names[0]);
    let socket = folder.join("tokio");
    let echo = floor::on_tokio(&socket, exchange.request.len(), exchange.answer);
    crate::load::connect(&socket);
    let bare = Exchange { socket, ..exchange.clone() };
    let redis = peers::redis(folder, exchange.answer);
    let mut servers = vec![daemon.pid(), echo.pid()];
    servers.extend(redis.as_ref().map(|(server, _)| server.pid()));

    for (where_, core) in [("both on one core", 1), ("a core each", 0)] {
        for server in &servers {
            pin(*server, Some(core));
        }
        pin_here(Some(1));
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.extend(exchange.one_by_one(PER_ROUND));
            floor.extend(bare.one_by_one(PER_ROUND));
        }
        let (ours, floor) = (sorted(ours), sorted(floor));
        for (part, share) in [("median", 0.5), ("99 %", 0.99)] {
            let at = |times: &[Duration]| (micros(quantile(times, share)), "µs");
            let work = format!("a `get` on an open connection, {where_}, {part}");
            row(&work, at(&ours), at(&floor), "tokio", Goal::AtMost(1.15));
        }
    }

    let rate = |exchanges: &[&Exchange], of: &dyn Fn(&Exchange) -> f64| -> Vec<f64> {
        let mut rates = vec![Vec::new(); exchanges.len()];
        for _ in 0..ROUNDS {
            for (exchange, rates) in exchanges.iter().zip(&mut rates) {
                rates.push(of(exchange));
            }
        }
        rates.into_iter().map(|rates| middle(rates) / 1e3).collect()
    };
    let mut exchanges = vec![&exchange, &bare];
    exchanges.extend(redis.as_ref().map(|(_, exchange)| exchange));
    let rates = rate(&exchanges, &|exchange| exchange.kept_open(CLIENTS, REQUESTS));
    let work = "64 connections kept open, requests a second";
    row(work, (rates[0], "k"), (rates[1], "k"), "tokio", Goal::AtLeast(0.9));
    match rates.get(2) {
        Some(redis) => row("the same", (rates[0], "k"), (*redis, "k"), "redis `GET`", Goal::AtLeast(1.1)),
        None => not_measured("the same beside redis", "≥ 1.1 ×", "redis-server is not installed"),
    }
    let rates = rate(&exchanges[..2], &|exchange| exchange.afresh(CLIENTS, REQUESTS / 4));
    let work = "connect, one `get`, close, 64 at a time, a second";
    row(work, (rates[0], "k"), (rates[1], "k"), "tokio", Goal::AtLeast(0.85));
    pin_here(None);
}

/// What the client crate has in its own cache, beside the clone of an `Arc`.
fn client(house: &House) {
    let daemon = house.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (ours, floor) = runtime.block_on(async {
        let client = Client::connect(&house.home.caching_options()).await.expect("a daemon answers");
        let name = &house.names[0];
        let held = Arc::new(client.token(name).await.expect("a token"));
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = stopwatch();
            for _ in 0..HELD {
                std::hint::black_box(client.token(name).await.expect("a token"));
            }
            ours.push(begun.elapsed() / HELD);
            let begun = stopwatch();
            for _ in 0..HELD {
                std::hint::black_box(Arc::clone(std::hint::black_box(&held)));
            }
            floor.push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(HELD));
        }
        (median(ours), middle(floor))
    });
    let work = "`Client::token`, held by the client's own cache";
    let beside = format!("the clone of an `Arc` {floor:.1} ns");
    bounded(work, (micros(ours), "µs"), (1.0, "µs"), &beside);
    drop(daemon);
}

/// A daemon that nobody asks.
fn idle(house: &House, time: Duration) {
    let daemon = house.start();
    assert!(!run(&mut house.get(), "").0.is_empty());
    // The last of the start and of the question is over.
    std::thread::sleep(Duration::from_secs(3));
    let before = daemon.switches();
    std::thread::sleep(time);
    let wakes = (daemon.switches() - before) * 60.0 / time.as_secs_f64();
    let memory = daemon.private_memory() / 1024.0;
    bounded("idle, 10 domains: private memory", (memory, "MB"), (4.0, "MB"), PIZAUTH_MEMORY);
    bounded("idle, 10 domains: wake-ups a minute", (wakes, ""), (2.0, ""), PIZAUTH_WAKES);
}

/// From nothing to the first answer.
fn start(house: &House, folder: &Path) {
    let socket = folder.join("cold");
    let Some((mut agent, mut list)) = peers::ssh_cold(&socket) else {
        return not_measured("start to first answer", "≤ 1 ×", "openssh-client is not installed");
    };
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let (daemon, time) = timed(|| {
            let daemon = house.start();
            assert!(!run(&mut house.get(), "").0.is_empty());
            daemon
        });
        ours.push(time);
        daemon.stop();
        let (told, time) = timed(|| {
            let told = run(&mut agent, "").0;
            assert!(!run(&mut list, "").0.is_empty());
            told
        });
        floor.push(time);
        let told = String::from_utf8(told).expect("text");
        let pid = told.split("SSH_AGENT_PID=").nth(1).and_then(|rest| rest.split(';').next());
        let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)).expect("it says so");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        while socket.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let ours = (micros(median(ours)) / 1e3, "ms");
    let floor = (micros(median(floor)) / 1e3, "ms");
    row(
        "start to first answer, 10 domains, key file",
        ours,
        floor,
        "ssh-agent, `ssh-add -l`",
        Goal::AtMost(1.0),
    );
}

/// A hundred thousand credentials beside ten.
fn scale(house: &House) {
    let large = House::new(MANY);
    let (small_daemon, large_daemon) = (house.start(), large.start());
    // Not the first name: its address is shorter, and so is its answer.
    let requests = |house: &House| -> Vec<_> { house.names[1..].iter().map(House::request).collect() };
    let (few_requests, many_requests) = (requests(house), requests(&large));
    let (small, large) = (house.exchange(&house.names[1]), large.exchange(&large.names[1]));
    pin(small_daemon.pid(), Some(0));
    pin(large_daemon.pid(), Some(0));
    pin_here(Some(1));
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        few.extend(small.any_of(&few_requests, PER_ROUND));
        many.extend(large.any_of(&many_requests, PER_ROUND));
    }
    pin_here(None);
    let at = |times: Vec<Duration>| (micros(quantile(&sorted(times), 0.99)), "µs");
    row("100,000 credentials: a `get`, 99 %", at(many), at(few), "10 credentials", Goal::AtMost(1.3));
}

fn median(times: Vec<Duration>) -> Duration {
    quantile(&sorted(times), 0.5)
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of some thousand times"
)]
fn quantile(times: &[Duration], share: f64) -> Duration {
    times[((times.len() as f64 * share) as usize).min(times.len() - 1)]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

const PIZAUTH_MEMORY: &str = "pizauth 4.5 MB, as measured elsewhere";
const PIZAUTH_WAKES: &str = "pizauth 2, as measured elsewhere";
const PROCESSES: usize = 1000;
const ROUNDS: usize = 25;
const PER_ROUND: usize = 1000;
const HELD: u32 = 100_000;
const CLIENTS: usize = 64;
const REQUESTS: usize = 40_000;
const STARTS: usize = 25;
const MANY: usize = 100_000;
