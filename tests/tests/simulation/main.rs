//! Months in the life of a Keeper, again and again: invented credentials, an invented Procurify, an invented clock.
//!
//! Each history is random and hangs on one number, its seed. After every event each invariant is checked; the first
//! that does not hold ends the run with its name, the last events, and the command that replays the history. Nothing
//! here sleeps, and nothing of the machine gets in: the same seed is the same history.
//!
//! | variable | |
//! | --- | --- |
//! | `SIMULATION_HISTORIES=1000000` | a longer run than the 10,000 of every test run |
//! | `SIMULATION_SEED=N` | this history alone, with all its events |
//!
//! What the driver adds (files, the socket, the real clocks) is not here: whole-program tests are about that.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

mod procurify;
mod world;

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;

use world::World;

#[test]
fn whatever_happens_the_invariants_hold() {
    if let Some(seed) = variable("SIMULATION_SEED") {
        return replay(seed);
    }
    let first: u64 = RandomState::new().hash_one(());
    let histories: u64 = variable("SIMULATION_HISTORIES").unwrap_or(HISTORIES);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let hook = std::panic::take_hook();
    // The first failure is told when it is lived through again.
    std::panic::set_hook(Box::new(|_| {}));
    let failed = std::thread::scope(|scope| {
        let share = |thread: u64| {
            move || (thread..histories).step_by(threads).find(|n| fails(first.wrapping_add(*n)))
        };
        let shares: Vec<_> = (0..).take(threads).map(|thread| scope.spawn(share(thread))).collect();
        shares.into_iter().filter_map(|share| share.join().unwrap()).min()
    });
    std::panic::set_hook(hook);
    if let Some(number) = failed {
        tell(&format!("history {number} of {histories} fails"));
        replay(first.wrapping_add(number));
    }
}

fn fails(seed: u64) -> bool {
    catch_unwind(AssertUnwindSafe(|| World::new(seed).live(EVENTS))).is_err()
}

/// Lives through one history, and tells its last events where it fails.
fn replay(seed: u64) {
    let mut world = World::new(seed);
    world.is_told = true;
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live(EVENTS)));
    if let Err(panic) = outcome {
        world.last_events().for_each(|event| tell(event));
        tell(&format!(
            "replay: SIMULATION_SEED={seed} cargo test -p procurify-token-tests --test simulation -- --nocapture"
        ));
        resume_unwind(panic);
    }
}

#[expect(clippy::print_stderr, reason = "a history that fails is told")]
fn tell(line: &str) {
    eprintln!("{line}");
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

const HISTORIES: u64 = 10_000;
const EVENTS: usize = 150;
