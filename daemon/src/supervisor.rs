//! What is told to the service manager that started the daemon, where one wants to be told (`sd_notify(3)`): that it serves, how it
//! stands, that it reads its configuration again, that it stops, and that it is alive.
//!
//! Ready is whoever answers: a vault that only a person can open is no reason not to be, for that person has to reach the daemon.
//! How it stands is told when it changes and not by the clock. Signs of life are given only while the driver and the sockets' task
//! both come round: the sockets' task itself gives them, and looks at the driver first. Nothing here waits, and nobody is restarted
//! here: that is for whoever is told nothing.

#[cfg(not(any(target_os = "linux", windows)))]
#[path = "supervisor/nobody.rs"]
mod manager;
#[cfg(target_os = "linux")]
#[path = "supervisor/systemd.rs"]
mod manager;
#[cfg(windows)]
#[path = "supervisor/windows.rs"]
mod manager;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::error;

use crate::clock::Clock;
use crate::driver::{Condition, Vitals};
use crate::refresh::Moment;

#[cfg(windows)]
pub use manager::run_as_service;
use manager::tell;

/// What is told of one daemon; see the [room's front page](self).
#[derive(Debug)]
pub struct Supervisor {
    vitals: Arc<Vitals>,
    is_ready: AtomicBool,
    /// The configuration on the disk was refused when it was last read.
    is_outdated: AtomicBool,
    /// What says whether it is good.
    check: String,
}

impl Supervisor {
    /// Of the daemon with this driver; `check` is what to type to have its configuration judged.
    pub fn new(vitals: Arc<Vitals>, check: String) -> Self {
        Self { vitals, is_ready: AtomicBool::new(false), is_outdated: AtomicBool::new(false), check }
    }

    /// Tells that the daemon is ready, once the vault has been opened or turned out to be for a person to open, and from then on
    /// how it stands. Comes back only when nobody wants to be told.
    pub async fn keep_told(&self) {
        if !manager::wants_to_be_told() {
            return;
        }
        let mut condition = self.vitals.watch();
        loop {
            let now = *condition.borrow_and_update();
            match (now, self.is_ready.load(Ordering::Relaxed)) {
                (Condition::Opening, false) => tell(&[Word::Status(OPENING)]),
                (_, false) => {
                    self.is_ready.store(true, Ordering::Relaxed);
                    tell(&[Word::Ready, Word::Status(&self.status(now))]);
                }
                (_, true) => tell(&[Word::Status(&self.status(now))]),
            }
            if condition.changed().await.is_err() {
                return;
            }
        }
    }

    /// The configuration is about to be read again.
    pub fn reloading(&self) {
        if self.is_ready.load(Ordering::Relaxed) {
            tell(&[Word::Reloading]);
        }
    }

    /// It was read again, and is in force or was refused.
    pub fn reloaded(&self, is_in_force: bool) {
        self.is_outdated.store(!is_in_force, Ordering::Relaxed);
        if self.is_ready.load(Ordering::Relaxed) {
            let now = *self.vitals.watch().borrow();
            tell(&[Word::Ready, Word::Status(&self.status(now))]);
        }
    }

    /// The daemon stops.
    pub fn stopping(&self) {
        tell(&[Word::Stopping, Word::Status("finishing what was begun")]);
    }

    fn status(&self, condition: Condition) -> String {
        let mut status = status(condition);
        if self.is_outdated.load(Ordering::Relaxed) {
            status.push_str("; the configuration on the disk is not in force: ");
            status.push_str(&self.check);
        }
        status
    }
}

/// Tells why the daemon could not start. The socket may be the reason, so it need not have got as far as a [`Supervisor`].
pub fn cannot_start(problem: &anyhow::Error) {
    tell(&[Word::Status(&format!("could not start: {problem:#}").replace('\n', " "))]);
}

fn status(condition: Condition) -> String {
    match condition {
        Condition::Opening => OPENING.to_owned(),
        Condition::Missing { has_credential: false } => "no vault yet: procurify-token init".to_owned(),
        Condition::Missing { has_credential: true } => {
            "no vault yet: procurify-token init --slot credential".to_owned()
        }
        Condition::Locked => "locked, waiting for procurify-token unlock".to_owned(),
        Condition::Unusable => "the vault does not open: procurify-token doctor says why".to_owned(),
        Condition::Open { credentials: 0, .. } => "no credentials yet: procurify-token add DOMAIN".to_owned(),
        Condition::Open { credentials: 1, healthy: 1 } => "1 credential, healthy".to_owned(),
        Condition::Open { credentials, healthy } if healthy == credentials => {
            format!("{credentials} credentials, all healthy")
        }
        Condition::Open { credentials, healthy } => {
            let plural = if credentials == 1 { "" } else { "s" };
            format!("{credentials} credential{plural}, {healthy} healthy: procurify-token list")
        }
    }
}

/// The signs of life, where the service manager waits for them (`WATCHDOG_USEC`).
#[derive(Debug)]
pub struct Heartbeat {
    /// How often.
    every: Option<Duration>,
    vitals: Arc<Vitals>,
    /// How often in a row none was given.
    missed: u32,
}

impl Heartbeat {
    /// Of the daemon with this driver, as often as the service manager wants them.
    pub fn new(vitals: Arc<Vitals>) -> Self {
        // Half of the time, as it is asked to be: one that comes late does no harm.
        Self { every: manager::patience().map(|patience| patience / 2), vitals, missed: 0 }
    }

    /// Called by the sockets' task when it comes round: gives a sign of life if the driver has come round as well. Says when to call
    /// again; never where nobody waits.
    pub fn beat(&mut self, clock: &impl Clock) -> Option<Duration> {
        let every = self.every?;
        let sign = self.judge(self.vitals.last_round(), clock.boot());
        match sign {
            Sign::Alive => tell(&[Word::Alive]),
            Sign::Stuck => error!(
                "the driver does not come round any more: the service manager is told nothing, so that it starts the daemon anew"
            ),
            Sign::Doubtful | Sign::StillStuck => {}
        }
        Some(sign.pause(every))
    }

    /// A machine that has slept wakes the driver and whoever looks at it in the same moment, so it is looked at twice.
    fn judge(&mut self, last_round: Moment, now: Moment) -> Sign {
        if last_round.until(now) <= Vitals::LONGEST_SILENCE {
            self.missed = 0;
            return Sign::Alive;
        }
        self.missed = self.missed.saturating_add(1);
        match self.missed {
            1 => Sign::Doubtful,
            2 => Sign::Stuck,
            _ => Sign::StillStuck,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Alive,
    Doubtful,
    Stuck,
    StillStuck,
}

impl Sign {
    /// When to look again. Soon where there was none to give: a driver that does come round after all is not to be taken for dead.
    fn pause(self, every: Duration) -> Duration {
        if self == Self::Alive { every } else { SECOND_LOOK.min(every) }
    }
}

/// Something to tell.
#[derive(Clone, Copy, Debug)]
enum Word<'a> {
    Ready,
    Reloading,
    Stopping,
    Alive,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only systemd shows it"))]
    Status(&'a str),
}

const OPENING: &str = "fetching what opens the vault";
const SECOND_LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Condition::Opening, "fetching what opens the vault")]
    #[case(Condition::Missing { has_credential: false }, "no vault yet: procurify-token init")]
    #[case(Condition::Missing { has_credential: true }, "no vault yet: procurify-token init --slot credential")]
    #[case(Condition::Locked, "locked, waiting for procurify-token unlock")]
    #[case(Condition::Unusable, "the vault does not open: procurify-token doctor says why")]
    #[case(Condition::Open { credentials: 0, healthy: 0 }, "no credentials yet: procurify-token add DOMAIN")]
    #[case(Condition::Open { credentials: 1, healthy: 1 }, "1 credential, healthy")]
    #[case(Condition::Open { credentials: 1, healthy: 0 }, "1 credential, 0 healthy: procurify-token list")]
    #[case(Condition::Open { credentials: 3, healthy: 3 }, "3 credentials, all healthy")]
    #[case(Condition::Open { credentials: 3, healthy: 2 }, "3 credentials, 2 healthy: procurify-token list")]
    fn the_status_says_how_it_stands_and_what_to_type(#[case] condition: Condition, #[case] told: &str) {
        assert_eq!(status(condition), told);
    }

    #[test]
    fn a_driver_that_was_only_asleep_with_the_machine_is_looked_at_twice_and_a_stuck_one_is_told_of_once() {
        let mut heartbeat = Heartbeat { every: None, vitals: Arc::default(), missed: 0 };
        let at = |seconds: i64| Moment::from_millis(seconds * 1000);
        assert_eq!(heartbeat.judge(at(0), at(60)), Sign::Alive);
        assert_eq!(heartbeat.judge(at(60), at(9_000)), Sign::Doubtful, "the machine has slept");
        assert_eq!(heartbeat.judge(at(9_000), at(9_001)), Sign::Alive);
        let signs = [9_091, 9_092, 9_093, 9_094].map(|now| heartbeat.judge(at(9_001), at(now)));
        assert_eq!(signs, [Sign::Alive, Sign::Doubtful, Sign::Stuck, Sign::StillStuck]);
        assert_eq!(heartbeat.judge(at(9_095), at(9_095)), Sign::Alive, "it may come round after all");
        let minute = Duration::from_secs(60);
        let pauses =
            [Sign::Alive, Sign::Doubtful, Sign::Stuck, Sign::StillStuck].map(|sign| sign.pause(minute));
        assert_eq!(pauses, [minute, SECOND_LOOK, SECOND_LOOK, SECOND_LOOK], "and is seen in time then");
    }

    #[test]
    fn where_nobody_waits_for_signs_of_life_none_is_given() {
        let mut heartbeat = Heartbeat { every: None, vitals: Arc::default(), missed: 0 };
        assert_eq!(heartbeat.beat(&crate::clock::SystemClock), None);
    }
}
