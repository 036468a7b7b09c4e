//! Secrets that cross the wire: [`AccessToken`], [`ClientSecret`], [`Passphrase`], and the [`Fingerprint`] by which a
//! token is spoken of.
//!
//! None of the secrets has `Display` or an honest `Debug`. Serialising one is the only way in which this crate opens
//! it, and only the codec serialises.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A Bearer token, when it ends, and its fingerprint.
///
/// Not `Clone`: share it in an `Arc`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "RawAccessToken")]
pub struct AccessToken {
    #[serde(serialize_with = "serialize_secret")]
    value: SecretString,
    fingerprint: Fingerprint,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    expires_at: DateTime<Utc>,
}

impl AccessToken {
    /// Takes in what an issuer answered.
    ///
    /// # Errors
    /// [`SecretTextError::Token`] unless the value is a `b64token` (RFC 6750 §2.1) of at most 16 KiB: anything else could
    /// not be sent in a header, and a line break in it could forge one.
    pub fn new(
        value: SecretString,
        fingerprint: Fingerprint,
        expires_at: DateTime<Utc>,
    ) -> Result<Self, SecretTextError> {
        if Self::is_well_formed(&value) {
            Ok(Self { value, fingerprint, expires_at })
        } else {
            Err(SecretTextError::Token)
        }
    }

    /// Whether a text could be sent as a Bearer token: a `b64token` (RFC 6750 §2.1) of at most 16 KiB.
    #[expect(clippy::disallowed_methods, reason = "the grammar of the token is checked here")]
    pub fn is_well_formed(value: &SecretString) -> bool {
        let text = value.expose_secret();
        let body = text.trim_end_matches('=');
        text.len() <= MAX_TOKEN
            && !body.is_empty()
            && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
    }

    /// The token itself.
    pub fn secret(&self) -> &SecretString {
        &self.value
    }

    /// The first eight bytes of the token's SHA-256.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the token ends, by the wall clock of the daemon's machine, to the millisecond.
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }
}

/// The first eight bytes of a token's SHA-256, written as 16 hexadecimal digits: names a token without showing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// From the first eight bytes of the digest.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = SecretTextError;

    fn from_str(text: &str) -> Result<Self, SecretTextError> {
        let is_hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(number) if is_hex => Ok(Self(number.to_be_bytes())),
            _ => Err(SecretTextError::Fingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The secret half of client credentials: 1 to 4096 characters, none of them a control character or space.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "SecretText")]
pub struct ClientSecret(#[serde(serialize_with = "serialize_secret")] SecretString);

impl ClientSecret {
    /// Takes in a secret as it was pasted or read; white space around it is dropped.
    ///
    /// # Errors
    /// [`SecretTextError::ClientSecret`] for an empty, overlong or broken text.
    #[expect(clippy::disallowed_methods, reason = "the grammar of the secret is checked here, once")]
    pub fn new(text: &SecretString) -> Result<Self, SecretTextError> {
        let trimmed = text.expose_secret().trim();
        let is_clean = !trimmed.chars().any(|c| c.is_control() || c.is_whitespace());
        if (1..=MAX_CLIENT_SECRET).contains(&trimmed.len()) && is_clean {
            Ok(Self(trimmed.into()))
        } else {
            Err(SecretTextError::ClientSecret)
        }
    }

    /// The secret itself.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

/// What a person types to open a vault: 1 to 1024 bytes, taken as they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "SecretText")]
pub struct Passphrase(#[serde(serialize_with = "serialize_secret")] SecretString);

impl Passphrase {
    /// Takes in a passphrase as typed, without its line end.
    ///
    /// # Errors
    /// [`SecretTextError::Passphrase`] for an empty or overlong one.
    #[expect(clippy::disallowed_methods, reason = "only the length is looked at")]
    pub fn new(text: SecretString) -> Result<Self, SecretTextError> {
        if (1..=MAX_PASSPHRASE).contains(&text.expose_secret().len()) {
            Ok(Self(text))
        } else {
            Err(SecretTextError::Passphrase)
        }
    }

    /// The passphrase itself.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

/// Why a text is not a secret of its kind. None of them repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretTextError {
    /// Not a Bearer token.
    #[error("an access token holds only the characters of RFC 6750 section 2.1, at most 16 KiB of them")]
    Token,
    /// Not a fingerprint.
    #[error("a fingerprint is 16 hexadecimal digits")]
    Fingerprint,
    /// Not a client secret.
    #[error("a client secret is 1 to 4096 characters on one line, without spaces")]
    ClientSecret,
    /// Not a passphrase.
    #[error("a passphrase is 1 to 1024 bytes")]
    Passphrase,
}

#[derive(Deserialize)]
struct RawAccessToken {
    value: SecretString,
    fingerprint: Fingerprint,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    expires_at: DateTime<Utc>,
}

impl TryFrom<RawAccessToken> for AccessToken {
    type Error = SecretTextError;

    fn try_from(raw: RawAccessToken) -> Result<Self, SecretTextError> {
        Self::new(raw.value, raw.fingerprint, raw.expires_at)
    }
}

struct SecretText(SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SecretString::deserialize(deserializer).map(Self)
    }
}

/// What travels is taken only as it would be written: nothing is trimmed.
impl TryFrom<SecretText> for ClientSecret {
    type Error = SecretTextError;

    #[expect(clippy::disallowed_methods, reason = "only the lengths are looked at")]
    fn try_from(SecretText(text): SecretText) -> Result<Self, SecretTextError> {
        let read = Self::new(&text)?;
        let is_whole = read.0.expose_secret().len() == text.expose_secret().len();
        if is_whole { Ok(read) } else { Err(SecretTextError::ClientSecret) }
    }
}

impl TryFrom<SecretText> for Passphrase {
    type Error = SecretTextError;

    fn try_from(SecretText(text): SecretText) -> Result<Self, SecretTextError> {
        Self::new(text)
    }
}

#[expect(clippy::disallowed_methods, reason = "the codec is how a secret crosses the wire")]
fn serialize_secret<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

const MAX_TOKEN: usize = 16 * 1024;
const MAX_CLIENT_SECRET: usize = 4096;
const MAX_PASSPHRASE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn token(text: &str) -> Result<AccessToken, SecretTextError> {
        AccessToken::new(text.into(), Fingerprint::from_bytes([0xab; 8]), DateTime::UNIX_EPOCH)
    }

    #[rstest]
    #[case("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", true)]
    #[case("abc==", true)]
    #[case("", false)]
    #[case("==", false)]
    #[case("a=b", false)]
    #[case("abc\r\nX-Evil: 1", false)]
    #[case("a b", false)]
    #[case("ä", false)]
    fn only_a_b64token_is_a_token(#[case] text: &str, #[case] good: bool) {
        assert_eq!(token(text).is_ok(), good);
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = ClientSecret::new(&"canary-secret".into()).unwrap();
        let passphrase = Passphrase::new("canary-passphrase".into()).unwrap();
        let shown = format!("{:?} {secret:?} {passphrase:?}", token("canary-token").unwrap());
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("abababababababab"));
    }

    #[test]
    fn a_pasted_secret_is_trimmed_but_never_mended() {
        assert!(ClientSecret::new(&" abc\n".into()).is_ok());
        assert_eq!(ClientSecret::new(&"a bc".into()).unwrap_err(), SecretTextError::ClientSecret);
        assert_eq!(ClientSecret::new(&" \n".into()).unwrap_err(), SecretTextError::ClientSecret);
    }

    #[test]
    fn fingerprints_read_back_what_they_print() {
        let print = Fingerprint::from_bytes([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff]);
        assert_eq!(print.to_string(), "00010203fcfdfeff");
        assert_eq!("00010203fcfdfeff".parse(), Ok(print));
        assert_eq!("+0010203fcfdfeff".parse::<Fingerprint>(), Err(SecretTextError::Fingerprint));
    }
}
