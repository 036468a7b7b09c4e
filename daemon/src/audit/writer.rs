//! The thread that turns events into records, and has the disk confirm them.
//!
//! Records that came together are written together. Where an answer waits for its record, the disk confirms each batch; otherwise at most
//! once a second. The thread sleeps while there is nothing to do. What the files look like is not known here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::inbox::Item;
use super::journal::Journal;
use super::reading::Snapshot;
use super::record::{Head, Record};
use super::{Event, Keep, Opening, Shared, Synced};
use crate::clock::Clock;
use crate::principal::Principal;
use crate::refresh::Moment;
use crate::vault::{AuditKey, AuditKeyIs};

pub(super) struct Writer<C> {
    shared: Arc<Shared>,
    clock: C,
    key: Option<Arc<AuditKey>>,
    journal: Option<Journal>,
    /// What happened while the vault was locked.
    late: Vec<Record>,
    has_started: bool,
    started: Moment,
    lost: u64,
    /// Since when the disk has not been asked to confirm.
    unconfirmed: bool,
    confirmed_at: Option<Moment>,
    is_failing: bool,
}

/// However the thread ends: nobody goes on waiting for it.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.inbox.close();
    }
}

/// A record, and who waits for it.
struct Draft {
    record: Record,
    waiter: Option<oneshot::Sender<bool>>,
    key: Option<super::inbox::Key>,
}

impl From<Record> for Draft {
    fn from(record: Record) -> Self {
        Self { record, waiter: None, key: None }
    }
}

impl<C: Clock> Writer<C> {
    pub(super) fn new(shared: Arc<Shared>, clock: C) -> Self {
        Self {
            shared,
            key: None,
            journal: None,
            late: Vec::new(),
            has_started: false,
            started: clock.boot(),
            lost: 0,
            unconfirmed: false,
            confirmed_at: None,
            is_failing: false,
            clock,
        }
    }

    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _closing = Closing(Arc::clone(&shared));
        loop {
            let batch = shared.inbox.take(self.patience(), || self.clock.boot());
            if self.take(batch) {
                return;
            }
        }
    }

    /// How long there may be nothing to do.
    fn patience(&self) -> Option<Duration> {
        let confirm = self.unconfirmed.then(|| {
            let due = self.confirmed_at.unwrap_or_default() + CONFIRM_EVERY;
            self.clock.boot().until(due)
        });
        let again = (self.lost > 0 && self.key.is_some()).then_some(TRY_AGAIN);
        [confirm, again].into_iter().flatten().min()
    }

    /// Does what is to be done; true at the end.
    fn take(&mut self, batch: super::inbox::Batch) -> bool {
        self.lost += batch.lost;
        let mut drafts = Vec::new();
        let mut is_over = false;
        let mut items = batch.items;
        if items.iter().any(|item| matches!(item, Item::End)) {
            let rest = self.shared.inbox.take_all();
            self.lost += rest.lost;
            items.extend(rest.items);
        }
        for item in items {
            match item {
                Item::Event(event, waiter) => {
                    let key = waiter.is_some().then(|| event.key());
                    drafts.push(Draft { record: self.record(&event, None), waiter, key });
                }
                Item::Repeats(event, count) => drafts.push(self.record(&event, Some(count)).into()),
                Item::Open(opening) => {
                    self.write(std::mem::take(&mut drafts));
                    self.open(*opening);
                }
                Item::Close => {
                    self.write(std::mem::take(&mut drafts));
                    self.confirm();
                    // Whoever is verifying holds on to the key until that is done.
                    (self.key, self.journal) = (None, None);
                }
                Item::Sync(asked) => {
                    self.write(std::mem::take(&mut drafts));
                    self.confirm();
                    let _ = asked.send(self.synced());
                }
                Item::End => is_over = true,
            }
        }
        self.write(drafts);
        if is_over || self.is_confirmation_due() {
            self.confirm();
        }
        is_over
    }

    fn record(&self, event: &Event, count: Option<u64>) -> Record {
        let who = &event.who;
        let program =
            who.program.as_ref().map(|program| program.to_string_lossy().chars().take(LONGEST).collect());
        Record {
            outcome: event.outcome.to_owned(),
            credential: event.credential.as_ref().map(ToString::to_string),
            token: event.token.as_ref().map(ToString::to_string),
            uid: who.user.as_ref().and_then(Principal::uid),
            sid: who.user.as_ref().and_then(Principal::sid),
            pid: who.pid,
            program,
            unit: who.unit.as_ref().map(|unit| unit.chars().take(LONGEST).collect()),
            count,
            detail: event.detail.as_ref().map(|detail| detail.chars().take(LONGEST).collect()),
            ..Record::new(event.act, self.clock.now().wall_of(event.at))
        }
    }

    fn open(&mut self, Opening { key, how }: Opening) {
        self.key = Some(Arc::new(key));
        self.shared.say(0, None);
        let mut first = self.open_journal(how);
        if !self.has_started {
            self.has_started = true;
            let detail =
                format!("procurify-tokend {}, pid {}", env!("CARGO_PKG_VERSION"), std::process::id());
            let at = self.clock.now().wall_of(self.started);
            first.push(Record { detail: Some(detail), outcome: "ok".to_owned(), ..Record::new("start", at) });
        }
        first.append(&mut self.late);
        self.write(first.into_iter().map(Draft::from).collect());
    }

    /// What has to be said about the files first.
    fn open_journal(&mut self, how: AuditKeyIs) -> Vec<Record> {
        let Some(key) = &self.key else { return Vec::new() };
        let settings = &self.shared.settings;
        match Journal::open(&settings.folder, settings.limits, Arc::clone(key), self.clock.now().wall) {
            Ok((journal, notes)) => {
                if how == AuditKeyIs::New && journal.head().last > 0 {
                    let folder = settings.folder.display();
                    self.shared.say(0, Some(format!(
                        "The key of the audit records is a new one, so the records so far cannot be verified: move {folder} away, and restart the daemon."
                    )));
                }
                self.shared.news.send_replace(journal.head().last);
                self.journal = Some(journal);
                notes
            }
            Err(error) => {
                self.failing(&error);
                Vec::new()
            }
        }
    }

    fn write(&mut self, mut drafts: Vec<Draft>) {
        if self.key.is_none() {
            self.keep_for_later(drafts);
            return;
        }
        if self.journal.is_none() && !(drafts.is_empty() && self.lost == 0) {
            let notes = self.open_journal(AuditKeyIs::TheSame);
            drafts.splice(0..0, notes.into_iter().map(Draft::from));
        }
        if self.lost > 0 {
            let gap = Record { lost: Some(self.lost), ..Record::new("gap", self.clock.now().wall) };
            drafts.insert(0, gap.into());
        }
        if drafts.is_empty() {
            return;
        }
        let now = self.clock.now().wall;
        let mut records: Vec<_> = drafts.iter_mut().map(|draft| std::mem::take(&mut draft.record)).collect();
        let (mut written, mut outcome) = match &mut self.journal {
            Some(journal) => journal.write(&mut records, now),
            None => (0, Ok(())),
        };
        self.unconfirmed |= written > 0;
        if self.shared.settings.keep == Keep::Required
            && written > 0
            && let Some(journal) = &mut self.journal
            && let Err(error) = journal.confirm()
        {
            // They are in the file, perhaps; nobody can rely on it.
            (written, outcome) = (0, Err(error));
        }
        if written > 0 && self.lost > 0 {
            info!(lost = self.lost, "audit records are written again; a record says how many are lost");
            self.lost = 0;
        }
        // The record of a gap is not itself lost.
        let is_gap = |record: &Record| record.act == "gap";
        for (at, (draft, record)) in drafts.into_iter().zip(&records).enumerate() {
            let is_written = at < written;
            if let (true, Some(key)) = (is_written, &draft.key) {
                self.shared.inbox.is_written(key);
            }
            let is_told = draft.waiter.is_some_and(|waiter| waiter.send(is_written).is_ok());
            if !is_written && !is_told && !is_gap(record) {
                self.lost += 1;
            }
        }
        match outcome {
            Err(error) => self.failing(&error),
            Ok(()) if written > 0 && self.is_failing => {
                self.is_failing = false;
                self.shared.say(1, None);
            }
            Ok(()) => {}
        }
        if let Some(journal) = &self.journal {
            self.shared.news.send_replace(journal.head().last);
        }
        if self.shared.settings.keep == Keep::Required {
            self.confirm();
        }
    }

    fn keep_for_later(&mut self, drafts: Vec<Draft>) {
        for Draft { mut record, waiter, .. } in drafts {
            let has_room = self.late.len() < room_for(&record);
            if has_room {
                record.late = true;
                self.late.push(record);
            }
            let is_told = waiter.is_some_and(|waiter| waiter.send(has_room).is_ok());
            if !has_room && !is_told {
                self.lost += 1;
            }
        }
    }

    fn is_confirmation_due(&self) -> bool {
        let due = self.confirmed_at.is_none_or(|at| at + CONFIRM_EVERY <= self.clock.boot());
        self.unconfirmed && due
    }

    fn confirm(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        if !self.unconfirmed {
            return;
        }
        self.unconfirmed = false;
        self.confirmed_at = Some(self.clock.boot());
        if let Err(error) = journal.confirm().and_then(|()| journal.write_head()) {
            self.failing(&error);
        }
    }

    fn failing(&mut self, error: &std::io::Error) {
        let folder = self.shared.settings.folder.display();
        let meanwhile = match self.shared.settings.keep {
            Keep::Required => {
                "Nothing is handed out or changed meanwhile, for the configuration requires a record."
            }
            Keep::On | Keep::Off => "Tokens are handed out all the same.",
        };
        let lost = match self.lost {
            0 => String::new(),
            lost => format!(" {lost} are lost so far."),
        };
        if !self.is_failing {
            warn!("audit records cannot be written to {folder}: {error}");
        }
        self.is_failing = true;
        self.shared.say(1, Some(format!(
            "Audit records cannot be written to {folder}: {error}.{lost} {meanwhile} Make room there, or name another place: [audit] path."
        )));
    }

    fn synced(&self) -> Synced {
        let head = self.journal.as_ref().map_or_else(Head::default, Journal::head);
        let ends_well = self.journal.as_ref().is_none_or(Journal::ends_where_it_should);
        let is_open = self.journal.is_some();
        Synced { last: head.last, snapshot: Snapshot { key: self.key.clone(), is_open, head, ends_well } }
    }
}

/// How many records may wait while the vault is locked before there is no room for this one. Whoever is denied again and again must
/// not keep an unlock, which may have to have a record, from having one.
fn room_for(late: &Record) -> usize {
    if late.outcome == super::DENIED { MOST_LATE / 2 } else { MOST_LATE }
}

/// What was written is confirmed by the disk within this time.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// How many records are kept while the vault is locked.
const MOST_LATE: usize = 4096;
/// The most characters of a text that others chose.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    #[test]
    fn denials_leave_room_for_an_unlock_while_the_vault_is_locked() {
        let unlock = Record::new("unlock", DateTime::UNIX_EPOCH);
        let denial = Record { outcome: super::super::DENIED.to_owned(), ..unlock.clone() };
        assert!(room_for(&denial) < room_for(&unlock) && room_for(&unlock) == MOST_LATE);
    }
}
