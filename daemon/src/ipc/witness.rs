//! What of a conversation gets an audit record: each token that is handed out, each change and whatever else concerns the vault and the
//! daemon, and each denial. What only looks at something has none, unless it is denied.
//!
//! Here it is decided what is said, and about whom; how it is kept is for `audit`. No secret is ever a part of it: a token is
//! named by its fingerprint, client credentials by their id.

use std::future::Future;
use std::ptr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use procurify_token_protocol::{
    Answer, CredentialName, ExportProof, Fingerprint, NewSlot, Refusal, Request, SlotId, UnlockWith,
};

use super::service::Service;
use crate::audit::{self, Counter, DENIED, Event, Keep, Noted, Who};
use crate::clock::Clock;
use crate::lookup::Ready;
use crate::refresh::Moment;
use crate::{explain, os};

/// What a request is to the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Act {
    name: &'static str,
    kind: Kind,
    credential: Option<CredentialName>,
    token: Option<Fingerprint>,
    detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing comes of it.
    Look,
    /// It may be answered with a token.
    Token,
    /// A new token is asked for, whatever becomes of the answer.
    Renewal,
    /// Something is done.
    Deed,
    /// Something is done that must also be possible where no record can be written; nothing follows it that could say so.
    Ending,
}

impl Act {
    pub(super) fn of(request: &Request) -> Self {
        use Kind::{Deed, Ending, Look, Renewal, Token};
        let act = |name, kind| Self { name, kind, credential: None, token: None, detail: None };
        let of = |name, kind, credential: &CredentialName| Self {
            credential: Some(credential.clone()),
            ..act(name, kind)
        };
        let with = |act: Self, detail: String| Self { detail: Some(detail), ..act };
        match request {
            Request::Get { name, .. } => of("get", Token, name),
            Request::Watch { name, .. } => of("watch", Token, name),
            Request::Refresh { name, .. } => of("refresh", Renewal, name),
            Request::Invalidate { name, fingerprint } => {
                Self { token: Some(*fingerprint), ..of("invalidate", Deed, name) }
            }
            Request::List { .. } => act("list", Look),
            Request::Describe { name } => of("describe", Look, name),
            Request::Status => act("status", Look),
            Request::Slots => act("slots", Look),
            Request::Examine => act("examine", Look),
            Request::ExplainAccess { name, .. } => of("explain-access", Look, name),
            Request::AuditShow { .. } => act("audit-show", Look),
            Request::AuditVerify => act("audit-verify", Look),
            Request::Upload(_) => act("upload", Look),
            Request::Backup { generation: Some(_), .. } => act("backup", Look),
            Request::Backup { generation: None, .. } => act("backup", Deed),
            Request::Init { slots } => {
                with(act("init", Deed), slots.iter().map(slot).collect::<Vec<_>>().join(", "))
            }
            Request::Unlock { key, generation: 0 } => with(act("unlock", Deed), opened_by(key).to_owned()),
            Request::Unlock { key, generation } => {
                with(act("unlock", Deed), format!("{}, generation {generation}", opened_by(key)))
            }
            Request::Lock => act("lock", Ending),
            Request::Stop => act("stop", Ending),
            Request::Add(new) => with(of("add", Deed, &new.name), client(new.client_id.as_str())),
            Request::Stage { name, client_id, .. } => {
                with(of("stage", Deed, name), client(client_id.as_str()))
            }
            Request::Promote { name, .. } => of("promote", Deed, name),
            Request::Rollback { name } => of("rollback", Deed, name),
            Request::Remove { name } => of("remove", Deed, name),
            Request::AddSlot { slot: new, .. } => with(act("add-slot", Deed), slot(new).to_owned()),
            Request::Rekey { without, .. } if without.is_empty() => act("rekey", Deed),
            Request::Rekey { without, .. } => {
                let gone: Vec<_> = without.iter().map(SlotId::to_string).collect();
                with(act("rekey", Deed), format!("without {}", gone.join(", ")))
            }
            Request::Restore { .. } => act("restore", Deed),
            Request::Import { .. } => act("import", Deed),
            Request::Export { proof: ExportProof::Key(_), .. } => act("export", Deed),
            Request::Export { proof: ExportProof::Pass(_), .. } => {
                with(act("export", Deed), "the next page".to_owned())
            }
        }
    }

    /// Whether it is done to its end, also where whoever asked has left: then there is a record of that.
    pub(super) fn is_deed(&self) -> bool {
        matches!(self.kind, Kind::Deed | Kind::Ending)
    }

    /// Whether anything but a denial of it has a record.
    pub(super) fn is_of_note(&self) -> bool {
        self.kind != Kind::Look
    }
}

fn client(id: &str) -> String {
    format!("client id {id}")
}

fn opened_by(key: &UnlockWith) -> &'static str {
    match key {
        UnlockWith::Unattended => "by what needs no person",
        UnlockWith::Passphrase(_) => "by a passphrase",
        UnlockWith::RecoveryCode(_) => "by a recovery code",
    }
}

fn slot(new: &NewSlot) -> &'static str {
    match new {
        NewSlot::KeyFile => "key file",
        NewSlot::Passphrase(_) => "passphrase",
        NewSlot::RecoveryCode => "recovery code",
        NewSlot::Command => "command",
        NewSlot::Keychain => "keychain",
        NewSlot::Credential => "systemd credential",
    }
}

/// What was handed out on a connection a moment ago, and counts when it is again. It keeps no token.
#[derive(Default)]
pub(super) struct Lately(Option<(Weak<Ready>, Arc<Counter>)>);

impl Lately {
    fn counts(&self, ready: &Arc<Ready>, at: Moment) -> bool {
        let Self(Some((before, counter))) = self else { return false };
        ptr::eq(before.as_ptr(), Arc::as_ptr(ready)) && counter.count(at)
    }
}

impl<C: Clock> Service<C> {
    /// A token goes out from the table. `who` is looked at only where it needs a record of its own, and `lately` is what was handed
    /// out on this connection before.
    pub(super) fn note_get(
        &self,
        caller: &Who,
        name: &CredentialName,
        ready: &Arc<Ready>,
        at: Moment,
        lately: &mut Lately,
        who: impl FnOnce() -> Who,
    ) -> Noted {
        if self.audit.keep() == Keep::Off || lately.counts(ready, at) {
            return Noted::Done;
        }
        let token = ready.fingerprint;
        if let Some(counter) = self.audit.count(caller, ("get", OK), Some(name), Some(token), at) {
            *lately = Lately(Some((Arc::downgrade(ready), counter)));
            return Noted::Done;
        }
        let (credential, token) = (Some(name.clone()), Some(token));
        self.audit.note(Event { credential, token, ..Event::new("get", OK, who().into(), at) })
    }

    /// Somebody may not have any more what he asked for.
    pub(super) fn note_revoked(&self, who: &Arc<Who>, act: &Act) {
        let event = Event::new(act.name, DENIED, Arc::clone(who), self.clock.boot());
        let _ = self.audit.note(Event { credential: act.credential.clone(), ..event });
    }

    /// Somebody may not do what he asks for.
    pub(super) fn note_denial(&self, caller: &Who, request: &Request, who: impl FnOnce() -> Who) {
        if self.audit.keep() == Keep::Off {
            return;
        }
        let (at, Act { name, credential, token, .. }) = (self.clock.boot(), Act::of(request));
        if self.audit.count(caller, (name, DENIED), credential.as_ref(), token, at).is_none() {
            let event = Event { credential, token, ..Event::new(name, DENIED, who().into(), at) };
            // It is denied whatever becomes of the record.
            let _ = self.audit.note(event);
        }
    }

    /// Has something answered by the driver, with the records that belong to it.
    pub(super) async fn witnessed(
        &self,
        act: Act,
        who: Arc<Who>,
        answer: impl Future<Output = Result<Answer, Refusal>>,
    ) -> Result<Answer, Refusal> {
        let event = |outcome: &'static str| {
            let Act { name, credential, token, detail, .. } = act.clone();
            let event = Event::new(name, outcome, Arc::clone(&who), self.clock.boot());
            Event { credential, token, detail, ..event }
        };
        let is_required = self.audit.keep() == Keep::Required;
        if act.kind == Kind::Ending {
            let _ = self.audit.note(event(ASKED));
        } else if matches!(act.kind, Kind::Deed | Kind::Renewal)
            && is_required
            && !self.audit.note(event(ASKED)).is_settled().await
        {
            return Err(explain::not_audited());
        }
        let answer = answer.await;
        match (act.kind, &answer) {
            (Kind::Look, _) | (Kind::Token | Kind::Renewal, Err(_)) | (Kind::Ending, Ok(_)) => {}
            (Kind::Token | Kind::Renewal, Ok(answer)) => {
                let event = Event { token: token_in(answer), ..event(OK) };
                let (act, about) = ((event.act, OK), event.credential.as_ref());
                let needs_none = event.token.is_none()
                    || self.audit.count(&who, act, about, event.token, event.at).is_some();
                if !needs_none && !self.audit.note(event).is_settled().await {
                    return Err(explain::not_audited());
                }
            }
            (Kind::Deed | Kind::Ending, Err(refusal)) => {
                let _ = self.audit.note(event(refusal.code.label()));
            }
            (Kind::Deed, Ok(answer)) => {
                let event = event(OK);
                let token = token_in(answer).or(event.token);
                let detail = [event.detail.clone(), told(answer)].into_iter().flatten().collect::<Vec<_>>();
                let detail = (!detail.is_empty()).then(|| detail.join("; "));
                // What was done is done: that it was asked for has a record where one is required.
                let _ = self.audit.note(Event { token, detail, ..event });
            }
        }
        answer
    }
}

/// Audit records, once there are some, or whether they are as they were.
pub(super) async fn records(audit: &audit::Handle, request: Request) -> Result<Answer, Refusal> {
    let unreadable = |error| explain::unreadable_audit(&error);
    let Request::AuditShow { after, filter, deadline } = request else {
        return audit.verify().await.map(Answer::AuditVerified).map_err(unreadable);
    };
    let user = match filter.user {
        Some(user) => {
            let name = user.clone();
            // A name service may be far away.
            let account = tokio::task::spawn_blocking(move || os::account(&name)).await.ok().flatten();
            Some(account.ok_or_else(|| explain::unknown_user(&user))?.user)
        }
        None => None,
    };
    let filter = audit::Filter { credential: filter.credential, user, since: filter.since };
    let shown = audit.show(after, filter, deadline.min(LONGEST_SHOW)).await;
    let (lines, next, more) = shown.map_err(unreadable)?;
    Ok(Answer::AuditRecords { lines, next, more })
}

/// Whether it hands out a token.
pub(super) fn brings_token(reply: &Result<Answer, Refusal>) -> bool {
    reply.as_ref().is_ok_and(|answer| token_in(answer).is_some())
}

fn token_in(answer: &Answer) -> Option<Fingerprint> {
    match answer {
        Answer::Token(grant) => Some(grant.token.fingerprint()),
        Answer::Watched(watched) => watched.token.as_ref().map(|grant| grant.token.fingerprint()),
        _ => None,
    }
}

/// What an answer adds to what was asked for.
fn told(answer: &Answer) -> Option<String> {
    match answer {
        Answer::SlotAdded { slot, .. } => Some(format!("slot {}", slot.id)),
        Answer::Imported { count } => Some(format!("{count} credentials")),
        Answer::Exported { page, .. } => Some(format!("{} credentials", page.len())),
        Answer::Rekeyed { dropped } => Some(format!("{dropped} older generations dropped")),
        _ => None,
    }
}

const OK: &str = "ok";
/// About to be done.
const ASKED: &str = "asked";
/// How long somebody may wait for the next record.
const LONGEST_SHOW: Duration = Duration::from_mins(1);
