//! A key in the keychain of the user's session: Secret Service, macOS Keychain, or Windows Credential Manager.
//!
//! The entry holds a key file's one line; its service is `procurify-token` and its user name the path of the vault that it is
//! for. One that is there is used again and never replaced: it may open a backup. A keychain may ask its user to unlock it,
//! so it is asked on a thread of its own and given a time. It is asked anew each time, over a connection of its own: a session
//! may begin, or its keychain be unlocked, long after the daemon has started.
//!
//! macOS and Windows always have a keychain. On Linux the crates for it are many, and there is nothing to talk to on a
//! server, so there it takes the feature `keychain`. (A feature cannot be on by default for one system alone.) This room
//! decides nothing about when a keychain is asked.

use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use super::error::VaultError;
#[cfg(any(target_os = "macos", windows, feature = "keychain"))]
use super::key_file;
use super::seal::WrappingKey;

/// Why the keychain gives no key.
#[derive(Debug, Error)]
pub enum KeychainError {
    /// This program cannot talk to one.
    #[error(
        "this procurify-tokend was built without support for it; build it with --features keychain, or install the package for desktops"
    )]
    NotBuilt,
    /// There is none, or it does not answer.
    #[error(
        "none answers ({0}). It belongs to a session of a desktop: start the daemon within one, with DBUS_SESSION_BUS_ADDRESS in its environment"
    )]
    NoService(String),
    /// It is locked, or its user has said no.
    #[error("it is locked, or access was refused ({0}); unlock it and try again")]
    Refused(String),
    /// It holds nothing for this vault.
    #[error(
        "it holds no key for this vault. Open the vault with another slot (procurify-token unlock), then: procurify-token slot list, slot remove, slot add keychain"
    )]
    Missing,
    /// What it holds is not a key, or there are several.
    #[error(
        "what it holds for this vault is not one key, and was left alone; look at the entries named procurify-token in the keychain"
    )]
    Foreign,
    /// It does not give back what was stored.
    #[error("it did not give back what was stored in it")]
    Forgetful,
    /// Nobody has answered its question in time.
    #[error("it gave no answer within {} s; it may be waiting for its user to unlock it", .0.as_secs())]
    TimedOut(Duration),
}

/// The key that the keychain holds for this vault.
pub(super) fn read(vault: &Path) -> Result<WrappingKey, VaultError> {
    Ok(store::read(vault)?)
}

/// The key that the keychain holds for this vault, or a new one that it holds from now on.
pub(super) fn read_or_create(vault: &Path) -> Result<WrappingKey, VaultError> {
    Ok(store::read_or_create(vault)?)
}

#[cfg(not(any(target_os = "macos", windows, feature = "keychain")))]
mod store {
    use super::{KeychainError, Path, WrappingKey};

    pub(super) fn read(_: &Path) -> Result<WrappingKey, KeychainError> {
        Err(KeychainError::NotBuilt)
    }

    pub(super) fn read_or_create(_: &Path) -> Result<WrappingKey, KeychainError> {
        Err(KeychainError::NotBuilt)
    }
}

#[cfg(any(target_os = "macos", windows, feature = "keychain"))]
mod store {
    use std::sync::mpsc;
    use std::thread;

    use keyring_core::api::CredentialStoreApi as _;
    use keyring_core::{Entry, Error};
    use zeroize::{Zeroize as _, Zeroizing};

    #[cfg(target_os = "macos")]
    use apple_native_keyring_store::keychain::Store;
    #[cfg(windows)]
    use windows_native_keyring_store::Store;
    #[cfg(not(any(target_os = "macos", windows)))]
    use zbus_secret_service_keyring_store::Store;

    use super::{Duration, KeychainError, Path, WrappingKey, key_file};

    pub(super) fn read(vault: &Path) -> Result<WrappingKey, KeychainError> {
        in_time(vault, |entry| stored(entry)?.ok_or(KeychainError::Missing))
    }

    pub(super) fn read_or_create(vault: &Path) -> Result<WrappingKey, KeychainError> {
        in_time(vault, |entry| {
            if let Some(key) = stored(entry)? {
                return Ok(key);
            }
            let line = key_file::new_line();
            entry.set_secret(&*line).map_err(failed)?;
            let key = stored(entry)?.ok_or(KeychainError::Forgetful)?;
            let is_same = key_file::parse(&*line).is_some_and(|new| new.bytes() == key.bytes());
            if is_same { Ok(key) } else { Err(KeychainError::Forgetful) }
        })
    }

    /// The key in an entry, if it is there.
    fn stored(entry: &Entry) -> Result<Option<WrappingKey>, KeychainError> {
        match entry.get_secret().map(Zeroizing::new) {
            Ok(line) => key_file::parse(&line).map(Some).ok_or(KeychainError::Foreign),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// What is still waiting for its user when the time is over is left to itself; nobody hears its answer.
    fn in_time(
        vault: &Path,
        ask: impl FnOnce(&Entry) -> Result<WrappingKey, KeychainError> + Send + 'static,
    ) -> Result<WrappingKey, KeychainError> {
        let user = vault.to_string_lossy().into_owned();
        let (report, reported) = mpsc::channel();
        let work = move || {
            let entry = Store::new().and_then(|store| store.build(SERVICE, &user, None));
            let answer = entry.map_err(no_service).and_then(|entry| ask(&entry));
            let _ = report.send(answer);
        };
        let asking = thread::Builder::new().name("keychain".to_owned()).spawn(work);
        asking.map_err(|error| KeychainError::NoService(error.to_string()))?;
        reported.recv_timeout(PATIENCE).unwrap_or(Err(KeychainError::TimedOut(PATIENCE)))
    }

    fn no_service(error: Error) -> KeychainError {
        KeychainError::NoService(told(error))
    }

    fn failed(error: Error) -> KeychainError {
        match error {
            Error::NoEntry => KeychainError::Missing,
            Error::Ambiguous(_) | Error::BadStoreFormat(_) => KeychainError::Foreign,
            Error::BadEncoding(mut bytes) | Error::BadDataFormat(mut bytes, _) => {
                bytes.zeroize();
                KeychainError::Foreign
            }
            error @ Error::NoStorageAccess(_) => KeychainError::Refused(told(error)),
            error => KeychainError::NoService(told(error)),
        }
    }

    /// In its own words, which are about itself: those of its errors that carry data were sorted out before.
    fn told(error: Error) -> String {
        let words = match error {
            Error::PlatformFailure(error) | Error::NoStorageAccess(error) => error.to_string(),
            other => other.to_string(),
        };
        words.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
    }

    const SERVICE: &str = "procurify-token";
    /// As long as a person may take to type the keychain's password.
    const PATIENCE: Duration = Duration::from_mins(1);
    const LONGEST_REASON: usize = 200;
}
