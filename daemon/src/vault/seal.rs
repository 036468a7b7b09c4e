//! All cryptography of the daemon's storage: the only room that knows ring.
//!
//! One primitive seals everything. A sealed box is
//! ```text
//! salt (32 random bytes) ‖ AES-256-GCM ciphertext ‖ tag (16 bytes)
//! ```
//! where the one-time key is the 32 bytes of `HKDF-SHA256(ikm = key, salt, info = "procurify-token vault v1 " ‖ purpose)`
//! (RFC 5869; a salt that is said to be none is the RFC's 32 zero bytes)
//! and the nonce is twelve zero bytes, because each one-time key seals once. The purposes are the ASCII
//! texts `slot`, `body`, `client secret`, `cached token`, `cached history` and `audit key`, so that a box never opens in another one's place; what
//! a box belongs to is bound by its associated data, which the caller chooses.
//!
//! ring does not wipe its key objects. So the 32 bytes of a key rest in guarded memory (`guarded.rs`), the object is built
//! where it is used and lives no longer than one call, and what it leaves on the stack is overwritten after that. This room
//! knows neither files nor formats, and passphrases are stretched in `stretch.rs`.

use std::convert::Infallible;
use std::fmt;

use procurify_token_protocol::{CredentialName, Fingerprint};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hkdf, hmac};
use secrecy::{ExposeSecret, SecretString};
use zeroize::{Zeroize, Zeroizing};

use crate::guarded::GuardedKey;

/// The key under which a vault's body and its client secrets are sealed; random, and kept only in wrapped form.
#[derive(Debug)]
pub(super) struct VaultKey(SecretKey);

impl VaultKey {
    pub(super) fn random() -> Self {
        Self(SecretKey::random())
    }

    pub(super) fn seal(&self, purpose: Purpose, associated_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.0.seal(purpose, associated_data, plaintext)
    }

    pub(super) fn open(
        &self,
        purpose: Purpose,
        associated_data: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.0.open(purpose, associated_data, sealed)
    }

    pub(super) fn cache_keys(&self) -> CacheKeys {
        CacheKeys { tokens: self.0.derive("cached tokens"), names: self.0.derive("cached names") }
    }
}

/// A key that wraps the vault key in a slot: the content of a key file, or a stretched passphrase.
#[derive(Debug)]
pub(super) struct WrappingKey(SecretKey);

impl WrappingKey {
    pub(super) fn random() -> Self {
        Self(SecretKey::random())
    }

    /// Lets `fill` write the key straight into its wiped home.
    pub(super) fn try_fill<E>(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>) -> Result<Self, E> {
        SecretKey::try_fill(fill).map(Self)
    }

    /// The key that a recovery code's random bytes give (HKDF-SHA256 without a salt; they need no stretching).
    pub(super) fn of_recovery_code(bytes: &[u8]) -> Self {
        let fill = |key: &mut [u8; KEY_LEN]| {
            expand(bytes, &[], "recovery code", key);
            Ok::<_, Infallible>(())
        };
        let Ok(key) = SecretKey::try_fill(fill);
        Self(key)
    }

    /// The bytes, for the key file's text alone.
    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        self.0.bytes()
    }

    pub(super) fn wrap(&self, key: &VaultKey, associated_data: &[u8]) -> Vec<u8> {
        self.0.seal(Purpose::Slot, associated_data, key.0.bytes())
    }

    pub(super) fn unwrap(&self, wrapped: &[u8], associated_data: &[u8]) -> Result<VaultKey, NotAuthentic> {
        let plaintext = self.0.open(Purpose::Slot, associated_data, wrapped)?;
        SecretKey::try_fill(|bytes| match plaintext.len() {
            KEY_LEN => {
                bytes.copy_from_slice(&plaintext);
                Ok(())
            }
            _ => Err(NotAuthentic),
        })
        .map(VaultKey)
    }
}

/// The keys of the token cache, derived from the vault key: another vault's cache opens nothing here.
#[derive(Debug)]
pub struct CacheKeys {
    tokens: SecretKey,
    names: SecretKey,
}

impl CacheKeys {
    /// What stands for a name in the cache file (HMAC-SHA256, RFC 2104): the same for the same name, and meaningless
    /// without the key.
    pub(crate) fn hashed_name(&self, name: &CredentialName) -> [u8; 32] {
        let hashed = hashed_leaving_traces(&self.names, name.as_str().as_bytes());
        burn_stack();
        hashed
    }

    pub(crate) fn seal_token(&self, hashed_name: &[u8; 32], record: &[u8]) -> Vec<u8> {
        self.tokens.seal(Purpose::CachedToken, hashed_name, record)
    }

    pub(crate) fn open_token(
        &self,
        hashed_name: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.tokens.open(Purpose::CachedToken, hashed_name, sealed)
    }

    pub(crate) fn seal_history(&self, hashed_name: &[u8; 32], record: &[u8]) -> Vec<u8> {
        self.tokens.seal(Purpose::CachedHistory, hashed_name, record)
    }

    pub(crate) fn open_history(
        &self,
        hashed_name: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.tokens.open(Purpose::CachedHistory, hashed_name, sealed)
    }
}

/// The key under which audit records are chained: random, and not derived from the vault key, so that a new vault key leaves
/// the records so far as good as they were.
#[derive(Debug)]
pub struct AuditKey(SecretKey);

impl AuditKey {
    pub(super) fn random() -> Self {
        Self(SecretKey::random())
    }

    pub(super) fn seal_under(&self, key: &VaultKey) -> Vec<u8> {
        key.seal(Purpose::AuditKey, &[], self.0.bytes())
    }

    pub(super) fn open_under(key: &VaultKey, sealed: &[u8]) -> Result<Self, NotAuthentic> {
        let plaintext = key.open(Purpose::AuditKey, &[], sealed)?;
        SecretKey::try_fill(|bytes| match plaintext.len() {
            KEY_LEN => {
                bytes.copy_from_slice(&plaintext);
                Ok(())
            }
            _ => Err(NotAuthentic),
        })
        .map(Self)
    }

    /// What binds these parts, one after the other, to the key (HMAC-SHA256, RFC 2104).
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mac = mac_leaving_traces(&self.0, parts);
        burn_stack();
        mac
    }
}

#[inline(never)]
fn mac_leaving_traces(key: &SecretKey, parts: &[&[u8]]) -> [u8; 32] {
    let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.bytes()));
    for part in parts {
        signing.update(part);
    }
    first_bytes(signing.sign().as_ref())
}

#[cfg(test)]
impl AuditKey {
    /// For tests of whoever uses one.
    pub(crate) fn for_tests() -> Self {
        Self::random()
    }
}

#[inline(never)]
fn hashed_leaving_traces(key: &SecretKey, text: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.bytes());
    first_bytes(hmac::sign(&key, text).as_ref())
}

/// What a box is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Slot,
    Body,
    ClientSecret,
    CachedToken,
    CachedHistory,
    AuditKey,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Body => "body",
            Self::ClientSecret => "client secret",
            Self::CachedToken => "cached token",
            Self::CachedHistory => "cached history",
            Self::AuditKey => "audit key",
        }
    }
}

/// A box was sealed under another key, for another purpose or place, or its bytes have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed data is not authentic")]
pub(crate) struct NotAuthentic;

/// The first eight bytes of the SHA-256 of an access token: the name by which it is spoken of.
#[expect(
    clippy::disallowed_methods,
    reason = "a digest of the token is taken here, and only eight bytes of it leave"
)]
pub fn fingerprint(token: &SecretString) -> Fingerprint {
    let digest = digest::digest(&digest::SHA256, token.expose_secret().as_bytes());
    Fingerprint::from_bytes(first_bytes(digest.as_ref()))
}

/// SHA-256 of what is no secret.
pub(super) fn checksum(bytes: &[u8]) -> [u8; 32] {
    first_bytes(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Bytes from the operating system that nobody can guess.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

/// How much longer a box is than what is sealed in it.
pub(super) const SEAL_OVERHEAD: usize = SALT_LEN + TAG_LEN;
pub(super) const KEY_LEN: usize = crate::guarded::KEY_LEN;

struct SecretKey(GuardedKey);

impl SecretKey {
    fn random() -> Self {
        let fill = |bytes: &mut [u8; KEY_LEN]| {
            fill_random(bytes);
            Ok::<_, Infallible>(())
        };
        let Ok(key) = Self::try_fill(fill);
        key
    }

    fn try_fill<E>(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>) -> Result<Self, E> {
        let key = GuardedKey::try_fill(fill).map(Self);
        burn_stack();
        key
    }

    fn seal(&self, purpose: Purpose, associated_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let sealed = self.seal_leaving_traces(purpose, associated_data, plaintext);
        burn_stack();
        sealed
    }

    fn open(
        &self,
        purpose: Purpose,
        associated_data: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let opened = self.open_leaving_traces(purpose, associated_data, sealed);
        burn_stack();
        opened
    }

    #[inline(never)]
    fn seal_leaving_traces(&self, purpose: Purpose, associated_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let salt: [u8; SALT_LEN] = random_bytes();
        // Sized before it is filled: a buffer that grew would leave the plaintext behind.
        let mut sealed = Vec::with_capacity(plaintext.len() + SEAL_OVERHEAD);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(plaintext);
        let tag = self
            .one_time_key(&salt, purpose)
            .seal_in_place_separate_tag(nonce(), Aad::from(associated_data), &mut sealed[SALT_LEN..])
            .expect("nothing here is near the 64 GiB that AES-GCM can seal");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    #[inline(never)]
    fn open_leaving_traces(
        &self,
        purpose: Purpose,
        associated_data: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let (salt, ciphertext) = sealed.split_at_checked(SALT_LEN).ok_or(NotAuthentic)?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        let length = self
            .one_time_key(salt, purpose)
            .open_in_place(nonce(), Aad::from(associated_data), &mut plaintext)
            .map_err(|_| NotAuthentic)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }

    /// For one box, so it rests on the stack, which is burned; a page of its own for each would be a storm of system calls.
    fn one_time_key(&self, salt: &[u8], purpose: Purpose) -> LessSafeKey {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        expand(self.bytes(), salt, purpose.label(), &mut key);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("an AES-256 key has 32 bytes"))
    }

    fn derive(&self, label: &str) -> Self {
        let derive = |bytes: &mut [u8; KEY_LEN]| {
            expand(self.bytes(), &[], label, bytes);
            Ok::<_, Infallible>(())
        };
        let Ok(key) = Self::try_fill(derive);
        key
    }

    fn bytes(&self) -> &[u8; KEY_LEN] {
        self.0.bytes()
    }
}

/// HKDF-SHA256 (RFC 5869) of 32 bytes.
#[inline(never)]
fn expand(key: &[u8], salt: &[u8], label: &str, out: &mut [u8; KEY_LEN]) {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let info = [INFO.as_bytes(), label.as_bytes()];
    let filled = prk.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(out));
    filled.expect("HKDF-SHA256 gives 32 bytes");
}

/// Overwrites what the calls before have left on the stack below the caller: ring keeps copies of keys there, a hash's block
/// buffer for one, and wipes none of them.
#[inline(never)]
fn burn_stack() {
    let mut dead = [0_u64; DEAD_STACK / size_of::<u64>()];
    dead.zeroize();
    std::hint::black_box(&mut dead);
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey([REDACTED])")
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn fill_random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the operating system gives random bytes");
}

fn first_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("SHA-256 gives 32 bytes")
}

const INFO: &str = "procurify-token vault v1 ";
/// Far more than what ring's frames take.
const DEAD_STACK: usize = 8 * 1024;
const SALT_LEN: usize = 32;
const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_opens_only_with_its_key_purpose_and_associated_data() {
        let (key, other) = (VaultKey::random(), VaultKey::random());
        let sealed = key.seal(Purpose::Body, b"place", b"plaintext");
        assert_eq!(**key.open(Purpose::Body, b"place", &sealed).unwrap(), *b"plaintext");
        assert_eq!(other.open(Purpose::Body, b"place", &sealed), Err(NotAuthentic));
        assert_eq!(key.open(Purpose::ClientSecret, b"place", &sealed), Err(NotAuthentic));
        assert_eq!(key.open(Purpose::Body, b"elsewhere", &sealed), Err(NotAuthentic));
    }

    #[test]
    fn a_flipped_bit_or_a_cut_anywhere_is_noticed() {
        let key = VaultKey::random();
        let sealed = key.seal(Purpose::Body, b"", b"plaintext");
        for bit in 0..sealed.len() * 8 {
            let mut bent = sealed.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(Purpose::Body, b"", &bent), Err(NotAuthentic), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(key.open(Purpose::Body, b"", &sealed[..length]), Err(NotAuthentic), "{length} bytes");
        }
    }

    #[test]
    fn the_same_plaintext_never_looks_the_same() {
        let key = VaultKey::random();
        let [one, two] = [(); 2].map(|()| key.seal(Purpose::Body, b"", b"plaintext"));
        assert_eq!(one.len(), b"plaintext".len() + SEAL_OVERHEAD);
        assert!(one[..SALT_LEN] != two[..SALT_LEN] && one[SALT_LEN..] != two[SALT_LEN..]);
    }

    /// Computed with Python's `hmac` and `cryptography` from the module's header alone.
    #[test]
    fn a_box_made_elsewhere_by_the_same_rules_opens() {
        let key = VaultKey(filled(7));
        let sealed: Vec<u8> = (0..FOREIGN_BOX.len() / 2)
            .map(|i| u8::from_str_radix(&FOREIGN_BOX[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        assert_eq!(**key.open(Purpose::ClientSecret, b"where", &sealed).unwrap(), *b"from elsewhere");
    }

    #[test]
    fn a_fingerprint_is_the_beginning_of_sha_256() {
        assert_eq!(fingerprint(&"abc".into()).to_string(), "ba7816bf8f01cfea");
    }

    #[test]
    fn debug_shows_no_key() {
        let key = WrappingKey(filled(0xab));
        let shown = format!("{key:?} {:?} {:?}", VaultKey::random(), VaultKey::random().cache_keys());
        assert!(!shown.contains("ab, ab") && !shown.contains("171") && shown.contains("REDACTED"), "{shown}");
    }

    fn filled(byte: u8) -> SecretKey {
        SecretKey::try_fill(|bytes: &mut [u8; KEY_LEN]| {
            bytes.fill(byte);
            Ok::<_, Infallible>(())
        })
        .unwrap()
    }

    const FOREIGN_BOX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1faab4589ae294f574430edf65b8e37f09ab9b5bafb72e8a7e56b439779483";
}
