//! Those who watch a credential.
//!
//! A watcher is one request that is answered when the credential has another revision than the one that was seen. There
//! is no queue of events: whoever comes back late is told how things stand, so nobody who is slow holds up anything.

use std::time::Duration;

use procurify_token_protocol::{Answer, CredentialName, Refusal, Watched};
use tokio::sync::watch;

use super::{Driver, Event, LONGEST_DEADLINE, Reply};
use crate::clock::Clock;
use crate::explain;
use crate::issuer::TokenIssuer;

impl<I: TokenIssuer, C: Clock> Driver<I, C> {
    pub(super) fn watch(
        &mut self,
        name: CredentialName,
        seen: Option<u64>,
        deadline: Duration,
        reply: Reply,
    ) {
        let state = self.watched(&name);
        if state.as_ref().map_or(true, |state| Some(state.revision) != seen) {
            let _ = reply.send(state.map(|state| Answer::Watched(Box::new(state))));
            return;
        }
        let news = self.watchers.entry(name.clone()).or_insert_with(|| watch::channel(()).0);
        let mut news = news.subscribe();
        self.running.push(Box::pin(async move {
            let mut reply = reply;
            tokio::select! {
                // The sender is dropped to tell all who watch.
                _ = news.changed() => {}
                () = tokio::time::sleep(deadline.min(LONGEST_DEADLINE)) => {}
                () = reply.closed() => {}
            }
            Event::Watched { name, reply }
        }));
    }

    /// A credential has another revision.
    pub(super) fn tell(&mut self, name: &CredentialName) {
        self.watchers.remove(name);
    }

    pub(super) fn watched(&mut self, name: &CredentialName) -> Result<Watched, Refusal> {
        self.opened()?;
        let now = self.parts.clock.now();
        let view = self.keeper.view(name, now).ok_or_else(|| explain::unknown(name))?;
        let retry_in = view.next_attempt.map(|next| now.boot.until(next));
        Ok(Watched {
            revision: view.revision,
            token: view.held.and_then(|held| held.token.grant()),
            refusal: view.last_failure.map(|(failure, ..)| explain::failed(name, failure, retry_in)),
        })
    }
}
