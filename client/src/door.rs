//! Where to knock, how often, and what it means when nobody opens. The clients do the knocking; this room does no I/O
//! but looking at the socket's folder.

use std::io;
use std::time::Duration;

use procurify_token_protocol::endpoint::{Endpoint, Origin};

use crate::dial::is_crowded;
use crate::error::Error;
use crate::trust::{Connected, Doubt, Place};

/// What to do next to find the daemon.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// Connect to this one.
    Knock(&'a Endpoint),
    /// Wait before the next round.
    Pause(Duration),
    /// Tell the caller.
    GiveUp(Error),
}

/// What came of knocking.
#[derive(Debug)]
pub(crate) enum Knock<S> {
    /// A trusted daemon opened.
    Open(S),
    /// Nobody is there.
    Absent,
    /// Somebody is there, and as many as there is room for are waiting already.
    Crowded,
}

/// The search for a daemon: once around the candidates, or again and again where one was there before.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    candidates: &'a [Endpoint],
    patience: Duration,
    /// What will be left until the deadline when the patience has ended; known from the first step on.
    last_call: Option<Duration>,
    position: usize,
    crowded: bool,
    pause: Duration,
}

impl<'a> Search<'a> {
    /// For the first connection: fails at once where nobody listens.
    pub(crate) fn first(candidates: &'a [Endpoint]) -> Self {
        Self {
            candidates,
            patience: Duration::ZERO,
            last_call: None,
            position: 0,
            crowded: false,
            pause: SHORTEST_PAUSE,
        }
    }

    /// For a daemon that was there before and may be starting again, with `patience` for one that does not.
    pub(crate) fn again(endpoint: &'a Endpoint, patience: Duration) -> Self {
        Self { patience, ..Self::first(std::slice::from_ref(endpoint)) }
    }

    /// What to do with `left` until the deadline.
    pub(crate) fn step(&mut self, left: Duration) -> Step<'a> {
        let last_call = *self.last_call.get_or_insert(left.saturating_sub(self.patience));
        // A daemon that is busy is the right one: the next candidate would be another daemon with other credentials.
        if !self.crowded
            && let Some(endpoint) = self.candidates.get(self.position)
        {
            self.position += 1;
            return Step::Knock(endpoint);
        }
        let patience = if self.crowded { left } else { left.saturating_sub(last_call) };
        if patience.is_zero() {
            return Step::GiveUp(if self.crowded { Error::Deadline } else { self.nobody() });
        }
        let pause = self.pause.min(patience);
        (self.position, self.crowded, self.pause) = (0, false, LONGEST_PAUSE.min(self.pause * 2));
        Step::Pause(pause)
    }

    /// The last knock found a crowd.
    pub(crate) fn crowded(&mut self) {
        self.crowded = true;
    }

    fn nobody(&self) -> Error {
        Error::NoDaemon { looked_at: self.candidates.iter().map(|endpoint| endpoint.path.clone()).collect() }
    }
}

/// Looks at the place where the socket is meant to be; `None` where it cannot be there.
pub(crate) fn look(endpoint: &Endpoint) -> Result<Option<Place>, Error> {
    match Place::of(&endpoint.path) {
        Ok(place) => Ok(Some(place)),
        Err(error) if means_absent(&error, endpoint) => Ok(None),
        Err(error) => Err(Error::Connection(error)),
    }
}

/// Judges who opened, before anything is said.
pub(crate) fn enter<S: Connected>(
    endpoint: &Endpoint,
    place: &Place,
    connected: io::Result<S>,
) -> Result<Knock<S>, Error> {
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) if means_absent(&error, endpoint) => return Ok(Knock::Absent),
        Err(error) if is_crowded(&error) => return Ok(Knock::Crowded),
        Err(error) => return Err(Error::Connection(error)),
    };
    match place.meet(&stream) {
        Ok(()) => Ok(Knock::Open(stream)),
        Err(Doubt::Crowd) => Ok(Knock::Crowded),
        Err(Doubt::Distrust(why)) => Err(Error::Untrusted { socket: endpoint.path.clone(), why }),
        Err(Doubt::Unknown(error)) => Err(Error::Connection(error)),
    }
}

fn means_absent(error: &io::Error, endpoint: &Endpoint) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => true,
        // A daemon that the rule led to and that is not for this user is as good as none; one that was named is not.
        io::ErrorKind::PermissionDenied => endpoint.origin != Origin::Named,
        _ => false,
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn endpoints(paths: &[&str]) -> Vec<Endpoint> {
        paths.iter().map(|path| Endpoint { path: path.into(), origin: Origin::PerUser }).collect()
    }

    fn knocked(step: Step<'_>) -> String {
        match step {
            Step::Knock(endpoint) => endpoint.path.display().to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_first_search_goes_around_once() {
        let candidates = endpoints(&["/a", "/b"]);
        let mut search = Search::first(&candidates);
        assert_eq!([knocked(search.step(SECOND)), knocked(search.step(SECOND))], ["/a", "/b"]);
        let Step::GiveUp(Error::NoDaemon { looked_at }) = search.step(SECOND) else { panic!("it goes on") };
        assert_eq!(looked_at, ["/a", "/b"].map(std::path::PathBuf::from));
    }

    #[test]
    fn a_crowded_daemon_is_waited_for_and_not_passed_over() {
        let candidates = endpoints(&["/a", "/b"]);
        let mut search = Search::first(&candidates);
        assert_eq!(knocked(search.step(SECOND)), "/a");
        search.crowded();
        assert!(matches!(search.step(SECOND), Step::Pause(_)));
        assert_eq!(knocked(search.step(SECOND)), "/a");
        search.crowded();
        assert!(matches!(search.step(Duration::ZERO), Step::GiveUp(Error::Deadline)));
    }

    #[test]
    fn a_daemon_that_was_there_is_waited_for_with_growing_capped_pauses() {
        let candidates = endpoints(&["/a"]);
        let mut search = Search::again(&candidates[0], Duration::MAX);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(knocked(search.step(SECOND)), "/a");
            let Step::Pause(pause) = search.step(SECOND) else { panic!("it gave up") };
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 200, 200]);
        assert_eq!(knocked(search.step(SECOND)), "/a");
        let Step::Pause(pause) = search.step(Duration::from_millis(7)) else { panic!("it gave up") };
        assert_eq!(pause.as_millis(), 7);
        assert_eq!(knocked(search.step(Duration::ZERO)), "/a");
        assert!(matches!(search.step(Duration::ZERO), Step::GiveUp(Error::NoDaemon { .. })));
    }

    #[test]
    fn a_daemon_that_stays_away_is_waited_for_no_longer_than_the_patience() {
        let candidates = endpoints(&["/a"]);
        let mut search = Search::again(&candidates[0], Duration::from_millis(100));
        assert_eq!(knocked(search.step(SECOND)), "/a");
        assert!(matches!(search.step(SECOND), Step::Pause(_)));
        assert_eq!(knocked(search.step(Duration::from_millis(902))), "/a");
        let Step::Pause(pause) = search.step(Duration::from_millis(902)) else { panic!("it gave up") };
        assert_eq!(pause.as_millis(), 2);
        assert_eq!(knocked(search.step(Duration::from_millis(900))), "/a");
        search.crowded();
        assert!(matches!(search.step(Duration::from_millis(900)), Step::Pause(_)), "it is there after all");
        assert_eq!(knocked(search.step(Duration::from_millis(900))), "/a");
        assert!(matches!(search.step(Duration::from_millis(900)), Step::GiveUp(Error::NoDaemon { .. })));
    }

    #[test]
    fn what_may_not_be_entered_is_absent_unless_it_was_named() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let [derived] = &endpoints(&["/a"])[..] else { unreachable!() };
        assert!(means_absent(&denied, derived));
        assert!(!means_absent(&denied, &Endpoint { origin: Origin::Named, ..derived.clone() }));
    }
}
