//! The time, and the only place that asks for it.
//!
//! Everything else is told the time, so tests can invent one.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use chrono::Utc;

use crate::refresh::{Moment, Now};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// By the boot-time clock alone, which is all that a `get` needs.
    fn boot(&self) -> Moment;

    /// By all clocks, with a roll of the dice.
    fn now(&self) -> Now;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// Counted from the first time anybody asked: only distances matter. The clock runs on through a suspend.
    fn boot(&self) -> Moment {
        static START: OnceLock<boot_time::Instant> = OnceLock::new();
        let elapsed = START.get_or_init(boot_time::Instant::now).elapsed();
        Moment::default() + elapsed
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn now(&self) -> Now {
        Now { boot: self.boot(), wall: Utc::now(), dice: RandomState::new().hash_one(()) }
    }
}
