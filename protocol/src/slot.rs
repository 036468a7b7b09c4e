//! Key slots as they are spoken of: what opens a vault, which slot, and how a new one is asked for.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Description, Passphrase, RecoveryCode};

/// What a slot is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotKind {
    /// 0: the key file.
    KeyFile,
    /// 1: a passphrase.
    Passphrase,
    /// 2: a recovery code.
    RecoveryCode,
    /// 3: a program in the daemon's configuration prints the key.
    Command,
    /// 4: the keychain of the user's session.
    Keychain,
    /// 5: a credential that systemd hands to the daemon.
    Credential,
    /// 6: something that a later version knows, by its number.
    Unknown(u8),
}

impl SlotKind {
    /// Whether it opens the vault without anybody typing anything.
    pub fn is_unattended(self) -> bool {
        matches!(self, Self::KeyFile | Self::Command | Self::Keychain | Self::Credential)
    }
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile => f.pad("key file"),
            Self::Passphrase => f.pad("passphrase"),
            Self::RecoveryCode => f.pad("recovery code"),
            Self::Command => f.pad("command"),
            Self::Keychain => f.pad("keychain"),
            Self::Credential => f.pad("systemd credential"),
            Self::Unknown(kind) => f.pad(&format!("slot of kind {kind}")),
        }
    }
}

/// Names a slot of a vault: eight hexadecimal digits, the same as long as the slot is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotId([u8; 4]);

impl SlotId {
    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 4] {
        self.0
    }
}

impl FromStr for SlotId {
    type Err = SlotIdError;

    fn from_str(text: &str) -> Result<Self, SlotIdError> {
        let is_hex = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u32::from_str_radix(text, 16) {
            Ok(number) if is_hex => Ok(Self(number.to_be_bytes())),
            _ => Err(SlotIdError),
        }
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotId({self})")
    }
}

/// A text does not name a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a slot is named by 8 hexadecimal digits, as procurify-token slot list shows them")]
pub struct SlotIdError;

/// A slot that is to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum NewSlot {
    /// 0: for the key file, which is made where it is missing.
    KeyFile,
    /// 1: for this passphrase.
    Passphrase(Passphrase),
    /// 2: for a recovery code, which the daemon makes up and answers.
    RecoveryCode,
    /// 3: for what the command in the daemon's configuration prints.
    Command,
    /// 4: for a key in the keychain, which is made where it is missing.
    Keychain,
    /// 5: for the credential that systemd hands to the daemon.
    Credential,
}

/// What opens a vault, or proves that one may have what is in it.
#[derive(Debug, Serialize, Deserialize)]
pub enum UnlockWith {
    /// 0: whatever needs no person, in this order: key file, systemd credential, keychain, command. All of them are
    /// named in the daemon's configuration; a request never names a path or a program.
    Unattended,
    /// 1: a passphrase.
    Passphrase(Passphrase),
    /// 2: a recovery code.
    RecoveryCode(RecoveryCode),
}

/// What is known of a slot without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Which.
    pub id: SlotId,
    /// What opens it.
    pub kind: SlotKind,
    /// What a person wrote about it.
    pub description: Description,
    /// When it was added, where that is known.
    #[serde(with = "chrono::serde::ts_milliseconds_option")]
    pub added_at: Option<DateTime<Utc>>,
}

/// An older state of the vault that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// 1 for the one before the newest, and so on.
    pub number: u8,
    /// Its file.
    pub path: String,
    /// When it was written.
    #[serde(with = "chrono::serde::ts_milliseconds_option")]
    pub written_at: Option<DateTime<Utc>>,
    /// Whether it is whole. That one of the keys opens it is not said by that.
    pub is_whole: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_by_what_is_printed() {
        let id = SlotId::from_bytes([0, 0xab, 1, 2]);
        assert_eq!(id.to_string(), "00ab0102");
        assert_eq!("00AB0102".parse(), Ok(id));
        for wrong in ["", "00ab010", "00ab01023", "+0ab0102", "zzzzzzzz"] {
            assert_eq!(wrong.parse::<SlotId>(), Err(SlotIdError), "{wrong}");
        }
    }
}
