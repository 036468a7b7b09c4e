//! Who has what share of the requests that may go out: four kinds of them compete, and none waits for ever.
//!
//! Stride scheduling: each kind has a moment in virtual time at which it is due, and having had its turn it is due again
//! one stride later. The one that is due first goes first. What may go at all is for the lanes and the pace to say; one
//! that the pace holds back keeps what it is due, and one that may burst may not run further ahead of it than a second.

/// Why a slot wants a request made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    SomebodyWaits,
    Routine,
}

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

    pub(super) fn index(self) -> usize {
        self.urgency as usize * 2 + usize::from(self.is_failing)
    }
}

/// See the room's header.
#[derive(Debug, Default)]
pub(super) struct Shares {
    time: u64,
    of: [Share; Kind::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    due: u64,
    /// When it last had its turn: of two that are due at once, the other goes first.
    served: u64,
}

impl Shares {
    /// When this kind is due.
    pub(super) fn due(&self, kind: Kind) -> u64 {
        self.of[kind.index()].due
    }

    /// In which order kinds go.
    pub(super) fn turn(&self, kind: Kind) -> (u64, u64) {
        let Share { due, served } = self.of[kind.index()];
        (due, served)
    }

    /// This kind has its turn. Whoever can use none now saves nothing up; whoever is only kept waiting by the rate does.
    pub(super) fn take(&mut self, kind: Kind, could_go: impl Fn(Kind) -> bool) {
        let served = self.of.iter().map(|share| share.served).max().unwrap_or(0) + 1;
        self.time = self.time.max(self.due(kind));
        for other in Kind::ALL.into_iter().filter(|other| !could_go(*other)) {
            let share = &mut self.of[other.index()];
            share.due = share.due.max(self.time);
        }
        let share = &mut self.of[kind.index()];
        *share = Share { due: share.due + kind.stride(), served };
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
            let next = Kind::ALL.into_iter().min_by_key(|kind| shares.turn(*kind)).unwrap();
            shares.take(next, |_| true);
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
        (0..1000).for_each(|_| shares.take(routine, |kind| kind == routine));
        assert_eq!(shares.due(urgent), shares.due(routine) - routine.stride());
    }
}
