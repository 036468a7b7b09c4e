//! systemd, and whatever else reads its datagrams.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

use super::Word;

pub(super) fn wants_to_be_told() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// After how long without a sign of life the daemon is taken for dead.
pub(super) fn patience() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Tells it. A manager that does not listen is no reason to serve nobody.
pub(super) fn tell(words: &[Word<'_>]) {
    let mut said = Vec::with_capacity(words.len() + 1);
    for word in words {
        match *word {
            Word::Ready => said.push(NotifyState::Ready),
            // Since systemd 253 one is nothing without the other.
            Word::Reloading => match NotifyState::monotonic_usec_now() {
                Ok(now) => said.extend([NotifyState::Reloading, now]),
                Err(_) => return,
            },
            Word::Stopping => said.push(NotifyState::Stopping),
            Word::Alive => said.push(NotifyState::Watchdog),
            Word::Status(status) => said.push(NotifyState::Status(status)),
        }
    }
    if let Err(error) = sd_notify::notify(&said) {
        debug!(%error, "the service manager cannot be told");
    }
}
