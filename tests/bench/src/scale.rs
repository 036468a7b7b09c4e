//! How the cost of the Keeper's work grows from 10 to 100,000 credentials, and what each takes in memory.
//!
//! Every number is the median of many batches on this machine, so only the columns beside each other mean something. The
//! goal is work that grows with the logarithm of the number at most, and memory per credential of no more than 1.3 ×
//! its token and its record; a record is about 500 bytes, and counts as held by the vault beside this. What the network,
//! the disk and the socket cost is not here.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::DateTime;
use procurify_token_protocol::{AccessToken, BaseUrl, CredentialName, Fingerprint, TokenGrant};
use procurify_tokend::lookup::{Lookup, Ready};
use procurify_tokend::refresh::{Action, Held, History, Keeper, Moment, Now, Policy, Ticket, Wait};

type Token = Arc<Ready>;

fn main() {
    println!(
        "{:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>16}",
        "credentials", "look-up", "get", "idle tick", "refresh", "start", "bytes each"
    );
    let mut first: Option<[f64; 4]> = None;
    for number in [10, 1_000, 100_000] {
        let before = resident();
        let begun = now_on_this_machine();
        let mut world = World::new(number);
        let start = begun.elapsed();
        let bytes = resident().saturating_sub(before) * 1024 / number;
        let costs = [world.look_up(), world.get(), world.idle_tick(), world.refresh()];
        println!(
            "{number:>12} {:>9.0} ns {:>9.0} ns {:>9.0} ns {:>9.0} ns {:>9.1} ms {bytes:>16}",
            costs[0],
            costs[1],
            costs[2],
            costs[3],
            start.as_secs_f64() * 1e3
        );
        let base = *first.get_or_insert(costs);
        let growth: Vec<_> =
            costs.iter().zip(base).map(|(cost, base)| format!("{:>10.1} ×", cost / base)).collect();
        println!("{:>12} {}", "", growth.join(" "));
    }
    println!(
        "a token has {TOKEN_LENGTH} bytes; 1.3 × token and record are {} bytes",
        (TOKEN_LENGTH + RECORD) * 13 / 10
    );
}

struct World {
    keeper: Keeper<Token>,
    lookup: Lookup,
    names: Vec<CredentialName>,
    boot: Moment,
    turn: usize,
}

impl World {
    /// So many credentials, each with a token of an earlier run.
    fn new(number: usize) -> Self {
        let policy = Policy { rate: 1_000_000, concurrency: 256, ..Policy::default() };
        let names = (0..number).map(|n| format!("c{n}").parse().expect("a name")).collect();
        let boot = Moment::from_millis(100_000_000);
        let mut world = Self { keeper: Keeper::new(policy), lookup: Lookup::default(), names, boot, turn: 0 };
        for index in 0..number {
            let name = world.names[index].clone();
            let held = world.held(index as u64);
            world.keeper.insert(&name, Some(held), History::default(), world.now());
            world.settle();
        }
        world
    }

    fn now(&self) -> Now {
        Now { boot: self.boot, wall: DateTime::UNIX_EPOCH, dice: 7 }
    }

    fn held(&self, number: u64) -> Held<Token> {
        let fingerprint = Fingerprint::from_bytes(number.to_be_bytes());
        let text = "t".repeat(TOKEN_LENGTH);
        let token = AccessToken::new(text.into(), fingerprint, DateTime::UNIX_EPOCH).expect("a token");
        let base_url: BaseUrl = "https://acme.procurify.com".parse().expect("a URL");
        let expires = self.boot + Duration::from_hours(24);
        let ready = Ready::new(TokenGrant { token: token.into(), base_url }, expires).expect("it fits");
        Held { token: ready.into(), fingerprint, issued: self.boot, expires }
    }

    fn settle(&mut self) -> Option<Ticket> {
        let mut issued = None;
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::Publish(name, held) => self.lookup.publish(&name, held.map(|held| held.token)),
                Action::Issue(ticket) => issued = Some(ticket),
                Action::Keep { .. } | Action::Tell(_) | Action::Answer(..) | Action::Abandon(_) => {}
            }
        }
        issued
    }

    /// Another one each time, far from the one before.
    fn next(&mut self) -> usize {
        self.turn = (self.turn + 7919) % self.names.len();
        self.turn
    }

    fn next_name(&mut self) -> CredentialName {
        let index = self.next();
        self.names[index].clone()
    }

    fn look_up(&mut self) -> f64 {
        median(|| {
            let name = self.next_name();
            assert!(self.lookup.find(&name, Duration::ZERO, self.boot).is_some());
        })
    }

    fn get(&mut self) -> f64 {
        let wait = Wait::Get { min_ttl: Duration::ZERO };
        median(|| {
            let name = self.next_name();
            self.keeper.wait(0, &name, wait, self.boot, self.now());
            self.settle();
        })
    }

    fn idle_tick(&mut self) -> f64 {
        median(|| self.keeper.tick(self.now()))
    }

    /// A refresh from the moment that somebody wants it to the new token in the table.
    fn refresh(&mut self) -> f64 {
        let held = self.held(u64::MAX);
        let mode = procurify_token_protocol::RefreshMode::OverBudget;
        let mut number = 1 << 40;
        median(|| {
            let name = self.next_name();
            self.boot = self.boot + Duration::from_millis(1);
            self.keeper.wait(
                0,
                &name,
                Wait::Refresh { mode },
                self.boot + Duration::from_secs(1),
                self.now(),
            );
            let ticket = self.settle().expect("a request goes out");
            number += 1;
            let held =
                Held { fingerprint: Fingerprint::from_bytes(u64::to_be_bytes(number)), ..held.clone() };
            self.keeper.issued(&ticket, Ok(held), self.now());
            self.settle();
        })
    }
}

/// Nanoseconds of one call: the median over batches.
fn median(mut work: impl FnMut()) -> f64 {
    let mut batches: Vec<_> = (0..BATCHES)
        .map(|_| {
            let begun = now_on_this_machine();
            (0..BATCH).for_each(|_| work());
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[BATCHES / 2]
}

/// Resident memory in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
fn now_on_this_machine() -> Instant {
    Instant::now()
}

const TOKEN_LENGTH: usize = 1200;
const RECORD: usize = 500;
const BATCHES: usize = 101;
const BATCH: u32 = 100;
