//! The one place that asks for the time.
//!
//! It knows the wall clock and how long the sandbox has run. The deliberate error of a domain's
//! `Date` (the `date-skew-s` knob) is added in `domain.rs`, not here.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The stopwatch that outage windows are counted on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this room is the sandbox's clock")]
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn since_start(self) -> Duration {
        self.started.elapsed()
    }
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this room is the sandbox's clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}
