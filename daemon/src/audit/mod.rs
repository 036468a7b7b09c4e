//! Who got which token when, and who did what to the vault and the daemon: records that nobody can change, remove or reorder unnoticed.
//!
//! Whoever talks with callers says what happened, by a [`Handle`]; one thread writes it down. With `keep = "on"` nobody ever waits for
//! that: where records cannot be written, or come faster than they can, those that are lost are counted, and a record says how many as
//! soon as one can be written. With `keep = "required"` an answer waits until its record is on the disk, and is refused where that
//! fails. A token never gets here, only its fingerprint.
//!
//! | file | what |
//! | --- | --- |
//! | `record.rs` | pure: a record, and how it is chained to the one before |
//! | `inbox.rs` | events on their way; repetitions are counted |
//! | `journal.rs` | the files |
//! | `writer.rs` | the thread |
//! | `reading.rs` | looking at records, and checking them |
//!
//! While the vault is locked there is no key to chain with: what happens then is kept in memory, a bounded number of it, and written
//! when the vault opens. Who may look is not decided here, nor what is worth a record.

mod inbox;
mod journal;
mod reading;
mod record;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use procurify_token_protocol::{AuditVerdict, CredentialName, Fingerprint};
use serde::Deserialize;
use tokio::sync::{oneshot, watch};

use inbox::{Inbox, Item};
use reading::{Page, Snapshot};

use crate::clock::Clock;
use crate::principal::Principal;
use crate::refresh::Moment;
use crate::vault::{AuditKey, AuditKeyIs};

pub use inbox::Counter;
pub use journal::Limits;
pub use reading::Filter;

/// Whether records are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// None.
    Off,
    /// As far as the disk lets them.
    #[default]
    On,
    /// Nothing is handed out or done without one.
    Required,
}

/// Where and how records are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether.
    pub keep: Keep,
    /// The folder of the files.
    pub folder: PathBuf,
    /// Their size and number.
    pub limits: Limits,
}

/// Who did something, as the kernel says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The user.
    pub user: Option<Principal>,
    /// The process.
    pub pid: Option<i32>,
    /// What tells the process from a later one with its number; 0 where nothing does.
    pub process: u64,
    /// What it ran.
    pub program: Option<PathBuf>,
    /// The unit of the system's service manager that it belongs to.
    pub unit: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// What: the request's name.
    pub act: &'static str,
    /// What came of it.
    pub outcome: &'static str,
    /// Who did it.
    pub who: Arc<Who>,
    /// When, by the boot-time clock.
    pub at: Moment,
    /// To or with which credential.
    pub credential: Option<CredentialName>,
    /// Which token was handed out.
    pub token: Option<Fingerprint>,
    /// What else there is to say.
    pub detail: Option<String>,
}

impl Event {
    /// An event about nothing in particular.
    pub fn new(act: &'static str, outcome: &'static str, who: Arc<Who>, at: Moment) -> Self {
        Self { act, outcome, who, at, credential: None, token: None, detail: None }
    }

    fn key(&self) -> inbox::Key {
        inbox::Key {
            act: self.act,
            outcome: self.outcome,
            user: self.who.user.clone(),
            pid: self.who.pid,
            process: self.who.process,
            credential: self.credential.clone(),
            token: self.token,
        }
    }

    /// Only what costs nobody anything is ever repeated so fast: a token that is handed out again, and a denial.
    fn is_repeatable(&self) -> bool {
        self.token.is_some() || self.outcome == DENIED
    }
}

/// How events get to their records. Without a thread behind it, none are kept.
#[derive(Clone, Debug, Default)]
pub struct Handle(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    inbox: Inbox,
    /// The number of the last record.
    news: watch::Sender<u64>,
    /// True once nobody is to wait for one any more.
    stopping: watch::Sender<bool>,
    /// What a person should know.
    trouble: Mutex<Vec<String>>,
}

/// What becomes of an event.
#[derive(Debug)]
pub enum Noted {
    /// Nobody has to wait for its record.
    Done,
    /// Its record is being written.
    Writing(oneshot::Receiver<bool>),
    /// It has none, and should.
    Refused,
}

impl Noted {
    /// Whether there is a record, or none is needed.
    pub async fn is_settled(self) -> bool {
        match self {
            Self::Done => true,
            Self::Writing(written) => written.await.unwrap_or(false),
            Self::Refused => false,
        }
    }
}

/// What opening a vault gives the thread.
#[derive(Debug)]
struct Opening {
    key: AuditKey,
    how: AuditKeyIs,
}

#[derive(Debug)]
struct Synced {
    snapshot: Snapshot,
    last: u64,
}

/// Why records cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// None are kept.
    #[error("no audit records are kept")]
    Off,
    /// The key is sealed in the vault.
    #[error("the vault is locked")]
    Locked,
    /// The vault is open and they are not.
    #[error("the audit records are not open")]
    Closed,
    /// The disk.
    #[error("the audit records in {} cannot be read: {error}", .folder.display())]
    Io {
        /// Where they are.
        folder: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// The thread that writes; see [`finish`](Self::finish).
#[derive(Debug)]
pub struct Thread {
    handle: Handle,
    running: Option<thread::JoinHandle<()>>,
}

/// Starts the thread, if records are to be kept.
///
/// # Errors
/// What the kernel says to another thread.
pub fn start(settings: Settings, clock: impl Clock) -> std::io::Result<Thread> {
    if settings.keep == Keep::Off {
        return Ok(Thread { handle: Handle(None), running: None });
    }
    let (news, stopping) = (watch::channel(0).0, watch::channel(false).0);
    let (inbox, trouble) = (Inbox::default(), Mutex::default());
    let shared = Arc::new(Shared { settings, inbox, news, stopping, trouble });
    let handle = Handle(Some(Arc::clone(&shared)));
    let writer = writer::Writer::new(shared, clock);
    let running = thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
    Ok(Thread { handle, running: Some(running) })
}

impl Thread {
    /// How events get there.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Writes what there is, and ends.
    pub fn finish(self) {
        if let (Some(shared), Some(running)) = (self.handle.0, self.running) {
            shared.inbox.tell(Item::End);
            let _ = running.join();
        }
    }
}

impl Handle {
    /// Whether, and how.
    pub fn keep(&self) -> Keep {
        self.0.as_ref().map_or(Keep::Off, |shared| shared.settings.keep)
    }

    /// Whether this process was handed this token a moment ago, or denied this; then it is counted, and needs no further record. What
    /// is given counts the next ones.
    pub fn count(
        &self,
        who: &Who,
        event: (&'static str, &'static str),
        credential: Option<&CredentialName>,
        token: Option<Fingerprint>,
        at: Moment,
    ) -> Option<Arc<Counter>> {
        let shared = self.0.as_ref()?;
        let key = inbox::Key {
            act: event.0,
            outcome: event.1,
            user: who.user.clone(),
            pid: who.pid,
            process: who.process,
            credential: credential.cloned(),
            token,
        };
        shared.inbox.count(&key, at, shared.settings.keep == Keep::Required)
    }

    /// Says that something happened, or is about to.
    pub fn note(&self, event: Event) -> Noted {
        let Some(shared) = &self.0 else { return Noted::Done };
        if shared.settings.keep != Keep::Required {
            let _ = shared.inbox.push(event, None);
            return Noted::Done;
        }
        let (waiter, written) = oneshot::channel();
        if shared.inbox.push(event, Some(waiter)) { Noted::Writing(written) } else { Noted::Refused }
    }

    /// Something that the daemon did by itself.
    pub fn note_own(&self, act: &'static str, outcome: &'static str, at: Moment) {
        let _ = self.note(Event::new(act, outcome, Arc::default(), at));
    }

    /// The vault is open: from now on records can be chained.
    pub fn open(&self, key: AuditKey, how: AuditKeyIs) {
        if let Some(shared) = &self.0 {
            shared.inbox.tell(Item::Open(Box::new(Opening { key, how })));
        }
    }

    /// There is no key, though the vault is open.
    pub fn cannot_open(&self, why: &str) {
        if let Some(shared) = &self.0 {
            shared.say(0, Some(format!("No audit records are written, for their key cannot be had. {why}")));
        }
    }

    /// The vault is locked: what was said so far is written, then the key goes.
    pub fn close(&self) {
        if let Some(shared) = &self.0 {
            shared.inbox.tell(Item::Close);
        }
    }

    /// Nobody waits for a further record any more.
    pub fn wind_down(&self) {
        if let Some(shared) = &self.0 {
            shared.stopping.send_replace(true);
        }
    }

    /// What a person should know.
    pub fn warnings(&self) -> Vec<String> {
        self.0.as_ref().map(|shared| shared.trouble().clone()).unwrap_or_default()
    }

    /// Records behind a number; where there are none, it waits for some.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn show(
        &self,
        after: Option<u64>,
        filter: Filter,
        patience: Duration,
    ) -> Result<(Vec<String>, u64, bool), ReadError> {
        let shared = self.0.as_ref().ok_or(ReadError::Off)?;
        let (mut news, mut stopping) = (shared.news.subscribe(), shared.stopping.subscribe());
        let mut after = after;
        let patience = tokio::time::sleep(patience);
        tokio::pin!(patience);
        loop {
            let last = shared.synced().await.map_or(0, |synced| synced.last);
            // Nothing is known of how far they go until the vault was open once.
            let last = if last == 0 { u64::MAX } else { last };
            let (folder, wanted) = (shared.settings.folder.clone(), filter.clone());
            let page =
                blocking(&shared.settings.folder, move || reading::page(&folder, after, &wanted, last));
            let Page { lines, next, more } = page.await?;
            if !lines.is_empty() || more {
                return Ok((lines, next, more));
            }
            after = after.max(Some(next));
            tokio::select! {
                said = news.wait_for(|last| *last > next) => if said.is_err() { return Ok((lines, next, more)) },
                _ = stopping.wait_for(|stopping| *stopping) => return Ok((lines, next, more)),
                () = &mut patience => return Ok((lines, next, more)),
            }
        }
    }

    /// Whether the records are those that were written.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn verify(&self) -> Result<AuditVerdict, ReadError> {
        let shared = self.0.as_ref().ok_or(ReadError::Off)?;
        loop {
            let Some(Synced { snapshot, .. }) = shared.synced().await else { return Err(ReadError::Locked) };
            let (folder, key) =
                (shared.settings.folder.clone(), snapshot.key.clone().ok_or(ReadError::Locked)?);
            if !snapshot.is_open {
                return Err(ReadError::Closed);
            }
            let before = snapshot.clone();
            let verdict =
                blocking(&shared.settings.folder, move || reading::verify(&folder, &key, &before)).await;
            // The oldest file may have been dropped meanwhile, which is as it should be.
            let first_now = shared.synced().await.map_or(0, |synced| synced.snapshot.head.first);
            if first_now == snapshot.head.first {
                return verdict;
            }
        }
    }
}

impl Shared {
    async fn synced(&self) -> Option<Synced> {
        let (asked, synced) = oneshot::channel();
        self.inbox.tell(Item::Sync(asked));
        synced.await.ok()
    }

    /// Says in one of a few places what a person should know.
    fn say(&self, place: usize, what: Option<String>) {
        let mut trouble = self.trouble();
        let mut said: Vec<_> = (0..PLACES).map(|at| trouble.get(at).cloned().unwrap_or_default()).collect();
        said[place] = what.unwrap_or_default();
        *trouble = said;
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ReadError> {
    let done = tokio::task::spawn_blocking(work).await.expect("reading records does not panic");
    done.map_err(|error| ReadError::Io { folder: folder.to_owned(), error })
}

/// What came of a request that its caller may not make.
pub const DENIED: &str = "denied";
/// The key, and the writing.
const PLACES: usize = 2;
