//! A passphrase becomes a key: Argon2id (RFC 9106), and the only room that knows argon2.
//!
//! The parameters are bounded before any memory is asked for, since they may come from a file that somebody has changed: m
//! from 8 MiB to 1 GiB, t from 1 to 16, p from 1 to 8. Where they stand in a slot is not known here.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use procurify_token_protocol::Passphrase;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::seal::{KEY_LEN, WrappingKey};

/// How much work a passphrase costs (Argon2id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KdfParameters {
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl KdfParameters {
    fn are_bounded(self) -> bool {
        (8 * 1024..=1024 * 1024).contains(&self.memory_kib)
            && (1..=16).contains(&self.passes)
            && (1..=8).contains(&self.lanes)
    }

    pub(super) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.memory_kib.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.passes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.lanes.to_le_bytes());
        bytes
    }
}

impl Default for KdfParameters {
    /// 64 MiB, three passes, one lane: RFC 9106 §4, second recommendation, without its threads.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

/// The key that a passphrase gives. Takes a moment and the memory that the parameters name.
#[expect(clippy::disallowed_methods, reason = "the passphrase is stretched here, and only the result leaves")]
pub(super) fn stretch(
    passphrase: &Passphrase,
    parameters: KdfParameters,
    salt: &[u8],
) -> Result<WrappingKey, StretchError> {
    if !parameters.are_bounded() {
        return Err(StretchError::Parameters);
    }
    let KdfParameters { memory_kib, passes, lanes } = parameters;
    let params =
        Params::new(memory_kib, passes, lanes, Some(KEY_LEN)).map_err(|_| StretchError::Parameters)?;
    let out_of_memory = |_| StretchError::OutOfMemory { kib: memory_kib };
    // Our own memory and not the library's: this one is wiped, and asking for too much of it is an error.
    let mut memory: Zeroizing<Vec<Block>> = Zeroizing::default();
    memory.try_reserve_exact(params.block_count()).map_err(out_of_memory)?;
    memory.resize(params.block_count(), Block::default());
    let text = passphrase.secret().expose_secret().as_bytes();
    WrappingKey::try_fill(|key| {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(text, salt, key, memory.as_mut_slice())
            .map_err(|_| StretchError::Parameters)
    })
}

/// Why a passphrase was not stretched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StretchError {
    /// The parameters are out of bounds.
    Parameters,
    /// There is not that much memory.
    OutOfMemory {
        /// How much was wanted.
        kib: u32,
    },
}
