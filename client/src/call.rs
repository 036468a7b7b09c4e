//! One request, from its frame to its outcome. Does no I/O: a client reports what became of an attempt, and
//! [`Attempts`] decides whether there may be another.

use std::io;
use std::time::Duration;

use procurify_token_protocol::codec::{self, DecodeError, TooLarge};
use procurify_token_protocol::frame::{Frame, FrameError, OLDEST_VERSION, VERSION};
use procurify_token_protocol::{Answer, Refusal, RefusalCode, Request};
use zeroize::Zeroizing;

use crate::error::{Error, OutcomeUnknown, ProtocolError};

/// The request as a frame. The daemon is never told to wait longer than the caller still will.
pub(crate) fn frame(id: u16, request: &Request, left: Duration) -> Result<Zeroizing<Vec<u8>>, Error> {
    let shortened = match request {
        Request::Get { name, min_ttl, deadline } if *deadline > left => {
            Some(Request::Get { name: name.clone(), min_ttl: *min_ttl, deadline: left })
        }
        Request::Promote { name, deadline } if *deadline > left => {
            Some(Request::Promote { name: name.clone(), deadline: left })
        }
        Request::Refresh { name, mode, deadline } if *deadline > left => {
            Some(Request::Refresh { name: name.clone(), mode: *mode, deadline: left })
        }
        Request::Watch { name, seen, deadline } if *deadline > left => {
            Some(Request::Watch { name: name.clone(), seen: *seen, deadline: left })
        }
        Request::AuditShow { after, filter, deadline } if *deadline > left => {
            Some(Request::AuditShow { after: *after, filter: filter.clone(), deadline: left })
        }
        _ => None,
    };
    codec::encode_request(id, shortened.as_ref().unwrap_or(request))
        .map_err(|TooLarge| Error::Protocol(ProtocolError::RequestTooLarge))
}

/// The id after `id`. [`WHOLE_CONNECTION`] is nobody's.
pub(crate) fn following(id: u16) -> u16 {
    match id.wrapping_add(1) {
        WHOLE_CONNECTION => 1,
        next => next,
    }
}

/// The next id that no request in progress bears; `None` when the daemon owes as many answers as there are ids.
#[cfg(feature = "async")]
pub(crate) fn free_id(last: u16, is_taken: impl Fn(u16) -> bool) -> Option<u16> {
    let ids = std::iter::successors(Some(following(last)), |id| Some(following(*id)));
    ids.take(usize::from(u16::MAX)).find(|id| !is_taken(*id))
}

/// What a frame from the daemon says, and to which request. The error says that the connection is of no more use.
pub(crate) fn read(frame: Frame<'_>) -> Result<(u16, Result<Answer, Setback>), Setback> {
    let id = frame.request_id;
    match codec::decode_reply(frame)? {
        Err(refusal) if id == WHOLE_CONNECTION => Err(Setback::Dismissed(refusal)),
        reply => Ok((id, reply.map_err(Setback::Refused))),
    }
}

/// Why one attempt brought no answer.
#[derive(Clone, Debug)]
pub(crate) enum Setback {
    /// The connection failed before the whole frame was out: the daemon cannot have done anything.
    Undelivered(io::ErrorKind),
    /// The connection failed while the answer was awaited.
    Severed {
        kind: io::ErrorKind,
        /// Whether some bytes of an answer had arrived: a daemon that breaks off may do so again.
        mid_answer: bool,
    },
    /// The daemon refused.
    Refused(Refusal),
    /// The daemon refused the whole connection, and closes it.
    Dismissed(Refusal),
    /// Nothing came in time.
    Deadline,
    /// The daemon speaks other versions.
    Version { oldest: u8, newest: u8 },
    /// What came is not this protocol.
    Fault(ProtocolError),
}

impl Setback {
    /// Whether the connection is of use for the next request.
    #[cfg(feature = "blocking")]
    pub(crate) fn leaves_connection(&self) -> bool {
        // A daemon that is stopping closes it in a moment.
        matches!(self, Self::Refused(refusal) if refusal.code != RefusalCode::STOPPING)
    }
}

impl From<FrameError> for Setback {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Version { version, .. } => Self::Version { oldest: version, newest: version },
            other => Self::Fault(ProtocolError::Frame(other)),
        }
    }
}

impl From<DecodeError> for Setback {
    fn from(error: DecodeError) -> Self {
        match error {
            // Whoever speaks our version and says that it does not, speaks something else.
            DecodeError::Versions { oldest, newest }
                if oldest <= newest && (newest < OLDEST_VERSION || oldest > VERSION) =>
            {
                Self::Version { oldest, newest }
            }
            other => Self::Fault(ProtocolError::Body(other)),
        }
    }
}

/// What follows from an attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// This is what the caller is told.
    Over(Result<Answer, Error>),
    /// Another attempt may bring an answer, after this pause.
    Again(Duration),
}

/// The attempts at one request. A daemon that is killed may reset a connection that was made while it died, and that
/// more than once; a request that each daemon dies of is given up. One that is busy or stopping has done nothing, and is
/// asked again for as long as the caller will wait.
#[derive(Debug)]
pub(crate) struct Attempts {
    left: u32,
    pause: Duration,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { left: MOST_ATTEMPTS, pause: SHORTEST_PAUSE }
    }
}

impl Attempts {
    /// Decides what follows from an attempt at `request`, with `left` until the deadline.
    pub(crate) fn settle(
        &mut self,
        request: &Request,
        attempt: Result<Answer, Setback>,
        left: Duration,
    ) -> Verdict {
        let setback = match attempt {
            Ok(answer) => return Verdict::Over(Ok(answer)),
            Err(setback) => setback,
        };
        self.left = self.left.saturating_sub(1);
        Verdict::Over(Err(match setback {
            Setback::Undelivered(_) if self.left > 0 => return Verdict::Again(Duration::ZERO),
            Setback::Undelivered(kind) => Error::Connection(kind.into()),
            Setback::Severed { kind, mid_answer } => match repetition(request) {
                Repetition::Harmless if !mid_answer && self.left > 0 => {
                    return Verdict::Again(Duration::ZERO);
                }
                Repetition::Harmless => Error::Connection(kind.into()),
                Repetition::Unsafe { check } => {
                    Error::Connection(io::Error::new(kind, OutcomeUnknown { check }))
                }
            },
            Setback::Refused(refusal) | Setback::Dismissed(refusal) => return self.refused(refusal, left),
            Setback::Deadline => Error::Deadline,
            Setback::Version { oldest, newest } => Error::Version { oldest, newest },
            Setback::Fault(error) => Error::Protocol(error),
        }))
    }

    fn refused(&mut self, refusal: Refusal, left: Duration) -> Verdict {
        let pause = refusal.retry_after.unwrap_or_default().max(self.pause);
        if pause >= left || !matches!(refusal.code, RefusalCode::BUSY | RefusalCode::STOPPING) {
            return Verdict::Over(Err(Error::Refused(refusal)));
        }
        // Being asked to wait is no failed attempt.
        self.left += 1;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        Verdict::Again(pause)
    }
}

enum Repetition {
    /// Done twice is as done once.
    Harmless,
    /// Done twice is wrong, confusing, or costs a token.
    Unsafe {
        /// What shows whether it was done.
        check: &'static str,
    },
}

fn repetition(request: &Request) -> Repetition {
    match request {
        // Invalidate names the token that it means, so it cannot hit the next one.
        Request::Get { .. }
        | Request::Invalidate { .. }
        | Request::List { .. }
        | Request::Describe { .. }
        | Request::Status
        | Request::Slots
        | Request::Examine
        | Request::ExplainAccess { .. }
        | Request::AuditShow { .. }
        | Request::AuditVerify
        | Request::Backup { .. }
        | Request::Export { .. }
        | Request::Watch { .. }
        | Request::Unlock { .. }
        | Request::Lock => Repetition::Harmless,
        Request::Add(_) | Request::Remove { .. } => Repetition::Unsafe { check: "procurify-token list" },
        Request::Init { .. }
        | Request::Stage { .. }
        | Request::Promote { .. }
        | Request::Rollback { .. }
        | Request::Refresh { .. }
        | Request::Stop => Repetition::Unsafe { check: "procurify-token status" },
        Request::AddSlot { .. } | Request::Rekey { .. } => {
            Repetition::Unsafe { check: "procurify-token slot list" }
        }
        // Pieces that follow each other on one connection.
        Request::Upload(_) | Request::Restore { .. } | Request::Import { .. } => {
            Repetition::Unsafe { check: "procurify-token list" }
        }
    }
}

/// The request id of a refusal that concerns the whole connection; no request bears it.
pub(crate) const WHOLE_CONNECTION: u16 = 0;
const MOST_ATTEMPTS: u32 = 4;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests;
