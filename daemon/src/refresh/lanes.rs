//! Who is next: the slots that want a request made, in lanes by domain.
//!
//! Each domain has a lane, and lanes take turns, so that ten thousand credentials of one domain do not delay the only one
//! of another. A domain whose requests fail is kept to half of the places together with all others that fail, and no
//! domain has more than half to itself: a place is always left for one that works. Those whom somebody waits for come
//! before routine. Whether a slot still wants its request when its turn comes is for the Keeper to look at.

use std::collections::{HashMap, VecDeque};

use procurify_token_protocol::{CredentialName, Domain};

/// Why a slot wants a request made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    SomebodyWaits,
    Routine,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    of: HashMap<Domain, Lane>,
    /// Whose turn it is, by urgency and by whether the domain fails. A lane stands in one of the two queues of an
    /// urgency while it has somebody of that urgency and may have another place.
    turns: [[VecDeque<Domain>; 2]; 2],
    failing_out: usize,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: [VecDeque<CredentialName>; 2],
    stands: [bool; 2],
    out: usize,
    is_failing: bool,
}

impl Lanes {
    pub(super) fn enqueue(&mut self, name: &CredentialName, urgency: Urgency) {
        let domain = name.domain();
        let lane = self.of.entry(domain.clone()).or_default();
        lane.waiting[urgency as usize].push_back(name.clone());
        self.stand(&domain);
    }

    /// How urgent the next one is, if there is one that may have a place of so many.
    pub(super) fn next_urgency(&mut self, places: usize) -> Option<Urgency> {
        [Urgency::SomebodyWaits, Urgency::Routine]
            .into_iter()
            .find(|urgency| self.next_lane(*urgency, places).is_some())
    }

    /// The next one of this urgency, if one may have a place of so many.
    pub(super) fn next(&mut self, urgency: Urgency, places: usize) -> Option<CredentialName> {
        let (domain, turn) = self.next_lane(urgency, places)?;
        self.turns[urgency as usize][turn].pop_front();
        let lane = self.of.get_mut(&domain)?;
        lane.stands[urgency as usize] = false;
        let name = lane.waiting[urgency as usize].pop_front();
        self.stand(&domain);
        self.drop_if_idle(&domain);
        name
    }

    /// A request of this domain has gone out.
    pub(super) fn left(&mut self, domain: &Domain) {
        let lane = self.of.entry(domain.clone()).or_default();
        lane.out += 1;
        self.failing_out += usize::from(lane.is_failing);
    }

    /// A request of this domain has come back, and says whether the domain fails.
    pub(super) fn returned(&mut self, domain: &Domain, is_failing: bool) {
        let Some(lane) = self.of.get_mut(domain) else { return };
        if lane.is_failing {
            self.failing_out -= lane.out;
        }
        lane.out = lane.out.saturating_sub(1);
        lane.is_failing = is_failing;
        if is_failing {
            self.failing_out += lane.out;
        }
        self.stand(domain);
        self.drop_if_idle(domain);
    }

    /// Nobody wants anything any more; what is out stays out.
    pub(super) fn clear(&mut self) {
        self.turns = Default::default();
        self.of.retain(|_, lane| lane.out > 0);
        for lane in self.of.values_mut() {
            (lane.waiting, lane.stands) = Default::default();
        }
    }

    /// How many stand in line.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.of.values().flat_map(|lane| &lane.waiting).map(VecDeque::len).sum()
    }

    /// The lane whose turn it is, and the queue at whose head it stands.
    fn next_lane(&mut self, urgency: Urgency, places: usize) -> Option<(Domain, usize)> {
        let half = (places / 2).max(1);
        for turn in [HEALTHY, FAILING] {
            if turn == FAILING && self.failing_out >= half {
                continue;
            }
            while let Some(domain) = self.turns[urgency as usize][turn].front().cloned() {
                let Some(lane) = self.of.get_mut(&domain) else {
                    self.turns[urgency as usize][turn].pop_front();
                    continue;
                };
                // The only lane there is may not have all places either: another may come in the next moment.
                let is_full = lane.out >= half || lane.waiting[urgency as usize].is_empty();
                if !is_full && usize::from(lane.is_failing) == turn {
                    return Some((domain, turn));
                }
                self.turns[urgency as usize][turn].pop_front();
                lane.stands[urgency as usize] = false;
                if !is_full {
                    self.stand(&domain);
                    // It has moved to the queue of those that work, which was looked at already.
                    if turn == FAILING {
                        return self.next_lane(urgency, places);
                    }
                }
            }
        }
        None
    }

    fn stand(&mut self, domain: &Domain) {
        let Some(lane) = self.of.get_mut(domain) else { return };
        for urgency in [Urgency::SomebodyWaits as usize, Urgency::Routine as usize] {
            if !lane.stands[urgency] && !lane.waiting[urgency].is_empty() {
                lane.stands[urgency] = true;
                self.turns[urgency][usize::from(lane.is_failing)].push_back(domain.clone());
            }
        }
    }

    fn drop_if_idle(&mut self, domain: &Domain) {
        let is_idle =
            |lane: &Lane| lane.out == 0 && !lane.is_failing && lane.waiting.iter().all(VecDeque::is_empty);
        if self.of.get(domain).is_some_and(is_idle) {
            self.of.remove(domain);
        }
    }
}

const HEALTHY: usize = 0;
const FAILING: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = 8;

    fn name(text: &str) -> CredentialName {
        text.parse().unwrap()
    }

    fn lanes(names: &[&str]) -> Lanes {
        let mut lanes = Lanes::default();
        for text in names {
            lanes.enqueue(&name(text), Urgency::Routine);
        }
        lanes
    }

    fn send(lanes: &mut Lanes) -> Option<String> {
        let urgency = lanes.next_urgency(PLACES)?;
        let name = lanes.next(urgency, PLACES)?;
        lanes.left(&name.domain());
        Some(name.as_str().to_owned())
    }

    #[test]
    fn domains_take_turns_and_have_at_most_half_of_the_places() {
        let mut lanes = lanes(&["a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "b"]);
        let sent: Vec<_> = std::iter::from_fn(|| send(&mut lanes)).collect();
        assert_eq!(sent, ["a/1", "b", "a/2", "a/3", "a/4"]);
        lanes.returned(&name("a").domain(), false);
        assert_eq!(send(&mut lanes).as_deref(), Some("a/5"));
    }

    #[test]
    fn those_that_fail_share_half_of_the_places_and_come_last() {
        let mut lanes = Lanes::default();
        for domain in ["a", "b", "c", "d", "e", "f"] {
            lanes.left(&name(domain).domain());
            lanes.returned(&name(domain).domain(), true);
            lanes.enqueue(&name(domain), Urgency::Routine);
        }
        lanes.enqueue(&name("works"), Urgency::Routine);
        let sent: Vec<_> = std::iter::from_fn(|| send(&mut lanes)).collect();
        assert_eq!(sent, ["works", "a", "b", "c", "d"]);
        lanes.enqueue(&name("g"), Urgency::Routine);
        assert_eq!(send(&mut lanes).as_deref(), Some("g"));
        lanes.returned(&name("a").domain(), false);
        assert_eq!(send(&mut lanes).as_deref(), Some("e"));
    }

    #[test]
    fn somebody_who_waits_for_a_failing_domain_comes_before_routine() {
        let mut lanes = lanes(&["works"]);
        lanes.left(&name("fails").domain());
        lanes.returned(&name("fails").domain(), true);
        lanes.enqueue(&name("fails"), Urgency::SomebodyWaits);
        assert_eq!(send(&mut lanes).as_deref(), Some("fails"));
    }

    #[test]
    fn a_lane_that_works_again_is_found_where_it_stood() {
        let mut lanes = Lanes::default();
        let fails = name("fails").domain();
        lanes.left(&fails);
        lanes.returned(&fails, true);
        lanes.enqueue(&name("fails/1"), Urgency::Routine);
        lanes.left(&fails);
        lanes.returned(&fails, false);
        assert_eq!(send(&mut lanes).as_deref(), Some("fails/1"));
        lanes.returned(&fails, false);
        assert!(lanes.of.is_empty() && lanes.failing_out == 0);
    }
}
