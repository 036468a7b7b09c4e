//! Events on their way to the thread that writes them: bounded, and never waited for.
//!
//! What one process does again and again within a few seconds is counted and not repeated, and so are the denials of a user who has
//! had many: otherwise either could fill the records with itself. What finds no room is counted as lost. Nothing is written here.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use procurify_token_protocol::{CredentialName, Fingerprint};
use tokio::sync::oneshot;

use super::{Event, Who};
use crate::principal::Principal;
use crate::refresh::Moment;

/// Where events wait.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: Vec<Item>,
    events: usize,
    lost: u64,
    /// What the writing thread wakes for; `None` while it is awake.
    sleeps: Option<Sleep>,
    /// Somebody waits for what is in the items, or there are many of them.
    is_urgent: bool,
    /// The writing thread has ended.
    is_closed: bool,
    recent: HashMap<Key, Recent>,
    denials: HashMap<Option<Principal>, (Moment, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    UntilThereIsSomething,
    /// To be woken for each event costs those who are served meanwhile more than the record does.
    UntilUrgent,
}

/// What the writing thread is told, in this order.
#[derive(Debug)]
pub(super) enum Item {
    Event(Box<Event>, Option<oneshot::Sender<bool>>),
    /// So often since the event that has a record.
    Repeats(Box<Event>, u64),
    /// The key is there.
    Open(Box<super::Opening>),
    /// The key goes.
    Close,
    /// Write what there is, and say what there should be.
    Sync(oneshot::Sender<super::Synced>),
    End,
}

/// What is the same for a repetition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) act: &'static str,
    pub(super) outcome: &'static str,
    pub(super) user: Option<Principal>,
    pub(super) pid: Option<i32>,
    /// Tells a process from a later one with its number, where the system does.
    pub(super) process: u64,
    pub(super) credential: Option<CredentialName>,
    pub(super) token: Option<Fingerprint>,
}

#[derive(Debug)]
struct Recent {
    counter: Arc<Counter>,
    /// As it was the first time.
    event: Box<Event>,
    /// Whether it is in a record, and not on its way to one.
    is_written: bool,
}

/// Counts how often something was repeated, for as long as that needs no further record. Whoever has one counts without asking the
/// inbox again.
#[derive(Debug)]
pub struct Counter {
    until: Moment,
    /// Its highest bit says that what was counted has been taken.
    repeats: AtomicU64,
    /// When the last one was, in milliseconds.
    last: AtomicI64,
}

impl Counter {
    fn new(since: Moment, span: Duration) -> Self {
        let last = AtomicI64::new(since.as_millis());
        Self { until: since + span, repeats: AtomicU64::new(0), last }
    }

    /// Counts one; false where it is too late for that.
    pub fn count(&self, at: Moment) -> bool {
        if at >= self.until {
            return false;
        }
        self.last.store(at.as_millis(), Ordering::Relaxed);
        self.repeats.fetch_add(1, Ordering::Relaxed) < TAKEN
    }

    /// How many there were, and when the last one was; from now on none is counted.
    fn take(&self) -> (u64, Moment) {
        let repeats = self.repeats.fetch_or(TAKEN, Ordering::Relaxed);
        (repeats, Moment::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// What there is to do.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    pub(super) lost: u64,
}

impl Inbox {
    /// Counts an event that has a record already, and gives what counts further ones; `None` where it has none, or where that is
    /// not yet written and has to be.
    pub(super) fn count(&self, key: &Key, at: Moment, must_be_written: bool) -> Option<Arc<Counter>> {
        let state = self.state();
        let recent = state.recent.get(key).filter(|recent| recent.is_written || !must_be_written)?;
        recent.counter.count(at).then(|| Arc::clone(&recent.counter))
    }

    /// Takes an event in. False where there is no room, and it has to have some.
    pub(super) fn push(&self, mut event: Event, waiter: Option<oneshot::Sender<bool>>) -> bool {
        let mut state = self.state();
        let (span, is_one_too_many) = state.patience_with(&event);
        if is_one_too_many {
            // Who it was precisely is told by those before.
            event.who = Who { user: event.who.user.clone(), ..Who::default() }.into();
            event.credential = None;
            event.act = "any";
            if state.recent.get(&event.key()).is_some_and(|recent| recent.counter.count(event.at)) {
                return true;
            }
        }
        if state.events >= MOST_EVENTS || state.is_closed {
            if waiter.is_none() {
                state.lost += 1;
            }
            return false;
        }
        if state.recent.len() < MOST_RECENT && event.is_repeatable() {
            let counter = Arc::new(Counter::new(event.at, span));
            let recent = Recent { counter, event: Box::new(event.clone()), is_written: false };
            if let Some(before) = state.recent.insert(event.key(), recent) {
                state.count(before);
            }
        }
        state.events += 1;
        let is_urgent = waiter.is_some() || state.events >= MOST_EVENTS / 2;
        state.items.push(Item::Event(Box::new(event), waiter));
        self.rouse(state, is_urgent);
        true
    }

    /// Tells the thread something that is no event. There is always room for that.
    pub(super) fn tell(&self, item: Item) {
        let mut state = self.state();
        if !state.is_closed {
            state.items.push(item);
            self.rouse(state, true);
        }
    }

    /// The thread has ended: whoever waits for it, or will, is told so by the end of his channel.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.items.clear();
    }

    fn rouse(&self, mut state: MutexGuard<'_, State>, is_urgent: bool) {
        state.is_urgent |= is_urgent;
        let wakes = match state.sleeps {
            Some(Sleep::UntilThereIsSomething) => true,
            Some(Sleep::UntilUrgent) => is_urgent,
            None => false,
        };
        if wakes {
            // Once is enough.
            state.sleeps = None;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Repetitions of these are counted from now on also where they have to be written.
    pub(super) fn is_written(&self, key: &Key) {
        if let Some(recent) = self.state().recent.get_mut(key) {
            recent.is_written = true;
        }
    }

    /// Waits until there is something to do, or for so long. What nobody waits for is gathered for a moment.
    pub(super) fn take(&self, patience: Option<Duration>, now: impl Fn() -> Moment) -> Batch {
        let mut state = self.state();
        if state.items.is_empty() && state.lost == 0 {
            let expiry = state.recent.values().map(|recent| recent.counter.until).min();
            let rest = expiry.map(|expiry| now().until(expiry) + TICK);
            let wait = [patience, rest].into_iter().flatten().min();
            state = self.sleep(state, Sleep::UntilThereIsSomething, wait);
        }
        if !state.items.is_empty() && !state.is_urgent {
            state = self.sleep(state, Sleep::UntilUrgent, Some(GATHERING));
        }
        state.settle(now());
        (state.events, state.is_urgent) = (0, false);
        Batch { items: mem::take(&mut state.items), lost: mem::take(&mut state.lost) }
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        until: Sleep,
        at_most: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        state.sleeps = Some(until);
        let mut state = match at_most {
            Some(wait) => self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.sleeps = None;
        state
    }

    /// Everything, at the end.
    pub(super) fn take_all(&self) -> Batch {
        let mut state = self.state();
        for (_, recent) in mem::take(&mut state.recent) {
            state.count(recent);
        }
        Batch { items: mem::take(&mut state.items), lost: mem::take(&mut state.lost) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts what was repeated in a time that has passed.
    fn settle(&mut self, now: Moment) {
        let over = self.recent.extract_if(|_, recent| recent.counter.until <= now);
        let over: Vec<_> = over.map(|(_, recent)| recent).collect();
        for recent in over {
            self.count(recent);
        }
        self.denials.retain(|_, (since, _)| *since + DENIALS_SPAN > now);
    }

    fn count(&mut self, recent: Recent) {
        let (repeats, at) = recent.counter.take();
        if repeats > 0 {
            self.items.push(Item::Repeats(Box::new(Event { at, ..*recent.event }), repeats));
        }
    }

    /// For how long repetitions are counted, and whether this is a denial too many to be told from the others.
    fn patience_with(&mut self, event: &Event) -> (Duration, bool) {
        if event.outcome != super::DENIED {
            return (SPAN, false);
        }
        let has_room = self.denials.len() < MOST_RECENT;
        if !has_room && !self.denials.contains_key(&event.who.user) {
            return (DENIALS_SPAN, true);
        }
        let denied = self.denials.entry(event.who.user.clone()).or_insert((event.at, 0));
        if denied.0 + DENIALS_SPAN <= event.at {
            *denied = (event.at, 0);
        }
        denied.1 = denied.1.saturating_add(1);
        if denied.1 > MOST_DENIALS { (DENIALS_SPAN, true) } else { (SPAN, false) }
    }
}

const TAKEN: u64 = 1 << 63;
/// For so long what is repeated is counted.
const SPAN: Duration = Duration::from_secs(5);
const DENIALS_SPAN: Duration = Duration::from_mins(1);
/// So many denials of a user have records of their own, within that time.
const MOST_DENIALS: u32 = 60;
/// For so long what nobody waits for is gathered, to be written together.
const GATHERING: Duration = Duration::from_millis(20);
/// A moment is counted in milliseconds.
const TICK: Duration = Duration::from_millis(1);
const MOST_EVENTS: usize = 8192;
const MOST_RECENT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(uid: u32, pid: i32, outcome: &'static str, at: i64) -> Event {
        let who = Who { user: Some(Principal::numbered(uid)), pid: Some(pid), ..Who::default() };
        let credential = Some("acme".parse().unwrap());
        let token = Some(Fingerprint::from_bytes([1; 8]));
        Event { credential, token, ..Event::new("get", outcome, who.into(), Moment::from_millis(at)) }
    }

    fn take(inbox: &Inbox, now: i64) -> (usize, Vec<u64>, u64) {
        let batch = inbox.take(Some(Duration::ZERO), || Moment::from_millis(now));
        let repeats = batch.items.iter().filter_map(|item| match item {
            Item::Repeats(_, count) => Some(*count),
            _ => None,
        });
        (batch.items.len(), repeats.collect(), batch.lost)
    }

    #[test]
    fn what_a_process_repeats_is_counted_for_a_while_and_told_once() {
        let inbox = Inbox::default();
        let get = |at| event(1, 2, "ok", at);
        let key = get(0).key();
        let at = Moment::from_millis;
        assert!(inbox.count(&key, at(0), false).is_none());
        assert!(inbox.push(get(0), None));
        assert!(inbox.count(&key, at(1), true).is_none(), "its record is not written yet");
        inbox.is_written(&key);
        let counter = inbox.count(&key, at(1), true).unwrap();
        assert!(counter.count(at(2)) && inbox.count(&key, at(4999), false).is_some());
        assert!(inbox.count(&event(1, 3, "ok", 2).key(), at(2), false).is_none(), "another process");
        assert_eq!(take(&inbox, 4999), (1, vec![], 0));
        assert!(inbox.count(&key, at(5000), false).is_none() && !counter.count(at(5000)));
        assert_eq!(take(&inbox, 5000), (1, vec![3], 0));
        assert!(!counter.count(at(4999)), "what comes late is not lost in what was taken");
        assert_eq!(take(&inbox, 9000), (0, vec![], 0));
    }

    #[test]
    fn nobody_waits_for_a_thread_that_has_ended() {
        let inbox = Inbox::default();
        let (waiter, mut before) = oneshot::channel();
        assert!(inbox.push(event(1, 2, "ok", 0), Some(waiter)));
        inbox.close();
        assert!(before.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        let (waiter, mut after) = oneshot::channel();
        assert!(!inbox.push(event(1, 3, "ok", 0), Some(waiter)));
        assert!(after.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        let (asked, mut synced) = oneshot::channel();
        inbox.tell(Item::Sync(asked));
        assert!(synced.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn what_finds_no_room_is_counted_as_lost_and_one_who_waits_is_told() {
        let inbox = Inbox::default();
        let pids = || 0..i32::try_from(MOST_EVENTS).unwrap();
        assert!(pids().all(|pid| inbox.push(event(1, pid, "ok", 0), None)));
        assert!(!inbox.push(event(1, -1, "ok", 0), None));
        let (waiter, _told) = oneshot::channel();
        assert!(!inbox.push(event(1, -2, "ok", 0), Some(waiter)));
        assert_eq!(take(&inbox, 0), (MOST_EVENTS, vec![], 1));
        assert!(inbox.push(event(1, -3, "ok", 0), None));
    }

    #[test]
    fn a_flood_of_denials_of_one_user_is_a_count_and_hides_nobody_elses() {
        let inbox = Inbox::default();
        for pid in 0..1000 {
            assert!(inbox.push(event(7, pid, super::super::DENIED, 0), None));
        }
        assert!(inbox.push(event(8, 1, super::super::DENIED, 0), None));
        let (items, ..) = take(&inbox, 0);
        assert_eq!(items, usize::try_from(MOST_DENIALS).unwrap() + 1 + 1);
        let (_, repeats, _) = take(&inbox, 60_000);
        assert_eq!(repeats.iter().sum::<u64>(), 1000 - u64::from(MOST_DENIALS) - 1);
    }
}
