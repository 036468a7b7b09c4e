//! The one place of the command that asks for the time or lets it pass.

use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this room is the command's clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Says how much is left of a time that begins now.
#[expect(clippy::disallowed_methods, reason = "this room is the command's clock")]
pub(crate) fn countdown(limit: Duration) -> impl Fn() -> Duration {
    let start = Instant::now();
    move || limit.saturating_sub(start.elapsed())
}

/// Says how much time has passed since now.
#[expect(clippy::disallowed_methods, reason = "this room is the command's clock")]
pub(crate) fn stopwatch() -> impl Fn() -> Duration {
    let start = Instant::now();
    move || start.elapsed()
}

/// Lets time pass.
pub(crate) fn pause(length: Duration) {
    thread::sleep(length);
}

/// Looks until it is so, but not for ever.
pub(crate) fn within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let mut waited = Duration::ZERO;
    while !is_so() {
        if waited >= limit {
            return false;
        }
        thread::sleep(GLANCE);
        waited += GLANCE;
    }
    true
}

const GLANCE: Duration = Duration::from_millis(10);
