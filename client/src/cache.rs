//! The client's own cache: which tokens may be handed out without asking the daemon. Pure: it is told the time and what the
//! daemon said, and does no I/O.
//!
//! A token is handed out as long as all of this holds: a watch is out that the daemon has not answered, so nothing is known
//! against it; the daemon has said a word within [`LEASE`]; it lives for as long as is wanted, by the boot-time clock; nobody
//! reported it as refused. When the connection breaks, what was held becomes a spare: only whoever finds no daemon is given
//! it, for no longer than [`SPARE`], and not once the daemon has refused the credential to this client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use procurify_token_protocol::{CredentialName, Fingerprint, TokenGrant, Watched};

use crate::clock::{Moment, Now};
use crate::token::Token;

/// The tokens of a client.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    slots: HashMap<CredentialName, Slot>,
    /// Counts what becomes known of any credential.
    news: u64,
}

/// What is known of one credential.
#[derive(Debug)]
struct Slot {
    held: Option<Held>,
    /// Whether a watch is out.
    watched: bool,
    /// When the daemon last said something about it.
    heard: Moment,
    /// The token that the API refused last. While the daemon hands out the same one, it is asked each time.
    refused: Option<Fingerprint>,
    /// The number of the last news about this one.
    news: u64,
    /// Whether anybody was handed its token lately.
    wanted: AtomicBool,
}

#[derive(Debug)]
struct Held {
    token: Token,
    ends: Moment,
}

impl Cache {
    /// A token that may be handed out unasked and still lives for `min_ttl`.
    pub(crate) fn find(&self, name: &CredentialName, min_ttl: Duration, now: Moment) -> Option<Token> {
        let slot = self.slots.get(name)?;
        let may_be_used = slot.watched && slot.heard.until(now) < LEASE;
        let held = slot.held.as_ref().filter(|held| may_be_used && held.lives(min_ttl, now))?;
        // Looked at first: what is only read is shared by all cores.
        if !slot.wanted.load(Ordering::Relaxed) {
            slot.wanted.store(true, Ordering::Relaxed);
        }
        Some(held.token.clone())
    }

    /// A token for whoever finds no daemon: valid as far as is known.
    pub(crate) fn spare(&self, name: &CredentialName, now: Moment) -> Option<Token> {
        let slot = self.slots.get(name)?;
        let may_be_used = slot.heard.until(now) < SPARE;
        let held = slot.held.as_ref().filter(|held| may_be_used && held.lives(Duration::ZERO, now))?;
        Some(held.token.clone())
    }

    /// Makes a place for a credential; false where as many as may be are watched already.
    pub(crate) fn admit(&mut self, name: &CredentialName, now: Moment) -> bool {
        if self.slots.contains_key(name) {
            return true;
        }
        if self.slots.len() >= MOST_WATCHED {
            let unwatched = self.slots.iter().find(|(_, slot)| !slot.watched).map(|(name, _)| name.clone());
            let Some(unwatched) = unwatched else { return false };
            self.slots.remove(&unwatched);
        }
        let (news, wanted) = (self.news, AtomicBool::new(true));
        let slot = Slot { held: None, watched: false, heard: now, refused: None, news, wanted };
        self.slots.insert(name.clone(), slot);
        true
    }

    /// Whether there is a place for it.
    pub(crate) fn knows(&self, name: &CredentialName) -> bool {
        self.slots.contains_key(name)
    }

    /// Whether a watch is out for it.
    pub(crate) fn is_watched(&self, name: &CredentialName) -> bool {
        self.slots.get(name).is_some_and(|slot| slot.watched)
    }

    /// The number of the last news about it.
    pub(crate) fn news(&self, name: &CredentialName) -> Option<u64> {
        self.slots.get(name).map(|slot| slot.news)
    }

    /// What a watch has told, after which the next one is out.
    pub(crate) fn told(&mut self, name: &CredentialName, told: Watched, now: Now) {
        let Some(slot) = self.stirred(name) else { return };
        (slot.watched, slot.heard) = (true, now.boot);
        match told.token {
            Some(grant) => drop(slot.hold(name, grant, now)),
            None => slot.held = None,
        }
    }

    /// A watch has ended with nothing to tell, and the next one is out. Says whether the token is still wanted: whether anybody
    /// was handed it since this was asked last.
    #[cfg(feature = "async")]
    pub(crate) fn heard(&mut self, name: &CredentialName, now: Moment) -> bool {
        self.slots.get_mut(name).is_some_and(|slot| {
            slot.heard = now;
            std::mem::take(slot.wanted.get_mut())
        })
    }

    /// What the daemon answered to somebody who asked when `news` was the last that was known. It is kept where a watch is out
    /// and nothing has become known since.
    pub(crate) fn learned(
        &mut self,
        name: &CredentialName,
        grant: TokenGrant,
        news: Option<u64>,
        now: Now,
    ) -> Token {
        match self.slots.get_mut(name).filter(|slot| slot.watched && Some(slot.news) == news) {
            Some(slot) => {
                slot.heard = now.boot;
                slot.hold(name, grant, now)
            }
            None => Token::new(name.clone(), grant),
        }
    }

    /// The API refused a token. Another one that is held meanwhile is none of its concern.
    pub(crate) fn refuse(&mut self, name: &CredentialName, refused: Fingerprint) {
        if let Some(slot) = self.stirred(name) {
            slot.refused = Some(refused);
            slot.held.take_if(|held| held.token.fingerprint() == refused);
        }
    }

    /// No watch is out any more, for another reason than that the daemon said so.
    pub(crate) fn unwatch(&mut self, name: &CredentialName) {
        if let Some(slot) = self.stirred(name) {
            slot.watched = false;
        }
    }

    /// The same for all.
    #[cfg(feature = "blocking")]
    pub(crate) fn unwatch_all(&mut self) {
        self.news += 1;
        for slot in self.slots.values_mut() {
            (slot.watched, slot.news) = (false, self.news);
        }
    }

    /// The daemon refused a token to somebody who asked for it: what is held is no spare any more. A watch that is out keeps its
    /// place, or every caller who is refused would begin another one.
    pub(crate) fn deny(&mut self, name: &CredentialName) {
        if !self.is_watched(name) {
            self.forget(name);
        } else if let Some(slot) = self.stirred(name) {
            slot.held = None;
        }
    }

    /// The daemon refused: nothing is known of it, and nothing kept.
    pub(crate) fn forget(&mut self, name: &CredentialName) {
        self.slots.remove(name);
    }

    fn stirred(&mut self, name: &CredentialName) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(name)?;
        self.news += 1;
        slot.news = self.news;
        Some(slot)
    }
}

impl Slot {
    /// Keeps a token, unless it is the refused one. Of one that is held already the first reckoning of its end stands: it is
    /// the nearest to its issue.
    fn hold(&mut self, name: &CredentialName, grant: TokenGrant, now: Now) -> Token {
        let fingerprint = grant.token.fingerprint();
        if let Some(held) = self.held.as_ref().filter(|held| held.token.fingerprint() == fingerprint) {
            return held.token.clone();
        }
        let ends = now.moment_of(grant.token.expires_at().timestamp_millis());
        let token = Token::new(name.clone(), grant);
        if self.refused == Some(fingerprint) {
            self.held = None;
        } else {
            (self.refused, self.held) = (None, Some(Held { token: token.clone(), ends }));
        }
        token
    }
}

impl Held {
    fn lives(&self, min_ttl: Duration, now: Moment) -> bool {
        self.ends > now && now.until(self.ends) >= min_ttl
    }
}

/// How long the daemon's silence is taken for consent, suspends included: a little longer than one question stays open.
pub(crate) const LEASE: Duration = Duration::from_secs(330);

/// How long after the daemon's last word a token is handed out to whoever finds no daemon.
pub(crate) const SPARE: Duration = Duration::from_secs(600);

/// How many credentials are watched at most: a quarter of the requests that the daemon takes on one connection at once.
pub(crate) const MOST_WATCHED: usize = 64;

#[cfg(test)]
mod tests;
