//! How long a token still lives, by a clock that runs on through a suspend and never steps.
//!
//! A token says when it ends by the wall clock, which the daemon's machine shares with this program. That is looked at once,
//! when the token arrives; from then on only the boot-time clock counts. This room holds no token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment on the boot-time clock: only distances between two of them mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// This moment.
    #[cfg(unix)]
    pub(crate) fn now() -> Self {
        let time = rustix::time::clock_gettime(RUNS_THROUGH_SUSPEND);
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Self(Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default()))
    }

    /// This moment. What this system calls monotonic runs through a suspend.
    #[cfg(not(unix))]
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(crate) fn now() -> Self {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        Self(START.get_or_init(std::time::Instant::now).elapsed())
    }

    /// So much later.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long it is until then; zero where that is past.
    pub(crate) fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// This moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) boot: Moment,
    /// Milliseconds since 1970.
    pub(crate) wall: i64,
}

impl Now {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(crate) fn read() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { boot: Moment::now(), wall: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
    }

    /// When a time of the wall clock will be, if nobody sets that clock until then.
    pub(crate) fn moment_of(self, wall: i64) -> Moment {
        let left = wall.saturating_sub(self.wall);
        self.boot.after(Duration::from_millis(u64::try_from(left).unwrap_or_default()))
    }

    #[cfg(test)]
    pub(crate) fn invented(boot: u64, wall: i64) -> Self {
        Self { boot: Moment(Duration::from_secs(boot)), wall: wall * 1000 }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const RUNS_THROUGH_SUSPEND: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// On macOS it does; where a system's does not, the daemon's word is taken for no longer all the same.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const RUNS_THROUGH_SUSPEND: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_ends_now_and_not_in_the_past() {
        let now = Now::invented(100, 5000);
        assert_eq!(now.boot.until(now.moment_of(5_003_000)), Duration::from_secs(3));
        assert_eq!(now.moment_of(4_000_000), now.boot);
        assert_eq!(now.moment_of(i64::MIN), now.boot);
    }

    #[test]
    fn this_machine_tells_its_time() {
        let (one, other) = (Now::read(), Now::read());
        assert!(one.boot <= other.boot && one.wall > 0);
    }
}
