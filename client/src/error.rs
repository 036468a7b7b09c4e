//! What a caller can be told instead of an answer: one variant per decision that it can make.
//!
//! No path and no text of a stranger is in a message; paths are in the fields, for whoever composes a message for a
//! person.

use std::io;
use std::path::PathBuf;

use procurify_token_protocol::codec::DecodeError;
use procurify_token_protocol::frame::{FrameError, OLDEST_VERSION, VERSION};
use procurify_token_protocol::{Refusal, RefusalClass, RefusalCode};
use thiserror::Error;

use crate::trust::Distrust;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// Nobody listens where a daemon is meant to be: start it.
    #[error("no procurify-tokend is listening")]
    NoDaemon {
        /// Every place that was tried, in order.
        looked_at: Vec<PathBuf>,
    },
    /// Somebody listens who must not be told anything; nothing was sent.
    #[error("what listens on the socket is not trusted")]
    Untrusted {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        #[source]
        why: Distrust,
    },
    /// The daemon refused, and says why and what to do.
    #[error(transparent)]
    Refused(Refusal),
    /// The daemon was silent beyond the deadline. It may still carry out what it was asked.
    #[error("the daemon did not answer before the deadline")]
    Deadline,
    /// The connection failed, and connecting again was not possible or not safe; ask
    /// [`outcome_unknown`](Self::outcome_unknown) whether the request may have been carried out all the same.
    #[error("the connection to the daemon failed")]
    Connection(#[source] io::Error),
    /// Daemon and client are of versions too far apart: the message says which of them has to be updated.
    #[error("the daemon speaks {} of the protocol, this client {}; {}", versions(*oldest, *newest), versions(OLDEST_VERSION, VERSION), older(*oldest))]
    Version {
        /// The oldest that the daemon speaks.
        oldest: u8,
        /// The newest that the daemon speaks.
        newest: u8,
    },
    /// What was exchanged is not this protocol.
    #[error("daemon and client do not understand each other; use the same release of both")]
    Protocol(#[source] ProtocolError),
}

impl Error {
    /// Whether the same call may succeed later without anybody changing the request, the credential or the
    /// installation. Never true where the request may have been carried out and must not be repeated unseen.
    ///
    /// | error | transient |
    /// | --- | --- |
    /// | [`NoDaemon`](Self::NoDaemon), [`Deadline`](Self::Deadline) | yes |
    /// | [`Connection`](Self::Connection) | unless the [outcome is unknown](Self::outcome_unknown) |
    /// | [`Refused`](Self::Refused) | by the code: yes for 6xx ([`RefusalClass::Unavailable`]), no for the others |
    /// | [`Untrusted`](Self::Untrusted), [`Version`](Self::Version), [`Protocol`](Self::Protocol) | no |
    ///
    /// The calls of this crate have tried again by themselves where that was safe; wait before the next one, for a refusal's
    /// `retry_after` where it has one.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoDaemon { .. } | Self::Deadline => true,
            Self::Connection(_) => self.outcome_unknown().is_none(),
            Self::Refused(refusal) => refusal.code.class() == RefusalClass::Unavailable,
            Self::Untrusted { .. } | Self::Version { .. } | Self::Protocol(_) => false,
        }
    }

    /// Whether it says something of the way to the daemon only, and nothing of the credential.
    pub(crate) fn is_of_the_connection(&self) -> bool {
        match self {
            Self::NoDaemon { .. } | Self::Deadline | Self::Connection(_) => true,
            Self::Refused(refusal) => matches!(refusal.code, RefusalCode::BUSY | RefusalCode::STOPPING),
            Self::Untrusted { .. } | Self::Version { .. } | Self::Protocol(_) => false,
        }
    }

    /// Whether the daemon has answered that it has no token for this caller, which waiting does not change.
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code.class() != RefusalClass::Unavailable)
    }

    /// Whether a watch was refused so that asking for the token is worth it: that refusal says more, or there is none.
    pub(crate) fn leaves_a_get(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code.class() != RefusalClass::Denied)
    }

    /// Whether the connection broke so that nobody here can know whether the request was carried out.
    pub fn outcome_unknown(&self) -> Option<OutcomeUnknown> {
        match self {
            Self::Connection(error) => error.get_ref()?.downcast_ref().copied(),
            _ => None,
        }
    }
}

fn versions(oldest: u8, newest: u8) -> String {
    if oldest == newest { format!("version {newest}") } else { format!("versions {oldest} to {newest}") }
}

fn older(oldest_of_daemon: u8) -> &'static str {
    if oldest_of_daemon > VERSION {
        "the client is the older one: update the program that it is part of"
    } else {
        "the daemon is the older one: update procurify-tokend and restart it"
    }
}

/// The connection ended after a request that must not be sent twice had gone out, and before its answer: the daemon
/// may or may not have carried it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection ended before the answer, and what was asked may have been done; look with `{check}`")]
pub struct OutcomeUnknown {
    /// The command that shows whether it was.
    pub check: &'static str,
}

/// How the protocol was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The bytes are not frames.
    #[error(transparent)]
    Frame(FrameError),
    /// A frame does not hold what it should.
    #[error(transparent)]
    Body(DecodeError),
    /// An answer, but to another question.
    #[error("the answer does not belong to the request")]
    UnexpectedAnswer,
    /// The request does not fit into one frame, and was not sent.
    #[error("the request is longer than one frame may be")]
    RequestTooLarge,
}
