//! The ledger: what was asked, by whom, how many at once, and how it ended.
//!
//! Tests assert on it. It never holds a client secret or a token; a token is known by its
//! fingerprint. The newest 200,000 entries of each kind are kept, the counts in [`Tally`] cover
//! all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

mod entries;

pub(crate) use entries::shortened;
pub use entries::{ApiCall, BodyEncoding, Door, Outcome, Refusal, RequestHead, TokenRequest};

/// A shared handle on the ledger of one sandbox.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    changed: Condvar,
}

/// The ledger's pages, as seen at one moment.
#[derive(Debug, Default)]
pub struct Book {
    last_sequence: u64,
    token_requests: VecDeque<TokenRequest>,
    api_calls: VecDeque<ApiCall>,
    tallies: HashMap<String, Tally>,
}

/// Counts for one domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Tokens issued; one handed out again does not count again.
    pub issued: u64,
    /// Token requests, answered or not.
    pub token_requests: u64,
    /// API calls, answered or not.
    pub api_calls: u64,
    /// Token requests being answered right now.
    pub in_flight: u32,
    /// The most token requests that were ever being answered at once.
    pub max_in_flight: u32,
}

/// One domain's part of the ledger, or all of it, as the control endpoint shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Counts by domain.
    pub domains: HashMap<String, Tally>,
    /// Oldest first.
    pub token_requests: Vec<TokenRequest>,
    /// Oldest first.
    pub api_calls: Vec<ApiCall>,
}

impl Ledger {
    /// How many tokens this domain issued.
    pub fn issued(&self, domain: &str) -> u64 {
        self.tally(domain).issued
    }

    /// The token requests of this domain, oldest first.
    pub fn token_requests(&self, domain: &str) -> Vec<TokenRequest> {
        self.lock().report(Some(domain)).token_requests
    }

    /// The API calls of this domain, oldest first.
    pub fn api_calls(&self, domain: &str) -> Vec<ApiCall> {
        self.lock().report(Some(domain)).api_calls
    }

    /// The most token requests of this domain that were in flight at once.
    pub fn max_in_flight(&self, domain: &str) -> u32 {
        self.tally(domain).max_in_flight
    }

    /// All counts of this domain.
    pub fn tally(&self, domain: &str) -> Tally {
        self.lock().tally(domain)
    }

    /// Everything, or everything about one domain.
    pub fn report(&self, domain: Option<&str>) -> Report {
        self.lock().report(domain)
    }

    /// Blocks until `condition` holds, and says whether it did before `limit` was over.
    ///
    /// The condition is asked after every change. Do not call this on the only thread of the
    /// runtime that serves the sandbox; [`Sandbox::spawn`](crate::Sandbox::spawn) has its own.
    pub fn wait_for(&self, limit: Duration, mut condition: impl FnMut(&Book) -> bool) -> bool {
        let (_book, timeout) = self
            .shared
            .changed
            .wait_timeout_while(self.lock(), limit, |book| !condition(book))
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Forgets all that is over. Sequence numbers go on.
    pub(crate) fn reset(&self) {
        self.change(|book| {
            book.token_requests.clear();
            book.api_calls.clear();
            for tally in book.tallies.values_mut() {
                *tally =
                    Tally { in_flight: tally.in_flight, max_in_flight: tally.in_flight, ..Tally::default() };
            }
        });
    }

    pub(crate) fn open_token_request(&self, at: DateTime<Utc>, head: RequestHead) -> OpenRequest {
        let domain = head.domain.clone();
        let sequence = self.change(|book| {
            let tally = book.tallies.entry(head.domain.clone()).or_default();
            tally.token_requests += 1;
            tally.in_flight += 1;
            tally.max_in_flight = tally.max_in_flight.max(tally.in_flight);
            let concurrent = tally.in_flight;
            let sequence = book.next_sequence();
            let request = TokenRequest::arrived(sequence, at, head, concurrent);
            push_bounded(&mut book.token_requests, request);
            sequence
        });
        OpenRequest { ledger: self.clone(), domain, sequence }
    }

    pub(crate) fn open_api_call(&self, at: DateTime<Utc>, head: RequestHead) -> u64 {
        self.change(|book| {
            book.tallies.entry(head.domain.clone()).or_default().api_calls += 1;
            let sequence = book.next_sequence();
            push_bounded(&mut book.api_calls, ApiCall::arrived(sequence, at, head));
            sequence
        })
    }

    pub(crate) fn note_api_call(&self, sequence: u64, note: impl FnOnce(&mut ApiCall)) {
        self.change(|book| {
            if let Ok(index) = book.api_calls.binary_search_by_key(&sequence, |call| call.sequence) {
                note(&mut book.api_calls[index]);
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let result = change(&mut self.lock());
        self.shared.changed.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// All counts of this domain.
    pub fn tally(&self, domain: &str) -> Tally {
        self.tallies.get(domain).copied().unwrap_or_default()
    }

    /// The token requests of all domains, oldest first.
    pub fn token_requests(&self) -> impl Iterator<Item = &TokenRequest> {
        self.token_requests.iter()
    }

    /// The API calls of all domains, oldest first.
    pub fn api_calls(&self) -> impl Iterator<Item = &ApiCall> {
        self.api_calls.iter()
    }

    fn report(&self, domain: Option<&str>) -> Report {
        let wanted = |name: &str| domain.is_none_or(|domain| domain == name);
        Report {
            domains: self
                .tallies
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, tally)| (name.clone(), *tally))
                .collect(),
            token_requests: self
                .token_requests()
                .filter(|request| wanted(&request.head.domain))
                .cloned()
                .collect(),
            api_calls: self.api_calls().filter(|call| wanted(&call.head.domain)).cloned().collect(),
        }
    }

    fn next_sequence(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }
}

/// A token request in flight. Dropping it lands it; one that was never settled was abandoned.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    ledger: Ledger,
    domain: String,
    sequence: u64,
}

impl OpenRequest {
    pub(crate) fn note(&self, note: impl FnOnce(&mut TokenRequest)) {
        self.ledger.change(|book| book.with_request(self.sequence, note));
    }

    pub(crate) fn settle(&self, outcome: Outcome) {
        self.note(|request| request.outcome = outcome);
    }

    /// Settles it as issued; `note` says which token.
    pub(crate) fn settle_issued(&self, note: impl FnOnce(&mut TokenRequest)) {
        self.ledger.change(|book| {
            book.tallies.entry(self.domain.clone()).or_default().issued += 1;
            book.with_request(self.sequence, |request| {
                request.outcome = Outcome::Issued;
                note(request);
            });
        });
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.ledger.change(|book| {
            if let Some(tally) = book.tallies.get_mut(&self.domain) {
                tally.in_flight = tally.in_flight.saturating_sub(1);
            }
            book.with_request(self.sequence, |request| {
                if request.outcome == Outcome::Pending {
                    request.outcome = Outcome::Abandoned;
                }
            });
        });
    }
}

impl Book {
    fn with_request(&mut self, sequence: u64, note: impl FnOnce(&mut TokenRequest)) {
        let index = self.token_requests.binary_search_by_key(&sequence, |request| request.sequence);
        // A request that began before a reset has no entry any more.
        if let Ok(index) = index {
            note(&mut self.token_requests[index]);
        }
    }
}

fn push_bounded<T>(entries: &mut VecDeque<T>, entry: T) {
    if entries.len() == KEPT {
        entries.pop_front();
    }
    entries.push_back(entry);
}

const KEPT: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn open(ledger: &Ledger) -> OpenRequest {
        ledger.open_token_request(DateTime::UNIX_EPOCH, RequestHead::example("acme"))
    }

    #[test]
    fn concurrency_is_the_most_that_were_open_at_once() {
        let ledger = Ledger::default();
        let (a, b) = (open(&ledger), open(&ledger));
        drop(a);
        let c = open(&ledger);
        assert_eq!(ledger.tally("acme").in_flight, 2);
        drop((b, c));
        assert_eq!(ledger.max_in_flight("acme"), 2);
        assert_eq!(ledger.tally("acme").in_flight, 0);
        let concurrent: Vec<u32> = ledger.token_requests("acme").iter().map(|r| r.concurrent).collect();
        assert_eq!(concurrent, [1, 2, 2]);
        assert_eq!(ledger.max_in_flight("globex"), 0);
    }

    #[test]
    fn a_request_that_nobody_settled_was_abandoned() {
        let ledger = Ledger::default();
        drop(open(&ledger));
        open(&ledger).settle_issued(|request| request.jti = Some("j".to_owned()));
        let outcomes: Vec<Outcome> = ledger.token_requests("acme").into_iter().map(|r| r.outcome).collect();
        assert_eq!(outcomes, [Outcome::Abandoned, Outcome::Issued]);
        assert_eq!(ledger.issued("acme"), 1);
    }

    #[test]
    fn a_reset_forgets_entries_but_not_what_is_in_flight() {
        let ledger = Ledger::default();
        let before = open(&ledger);
        ledger.reset();
        assert_eq!(ledger.tally("acme").in_flight, 1);
        let after = open(&ledger);
        drop(before);
        assert_eq!(ledger.token_requests("acme").len(), 1);
        assert_eq!(ledger.token_requests("acme")[0].outcome, Outcome::Pending);
        drop(after);
        assert_eq!(ledger.tally("acme").in_flight, 0);
    }

    #[test]
    fn waiting_ends_with_the_condition_or_the_limit() {
        let ledger = Ledger::default();
        assert!(!ledger.wait_for(Duration::ZERO, |book| book.tally("acme").issued == 1));
        let other = ledger.clone();
        let issuing = std::thread::spawn(move || open(&other).settle_issued(|_| ()));
        assert!(ledger.wait_for(Duration::from_secs(30), |book| book.tally("acme").issued == 1));
        issuing.join().unwrap();
    }
}
