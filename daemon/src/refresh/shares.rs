//! Who has what share of the requests that may go out: four kinds of them compete, and none waits for ever.
//!
//! Stride scheduling: each kind has a moment in virtual time at which it is due, and having had its turn it is due again
//! one stride later. The one that is due first goes first. What may go at all is for the lanes and the pace to say.

use super::lanes::Urgency;

/// What kind of request it is: why it is wanted, and whether its domain fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) urgency: Urgency,
    pub(super) is_failing: bool,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [
        Self { urgency: Urgency::SomebodyWaits, is_failing: false },
        Self { urgency: Urgency::SomebodyWaits, is_failing: true },
        Self { urgency: Urgency::Routine, is_failing: false },
        Self { urgency: Urgency::Routine, is_failing: true },
    ];

    /// Whether it may use up the rest of its second at once. Not where the answer will hardly be a token.
    pub(super) fn may_burst(self) -> bool {
        self.urgency == Urgency::SomebodyWaits && !self.is_failing
    }

    fn stride(self) -> u64 {
        let of_urgency = if self.urgency == Urgency::SomebodyWaits { 1 } else { 4 };
        if self.is_failing { of_urgency * 4 } else { of_urgency }
    }

    fn index(self) -> usize {
        self.urgency as usize * 2 + usize::from(self.is_failing)
    }
}

/// See the room's header.
#[derive(Debug, Default)]
pub(super) struct Shares {
    time: u64,
    due: [u64; Kind::ALL.len()],
}

impl Shares {
    /// When this kind is due. Whoever wanted nothing for a while has saved nothing up.
    pub(super) fn due(&self, kind: Kind) -> u64 {
        self.due[kind.index()].max(self.time)
    }

    /// This kind has had its turn.
    pub(super) fn take(&mut self, kind: Kind) {
        self.time = self.due(kind);
        self.due[kind.index()] = self.time + kind.stride();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_waited_for_has_the_greater_share_and_nobody_has_none() {
        let mut shares = Shares::default();
        let mut turns = [0; Kind::ALL.len()];
        for _ in 0..250 {
            let next = Kind::ALL.into_iter().min_by_key(|kind| shares.due(*kind)).unwrap();
            shares.take(next);
            turns[next.index()] += 1;
        }
        assert_eq!(turns, [160, 40, 40, 10]);
    }

    #[test]
    fn only_those_who_may_well_get_a_token_may_use_up_their_second() {
        assert_eq!(Kind::ALL.map(Kind::may_burst), [true, false, false, false]);
    }

    #[test]
    fn whoever_comes_back_does_not_catch_up() {
        let [urgent, _, routine, _] = Kind::ALL;
        let mut shares = Shares::default();
        (0..1000).for_each(|_| shares.take(routine));
        assert_eq!(shares.due(urgent), shares.due(routine) - routine.stride());
    }
}
