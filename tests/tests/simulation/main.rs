//! Months in the life of a Keeper, again and again: invented credentials, an invented Procurify, an invented clock. And
//! weeks in the life of its driver, with a real vault and a real cache that have to outlive crashes and reboots.
//!
//! Each history is random and hangs on one number, its seed. After every event each invariant is checked; the first
//! that does not hold ends the run with its name, the last events, and the command that replays the history. Nothing
//! here sleeps. Of the Keeper, nothing of the machine gets in: the same seed is the same history. A driver has a runtime
//! and a disk below it, and a seed that failed fails again nearly always.
//!
//! | variable | |
//! | --- | --- |
//! | `SIMULATION_HISTORIES=1000000` | a longer run than the 10,000 of every test run, with a fiftieth as many drivers |
//! | `SIMULATION_SEED=N` | this history alone, with all its events |
//!
//! | file | what |
//! | --- | --- |
//! | `procurify.rs` | the invented Procurify |
//! | `world.rs` | what happens to a Keeper, and its invariants |
//! | `house.rs`, `book.rs` | what happens to a driver; the invariants of answers and of requests |
//!
//! The socket, the network and the real clocks are not here: whole-program tests are about those.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

mod book;
mod house;
mod procurify;
mod world;

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;

use world::World;

#[test]
fn whatever_happens_to_a_keeper_its_invariants_hold() {
    if let Some(seed) = variable("SIMULATION_SEED") {
        return replay(seed);
    }
    let hook = std::panic::take_hook();
    // The first failure is told when it is lived through again.
    std::panic::set_hook(Box::new(|_| {}));
    let failed = first_that(histories(), fails);
    std::panic::set_hook(hook);
    if let Some(seed) = failed {
        replay(seed);
    }
}

#[test]
fn whatever_happens_to_a_driver_its_invariants_hold() {
    let live = |seed| {
        if let Err(violation) = house::live(seed) {
            tell(&violation);
            tell_how_to_replay("driver", seed);
            panic!("{violation}");
        }
    };
    match variable("SIMULATION_SEED") {
        Some(seed) => live(seed),
        None => first_that(histories() / KEEPERS_FOR_A_DRIVER, |seed| house::live(seed).is_err())
            .into_iter()
            .for_each(live),
    }
}

/// The first of so many random seeds for which this is so, looked for on all processors.
fn first_that(count: u64, is_so: impl Fn(u64) -> bool + Sync) -> Option<u64> {
    let first: u64 = RandomState::new().hash_one(());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let is_so = &is_so;
    let found = std::thread::scope(|scope| {
        let share =
            |thread: u64| move || (thread..count).step_by(threads).find(|n| is_so(first.wrapping_add(*n)));
        let shares: Vec<_> = (0..).take(threads).map(|thread| scope.spawn(share(thread))).collect();
        shares.into_iter().filter_map(|share| share.join().unwrap()).min()
    });
    if let Some(number) = found {
        tell(&format!("history {number} of {count} fails"));
    }
    found.map(|number| first.wrapping_add(number))
}

fn fails(seed: u64) -> bool {
    catch_unwind(AssertUnwindSafe(|| World::new(seed).live(EVENTS))).is_err()
}

/// Lives through one history of a Keeper, and tells its last events where it fails.
fn replay(seed: u64) {
    let mut world = World::new(seed);
    world.is_told = true;
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live(EVENTS)));
    if let Err(panic) = outcome {
        world.last_events().for_each(|event| tell(event));
        tell_how_to_replay("keeper", seed);
        resume_unwind(panic);
    }
}

fn tell_how_to_replay(whose: &str, seed: u64) {
    let cargo = "cargo test -p procurify-token-tests --test simulation";
    tell(&format!("replay: SIMULATION_SEED={seed} {cargo} {whose} -- --nocapture"));
}

#[expect(clippy::print_stderr, reason = "a history that fails is told")]
fn tell(line: &str) {
    eprintln!("{line}");
}

fn histories() -> u64 {
    variable("SIMULATION_HISTORIES").unwrap_or(HISTORIES)
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

const HISTORIES: u64 = 10_000;
const KEEPERS_FOR_A_DRIVER: u64 = 50;
const EVENTS: usize = 150;
