//! A crowd, for as long as is asked for: a flood of one user, slow readers and peers that never finish a frame, and beside them somebody who asks
//! for a token now and then.
//!
//! The daemon has core 0, everybody else core 1; the crowd runs only while that one has nothing to do, so that what is measured is
//! the daemon's fairness and not the kernel's. Wants root, who alone can become two users.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use procurify_token_bench::{stopwatch, timed};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::load::{Exchange, connect, pin, pin_here};
use crate::ours::{House, Tokend};

/// Prints what becomes of the waits and of the daemon's memory, and what was missed.
pub(crate) fn soak(length: Duration) {
    let house = House::new(10);
    house.home.configure("[[access]]\nuser = \"nobody\"\ncredentials = [\"acme\"]\n");
    let daemon = house.start();
    pin(daemon.pid(), Some(0));
    pin_here(Some(1));
    let exchange = house.exchange(&house.names[0]);
    for folder in exchange.socket.ancestors().skip(1).take_while(|folder| *folder != Path::new("/tmp")) {
        fs::set_permissions(folder, Permissions::from_mode(0o711)).expect("it is ours");
    }
    let mut alone: [Vec<_>; 2] = Default::default();
    for _ in 0..5 {
        let waits = exchange.p99();
        alone.iter_mut().zip(waits).for_each(|(all, wait)| all.push(wait));
    }
    let alone = alone.map(|mut all| median(&mut all));
    println!("| after | flood, requests | kept open, 99 % | of its own, 99 % | memory | descriptors |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let crowd = Arc::new(Crowd::default());
    line(Duration::ZERO, &crowd, alone, &daemon);
    let members: Vec<_> = [flood, read_slowly, never_finish]
        .map(|member: fn(&Exchange, &Crowd)| {
            let (crowd, exchange) = (Arc::clone(&crowd), exchange.clone());
            thread::spawn(move || {
                become_nobody();
                member(&exchange, &crowd);
            })
        })
        .into();
    let begun = stopwatch();
    let (mut all, mut first, mut last) = ([Vec::new(), Vec::new()], None, 0.0);
    while begun.elapsed() < length {
        thread::sleep(PAUSE);
        let waits = exchange.p99();
        line(begun.elapsed(), &crowd, waits, &daemon);
        all.iter_mut().zip(waits).for_each(|(all, wait)| all.push(wait));
        last = resident(&daemon);
        // What comes with the crowd is there after a while.
        first = first.or((begun.elapsed() > length / 5).then_some(last));
    }
    crowd.is_over.store(true, Ordering::Relaxed);
    for member in members {
        member.join().expect("it does not fail");
    }
    let mut ratio = |n: usize| median(&mut all[n]).as_secs_f64() / alone[n].as_secs_f64();
    println!(
        "\nThe median of these 99 %: {:.2} and {:.2} times that without a crowd (goal: 2).",
        ratio(0),
        ratio(1)
    );
    let grown = last / first.unwrap_or(last) - 1.0;
    println!(
        "Memory at the end: {:+.1} % of what it was after a fifth of the time (goal: 0).",
        grown * 100.0
    );
    daemon.stop();
}

#[derive(Default)]
struct Crowd {
    is_over: AtomicBool,
    served: AtomicU64,
}

impl Crowd {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

impl Exchange {
    /// The waits of somebody who asks now and then: on a connection that stays open, and on one for each request.
    fn p99(&self) -> [Duration; 2] {
        let mut waits = [Vec::new(), Vec::new()];
        let mut open = connect(&self.socket);
        for _ in 0..SAMPLES {
            thread::sleep(Duration::from_millis(1));
            waits[0].push(timed(|| self.once(&mut open)).1);
            thread::sleep(Duration::from_millis(1));
            waits[1].push(timed(|| self.once(&mut connect(&self.socket))).1);
        }
        waits.map(|mut waits| {
            waits.sort_unstable();
            waits[waits.len() * 99 / 100]
        })
    }
}

/// Asks as fast as it can, on many connections and on ever new ones.
fn flood(exchange: &Exchange, crowd: &Crowd) {
    while !crowd.is_over() {
        exchange.kept_open(FLOOD, 20_000);
        exchange.afresh(FLOOD, 2_000);
        crowd.served.fetch_add(22_000, Ordering::Relaxed);
    }
}

/// Asks for much and reads nothing.
fn read_slowly(exchange: &Exchange, crowd: &Crowd) {
    while !crowd.is_over() {
        let streams: Vec<_> = (0..SLOW).map(|_| connect(&exchange.socket)).collect();
        for mut stream in &streams {
            stream.set_nonblocking(true).expect("a socket");
            while stream.write(&exchange.request).is_ok_and(|count| count > 0) {}
        }
        rest(crowd);
    }
}

/// Sends half of a frame, and no more.
fn never_finish(exchange: &Exchange, crowd: &Crowd) {
    while !crowd.is_over() {
        let half = &exchange.request[..exchange.request.len() / 2];
        let streams: Vec<UnixStream> = (0..HALF_OPEN)
            .map(|_| {
                let mut stream = connect(&exchange.socket);
                // Where every place is taken it is closed already.
                let _ = stream.write_all(half);
                stream
            })
            .collect();
        rest(crowd);
        drop(streams);
    }
}

fn rest(crowd: &Crowd) {
    for _ in 0..12 {
        if !crowd.is_over() {
            thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Another user, who runs when nobody else wants to.
fn become_nobody() {
    let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
    let status = std::process::Command::new("chrt")
        .args(["--idle", "--pid", "0", &rustix::thread::gettid().as_raw_nonzero().to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "chrt of util-linux is needed");
    set_thread_groups(&[]).expect("root may drop its groups");
    set_thread_res_gid(gid, gid, gid).expect("root may become any group");
    set_thread_res_uid(uid, uid, uid).expect("root may become anybody");
    pin_here(Some(1));
}

fn median(waits: &mut [Duration]) -> Duration {
    waits.sort_unstable();
    waits[waits.len() / 2]
}

fn line(after: Duration, crowd: &Crowd, waits: [Duration; 2], daemon: &Tokend) {
    let descriptors =
        fs::read_dir(PathBuf::from(format!("/proc/{}/fd", daemon.pid()))).expect("it runs").count();
    println!(
        "| {} s | {} | {} µs | {} µs | {:.2} MB | {descriptors} |",
        after.as_secs(),
        crowd.served.load(Ordering::Relaxed),
        waits[0].as_micros(),
        waits[1].as_micros(),
        resident(daemon) / 1024.0
    );
}

/// In kB.
fn resident(daemon: &Tokend) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

const PAUSE: Duration = Duration::from_secs(8);
const SAMPLES: usize = 500;
/// As many connections as the rows of the table have.
const FLOOD: usize = 64;
const SLOW: usize = 20;
const HALF_OPEN: usize = 100;
