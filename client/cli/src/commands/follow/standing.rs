//! What is in the file, and what is to be said of it. Pure: told the time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use procurify_token_client::TokenGrant;
use procurify_token_protocol::{CredentialName, Fingerprint};

use crate::exit::ExitCode;
use crate::when;

/// How a file stands.
#[derive(Debug)]
pub(super) struct Standing {
    name: CredentialName,
    path: PathBuf,
    written: Option<(Fingerprint, DateTime<Utc>)>,
    /// What was complained of last, so that it is said once.
    said: Option<(State, ExitCode)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was written yet.
    Missing,
    /// The token in the file opens nothing any more.
    Dead,
    /// It does.
    Alive,
}

impl Standing {
    pub(super) fn new(name: &CredentialName, path: &Path) -> Self {
        Self { name: name.clone(), path: path.to_owned(), written: None, said: None }
    }

    /// This token is in the file now.
    pub(super) fn written(&mut self, grant: &TokenGrant) {
        self.written = Some((grant.token.fingerprint(), grant.token.expires_at()));
    }

    /// Whether this token is in the file.
    pub(super) fn has(&self, grant: &TokenGrant) -> bool {
        self.written.is_some_and(|(fingerprint, _)| fingerprint == grant.token.fingerprint())
    }

    /// Whether there is any.
    pub(super) fn is_written(&self) -> bool {
        self.written.is_some()
    }

    /// How long the token in the file still lives; for ever where there is none, or where it was said already that it has ended.
    pub(super) fn time_left(&self, now: DateTime<Utc>) -> Duration {
        match self.written {
            Some((_, ends)) if !matches!(self.said, Some((State::Dead, _))) => {
                (ends - now).to_std().unwrap_or_default()
            }
            _ => Duration::MAX,
        }
    }

    /// Nothing is amiss.
    pub(super) fn is_well(&mut self) {
        self.said = None;
    }

    /// What to say of something that is amiss; nothing where that was said. `is_gone`: the daemon no longer hands out what it did.
    pub(super) fn trouble(
        &mut self,
        code: ExitCode,
        why: &str,
        is_gone: bool,
        now: DateTime<Utc>,
    ) -> Option<String> {
        let this = Some((self.state(is_gone, now), code));
        if self.said == this {
            return None;
        }
        self.said = this;
        Some(format!("{}: {why}", self.sentence(is_gone, now)))
    }

    /// How the file stands, for who is told that something is amiss.
    pub(super) fn sentence(&self, is_gone: bool, now: DateTime<Utc>) -> String {
        let (path, name) = (self.path.display(), &self.name);
        match (self.written, self.state(is_gone, now)) {
            (Some((fingerprint, ends)), State::Dead) if ends <= now => {
                format!("{path} has token {fingerprint} of {name}, which ended at {}", when::stamp(ends))
            }
            (Some((fingerprint, _)), State::Dead) => {
                format!("{path} has token {fingerprint} of {name}, which is not valid any more")
            }
            (Some((fingerprint, ends)), _) => {
                format!("{path} has token {fingerprint} of {name}, until {}", when::stamp(ends))
            }
            (None, _) => format!("{path} has not been written, for want of a token of {name}"),
        }
    }

    fn state(&self, is_gone: bool, now: DateTime<Utc>) -> State {
        match self.written {
            None => State::Missing,
            Some((_, ends)) if is_gone || ends <= now => State::Dead,
            Some(_) => State::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use procurify_token_protocol::AccessToken;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn grant(number: u8, ends: i64) -> TokenGrant {
        let token = AccessToken::new("abc".into(), Fingerprint::from_bytes([number; 8]), at(ends)).unwrap();
        TokenGrant { token: token.into(), base_url: "https://acme.procurify.com".parse().unwrap() }
    }

    fn standing() -> Standing {
        Standing::new(&"acme".parse().unwrap(), Path::new("/run/token"))
    }

    #[test]
    fn each_trouble_is_told_once_and_the_end_of_the_token_above_all() {
        let mut standing = standing();
        let down =
            |standing: &mut Standing, now| standing.trouble(ExitCode::NoDaemon, "down", false, at(now));
        assert_eq!(
            down(&mut standing, 0).unwrap(),
            "/run/token has not been written, for want of a token of acme: down"
        );
        assert_eq!(down(&mut standing, 1), None);
        standing.written(&grant(1, 100));
        assert!(standing.has(&grant(1, 100)) && !standing.has(&grant(2, 100)));
        standing.is_well();
        assert!(
            down(&mut standing, 2)
                .unwrap()
                .contains("0101010101010101 of acme, until 1970-01-01T00:01:40Z: down")
        );
        assert_eq!(down(&mut standing, 99), None);
        assert!(down(&mut standing, 100).unwrap().contains("ended at 1970-01-01T00:01:40Z"));
        assert_eq!(down(&mut standing, 200), None);
        assert!(standing.trouble(ExitCode::Locked, "locked", false, at(201)).is_some(), "another reason");
    }

    #[test]
    fn a_token_that_the_daemon_no_longer_hands_out_is_dead_before_its_end() {
        let mut standing = standing();
        standing.written(&grant(1, 100));
        let said = standing.trouble(ExitCode::Rejected, "rejected", true, at(1)).unwrap();
        assert!(said.contains("not valid any more: rejected"), "{said}");
    }

    #[test]
    fn the_end_of_the_token_is_waited_for_once() {
        let mut standing = standing();
        assert_eq!(standing.time_left(at(0)), Duration::MAX);
        standing.written(&grant(1, 100));
        assert_eq!(standing.time_left(at(40)), Duration::from_secs(60));
        assert_eq!(standing.time_left(at(101)), Duration::ZERO);
        standing.trouble(ExitCode::Unavailable, "down", false, at(101)).unwrap();
        assert_eq!(standing.time_left(at(101)), Duration::MAX);
    }
}
