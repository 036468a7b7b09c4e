//! What a caller may choose. Where the daemon is meant to be is the protocol's rule; this room only asks it.

use std::path::PathBuf;
use std::time::Duration;

use procurify_token_protocol::endpoint::{self, Endpoint, Platform, Surroundings};

/// Where to find the daemon and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Options {
    socket: Option<PathBuf>,
    surroundings: Surroundings,
    pub(crate) deadline: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) patience: Patience,
    pub(crate) is_cached: bool,
}

impl Options {
    /// The usual places, as the environment of this process has them; 30 s for a request, 5 s for the first
    /// connection.
    pub fn new() -> Self {
        Self {
            socket: None,
            surroundings: Surroundings::of_process(),
            deadline: DEADLINE,
            connect_timeout: CONNECT_TIMEOUT,
            patience: Patience::Of(Duration::MAX),
            is_cached: true,
        }
    }

    /// This socket and no other, whatever the environment says.
    #[must_use]
    pub fn socket(self, path: impl Into<PathBuf>) -> Self {
        Self { socket: Some(path.into()), ..self }
    }

    /// Another environment than that of this process.
    #[must_use]
    pub fn surroundings(self, surroundings: Surroundings) -> Self {
        Self { surroundings, ..self }
    }

    /// How long a request that names no deadline may take, reconnecting included.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How long the first connection may wait for a daemon that is there but too busy to accept it. Where nobody
    /// listens, it fails at once.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// How long a daemon that was there before and is gone is waited for; never beyond the deadline of the request, and
    /// all of it where nothing is said. For who can start a daemon, a short while is enough.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience: Patience::Of(patience), ..self }
    }

    /// The same for a patience that is asked for when there is need of it, because it takes a while to tell.
    #[must_use]
    pub fn patience_by(self, patience: fn() -> Duration) -> Self {
        Self { patience: Patience::By(patience), ..self }
    }

    /// Without a cache: the daemon is asked for each token, and nothing is watched. For a program that wants one token, or one
    /// whose every use has to be in the daemon's audit records.
    #[must_use]
    pub fn without_cache(self) -> Self {
        Self { is_cached: false, ..self }
    }

    pub(crate) fn candidates(&self) -> Vec<Endpoint> {
        endpoint::candidates(Platform::HERE, self.socket.clone(), &self.surroundings)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a daemon that was there before is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    Of(Duration),
    By(fn() -> Duration),
}

impl Patience {
    pub(crate) fn get(self) -> Duration {
        match self {
            Self::Of(patience) => patience,
            Self::By(patience) => patience(),
        }
    }
}

/// What a caller may ask of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenOptions {
    /// How long it should still live; zero is content with any valid token. When nothing better can be had before the
    /// deadline, a valid token that lives shorter is handed out: compare its expiry.
    pub min_ttl: Duration,
    /// How long the caller is willing to wait; `None` is the client's own deadline.
    pub deadline: Option<Duration>,
}

const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    // Elsewhere these are no absolute paths.
    #[cfg(unix)]
    #[test]
    fn the_environment_is_looked_at_unless_a_socket_is_named() {
        let around = Surroundings { runtime_dir: Some("/run/user/7".into()), ..Surroundings::default() };
        let derived = Options::new().surroundings(around);
        let named = derived.clone().socket("/elsewhere.sock");
        assert_eq!(derived.candidates().len(), 2);
        assert_eq!(named.candidates()[0].path, PathBuf::from("/elsewhere.sock"));
        assert_eq!(named.candidates().len(), 1);
    }
}
