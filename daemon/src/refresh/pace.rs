//! The global rate: never more than so many token requests in any second, whatever happens.
//!
//! A first start with many credentials, the end of an outage and a changed clock all make many slots due at once. Routine
//! requests are spaced evenly; one that somebody waits for may use the rest of its second at once.

use std::collections::VecDeque;
use std::time::Duration;

use super::timing::Moment;

/// When requests went out during the last second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    sent: VecDeque<Moment>,
}

impl Pace {
    /// From when on another request may go out, at `rate` requests a second.
    pub(super) fn free_at(&self, rate: u32, is_urgent: bool) -> Option<Moment> {
        let most = usize::try_from(rate).unwrap_or(usize::MAX);
        let full =
            self.sent.len().checked_sub(most).and_then(|first| self.sent.get(first)).map(|at| *at + SECOND);
        let gap = self.sent.back().filter(|_| !is_urgent).map(|last| *last + SECOND / rate.max(1));
        full.max(gap)
    }

    pub(super) fn send(&mut self, now: Moment) {
        while self.sent.front().is_some_and(|at| *at + SECOND <= now) {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn routine_is_spaced_and_the_urgent_use_up_their_second() {
        let mut pace = Pace::default();
        assert_eq!(pace.free_at(4, false), None);
        pace.send(at(0));
        assert_eq!((pace.free_at(4, false), pace.free_at(4, true)), (Some(at(250)), None));
        for _ in 0..3 {
            pace.send(at(1));
        }
        assert_eq!((pace.free_at(4, false), pace.free_at(4, true)), (Some(at(1000)), Some(at(1000))));
        pace.send(at(1000));
        assert_eq!(pace.free_at(4, true), Some(at(1001)));
    }
}
