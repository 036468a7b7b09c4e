//! A key in the keychain of the user's session: Secret Service, macOS Keychain, or Windows Credential Manager.
//!
//! The entry holds a key file's one line, under the path of the vault that it is for. A program that was built without the
//! feature `keychain` says so. This room decides nothing about when a keychain is asked.

use std::path::Path;

use super::error::VaultError;
use super::seal::WrappingKey;

#[cfg(not(feature = "keychain"))]
pub(super) fn read(_: &Path) -> Result<WrappingKey, VaultError> {
    Err(missing())
}

#[cfg(not(feature = "keychain"))]
pub(super) fn read_or_create(_: &Path) -> Result<WrappingKey, VaultError> {
    Err(missing())
}

#[cfg(not(feature = "keychain"))]
fn missing() -> VaultError {
    VaultError::Keychain { why: "this procurify-tokend was built without the feature `keychain`".to_owned() }
}
