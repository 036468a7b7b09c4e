use std::collections::HashMap;
use std::time::Duration;

use procurify_token_protocol::RefreshMode;
use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_hours(24);
const SOON: Duration = Duration::from_secs(5);

/// A Keeper with an invented clock, and everything it has said so far.
struct World {
    keeper: Keeper<()>,
    boot: Moment,
    tokens: u8,
    waiters: Waiter,
    tickets: Vec<Ticket>,
    published: HashMap<CredentialName, Option<Held<()>>>,
    answers: HashMap<Waiter, Result<Held<()>, Refused>>,
}

impl World {
    fn new() -> Self {
        Self {
            keeper: Keeper::new(Policy::default()),
            boot: Moment::from_millis(1_000_000),
            tokens: 0,
            waiters: 0,
            tickets: Vec::new(),
            published: HashMap::new(),
            answers: HashMap::new(),
        }
    }

    fn with(names: &[&str]) -> Self {
        let mut world = Self::new();
        for name in names {
            world.keeper.insert(&name.parse().unwrap(), None, History::default(), world.now());
        }
        world.settle();
        world
    }

    fn now(&self) -> Now {
        Now { boot: self.boot, wall: DateTime::UNIX_EPOCH, dice: 42 }
    }

    /// Does what the Keeper says, and checks what must hold after every event.
    fn settle(&mut self) {
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::Keep { .. } | Action::Tell(_) => {}
                Action::Issue(ticket) => self.tickets.push(ticket),
                Action::Abandon(ticket) => {
                    self.keeper.issued(&ticket, Err(FailureCode::TIMED_OUT.into()), self.now());
                }
                Action::Publish(name, held) => drop(self.published.insert(name, held)),
                Action::Answer(waiter, answer) => {
                    if let Ok(held) = &answer {
                        assert!(held.expires > self.boot, "no expired token is ever handed out");
                    }
                    assert!(self.answers.insert(waiter, answer).is_none(), "a waiter is answered once");
                }
            }
        }
        self.at_most_one_request_is_out_for_each_credential();
        self.no_more_requests_are_out_than_there_are_places();
        self.no_wake_is_stuck_in_the_past();
        self.every_unanswered_waiter_is_remembered();
        self.what_was_published_is_what_is_held();
        self.the_count_of_valid_tokens_is_right();
    }

    fn at_most_one_request_is_out_for_each_credential(&self) {
        let mut names: Vec<_> = self.current_tickets().map(|ticket| &ticket.name).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    fn no_more_requests_are_out_than_there_are_places(&self) {
        assert!(self.current_tickets().count() <= self.keeper.places.len());
        assert!(self.keeper.places.len() <= self.keeper.policy.concurrency);
    }

    fn no_wake_is_stuck_in_the_past(&self) {
        assert!(self.keeper.next_wake().is_none_or(|wake| wake > self.boot));
    }

    fn every_unanswered_waiter_is_remembered(&self) {
        let waiting: usize = self.keeper.slots.values().map(|slot| slot.waiting.len()).sum();
        assert_eq!(waiting + self.answers.len(), usize::try_from(self.waiters).unwrap());
        assert_eq!(waiting, self.keeper.deadlines.len());
    }

    fn the_count_of_valid_tokens_is_right(&self) {
        let held = self.keeper.slots.values().filter(|slot| slot.held.is_some()).count();
        assert_eq!(held, self.keeper.count_valid());
        let healthy = self.keeper.slots.values().filter(|slot| slot.is_healthy()).count();
        assert_eq!((self.keeper.slots.len(), healthy), self.keeper.count_healthy());
        assert!(
            self.keeper.slots.values().all(|slot| slot.held.is_some() == slot.valid(self.now()).is_some())
        );
    }

    fn what_was_published_is_what_is_held(&self) {
        for (name, slot) in &self.keeper.slots {
            let published = self.published.get(name).and_then(Option::as_ref);
            assert_eq!(
                published.map(|held| held.fingerprint),
                slot.held.as_ref().map(|held| held.fingerprint)
            );
        }
    }

    fn current_tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.tickets.iter().filter(|ticket| self.keeper.is_current(ticket))
    }

    fn wait(&mut self, name: &str, wait: Wait, patience: Duration) -> Waiter {
        let waiter = self.waiters;
        self.waiters += 1;
        self.keeper.wait(waiter, &name.parse().unwrap(), wait, self.boot + patience, self.now());
        self.settle();
        waiter
    }

    fn get(&mut self, name: &str, patience: Duration) -> Waiter {
        self.wait(name, Wait::Get { min_ttl: Duration::ZERO }, patience)
    }

    fn pass(&mut self, duration: Duration) {
        self.boot = self.boot + duration;
        self.keeper.tick(self.now());
        self.settle();
    }

    fn token(&mut self, life: Duration) -> Held<()> {
        self.tokens += 1;
        let fingerprint = Fingerprint::from_bytes([self.tokens; 8]);
        Held { token: (), fingerprint, issued: self.boot, expires: self.boot + life }
    }

    fn last_ticket(&self) -> Ticket {
        self.tickets.last().unwrap().clone()
    }

    fn succeed(&mut self, life: Duration) -> Fingerprint {
        let held = self.token(life);
        let fingerprint = held.fingerprint;
        self.keeper.issued(&self.last_ticket(), Ok(held), self.now());
        self.settle();
        fingerprint
    }

    fn fail(&mut self, failure: impl Into<Failure>) {
        self.keeper.issued(&self.last_ticket(), Err(failure.into()), self.now());
        self.settle();
    }

    /// With nothing but this credential, and what is kept of it.
    fn restart(&mut self, name: &CredentialName) {
        let (held, history) = (self.keeper.held(name).cloned(), self.keeper.history(name).unwrap());
        self.keeper = Keeper::new(Policy::default());
        self.tickets.clear();
        self.keeper.insert(name, held, history, self.now());
        self.settle();
    }

    fn fail_all(&mut self, code: FailureCode) {
        for ticket in self.tickets.clone() {
            self.keeper.issued(&ticket, Err(code.into()), self.now());
            self.settle();
        }
    }

    fn activity(&self, name: &str) -> Activity {
        self.keeper.view(&name.parse().unwrap(), self.now()).unwrap().activity
    }

    fn granted(&self, waiter: Waiter) -> Option<Fingerprint> {
        self.answers.get(&waiter)?.as_ref().ok().map(|held| held.fingerprint)
    }

    fn refused(&self, waiter: Waiter) -> Option<&Refused> {
        self.answers.get(&waiter)?.as_ref().err()
    }
}

#[test]
fn a_new_credential_gets_its_token_before_anyone_asks() {
    let mut world = World::with(&["acme"]);
    assert_eq!(world.tickets.len(), 1);
    let token = world.succeed(DAY);
    let waiter = world.get("acme", Duration::ZERO);
    assert_eq!(world.granted(waiter), Some(token));
    assert_eq!(world.tickets.len(), 1);
}

#[test]
fn a_thousand_who_wait_cost_one_request() {
    let mut world = World::with(&["acme"]);
    let waiters: Vec<_> = (0..1000).map(|_| world.get("acme", SOON)).collect();
    let token = world.succeed(DAY);
    assert!(waiters.iter().all(|waiter| world.granted(*waiter) == Some(token)));
    assert_eq!(world.tickets.len(), 1);
}

#[test]
fn a_token_is_refreshed_before_it_ends_and_served_meanwhile() {
    let mut world = World::with(&["acme"]);
    let old = world.succeed(DAY);
    world.pass(DAY.mul_f64(0.79));
    assert_eq!(world.tickets.len(), 1);
    world.pass(DAY.mul_f64(0.11));
    assert_eq!(world.tickets.len(), 2);
    let while_out = world.get("acme", SOON);
    world.fail(FailureCode::SERVER_ERROR);
    let while_failing = world.get("acme", SOON);
    assert_eq!([world.granted(while_out), world.granted(while_failing)], [Some(old); 2]);
}

#[test]
fn a_late_answer_never_overwrites_newer_state() {
    let mut world = World::with(&["acme"]);
    let lost = world.last_ticket();
    world.pass(Policy::default().ticket_life);
    assert_eq!(world.activity("acme"), Activity::BackingOff);
    world.pass(Duration::from_mins(1));
    let newer = world.succeed(DAY);
    let late = world.token(DAY);
    world.keeper.issued(&lost, Ok(late), world.now());
    world.settle();
    let waiter = world.get("acme", SOON);
    assert_eq!(world.granted(waiter), Some(newer));
}

#[test]
fn in_backoff_with_nothing_valid_a_get_is_refused_at_once_unless_its_deadline_reaches_beyond() {
    let mut world = World::with(&["acme"]);
    world.fail(Failure { retry_after: Some(Duration::from_mins(2)), ..FailureCode::THROTTLED.into() });
    let hasty = world.get("acme", SOON);
    let patient = world.get("acme", Duration::from_mins(3));
    let refused = Refused::Failed {
        failure: Failure { retry_after: Some(Duration::from_mins(2)), ..FailureCode::THROTTLED.into() },
        retry_in: Duration::from_mins(2),
    };
    assert_eq!(world.refused(hasty), Some(&refused));
    world.pass(Duration::from_mins(2));
    let token = world.succeed(DAY);
    assert_eq!(world.granted(patient), Some(token));
}

#[test]
fn rejected_credentials_are_probed_hourly_and_at_once_when_a_person_asks() {
    let mut world = World::with(&["acme"]);
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    world.pass(Duration::from_mins(59));
    let waiter = world.get("acme", Duration::from_hours(2));
    assert!(matches!(world.refused(waiter), Some(Refused::Failed { .. })));
    assert_eq!((world.tickets.len(), world.activity("acme")), (1, Activity::Barred));
    world.pass(Duration::from_mins(1));
    assert_eq!(world.tickets.len(), 2);
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    let plain = world.wait("acme", Wait::Refresh { mode: RefreshMode::Plain }, SOON);
    assert!(world.refused(plain).is_some());
    let retry = world.wait("acme", Wait::Refresh { mode: RefreshMode::Retry }, SOON);
    assert_eq!(world.tickets.len(), 3);
    let token = world.succeed(DAY);
    assert_eq!(world.granted(retry), Some(token));
}

#[test]
fn a_rejection_does_not_take_away_what_is_valid() {
    let mut world = World::with(&["acme"]);
    let token = world.succeed(DAY);
    world.pass(DAY.mul_f64(0.9));
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    let waiter = world.get("acme", SOON);
    assert_eq!(world.granted(waiter), Some(token));
    world.pass(DAY.mul_f64(0.11));
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    let waiter = world.get("acme", SOON);
    assert!(world.refused(waiter).is_some());
}

#[test]
fn a_min_ttl_beyond_what_is_held_asks_and_settles_for_less_when_asking_fails() {
    let mut world = World::with(&["acme"]);
    let old = world.succeed(DAY);
    world.pass(Duration::from_hours(2));
    let longer = Wait::Get { min_ttl: Duration::from_hours(23) };
    let waiter = world.wait("acme", longer, SOON);
    assert_eq!((world.tickets.len(), world.granted(waiter)), (2, None));
    world.fail(Failure { retry_after: Some(Duration::from_mins(2)), ..FailureCode::SERVER_ERROR.into() });
    assert_eq!(world.granted(waiter), Some(old));
    world.pass(Duration::from_mins(2));
    let new = world.succeed(DAY);
    let waiter = world.wait("acme", longer, SOON);
    assert_eq!(world.granted(waiter), Some(new));
    let impossible = world.wait("acme", Wait::Get { min_ttl: DAY * 2 }, SOON);
    assert_eq!((world.granted(impossible), world.tickets.len()), (Some(new), 3));
}

#[test]
fn a_waiter_whose_deadline_passes_is_told_and_the_request_goes_on() {
    let mut world = World::with(&["acme"]);
    let waiter = world.get("acme", SOON);
    world.pass(SOON);
    assert_eq!(world.refused(waiter), Some(&Refused::Deadline));
    let token = world.succeed(DAY);
    let waiter = world.get("acme", SOON);
    assert_eq!(world.granted(waiter), Some(token));
}

#[test]
fn a_waiter_whose_deadline_passes_in_an_outage_is_told_of_the_outage() {
    let mut world = World::with(&["acme"]);
    world.fail(FailureCode::SERVER_ERROR);
    let waiter = world.get("acme", SOON);
    world.pass(Duration::from_secs(2));
    assert_eq!((world.tickets.len(), world.refused(waiter)), (2, None));
    world.pass(SOON);
    assert!(matches!(
        world.refused(waiter),
        Some(Refused::Failed { failure, .. }) if failure.code == FailureCode::SERVER_ERROR
    ));
}

#[test]
fn an_invalidated_token_is_replaced_only_if_it_is_the_current_one() {
    let mut world = World::with(&["acme"]);
    let first = world.succeed(DAY);
    let name = "acme".parse().unwrap();
    world.keeper.invalidate(&name, Fingerprint::from_bytes([99; 8]), world.now());
    world.settle();
    assert_eq!(world.tickets.len(), 1);
    for _ in 0..3 {
        world.keeper.invalidate(&name, first, world.now());
        world.settle();
    }
    assert_eq!(world.tickets.len(), 2);
    let second = world.succeed(DAY);
    world.keeper.invalidate(&name, first, world.now());
    let waiter = world.get("acme", SOON);
    assert_eq!(world.granted(waiter), Some(second));
}

#[test]
fn when_the_new_token_is_refused_as_well_the_slot_cools_down_and_says_why() {
    let mut world = World::with(&["acme"]);
    let name = "acme".parse().unwrap();
    for _ in 0..2 {
        let token = world.succeed(DAY);
        world.keeper.invalidate(&name, token, world.now());
        world.settle();
    }
    assert_eq!((world.tickets.len(), world.activity("acme")), (2, Activity::BackingOff));
    let waiter = world.get("acme", SOON);
    assert!(world.granted(waiter).is_some(), "the API may think better of it");
    let waiter = world.wait("acme", Wait::Refresh { mode: RefreshMode::Plain }, SOON);
    assert!(matches!(
        world.refused(waiter),
        Some(Refused::Failed { failure, retry_in })
            if failure.code == FailureCode::TOKENS_REFUSED && *retry_in == Duration::from_mins(5)
    ));
    world.pass(Duration::from_mins(5));
    let token = world.succeed(DAY);
    world.keeper.invalidate(&name, token, world.now());
    world.settle();
    world.pass(Duration::from_mins(9));
    assert_eq!(world.tickets.len(), 3, "the second time it takes twice as long");
}

#[test]
fn a_server_that_repeats_its_token_causes_no_loop_and_no_longer_life() {
    let mut world = World::with(&["acme"]);
    world.succeed(DAY);
    world.pass(DAY.mul_f64(0.95));
    let again = Held { expires: world.boot + DAY, issued: world.boot, ..world.published_token("acme") };
    world.keeper.issued(&world.last_ticket(), Ok(again), world.now());
    world.settle();
    world.pass(DAY.mul_f64(0.051));
    let waiter = world.get("acme", Duration::ZERO);
    assert_eq!(world.granted(waiter), None, "the token has ended although the server said otherwise");
}

impl World {
    fn published_token(&self, name: &str) -> Held<()> {
        self.published[&name.parse().unwrap()].clone().unwrap()
    }
}

#[test]
fn a_token_that_is_kept_from_an_earlier_run_costs_nothing() {
    let mut world = World::new();
    let held = Held { issued: world.boot - Duration::from_hours(2), ..world.token(Duration::from_hours(22)) };
    world.keeper.insert(&"acme".parse().unwrap(), Some(held), History::default(), world.now());
    let waiter = world.get("acme", Duration::ZERO);
    assert!(world.granted(waiter).is_some());
    assert!(world.tickets.is_empty());
}

#[test]
fn those_whom_somebody_waits_for_come_first_when_places_are_few() {
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let mut world = World::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    (0..8).for_each(|_| world.pass(Duration::from_millis(100)));
    assert_eq!(world.tickets.len(), 8);
    world.get("c19", SOON);
    world.fail(FailureCode::SERVER_ERROR);
    assert_eq!(world.last_ticket().name.as_str(), "c19");
}

#[test]
fn removal_and_closing_tell_those_who_wait() {
    let mut world = World::with(&["acme", "globex"]);
    let removed = world.get("acme", SOON);
    let closed = world.get("globex", SOON);
    world.keeper.remove(&"acme".parse().unwrap(), world.now());
    world.settle();
    assert_eq!(world.refused(removed), Some(&Refused::Unknown));
    world.keeper.close();
    world.settle();
    assert_eq!(world.refused(closed), Some(&Refused::Closed));
    world.succeed(DAY);
    assert!(
        world.published.values().all(Option::is_none),
        "an answer from before the closing changes nothing"
    );
}

#[test]
fn another_pair_of_client_credentials_lifts_the_bar_and_keeps_what_is_valid() {
    let mut world = World::with(&["acme"]);
    let name = "acme".parse().unwrap();
    let old = world.succeed(DAY);
    world.pass(DAY.mul_f64(0.9));
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    world.keeper.credentials_changed(&name, world.now());
    world.settle();
    assert_eq!(world.tickets.len(), 3);
    let waiter = world.get("acme", SOON);
    assert_eq!(world.granted(waiter), Some(old));
    let late = world.last_ticket();
    let adopted = world.token(DAY);
    let fingerprint = adopted.fingerprint;
    world.keeper.adopt(&name, adopted, world.now());
    world.settle();
    world.keeper.issued(&late, Err(FailureCode::CREDENTIALS_REJECTED.into()), world.now());
    world.settle();
    let waiter = world.get("acme", SOON);
    assert_eq!((world.granted(waiter), world.activity("acme")), (Some(fingerprint), Activity::Resting));
}

#[test]
fn a_first_start_is_no_storm_and_a_get_jumps_the_queue() {
    let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let mut world = World::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let waiter = world.get("c99", SOON);
    assert_eq!(world.last_ticket().name.as_str(), "c99", "it need not wait for the rate either");
    let token = world.succeed(DAY);
    assert_eq!(world.granted(waiter), Some(token));
    for _ in 0..20 {
        world.pass(Duration::from_millis(50));
        world.succeed(DAY);
    }
    assert!((9..=12).contains(&world.tickets.len()), "{} in a second", world.tickets.len());
}

#[test]
fn a_spent_budget_is_told_with_the_time_it_frees_up_and_may_be_overdrawn_by_a_person() {
    let mut world = World::with(&["acme"]);
    world.succeed(Duration::from_mins(1));
    for _ in 0..5 {
        world.wait("acme", Wait::Refresh { mode: RefreshMode::Plain }, SOON);
        world.succeed(Duration::from_mins(1));
        world.pass(Duration::from_secs(1));
    }
    assert_eq!(world.tickets.len(), 6);
    let more = world.wait("acme", Wait::Refresh { mode: RefreshMode::Retry }, SOON);
    assert!(matches!(
        world.refused(more),
        Some(Refused::Failed { failure, retry_in })
            if failure.code == FailureCode::BUDGET_SPENT && *retry_in == Duration::from_secs(3595)
    ));
    let held = world.get("acme", SOON);
    assert!(world.granted(held).is_some(), "what is held is handed out");
    world.pass(Duration::from_mins(2));
    let waiter = world.get("acme", SOON);
    assert!(matches!(world.refused(waiter), Some(Refused::Failed { .. })));
    let over = world.wait("acme", Wait::Refresh { mode: RefreshMode::OverBudget }, SOON);
    let token = world.succeed(DAY);
    assert_eq!((world.tickets.len(), world.granted(over)), (7, Some(token)));
}

#[test]
fn the_budget_frees_up_by_itself_and_counts_only_what_was_issued() {
    let mut world = World::with(&["acme"]);
    for _ in 0..20 {
        world.fail(FailureCode::TIMED_OUT);
        world.pass(Duration::from_mins(5));
    }
    assert_eq!(world.tickets.len(), 21, "an outage uses nothing up");
    for _ in 0..6 {
        world.succeed(Duration::from_secs(20));
        world.pass(Duration::from_secs(20));
    }
    assert_eq!((world.tickets.len(), world.activity("acme")), (26, Activity::BackingOff));
    world.pass(Duration::from_hours(1));
    assert_eq!(world.tickets.len(), 27);
}

#[test]
fn the_budget_spent_a_refused_token_is_better_than_none() {
    let mut world = World::with(&["acme"]);
    let name = "acme".parse().unwrap();
    let mut token = world.succeed(DAY);
    for _ in 0..5 {
        world.wait("acme", Wait::Refresh { mode: RefreshMode::Plain }, SOON);
        token = world.succeed(DAY);
    }
    world.keeper.invalidate(&name, token, world.now());
    world.settle();
    let waiter = world.get("acme", SOON);
    assert_eq!((world.granted(waiter), world.tickets.len()), (Some(token), 6));
}

#[test]
fn after_a_rotation_a_401_is_tolerated_for_a_minute() {
    let mut world = World::with(&["acme"]);
    let name = "acme".parse().unwrap();
    world.succeed(DAY);
    world.keeper.credentials_changed(&name, world.now());
    world.settle();
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    assert_eq!(world.activity("acme"), Activity::BackingOff);
    world.pass(Duration::from_mins(1));
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    assert_eq!(world.activity("acme"), Activity::Barred);
}

#[test]
fn what_made_requests_wait_makes_them_wait_after_a_restart() {
    let mut world = World::with(&["acme", "globex"]);
    let (acme, globex): (CredentialName, CredentialName) =
        ("acme".parse().unwrap(), "globex".parse().unwrap());
    let patience = Duration::from_hours(3);
    let throttled = Failure { retry_after: Some(patience), ..FailureCode::THROTTLED.into() };
    let ticket = world.tickets[0].clone();
    world.keeper.issued(&ticket, Err(throttled), world.now());
    world.pass(Duration::from_secs(1));
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    let kept = [&acme, &globex].map(|name| (name.clone(), world.keeper.history(name).unwrap()));
    let mut next = World { boot: world.boot, ..World::new() };
    for (name, history) in kept {
        next.keeper.insert(&name, None, history, next.now());
    }
    next.settle();
    let states = |world: &World| ["acme", "globex"].map(|name| world.activity(name));
    assert_eq!(states(&next), [Activity::BackingOff, Activity::Barred]);
    next.pass(Duration::from_mins(59));
    assert!(next.tickets.is_empty());
    next.pass(Duration::from_hours(2) + Duration::from_mins(1));
    next.pass(Duration::from_millis(100));
    assert_eq!(next.tickets.len(), 2);
}

#[test]
fn a_locked_vault_does_not_make_two_requests_of_one() {
    let mut world = World::with(&["acme"]);
    let first = world.last_ticket();
    world.keeper.close();
    world.keeper.insert(&first.name, None, History::default(), world.now());
    world.settle();
    let waiter = world.get("acme", Duration::from_mins(1));
    assert_eq!(world.tickets.len(), 1, "the first is still out");
    world.keeper.issued(&first, Err(FailureCode::INTERRUPTED.into()), world.now());
    world.pass(Duration::from_millis(100));
    assert_eq!(world.tickets.len(), 2);
    let token = world.succeed(DAY);
    assert_eq!(world.granted(waiter), Some(token));
}

#[test]
fn a_domain_that_hangs_leaves_places_for_the_others() {
    let names: Vec<String> = (0..50).map(|n| format!("hangs/c{n}")).collect();
    let mut world = World::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    (0..50).for_each(|_| world.pass(Duration::from_millis(100)));
    world.keeper.insert(&"works".parse().unwrap(), None, History::default(), world.now());
    world.settle();
    assert_eq!(world.last_ticket().name.as_str(), "works");
}

#[test]
fn a_token_that_has_ended_is_no_longer_published_and_watchers_are_told() {
    let mut world = World::with(&["acme"]);
    world.succeed(DAY);
    let name = "acme".parse().unwrap();
    let before = world.keeper.view(&name, world.now()).unwrap().revision;
    world.pass(DAY);
    assert!(world.published[&name].is_none());
    assert_ne!(world.keeper.view(&name, world.now()).unwrap().revision, before);
}

#[derive(Clone, Debug)]
enum Event {
    Get { name: usize, min_ttl: u64, patience: u64 },
    Refresh { name: usize, mode: RefreshMode },
    Succeed { ticket: usize, life: u64 },
    Fail { ticket: usize, code: usize, retry_after: Option<u64> },
    Invalidate { name: usize, current: bool },
    Insert { name: usize },
    Remove { name: usize },
    Change { name: usize },
    Adopt { name: usize },
    Close,
    Pass { seconds: u64 },
}

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
const CODES: [FailureCode; 5] = [
    FailureCode::SERVER_ERROR,
    FailureCode::THROTTLED,
    FailureCode::CREDENTIALS_REJECTED,
    FailureCode::REDIRECTED,
    FailureCode::NOT_CONNECTED,
];

fn mode() -> impl Strategy<Value = RefreshMode> {
    prop_oneof![Just(RefreshMode::Plain), Just(RefreshMode::Retry), Just(RefreshMode::OverBudget)]
}

fn event() -> impl Strategy<Value = Event> {
    let name = 0..NAMES.len();
    prop_oneof![
        6 => (name.clone(), prop_oneof![Just(0u64), 0..200_000u64], 0..600u64)
            .prop_map(|(name, min_ttl, patience)| Event::Get { name, min_ttl, patience }),
        1 => (name.clone(), mode()).prop_map(|(name, mode)| Event::Refresh { name, mode }),
        5 => (any::<usize>(), prop_oneof![1..90u64, Just(86_400u64)])
            .prop_map(|(ticket, life)| Event::Succeed { ticket, life }),
        3 => (any::<usize>(), 0..CODES.len(), prop::option::of(0..5000u64))
            .prop_map(|(ticket, code, retry_after)| Event::Fail { ticket, code, retry_after }),
        2 => (name.clone(), any::<bool>()).prop_map(|(name, current)| Event::Invalidate { name, current }),
        2 => name.clone().prop_map(|name| Event::Insert { name }),
        1 => name.clone().prop_map(|name| Event::Remove { name }),
        1 => name.clone().prop_map(|name| Event::Change { name }),
        1 => name.prop_map(|name| Event::Adopt { name }),
        1 => Just(Event::Close),
        6 => prop_oneof![0..60u64, 0..100_000u64].prop_map(|seconds| Event::Pass { seconds }),
    ]
}

impl World {
    fn live(&mut self, event: &Event) {
        let now = self.now();
        let name = |index: &usize| -> CredentialName { NAMES[*index].parse().unwrap() };
        match event {
            Event::Get { name, min_ttl, patience } => {
                let min_ttl = Duration::from_secs(*min_ttl);
                self.wait(NAMES[*name], Wait::Get { min_ttl }, Duration::from_secs(*patience + 1));
            }
            Event::Refresh { name, mode } => {
                self.wait(NAMES[*name], Wait::Refresh { mode: *mode }, SOON);
            }
            Event::Succeed { ticket, life } if !self.tickets.is_empty() => {
                let ticket = self.tickets[ticket % self.tickets.len()].clone();
                let held = self.token(Duration::from_secs(*life));
                self.keeper.issued(&ticket, Ok(held), now);
            }
            Event::Fail { ticket, code, retry_after } if !self.tickets.is_empty() => {
                let ticket = self.tickets[ticket % self.tickets.len()].clone();
                let retry_after = retry_after.map(Duration::from_secs);
                self.keeper.issued(&ticket, Err(Failure { retry_after, ..CODES[*code].into() }), now);
            }
            Event::Invalidate { name: index, current } => {
                let held = self.published.get(&name(index)).and_then(Option::as_ref);
                let fingerprint = held.filter(|_| *current).map(|held| held.fingerprint);
                let fingerprint = fingerprint.unwrap_or(Fingerprint::from_bytes([0; 8]));
                self.keeper.invalidate(&name(index), fingerprint, now);
            }
            Event::Insert { name: index } if !self.keeper.slots.contains_key(&name(index)) => {
                self.keeper.insert(&name(index), None, History::default(), now);
            }
            Event::Remove { name: index } => self.keeper.remove(&name(index), now),
            Event::Change { name: index } => self.keeper.credentials_changed(&name(index), now),
            Event::Adopt { name: index } if self.keeper.slots.contains_key(&name(index)) => {
                let held = self.token(DAY);
                self.keeper.adopt(&name(index), held, now);
            }
            Event::Succeed { .. } | Event::Fail { .. } | Event::Insert { .. } | Event::Adopt { .. } => {}
            Event::Close => self.keeper.close(),
            Event::Pass { seconds } => self.pass(Duration::from_secs(*seconds)),
        }
        self.settle();
    }
}

proptest! {
    #[test]
    fn the_invariants_hold_whatever_happens(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World::with(&NAMES[..6]);
        for event in &events {
            world.live(event);
        }
        // In the end everybody is answered: time alone does it.
        world.pass(Duration::from_hours(1));
        prop_assert_eq!(world.answers.len(), usize::try_from(world.waiters).unwrap());
    }
}

#[test]
fn a_token_that_ended_on_its_way_is_asked_for_again_and_those_who_wait_get_the_next() {
    let mut world = World::with(&["acme"]);
    let (ticket, token) = (world.last_ticket(), world.token(DAY));
    // The machine sleeps.
    world.boot = world.boot + DAY + SOON;
    let now = world.now();
    world.keeper.issued(&ticket, Ok(token), now);
    world.settle();
    let waiter = world.get("acme", SOON);
    assert!(world.refused(waiter).is_none());
    world.pass(Duration::from_secs(1));
    let next = world.succeed(DAY);
    assert_eq!(world.granted(waiter), Some(next));
}

#[test]
fn a_crowd_without_patience_leaves_no_crowd_in_line() {
    let mut world = World::with(&["acme/1", "acme/2", "acme/3", "acme/4", "acme/5"]);
    (0..5).for_each(|_| world.pass(Duration::from_millis(100)));
    assert_eq!(world.keeper.lanes.len(), 1, "a domain has half of the places");
    for _ in 0..1000 {
        world.get("acme/5", Duration::ZERO);
    }
    assert!(world.keeper.lanes.len() <= 2);
    world.get("acme/5", SOON);
    world.succeed(DAY);
    assert_eq!(world.last_ticket().name.as_str(), "acme/5");
}

/// Lets time pass until `end`; each request is answered at once, as `outcome` says. Whose went out, and when.
fn live(
    world: &mut World,
    end: Moment,
    outcome: impl Fn(&CredentialName) -> FailureCode,
) -> Vec<(Moment, CredentialName)> {
    let (mut asked, mut done) = (Vec::new(), 0);
    loop {
        while let Some(ticket) = world.tickets.get(done).cloned() {
            done += 1;
            asked.push((world.boot, ticket.name.clone()));
            world.keeper.issued(&ticket, Err(outcome(&ticket.name).into()), world.now());
            world.settle();
        }
        let Some(next) = world.keeper.next_wake().filter(|next| *next < end) else { return asked };
        world.boot = world.boot.max(next);
        world.keeper.tick(world.now());
        world.settle();
    }
}

fn policy_with_budget(per_hour: u32) -> Policy {
    let mut policy = Policy::default();
    policy.terms.per_hour = per_hour;
    policy
}

fn has_domain(domain: &str) -> impl Fn(&&(Moment, CredentialName)) -> bool {
    move |(_, name)| name.domain().as_str() == domain
}

#[test]
fn those_who_wait_for_a_failing_domain_do_not_keep_routine_from_its_share() {
    let crowd: Vec<_> = (0..300).map(|number| format!("bad/{number}")).collect();
    let mut world = World::with(&crowd.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &crowd {
        world.get(name, Duration::from_hours(1));
    }
    let held = world.token(Duration::from_hours(1));
    let (due_from, due_to) = (world.boot + Duration::from_mins(48), world.boot + Duration::from_mins(54));
    world.keeper.insert(&"good".parse().unwrap(), Some(held), History::default(), world.now());
    world.settle();
    let end = due_to + Duration::from_secs(5);
    let asked = live(&mut world, end, |_| FailureCode::NOT_CONNECTED);
    let good = asked.iter().find(has_domain("good")).expect("asked");
    assert!((due_from..due_to + Duration::from_secs(1)).contains(&good.0));
}

#[test]
fn a_caller_that_keeps_insisting_leaves_routine_its_share() {
    let mut world = World::with(&["bad", "good"]);
    world.fail_all(FailureCode::CREDENTIALS_REJECTED);
    let start = world.boot + Duration::from_hours(1);
    world.boot = start;
    let (end, mut asked) = (start + Duration::from_secs(5), Vec::new());
    while world.boot < end {
        world.wait("bad", Wait::Refresh { mode: RefreshMode::Retry }, SOON);
        let next = world.boot + Duration::from_millis(20);
        asked.extend(live(&mut world, next, |_| FailureCode::CREDENTIALS_REJECTED));
        world.tickets.clear();
        world.boot = next;
    }
    assert!(asked.iter().filter(has_domain("bad")).count() > 40, "the rate is used up");
    assert!(asked.iter().any(|(at, name)| name.as_str() == "good" && *at < start + Duration::from_secs(2)));
}

#[test]
fn a_crowd_comes_back_from_an_outage_spread_over_its_back_off() {
    let crowd: Vec<_> = (0..200).map(|number| format!("d{}/c{number}", number % 20)).collect();
    let mut world = World::new();
    world.keeper.set_policy(Policy { rate: 10_000, ..Policy::default() }, world.now());
    for name in &crowd {
        world.keeper.insert(&name.parse().unwrap(), None, History::default(), world.now());
    }
    world.settle();
    let start = world.boot;
    let asked = live(&mut world, start + Duration::from_mins(25), |_| FailureCode::NOT_CONNECTED);
    let last: Vec<_> = asked.iter().filter(|(at, _)| start.until(*at) >= Duration::from_mins(20)).collect();
    let mut seconds = HashMap::<_, usize>::new();
    for (at, _) in &last {
        *seconds.entry(start.until(*at).as_secs()).or_default() += 1;
    }
    let who: BTreeSet<_> = last.iter().map(|(_, name)| name).collect();
    assert_eq!(who.len(), crowd.len(), "each one within five minutes");
    let busiest = seconds.values().max().unwrap();
    assert!(*busiest <= crowd.len() / 20, "{busiest} of {} in one second", crowd.len());
}

#[test]
fn domains_that_begin_to_hang_together_do_not_delay_another() {
    let crowd: Vec<_> = (0..4).flat_map(|d| (0..6).map(move |n| format!("hangs{d}/{n}"))).collect();
    let mut world = World::with(&crowd.iter().map(String::as_str).collect::<Vec<_>>());
    (0..50).for_each(|_| world.pass(Duration::from_millis(100)));
    world.keeper.insert(&"good".parse().unwrap(), None, History::default(), world.now());
    world.settle();
    world.get("good", SOON);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.last_ticket().name.as_str(), "good");
    assert_eq!(world.keeper.places.len(), Policy::default().concurrency);
}

#[test]
fn a_request_that_is_abandoned_keeps_its_place_until_it_has_come_back() {
    let mut world = World::with(&["acme"]);
    let ticket = world.last_ticket();
    world.boot = world.boot + Duration::from_hours(8);
    world.keeper.tick(world.now());
    let said: Vec<_> = std::iter::from_fn(|| world.keeper.poll_action()).collect();
    assert!(matches!(said.as_slice(), [Action::Abandon(abandoned)] if *abandoned == ticket));
    world.keeper.tick(world.now());
    assert!(world.keeper.poll_action().is_none(), "it is said once");
    world.no_wake_is_stuck_in_the_past();
    let held = world.token(DAY);
    world.keeper.issued(&ticket, Ok(held), world.now());
    world.settle();
    assert_eq!((world.keeper.count_valid(), world.tickets.len()), (1, 1), "what had arrived is kept");
    assert_eq!(world.keeper.slots[&ticket.name].budget.issued().len(), 1);
}

#[test]
fn a_budget_that_is_raised_frees_those_that_wait_for_it() {
    let mut world = World::new();
    world.keeper.set_policy(policy_with_budget(1), world.now());
    world.keeper.insert(&"acme".parse().unwrap(), None, History::default(), world.now());
    world.settle();
    world.succeed(Duration::from_mins(1));
    world.pass(Duration::from_mins(1));
    assert_eq!(world.activity("acme"), Activity::BackingOff);
    world.keeper.set_policy(policy_with_budget(2), world.now());
    world.pass(Duration::ZERO);
    assert_eq!((world.activity("acme"), world.tickets.len()), (Activity::Requesting, 2));
}

#[test]
fn a_retry_that_the_budget_forbids_says_so_and_leaves_a_longer_setback_as_it_was() {
    let (mut world, name) = (World::new(), "acme".parse().unwrap());
    world.keeper.set_policy(policy_with_budget(1), world.now());
    world.keeper.insert(&name, None, History::default(), world.now());
    world.settle();
    world.succeed(Duration::from_mins(1));
    world.wait("acme", Wait::Refresh { mode: RefreshMode::OverBudget }, SOON);
    let patience = Some(Duration::from_hours(12));
    world.fail(Failure { retry_after: patience, ..FailureCode::THROTTLED.into() });
    let setback = world.keeper.history(&name).unwrap().setback;
    let waiter = world.wait("acme", Wait::Refresh { mode: RefreshMode::Retry }, SOON);
    let told = world.refused(waiter);
    let is_told = |refused: &Refused| matches!(refused, Refused::Failed { failure, .. } if failure.code == FailureCode::BUDGET_SPENT);
    assert!(told.is_some_and(is_told), "{told:?}");
    assert_eq!(world.keeper.history(&name).unwrap().setback, setback);
    assert_eq!(world.tickets.len(), 2);
}

#[test]
fn an_outage_between_refused_tokens_does_not_end_the_cool_down() {
    let (mut world, name): (_, CredentialName) = (World::with(&["acme"]), "acme".parse().unwrap());
    for _ in 0..2 {
        let refused = world.succeed(DAY);
        world.keeper.invalidate(&name, refused, world.now());
        world.settle();
    }
    assert_eq!(world.activity("acme"), Activity::BackingOff);
    world.pass(Duration::from_mins(5));
    world.fail(FailureCode::SERVER_ERROR);
    // A crash and a restart, what is more.
    world.restart(&name);
    world.pass(Duration::from_mins(1));
    let third = world.succeed(DAY);
    let before = world.tickets.len();
    world.keeper.invalidate(&name, third, world.now());
    world.settle();
    assert_eq!((world.activity("acme"), world.tickets.len()), (Activity::BackingOff, before));
    let next = world.keeper.view(&name, world.now()).unwrap().next_attempt.unwrap();
    assert_eq!(world.boot.until(next), Duration::from_mins(10), "twice as long as the first one");
}

#[test]
fn after_a_restart_too_a_401_just_after_a_rotation_is_met_with_patience() {
    let (mut world, name): (_, CredentialName) = (World::with(&["acme"]), "acme".parse().unwrap());
    world.keeper.credentials_changed(&name, world.now());
    world.settle();
    world.boot = world.boot + Duration::from_secs(30);
    world.restart(&name);
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    assert_eq!(world.activity("acme"), Activity::BackingOff);
    world.restart(&name);
    assert_eq!(world.activity("acme"), Activity::BackingOff, "and that goes on where it was");
}

#[test]
fn one_quick_failure_does_not_make_a_domain_one_that_fails() {
    let mut world = World::with(&["acme/1", "acme/2"]);
    world.fail(FailureCode::SERVER_ERROR);
    assert_eq!(world.keeper.lanes.count_failing(), 0);
    world.pass(Duration::from_mins(5));
    world.fail(FailureCode::SERVER_ERROR);
    assert_eq!(world.keeper.lanes.count_failing(), 0, "of another credential");
    let mut world = World::with(&["acme"]);
    world.pass(Duration::from_secs(2));
    world.fail(FailureCode::TIMED_OUT);
    assert_eq!(world.keeper.lanes.count_failing(), 1, "one that took its time does");
}

#[test]
fn other_client_credentials_are_another_revision() {
    let (mut world, name): (_, CredentialName) = (World::with(&["acme"]), "acme".parse().unwrap());
    world.fail(FailureCode::CREDENTIALS_REJECTED);
    let revision = |world: &World| world.keeper.view(&name, world.now()).unwrap().revision;
    let before = revision(&world);
    world.keeper.credentials_changed(&name, world.now());
    world.settle();
    assert_ne!(revision(&world), before, "the failure that was told of is gone");
}

#[test]
fn nothing_is_asked_for_once_the_daemon_stops() {
    let mut world = World::with(&["acme"]);
    let held = world.token(Duration::from_mins(1));
    world.keeper.insert(&"beta".parse().unwrap(), Some(held), History::default(), world.now());
    world.settle();
    world.keeper.wind_down();
    world.pass(Duration::from_mins(1));
    world.fail(FailureCode::SERVER_ERROR);
    world.pass(Duration::from_mins(10));
    assert_eq!(world.tickets.len(), 1);
}

#[test]
fn those_who_have_left_are_forgotten_and_the_others_are_not() {
    let mut world = World::with(&["acme", "beta"]);
    let waiters = [world.get("acme", DAY), world.get("acme", DAY), world.get("beta", DAY)];
    world.keeper.leave(&HashSet::from([waiters[0], waiters[2]]));
    assert_eq!(world.keeper.deadlines.len(), 1);
    let ticket = world.tickets[0].clone();
    let held = world.token(DAY);
    world.keeper.issued(&ticket, Ok(held), world.now());
    while let Some(action) = world.keeper.poll_action() {
        assert!(!matches!(action, Action::Answer(waiter, _) if waiter != waiters[1]));
    }
    assert!(world.keeper.deadlines.is_empty());
}

#[test]
fn those_whose_tokens_outrun_their_budget_are_known() {
    let mut world = World::with(&["acme"]);
    world.succeed(DAY);
    assert_eq!(world.keeper.short_of_budget().count(), 0);
    world.wait("acme", Wait::Refresh { mode: RefreshMode::Plain }, SOON);
    world.succeed(Duration::from_hours(1));
    world.pass(Duration::from_hours(1));
    assert_eq!(world.keeper.count_valid(), 0);
    assert_eq!(world.keeper.short_of_budget().map(CredentialName::as_str).collect::<Vec<_>>(), ["acme"]);
}

#[test]
fn a_domain_that_failed_and_is_gone_leaves_nothing_behind() {
    let mut world = World::with(&["gone/1", "gone/2"]);
    world.fail_all(FailureCode::NOT_CONNECTED);
    world.keeper.remove(&"gone/1".parse().unwrap(), world.now());
    assert_eq!(world.keeper.lanes.count_domains(), 1, "it is still known to fail");
    world.keeper.remove(&"gone/2".parse().unwrap(), world.now());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.keeper.lanes.count_domains(), 0);
}

#[test]
fn a_trial_counts_for_the_budget_where_a_token_may_have_been_issued() {
    let (mut world, name): (_, CredentialName) = (World::with(&["acme"]), "acme".parse().unwrap());
    world.fail(FailureCode::NOT_CONNECTED);
    let unusable = Failure { http_status: Some(200), ..FailureCode::NOT_OAUTH.into() };
    let failures = [FailureCode::NOT_CONNECTED.into(), FailureCode::TIMED_OUT.into(), unusable];
    let mut spent = Vec::new();
    for failure in &failures {
        world.keeper.trial_begins(world.now());
        world.keeper.trial_ended(&name, Some(failure), world.now());
        spent.push(world.keeper.view(&name, world.now()).unwrap().budget.issued_in_hour);
    }
    assert_eq!(spent, [0, 1, 2]);
    world.keeper.trial_ended(&name, None, world.now());
    assert_eq!(world.keeper.view(&name, world.now()).unwrap().budget.issued_in_hour, 3);
}
