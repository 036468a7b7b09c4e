//! Who is next: the slots that want a request made, in lanes by domain.
//!
//! Each domain has a lane, and lanes take turns, so that ten thousand credentials of one domain do not delay the only one
//! of another. A domain that works may have one place at any time, as long as there is one. Half of the places at most
//! are shared out beyond that: as further places of domains that work, and as the one place that a domain has whose
//! requests fail; neither may have all of those. So no domain ever has more than half; and as many domains as the other
//! half has places may hang at the same time without delaying another.
//!
//! Those whom somebody waits for come before routine, and domains that work before those that fail, in shares
//! (`shares.rs`). Whether a slot still wants its request when its turn comes is for the Keeper to look at.

use std::collections::{BTreeMap, HashMap, VecDeque};

use procurify_token_protocol::{CredentialName, Domain};

use super::shares::{Kind, Shares, Urgency};

#[derive(Debug, Default)]
pub(super) struct Lanes {
    of: HashMap<Domain, Lane>,
    /// Whose turn it is, by urgency and standing: lanes by the number that they drew.
    turns: [[BTreeMap<u64, Domain>; 3]; 2],
    next_turn: u64,
    /// How many places are taken beyond the first one of each domain that works: by those, and by domains that fail.
    further_out: usize,
    failing_out: usize,
    shares: Shares,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: [VecDeque<CredentialName>; 2],
    /// Where it stands in line, and with which number, by urgency.
    stands: [Option<(Standing, u64)>; 2],
    out: usize,
    is_failing: bool,
}

/// For which place a lane stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// For the only place of a domain that works.
    First,
    /// For one more.
    Further,
    /// For the only place of a domain that fails.
    Failing,
}

impl Lane {
    fn standing(&self) -> Option<Standing> {
        match (self.is_failing, self.out) {
            (false, 0) => Some(Standing::First),
            (false, _) => Some(Standing::Further),
            (true, 0) => Some(Standing::Failing),
            (true, _) => None,
        }
    }

    /// How many of its places are of those that are shared out: further ones, and those of a domain that fails.
    fn shared_out(&self) -> (usize, usize) {
        if self.is_failing { (0, self.out) } else { (self.out.saturating_sub(1), 0) }
    }

    fn is_idle(&self) -> bool {
        self.out == 0 && self.waiting.iter().all(VecDeque::is_empty)
    }
}

impl Lanes {
    pub(super) fn enqueue(&mut self, name: &CredentialName, urgency: Urgency) {
        let domain = name.domain();
        let lane = self.of.entry(domain.clone()).or_default();
        lane.waiting[urgency as usize].push_back(name.clone());
        self.stand(&domain);
    }

    /// The kinds of which one may have a place of so many, the one that is due first at the front. None that is ahead of
    /// that one by more than `lead`.
    pub(super) fn kinds(&self, places: usize, lead: u32) -> impl Iterator<Item = Kind> {
        let mut kinds = Kind::ALL;
        kinds.sort_by_key(|kind| self.shares.turn(*kind));
        let mut first = None;
        kinds.into_iter().filter(move |kind| self.front(*kind, places).is_some()).take_while(move |kind| {
            let due = self.shares.due(*kind);
            due <= *first.get_or_insert(due) + u64::from(lead)
        })
    }

    /// The next one of this kind, if one may have a place of so many.
    pub(super) fn next(&mut self, kind: Kind, places: usize) -> Option<CredentialName> {
        let (turn, standing) = self.front(kind, places)?;
        let could_go = Kind::ALL.map(|kind| self.front(kind, places).is_some());
        self.shares.take(kind, |kind| could_go[kind.index()]);
        let urgency = kind.urgency as usize;
        let domain = self.turns[urgency][standing as usize].remove(&turn)?;
        let lane = self.of.get_mut(&domain)?;
        lane.stands[urgency] = None;
        let name = lane.waiting[urgency].pop_front();
        self.stand(&domain);
        self.drop_if_idle(&domain);
        name
    }

    /// A request of this domain has gone out.
    pub(super) fn left(&mut self, domain: &Domain) {
        self.of.entry(domain.clone()).or_default();
        self.change(domain, |lane| lane.out += 1);
    }

    /// A request of this domain has come back, and may say whether the domain fails.
    pub(super) fn returned(&mut self, domain: &Domain, is_failing: Option<bool>) {
        self.change(domain, |lane| {
            lane.out = lane.out.saturating_sub(1);
            lane.is_failing = is_failing.unwrap_or(lane.is_failing);
        });
    }

    /// Nobody wants anything any more; what is out stays out.
    pub(super) fn clear(&mut self) {
        self.turns = Default::default();
        self.of.retain(|_, lane| lane.out > 0);
        for lane in self.of.values_mut() {
            (lane.waiting, lane.stands) = Default::default();
        }
    }

    /// Whether nothing is known of this domain but that it fails.
    pub(super) fn is_only_failing(&self, domain: &Domain) -> bool {
        self.of.get(domain).is_some_and(Lane::is_idle)
    }

    /// There is no such domain any more.
    pub(super) fn forget(&mut self, domain: &Domain) {
        if self.is_only_failing(domain) {
            self.of.remove(domain);
        }
    }

    /// How many stand in line.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.of.values().flat_map(|lane| &lane.waiting).map(VecDeque::len).sum()
    }

    /// How many domains fail.
    #[cfg(test)]
    pub(super) fn count_failing(&self) -> usize {
        self.of.values().filter(|lane| lane.is_failing).count()
    }

    /// How many domains are remembered.
    #[cfg(test)]
    pub(super) fn count_domains(&self) -> usize {
        self.of.len()
    }

    /// The lane whose turn it is.
    fn front(&self, kind: Kind, places: usize) -> Option<(u64, Standing)> {
        let half = (places / 2).max(1);
        let first = |standing: Standing| {
            let turns = &self.turns[kind.urgency as usize][standing as usize];
            turns.first_key_value().map(|(turn, _)| (*turn, standing))
        };
        let is_left = self.further_out + self.failing_out < half;
        // Neither has all that is shared: what fails may work again, and what works may need more.
        if kind.is_failing {
            return first(Standing::Failing).filter(|_| is_left && self.failing_out + 1 < half.max(2));
        }
        let further = first(Standing::Further).filter(|_| is_left && self.further_out + 1 < half);
        first(Standing::First).into_iter().chain(further).min_by_key(|(turn, _)| *turn)
    }

    fn change(&mut self, domain: &Domain, change: impl FnOnce(&mut Lane)) {
        let Some(lane) = self.of.get_mut(domain) else { return };
        let (further, failing) = lane.shared_out();
        change(lane);
        let (now_further, now_failing) = lane.shared_out();
        self.further_out = self.further_out + now_further - further;
        self.failing_out = self.failing_out + now_failing - failing;
        self.stand(domain);
        self.drop_if_idle(domain);
    }

    /// Lets a lane stand where it belongs. Its number stays the same for as long as it stands somewhere.
    fn stand(&mut self, domain: &Domain) {
        let Some(lane) = self.of.get_mut(domain) else { return };
        for (urgency, turns) in self.turns.iter_mut().enumerate() {
            let belongs = lane.standing().filter(|_| !lane.waiting[urgency].is_empty());
            let stands = lane.stands[urgency];
            if stands.map(|(standing, _)| standing) == belongs {
                continue;
            }
            let turn = stands.map_or(self.next_turn, |(_, turn)| turn);
            match stands {
                Some((standing, turn)) => drop(turns[standing as usize].remove(&turn)),
                None => self.next_turn += 1,
            }
            lane.stands[urgency] = belongs.map(|standing| (standing, turn));
            if let Some(standing) = belongs {
                turns[standing as usize].insert(turn, domain.clone());
            }
        }
    }

    fn drop_if_idle(&mut self, domain: &Domain) {
        if self.of.get(domain).is_some_and(|lane| lane.is_idle() && !lane.is_failing) {
            self.of.remove(domain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::Pace;
    use super::super::timing::Moment;
    use super::*;

    const PLACES: usize = 8;
    const RATE: u32 = 10;

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

    fn fail(lanes: &mut Lanes, text: &str) {
        lanes.left(&name(text).domain());
        lanes.returned(&name(text).domain(), Some(true));
    }

    fn send(lanes: &mut Lanes) -> Option<String> {
        let kind = lanes.kinds(PLACES, 0).next()?;
        let name = lanes.next(kind, PLACES)?;
        lanes.left(&name.domain());
        Some(name.as_str().to_owned())
    }

    #[test]
    fn domains_take_turns_and_have_at_most_half_of_the_places() {
        let mut lanes = lanes(&["a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "b"]);
        let sent: Vec<_> = std::iter::from_fn(|| send(&mut lanes)).collect();
        assert_eq!(sent, ["a/1", "b", "a/2", "a/3", "a/4"]);
        lanes.returned(&name("a").domain(), Some(false));
        assert_eq!(send(&mut lanes).as_deref(), Some("a/5"));
    }

    #[test]
    fn many_that_take_all_they_may_leave_a_place_for_another() {
        let crowd: Vec<_> = (0..4).flat_map(|d| (0..5).map(move |n| format!("d{d}/{n}"))).collect();
        let mut lanes = lanes(&crowd.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(std::iter::from_fn(|| send(&mut lanes)).count(), PLACES - 1);
        lanes.enqueue(&name("another"), Urgency::Routine);
        assert_eq!(send(&mut lanes).as_deref(), Some("another"));
    }

    #[test]
    fn those_that_fail_share_half_of_the_places_one_each() {
        let mut lanes = Lanes::default();
        for domain in ["a", "b", "c", "d", "e", "f"] {
            fail(&mut lanes, domain);
            lanes.enqueue(&name(&format!("{domain}/1")), Urgency::Routine);
            lanes.enqueue(&name(&format!("{domain}/2")), Urgency::Routine);
        }
        lanes.enqueue(&name("works"), Urgency::Routine);
        let sent: Vec<_> = std::iter::from_fn(|| send(&mut lanes)).collect();
        assert_eq!(sent, ["works", "a/1", "b/1", "c/1"]);
        lanes.enqueue(&name("works"), Urgency::Routine);
        assert_eq!(send(&mut lanes).as_deref(), Some("works"), "a second place for one that works");
        lanes.returned(&name("works").domain(), Some(false));
        lanes.enqueue(&name("g"), Urgency::Routine);
        assert_eq!(send(&mut lanes).as_deref(), Some("g"));
        lanes.returned(&name("a").domain(), Some(false));
        assert_eq!(send(&mut lanes).as_deref(), Some("a/2"), "it works, and its turn has not passed");
        assert_eq!(send(&mut lanes).as_deref(), Some("d/1"));
    }

    /// The rate is used up by each kind at once; every request is answered within its millisecond.
    #[test]
    fn each_kind_has_its_share_of_a_rate_that_is_used_up() {
        for kinds in [vec![0, 1, 2, 3], vec![0, 1, 2], vec![0, 2, 3], vec![0, 2], vec![1, 2, 3], vec![2, 3]] {
            let (mut lanes, mut pace, mut turns) = (Lanes::default(), Pace::default(), [0_u32; 4]);
            for kind in &kinds {
                if Kind::ALL[*kind].is_failing {
                    fail(&mut lanes, &format!("d{kind}"));
                }
                for number in 0..2000 {
                    lanes.enqueue(&name(&format!("d{kind}/c{number}")), Kind::ALL[*kind].urgency);
                }
            }
            for now in (0..100_000).map(Moment::from_millis) {
                let free_at = |kind: &Kind| pace.free_at(RATE, kind.may_burst());
                let is_free = |kind: &Kind| free_at(kind).is_none_or(|at| at <= now);
                let Some(kind) = lanes.kinds(PLACES, RATE).find(is_free) else { continue };
                let name = lanes.next(kind, PLACES).unwrap();
                lanes.left(&name.domain());
                lanes.returned(&name.domain(), None);
                pace.send(now);
                turns[kind.index()] += 1;
            }
            let weight = |kind: &usize| [16, 4, 4, 1][*kind];
            let (all, weights): (u32, u32) = (turns.iter().sum(), kinds.iter().map(weight).sum());
            assert!((990..=1001).contains(&all), "the rate is used up: {all} in 100 s");
            for kind in &kinds {
                let share = all * weight(kind) / weights;
                assert!(turns[*kind].abs_diff(share) <= RATE, "{kinds:?}: {turns:?}");
            }
        }
    }

    #[test]
    fn a_domain_that_fails_is_asked_once_at_a_time() {
        let mut lanes = Lanes::default();
        fail(&mut lanes, "fails");
        lanes.enqueue(&name("fails/1"), Urgency::SomebodyWaits);
        lanes.enqueue(&name("fails/2"), Urgency::Routine);
        assert_eq!(std::iter::from_fn(|| send(&mut lanes)).collect::<Vec<_>>(), ["fails/1"]);
        lanes.returned(&name("fails").domain(), Some(true));
        assert_eq!(send(&mut lanes).as_deref(), Some("fails/2"));
    }

    #[test]
    fn a_place_is_kept_for_one_that_fails() {
        let mut lanes = lanes(&["a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "b/3", "b/4"]);
        while send(&mut lanes).is_some() {}
        fail(&mut lanes, "fails");
        lanes.enqueue(&name("fails"), Urgency::Routine);
        assert_eq!(send(&mut lanes).as_deref(), Some("fails"));
    }

    #[test]
    fn a_lane_that_works_again_is_found_where_it_stood() {
        let mut lanes = Lanes::default();
        fail(&mut lanes, "fails");
        lanes.enqueue(&name("fails/1"), Urgency::Routine);
        lanes.left(&name("fails").domain());
        lanes.returned(&name("fails").domain(), Some(false));
        assert_eq!(send(&mut lanes).as_deref(), Some("fails/1"));
        lanes.returned(&name("fails").domain(), Some(false));
        assert!(lanes.of.is_empty() && lanes.further_out + lanes.failing_out == 0);
        assert!(lanes.turns.iter().flatten().all(BTreeMap::is_empty));
    }
}
