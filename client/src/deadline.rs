//! When a request has to be over. The only room that asks for the time, and only for the client that has no runtime.

use std::time::{Duration, Instant};

/// The moment up to which a caller is willing to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new(now: Instant, limit: Duration) -> Self {
        Self(now + limit.min(FOR_EVER))
    }

    /// A little later, so that the daemon's own refusal, which explains what it was waiting for, arrives first.
    pub(crate) fn with_grace(self) -> Self {
        Self(self.0 + GRACE)
    }

    /// Zero once it has passed.
    pub(crate) fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    #[cfg(feature = "async")]
    pub(crate) fn at(self) -> tokio::time::Instant {
        self.0.into()
    }
}

#[cfg(feature = "blocking")]
#[expect(clippy::disallowed_methods, reason = "a client without a runtime has no other clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

const GRACE: Duration = Duration::from_millis(500);

/// Longer than any program runs, and short enough to be added to an `Instant`.
const FOR_EVER: Duration = Duration::from_hours(100 * 365 * 24);
