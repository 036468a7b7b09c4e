//! What is larger than a frame, in pieces: whole vault files, and credentials with their secrets.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{ClientId, ClientSecret, NewCredential};

/// Bytes on their way, possibly secret: wiped when dropped, and never shown.
#[derive(Default, Serialize, Deserialize)]
pub struct Piece(Zeroizing<Vec<u8>>);

impl Piece {
    /// Takes bytes in.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes)", self.0.len())
    }
}

/// A credential with everything that is kept for it, secrets included: what `export` writes and `import` reads.
#[derive(Debug, Serialize, Deserialize)]
pub struct CredentialCopy {
    /// The credential, with the pair in use.
    pub credential: NewCredential,
    /// When it was enrolled; by now, where that is not known.
    #[serde(with = "chrono::serde::ts_milliseconds_option")]
    pub added_at: Option<DateTime<Utc>>,
    /// A pair that waits to be tried.
    pub staged: Option<PairCopy>,
    /// The pair that was in use before.
    pub previous: Option<PairCopy>,
}

/// A client id with its secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct PairCopy {
    /// The public half.
    pub client_id: ClientId,
    /// The secret half.
    pub client_secret: ClientSecret,
}

/// The most bytes of one [`Piece`] in a request.
pub const MOST_IN_PIECE: usize = 60 * 1024;
/// The most bytes that all pieces of one upload may have.
pub const MOST_IN_UPLOAD: usize = 256 * 1024 * 1024;
