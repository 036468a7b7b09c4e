//! The budget of issued tokens: how many Procurify has handed out to one credential lately, and how many it may.
//!
//! Every token issued counts against a quota of the customer's (`procurify.md`, "When it fails"), so a caller that keeps
//! refreshing, or a daemon that keeps crashing, must not mint without end. A token is charged before its request goes
//! out, and refunded when the outcome says that none was issued. What is done when the budget is spent is the slot's.

use std::time::Duration;

use super::timing::{DAY, HOUR, Moment, Terms};

/// When tokens were issued, in order; only as many as the limits can ask about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Budget {
    issued: Vec<Moment>,
}

impl Budget {
    /// What an earlier run has spent. Moments in the future come from a clock that was wrong, and count as now.
    pub(super) fn restored(mut issued: Vec<Moment>, now: Moment) -> Self {
        for at in &mut issued {
            *at = (*at).min(now);
        }
        issued.sort_unstable();
        Self { issued }
    }

    pub(super) fn issued(&self) -> &[Moment] {
        &self.issued
    }

    pub(super) fn charge(&mut self, terms: Terms, now: Moment) {
        let most = usize::try_from(terms.per_hour.max(terms.per_day)).unwrap_or(usize::MAX);
        let is_old = |at: &Moment| *at + DAY <= now;
        // One more than the limit: this charge may be refunded, and the one that it would have pushed out still counts.
        let old = self.issued.partition_point(is_old).max(self.issued.len().saturating_sub(most));
        self.issued.drain(..old);
        self.issued.push(now);
    }

    /// No token was issued for the charge made at this moment.
    pub(super) fn refund(&mut self, charged: Moment) {
        if let Some(position) = self.issued.iter().rposition(|at| *at == charged) {
            self.issued.remove(position);
        }
    }

    /// When the next token may be issued; `None` at once.
    pub(super) fn frees_up(&self, terms: Terms, now: Moment) -> Option<Moment> {
        let window = |limit: u32, length: Duration| {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let decisive = self.issued.len().checked_sub(limit)?;
            Some(*self.issued.get(decisive)? + length).filter(|free| *free > now)
        };
        window(terms.per_hour, HOUR).max(window(terms.per_day, DAY))
    }

    /// How many tokens were issued in the last hour and in the last 24 hours.
    pub(super) fn spent(&self, now: Moment) -> (u32, u32) {
        let within = |length: Duration| {
            let recent = self.issued.iter().filter(|at| **at + length > now).count();
            u32::try_from(recent).unwrap_or(u32::MAX)
        };
        (within(HOUR), within(DAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { per_hour: 2, per_day: 3, ..Terms::DEFAULT };

    fn at(minutes: u64) -> Moment {
        Moment::from_millis(0) + Duration::from_mins(minutes)
    }

    fn spent(minutes: &[u64]) -> Budget {
        let mut budget = Budget::default();
        for minute in minutes {
            budget.charge(TERMS, at(*minute));
        }
        budget
    }

    #[test]
    fn the_hour_and_the_day_each_free_up_when_the_decisive_token_has_aged() {
        assert_eq!(spent(&[0]).frees_up(TERMS, at(1)), None);
        assert_eq!(spent(&[0, 10]).frees_up(TERMS, at(11)), Some(at(60)));
        assert_eq!(spent(&[0, 10]).frees_up(TERMS, at(60)), None);
        assert_eq!(spent(&[0, 100, 200]).frees_up(TERMS, at(201)), Some(at(24 * 60)));
        assert_eq!(
            spent(&[0, 100, 200, 201]).frees_up(TERMS, at(202)),
            Some(at(24 * 60 + 100)),
            "over budget"
        );
    }

    #[test]
    fn a_refund_takes_back_its_own_charge() {
        let mut budget = spent(&[0, 10]);
        budget.refund(at(0));
        assert_eq!(budget.issued(), [at(10)]);
        budget.refund(at(0));
        assert_eq!(budget.issued(), [at(10)]);
    }

    #[test]
    fn a_charge_over_the_limit_that_is_refunded_leaves_the_budget_as_spent_as_it_was() {
        let mut budget = spent(&[0, 10, 20]);
        let before = budget.frees_up(TERMS, at(30));
        budget.charge(TERMS, at(30));
        budget.refund(at(30));
        assert_eq!(budget.frees_up(TERMS, at(30)), before);
    }

    #[test]
    fn only_as_much_is_remembered_as_the_limits_ask_about() {
        let budget = spent(&(0..50).collect::<Vec<_>>());
        assert_eq!(budget.issued(), [at(46), at(47), at(48), at(49)]);
        assert_eq!(budget.spent(at(107)), (2, 4));
        let mut budget = spent(&[0]);
        budget.charge(TERMS, at(24 * 60));
        assert_eq!(budget.issued(), [at(24 * 60)]);
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_lock_the_budget_for_longer_than_its_windows() {
        let budget = Budget::restored(vec![at(1_000_000), at(5)], at(10));
        assert_eq!(budget.frees_up(TERMS, at(10)), Some(at(65)));
    }
}
