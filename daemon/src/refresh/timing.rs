//! Points in time and the arithmetic between them: when to refresh, how long to back off.
//!
//! Pure functions over numbers. Which clock the numbers come from is for `clock.rs`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_protocol::CredentialName;

/// A point on the boot-time clock in milliseconds: it runs on while the machine is suspended and never steps. Tokens of
/// an earlier boot lie before zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// So many milliseconds after boot.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The milliseconds since boot.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// How long it is until `later`; zero where that lies behind.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

/// What an event knows of its time.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By the boot-time clock: everything is decided on this one.
    pub boot: Moment,
    /// By the wall clock: for people only.
    pub wall: DateTime<Utc>,
    /// A fresh random number, from which each credential draws its own jitter.
    pub dice: u64,
}

impl Now {
    /// This wall-clock time as a moment: for what an earlier boot wrote down.
    pub fn moment_of(&self, wall: DateTime<Utc>) -> Moment {
        Moment(self.boot.0.saturating_add((wall - self.wall).num_milliseconds()))
    }

    /// This moment by the wall clock as it stands now.
    pub fn wall_of(&self, moment: Moment) -> DateTime<Utc> {
        let distance = chrono::TimeDelta::milliseconds(moment.0.saturating_sub(self.boot.0));
        self.wall.checked_add_signed(distance).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// A number, another one for each credential and each roll of the dice.
    pub(super) fn roll(&self, name: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.dice, name).hash(&mut hasher);
        hasher.finish()
    }

    /// A number in `0.0..1.0`, another one for each credential and each roll of the dice.
    pub(super) fn jitter(&self, name: &impl Hash) -> f64 {
        f64::from(u32::try_from(self.roll(name) >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The settings of the [`Keeper`](super::Keeper).
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The longest wait between two attempts after transient failures: 5 min.
    pub backoff_cap: Duration,
    /// How often rejected client credentials are tried all the same: 1 h.
    pub probe_interval: Duration,
    /// How many token requests may be out at once: 8.
    pub concurrency: usize,
    /// How many token requests may go out in any second: 10.
    pub rate: u32,
    /// After how long a request that never came back is given up: the issuer's own deadline and a little more.
    pub ticket_life: Duration,
    /// What holds for every credential that has no terms of its own.
    pub terms: Terms,
    /// The terms of single credentials.
    pub exceptions: HashMap<CredentialName, Terms>,
}

/// The settings that a credential may have of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// A token is refreshed after a random share of its life between these two, 0.8 and 0.9 by default.
    pub refresh_from: f64,
    /// See [`refresh_from`](Self::refresh_from).
    pub refresh_to: f64,
    /// How many tokens may be issued in any hour: 6.
    pub per_hour: u32,
    /// How many tokens may be issued in any 24 hours: 24.
    pub per_day: u32,
}

impl Terms {
    /// What holds where nothing else is said.
    pub const DEFAULT: Self = Self { refresh_from: 0.8, refresh_to: 0.9, per_hour: 6, per_day: 24 };

    /// When a token that lives from `issued` to `expires` is due for a refresh.
    ///
    /// Never sooner than [`SHORTEST_INTERVAL`] after it was issued: a token of a few seconds does not make the daemon
    /// spin.
    pub(super) fn refresh_at(&self, issued: Moment, expires: Moment, jitter: f64) -> Moment {
        let share = self.refresh_from + (self.refresh_to - self.refresh_from) * jitter;
        issued + issued.until(expires).mul_f64(share).max(SHORTEST_INTERVAL)
    }
}

impl Terms {
    /// Whether a credential whose tokens live so long always has one: the tokens of each window, each refreshed as early
    /// as may be, reach over it.
    pub(super) fn suffice(&self, life: Duration) -> bool {
        let interval = life.mul_f64(self.refresh_from).max(SHORTEST_INTERVAL);
        [(self.per_hour, HOUR), (self.per_day, DAY)].into_iter().all(|(tokens, window)| {
            let reach = interval.saturating_mul(tokens.saturating_sub(1)).saturating_add(life);
            tokens > 0 && reach >= window
        })
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            backoff_cap: Duration::from_mins(5),
            probe_interval: Duration::from_hours(1),
            concurrency: 8,
            rate: 10,
            ticket_life: Duration::from_secs(40),
            terms: Terms::DEFAULT,
            exceptions: HashMap::new(),
        }
    }
}

impl Policy {
    /// The terms of a credential.
    pub fn terms_of(&self, name: &CredentialName) -> Terms {
        self.exceptions.get(name).copied().unwrap_or(self.terms)
    }

    /// How long to wait after so many transient failures in a row: full jitter over 1 s, 2 s, 4 s … up to the cap, and
    /// never less than a tenth of that.
    pub(super) fn backoff(&self, failures: u32, jitter: f64) -> Duration {
        let ceiling =
            FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.backoff_cap);
        // Not the greater of the two: a tenth of a crowd would come back in the same moment.
        ceiling.mul_f64(0.1 + 0.9 * jitter)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How long the daemon leaves between two requests that nothing but a short remaining life calls for.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);
pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_falls_between_80_and_90_percent_of_life() {
        let terms = Terms::DEFAULT;
        let start = Moment::from_millis(0);
        assert_eq!(terms.refresh_at(start, start + DAY, 0.0), start + DAY.mul_f64(0.8));
        assert_eq!(terms.refresh_at(start, start + DAY, 1.0), start + DAY.mul_f64(0.9));
    }

    #[test]
    fn the_default_budget_suffices_for_tokens_of_75_minutes_and_not_of_an_hour() {
        let suffices = |minutes| Terms::DEFAULT.suffice(Duration::from_mins(minutes));
        assert!(suffices(75) && suffices(24 * 60) && !suffices(60) && !suffices(1));
        assert!(Terms { per_hour: 100, per_day: 2400, ..Terms::DEFAULT }.suffice(Duration::from_mins(1)));
        assert!(!Terms { per_day: 0, ..Terms::DEFAULT }.suffice(Duration::from_mins(75)));
    }

    #[test]
    fn short_tokens_do_not_spin() {
        let (terms, start) = (Terms::DEFAULT, Moment::from_millis(0));
        for life in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(11)] {
            assert_eq!(terms.refresh_at(start, start + life, 0.5), start + SHORTEST_INTERVAL);
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_cap_and_never_reaches_zero() {
        let policy = Policy::default();
        let ceilings: Vec<u64> = (1..12).map(|n| policy.backoff(n, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(policy.backoff(u32::MAX, 1.0).as_secs(), 300);
        assert!(policy.backoff(1, 0.0) >= Duration::from_millis(100));
    }

    #[test]
    fn credentials_draw_different_jitter_from_the_same_dice() {
        let now = Now { boot: Moment::default(), wall: DateTime::UNIX_EPOCH, dice: 7 };
        let draws: Vec<f64> = ["acme", "globex", "initech"].iter().map(|name| now.jitter(name)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        assert!((draws[0] - draws[1]).abs() > 1e-6 && (draws[1] - draws[2]).abs() > 1e-6);
    }

    #[test]
    fn wall_and_boot_time_convert_both_ways() {
        let now = Now { boot: Moment::from_millis(5_000), wall: DateTime::UNIX_EPOCH + DAY, dice: 0 };
        let earlier = DateTime::UNIX_EPOCH;
        assert_eq!(now.moment_of(earlier), Moment::from_millis(5_000) - DAY);
        assert_eq!(now.wall_of(now.moment_of(earlier)), earlier);
    }
}
