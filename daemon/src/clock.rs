//! The time, and the only place that asks for it.
//!
//! Everything else is told the time, so tests can invent one. Lives are measured on the boot-time clock, which runs on
//! through a suspend and never steps; the wall clock is for people, for servers, and for what has to be compared across
//! a reboot.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
#[cfg(target_os = "linux")]
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
#[cfg(target_os = "linux")]
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
#[cfg(target_os = "linux")]
use tokio::io::{Interest, unix::AsyncFd};

use crate::refresh::{Moment, Now};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// By the boot-time clock alone, which is all that a `get` needs.
    fn boot(&self) -> Moment;

    /// By all clocks, with a roll of the dice.
    fn now(&self) -> Now;

    /// Lets time pass; what was due during a suspend comes when the machine wakes, where the system can do that.
    fn nap(time: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(time)
    }

    /// Which boot of the machine this is, where the system says.
    fn boot_id(&self) -> Option<u128> {
        None
    }
}

/// A point in time by all clocks, for whatever outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// By the boot-time clock.
    pub boot: Moment,
    /// By the wall clock.
    pub wall: DateTime<Utc>,
    /// Of which boot.
    pub boot_id: Option<u128>,
}

/// What an earlier point in time was compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The boot-time clock, which is never wrong.
    ThisBoot,
    /// The wall clock, which is as right as it was then and is now.
    WallClock,
}

impl Stamp {
    /// This moment.
    pub fn of(clock: &impl Clock) -> Self {
        let Now { boot, wall, .. } = clock.now();
        Self { boot, wall, boot_id: clock.boot_id() }
    }

    /// When `earlier` was, on today's boot-time clock.
    pub fn moment_of(&self, earlier: &Self) -> (Moment, Anchor) {
        if self.boot_id.is_some() && self.boot_id == earlier.boot_id {
            return (earlier.boot, Anchor::ThisBoot);
        }
        let age = (self.wall - earlier.wall).num_milliseconds();
        (Moment::from_millis(self.boot.as_millis().saturating_sub(age)), Anchor::WallClock)
    }
}

/// By how far the wall clock stands off the boot-time clock: a change of this is a step of the wall clock.
pub fn offset(now: &Now) -> TimeDelta {
    now.wall - DateTime::UNIX_EPOCH - TimeDelta::milliseconds(now.boot.as_millis())
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn boot(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Moment::from_millis(time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000))
    }

    /// Counted from the first time anybody asked: without a boot id only distances matter.
    #[cfg(not(target_os = "linux"))]
    fn boot(&self) -> Moment {
        static START: OnceLock<boot_time::Instant> = OnceLock::new();
        let elapsed = START.get_or_init(boot_time::Instant::now).elapsed();
        Moment::default() + elapsed
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn now(&self) -> Now {
        Now { boot: self.boot(), wall: Utc::now(), dice: RandomState::new().hash_one(()) }
    }

    /// On Linux by a timer of the kernel's own, on the boot-time clock. The runtime's timers stand still in a suspend, and wake
    /// the process several times for one long wait.
    #[cfg(target_os = "linux")]
    async fn nap(time: Duration) {
        match timer(time) {
            // It is not used again, so nobody has to read from it.
            Ok(timer) => drop(timer.readable().await),
            Err(_) => tokio::time::sleep(time).await,
        }
    }

    /// Linux tells it; elsewhere a restart goes by the wall clock.
    fn boot_id(&self) -> Option<u128> {
        static BOOT_ID: OnceLock<Option<u128>> = OnceLock::new();
        // Elsewhere anybody could have made a file of that name.
        if cfg!(not(target_os = "linux")) {
            return None;
        }
        *BOOT_ID.get_or_init(|| {
            let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
        })
    }
}

/// Readable when that time has passed.
#[cfg(target_os = "linux")]
#[expect(deprecated, reason = "unsound for a type that lends out what it does not own; an OwnedFd owns it")]
fn timer(time: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    // Zero would disarm it.
    let time = Timespec::try_from(time.max(Duration::from_nanos(1))).map_err(io::Error::other)?;
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: time };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
    AsyncFd::with_interest(timer, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(boot: i64, wall: i64, boot_id: Option<u128>) -> Stamp {
        let wall = DateTime::from_timestamp_millis(wall).unwrap();
        Stamp { boot: Moment::from_millis(boot), wall, boot_id }
    }

    #[test]
    fn within_a_boot_the_wall_clock_may_say_what_it_likes() {
        let now = stamp(9_000, -5_000_000, Some(1));
        let (then, anchor) = now.moment_of(&stamp(4_000, 77_000_000, Some(1)));
        assert_eq!((then, anchor), (Moment::from_millis(4_000), Anchor::ThisBoot));
    }

    #[test]
    fn across_boots_the_wall_clock_is_all_there_is() {
        let now = stamp(9_000, 100_000, Some(2));
        for boot_id in [Some(1), None] {
            let (then, anchor) = now.moment_of(&stamp(4_000, 40_000, boot_id));
            assert_eq!((then, anchor), (Moment::from_millis(-51_000), Anchor::WallClock));
        }
        assert_eq!(stamp(1, 1, None).moment_of(&stamp(9, 1, None)).1, Anchor::WallClock);
    }

    #[tokio::test]
    async fn a_nap_ends_and_not_too_early() {
        let begun = SystemClock.boot();
        SystemClock::nap(Duration::ZERO).await;
        SystemClock::nap(Duration::from_millis(20)).await;
        assert!(
            begun.until(SystemClock.boot()) >= Duration::from_millis(19),
            "the clock is told in milliseconds"
        );
    }

    #[test]
    fn this_machine_tells_its_time() {
        let (one, other) = (SystemClock.boot(), SystemClock.boot());
        assert!(one <= other);
        // Elsewhere it is counted from the first look.
        assert!(one > Moment::default() || cfg!(not(target_os = "linux")));
        assert_eq!(SystemClock.boot_id().is_some(), cfg!(target_os = "linux"));
    }
}
