//! The credentials in a vault, and what may be done to them.
//!
//! The sealed body holds one record, encoded as `record.rs` says, and order is format:
//! ```text
//! body        next version u64 · list of credentials, strictly ascending by the bytes of their names
//! credential  name · description · base URL · token URL · audience · body encoding (choice: 0 JSON, 1 form) · added at
//!             · pair in use · staged pair (optional) · previous pair (optional)
//! pair        client id · version u64 · sealed client secret (bytes) · added at
//! ```
//! Texts are as in the protocol and times are milliseconds since 1970 (i64). Every pair's version is below the
//! next version. A sealed client secret is a box (`seal.rs`) under the vault key for the purpose `client secret`, holding the secret's
//! UTF-8; its associated data is `name ‖ 00 ‖ client id ‖ 00 ‖ version (8 bytes, little endian, unlike in the record)`: no name or
//! client id holds a zero byte, so a box opens in its own pair and in no other.
//!
//! The changes here are made to a copy in memory. That a change is on the disk before it counts is not this room's
//! affair. A little long, because whatever opens or seals a client secret is to be seen in one place.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use procurify_token_protocol::{
    Audience, BaseUrl, BodyEncoding, ClientId, ClientSecret, CredentialCopy, CredentialName, Description,
    NewCredential, PairCopy, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::{ChangeError, SecretError};
use super::record;
use super::seal::{Purpose, VaultKey};

/// What a domain's tokens are asked for with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its name; the domain in it is the one its tokens must be for.
    pub name: CredentialName,
    /// What a person wrote about it.
    pub description: Description,
    /// Where the API lives.
    pub base_url: BaseUrl,
    /// Where tokens are requested.
    pub token_url: TokenUrl,
    /// The audience of the token request.
    pub audience: Audience,
    /// How the token request is written.
    pub body_encoding: BodyEncoding,
    /// When it was enrolled, to the millisecond.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub added_at: DateTime<Utc>,
    /// The pair in use.
    pub current: Pair,
    /// A pair that waits to be tried and promoted. Boxed, for it is rarely there.
    pub staged: Option<Box<Pair>>,
    /// The pair that was in use before, to go back to.
    pub previous: Option<Box<Pair>>,
}

impl Credential {
    /// One of its pairs.
    pub fn pair(&self, which: Which) -> Option<&Pair> {
        match which {
            Which::Current => Some(&self.current),
            Which::Staged => self.staged.as_deref(),
            Which::Previous => self.previous.as_deref(),
        }
    }

    /// Has what both say alike in memory once. Most have the audience and the addresses of their neighbour, and a hundred
    /// thousand copies of those would be a third of what they take.
    fn share_with(&mut self, neighbour: &Self) {
        share(&mut self.description, &neighbour.description);
        share(&mut self.base_url, &neighbour.base_url);
        share(&mut self.token_url, &neighbour.token_url);
        share(&mut self.audience, &neighbour.audience);
    }
}

/// A client id and its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The public half.
    pub client_id: ClientId,
    /// Names this pair among all that this vault ever held.
    pub version: u64,
    /// The secret half.
    pub secret: SealedSecret,
    /// When it was stored, to the millisecond.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub added_at: DateTime<Utc>,
}

/// Which of a credential's pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one in use.
    Current,
    /// The one that waits to be promoted.
    Staged,
    /// The one that was in use before.
    Previous,
}

/// A client secret, sealed in memory as on the disk. Only the vault opens it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret(Vec<u8>);

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedSecret")
    }
}

/// All credentials. A copy shares what did not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    next_version: u64,
    credentials: BTreeMap<CredentialName, Arc<Credential>>,
}

impl Contents {
    pub(super) fn empty() -> Self {
        Self { next_version: 1, credentials: BTreeMap::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.credentials.values().map(|credential| &**credential)
    }

    pub(super) fn after(&self, name: Option<&CredentialName>) -> impl Iterator<Item = &Credential> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.credentials.range::<CredentialName, _>((from, Bound::Unbounded));
        behind.map(|(_, credential)| &**credential)
    }

    pub(super) fn get(&self, name: &CredentialName) -> Option<&Credential> {
        self.credentials.get(name).map(|credential| &**credential)
    }

    pub(super) fn add(
        &mut self,
        key: &VaultKey,
        new: NewCredential,
        now: DateTime<Utc>,
    ) -> Result<(), ChangeError> {
        if self.credentials.contains_key(&new.name) {
            return Err(ChangeError::Exists);
        }
        if self.credentials.len() >= MAX_CREDENTIALS {
            return Err(ChangeError::Full);
        }
        let credential = Credential {
            current: self.new_pair(key, &new.name, new.client_id, &new.client_secret, now),
            name: new.name,
            description: new.description,
            base_url: new.base_url,
            token_url: new.token_url,
            audience: new.audience,
            body_encoding: new.body_encoding,
            added_at: now.trunc_subsecs(3),
            staged: None,
            previous: None,
        };
        self.insert(credential);
        Ok(())
    }

    fn insert(&mut self, mut credential: Credential) {
        if let Some((_, before)) = self.credentials.range(..&credential.name).next_back() {
            credential.share_with(before);
        }
        self.credentials.insert(credential.name.clone(), credential.into());
    }

    pub(super) fn stage(
        &mut self,
        key: &VaultKey,
        name: &CredentialName,
        client_id: ClientId,
        client_secret: &ClientSecret,
        replace: bool,
        now: DateTime<Utc>,
    ) -> Result<(), ChangeError> {
        if self.get(name).ok_or(ChangeError::UnknownCredential)?.staged.is_some() && !replace {
            return Err(ChangeError::StagedExists);
        }
        let pair = self.new_pair(key, name, client_id, client_secret, now);
        self.get_mut(name)?.staged = Some(pair.into());
        Ok(())
    }

    pub(super) fn promote(&mut self, name: &CredentialName, version: u64) -> Result<(), ChangeError> {
        let credential = self.get_mut(name)?;
        let staged = credential.staged.take_if(|staged| staged.version == version);
        let staged = staged.ok_or(ChangeError::NothingStaged)?;
        credential.previous = Some(std::mem::replace(&mut credential.current, *staged).into());
        Ok(())
    }

    pub(super) fn rollback(&mut self, name: &CredentialName) -> Result<(), ChangeError> {
        let Credential { current, previous, .. } = self.get_mut(name)?;
        std::mem::swap(current, previous.as_deref_mut().ok_or(ChangeError::NoPrevious)?);
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &CredentialName) -> Result<(), ChangeError> {
        self.credentials.remove(name).map(drop).ok_or(ChangeError::UnknownCredential)
    }

    pub(super) fn client_secret(
        &self,
        key: &VaultKey,
        name: &CredentialName,
        which: Which,
    ) -> Result<ClientSecret, SecretError> {
        let pair =
            self.get(name).and_then(|credential| credential.pair(which)).ok_or(SecretError::Unknown)?;
        let place = place(name, &pair.client_id, pair.version);
        let plaintext =
            key.open(Purpose::ClientSecret, &place, &pair.secret.0).map_err(|_| SecretError::Damaged)?;
        let text = SecretString::from(str::from_utf8(&plaintext).map_err(|_| SecretError::Damaged)?);
        ClientSecret::new(&text).map_err(|_| SecretError::Damaged)
    }

    /// Stores credentials with everything that was kept for them elsewhere.
    pub(super) fn take_in(
        &mut self,
        key: &VaultKey,
        copy: CredentialCopy,
        now: DateTime<Utc>,
    ) -> Result<(), ChangeError> {
        let CredentialCopy { credential, added_at, staged, previous } = copy;
        let name = credential.name.clone();
        let added_at = added_at.unwrap_or(now);
        // In the order in which they once came: an older pair has a smaller version.
        let pair = |contents: &mut Self, pair: Option<PairCopy>| {
            pair.map(|pair| {
                contents.new_pair(key, &name, pair.client_id, &pair.client_secret, added_at).into()
            })
        };
        let previous = pair(self, previous);
        self.add(key, credential, added_at)?;
        let staged = pair(self, staged);
        let stored = self.get_mut(&name)?;
        (stored.previous, stored.staged) = (previous, staged);
        Ok(())
    }

    /// Everything of one credential, opened.
    pub(super) fn copy(
        &self,
        key: &VaultKey,
        credential: &Credential,
    ) -> Result<CredentialCopy, SecretError> {
        let name = &credential.name;
        let open = |which, pair: Option<&Pair>| {
            pair.map(|pair| {
                let client_secret = self.client_secret(key, name, which)?;
                Ok(PairCopy { client_id: pair.client_id.clone(), client_secret })
            })
            .transpose()
        };
        Ok(CredentialCopy {
            credential: NewCredential {
                name: name.clone(),
                description: credential.description.clone(),
                client_id: credential.current.client_id.clone(),
                client_secret: self.client_secret(key, name, Which::Current)?,
                base_url: credential.base_url.clone(),
                token_url: credential.token_url.clone(),
                audience: credential.audience.clone(),
                body_encoding: credential.body_encoding,
            },
            added_at: Some(credential.added_at),
            staged: open(Which::Staged, credential.staged.as_deref())?,
            previous: open(Which::Previous, credential.previous.as_deref())?,
        })
    }

    /// The same contents, sealed under another key.
    pub(super) fn resealed(&self, from: &VaultKey, to: &VaultKey) -> Result<Self, ChangeError> {
        let mut contents = self.clone();
        for credential in contents.credentials.values_mut().map(Arc::make_mut) {
            let name = credential.name.clone();
            let pairs = [
                Some(&mut credential.current),
                credential.staged.as_deref_mut(),
                credential.previous.as_deref_mut(),
            ];
            for pair in pairs.into_iter().flatten() {
                let place = place(&name, &pair.client_id, pair.version);
                let plaintext = from.open(Purpose::ClientSecret, &place, &pair.secret.0);
                let plaintext = plaintext.map_err(|_| ChangeError::DamagedSecret(name.clone()))?;
                pair.secret = SealedSecret(to.seal(Purpose::ClientSecret, &place, &plaintext));
            }
        }
        Ok(contents)
    }

    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        record::encode(&(self.next_version, self.iter().collect::<Vec<_>>()))
    }

    /// `None` for bytes that no version of this format writes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (next_version, Stored(credentials)): (u64, Stored) = record::decode(bytes)?;
        let is_known = |pair: &Pair| pair.version < next_version;
        let is_sound = credentials.len() <= MAX_CREDENTIALS
            && credentials.is_sorted_by(|one, next| one.name < next.name)
            && credentials.iter().all(|c| {
                [Some(&c.current), c.staged.as_deref(), c.previous.as_deref()]
                    .into_iter()
                    .flatten()
                    .all(is_known)
            });
        let credentials = credentials.into_iter().map(|c| (c.name.clone(), c)).collect();
        is_sound.then_some(Self { next_version, credentials })
    }

    fn get_mut(&mut self, name: &CredentialName) -> Result<&mut Credential, ChangeError> {
        self.credentials.get_mut(name).map(Arc::make_mut).ok_or(ChangeError::UnknownCredential)
    }

    #[expect(clippy::disallowed_methods, reason = "the secret is sealed here, on its way into the vault")]
    fn new_pair(
        &mut self,
        key: &VaultKey,
        name: &CredentialName,
        client_id: ClientId,
        client_secret: &ClientSecret,
        now: DateTime<Utc>,
    ) -> Pair {
        let version = self.next_version;
        self.next_version += 1;
        let plaintext = client_secret.secret().expose_secret().as_bytes();
        let sealed = key.seal(Purpose::ClientSecret, &place(name, &client_id, version), plaintext);
        Pair { client_id, version, secret: SealedSecret(sealed), added_at: now.trunc_subsecs(3) }
    }
}

fn share<T: Clone + PartialEq>(text: &mut T, other: &T) {
    if text == other {
        text.clone_from(other);
    }
}

/// Credentials as they are read, one after the other: what is shared is never there twice, not even for a moment.
struct Stored(Vec<Arc<Credential>>);

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Stored;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("credentials")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Stored, A::Error> {
                let mut stored: Vec<Arc<Credential>> = Vec::new();
                while let Some(mut credential) = seq.next_element::<Credential>()? {
                    if let Some(before) = stored.last() {
                        credential.share_with(before);
                    }
                    stored.push(credential.into());
                }
                Ok(Stored(stored))
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

fn place(name: &CredentialName, client_id: &ClientId, version: u64) -> Vec<u8> {
    [name.as_str().as_bytes(), &[0], client_id.as_str().as_bytes(), &[0], &version.to_le_bytes()].concat()
}

const MAX_CREDENTIALS: usize = 1_000_000;

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::vault::tests::{name, new_credential, secret, shown};

    fn filled(key: &VaultKey) -> Contents {
        let mut contents = Contents::empty();
        contents.add(key, new_credential("acme", "secret-1"), DateTime::UNIX_EPOCH).unwrap();
        contents.add(key, new_credential("acme/reporting", "secret-2"), DateTime::UNIX_EPOCH).unwrap();
        let id = "second-id".parse().unwrap();
        contents.stage(key, &name("acme"), id, &secret("secret-3"), false, DateTime::UNIX_EPOCH).unwrap();
        contents
    }

    fn open(contents: &Contents, key: &VaultKey, which: Which) -> String {
        shown(&contents.client_secret(key, &name("acme"), which).unwrap())
    }

    #[test]
    fn a_rotation_goes_forth_and_back() {
        let key = VaultKey::random();
        let mut contents = filled(&key);
        let acme = name("acme");
        assert_eq!(contents.client_secret(&key, &acme, Which::Previous).unwrap_err(), SecretError::Unknown);
        assert!(matches!(contents.rollback(&acme), Err(ChangeError::NoPrevious)));
        let staged = contents.get(&acme).and_then(|acme| acme.pair(Which::Staged)).unwrap().version;
        assert!(matches!(contents.promote(&acme, staged + 1), Err(ChangeError::NothingStaged)));
        assert_eq!(
            open(&contents, &key, Which::Staged),
            "secret-3",
            "another pair than the tried one stays staged"
        );
        contents.promote(&acme, staged).unwrap();
        assert_eq!(open(&contents, &key, Which::Current), "secret-3");
        assert_eq!(open(&contents, &key, Which::Previous), "secret-1");
        assert!(matches!(contents.promote(&acme, staged), Err(ChangeError::NothingStaged)));
        contents.rollback(&acme).unwrap();
        assert_eq!(open(&contents, &key, Which::Current), "secret-1");
        assert_eq!(open(&contents, &key, Which::Previous), "secret-3");
    }

    #[test]
    fn a_staged_pair_is_replaced_only_when_told() {
        let key = VaultKey::random();
        let mut contents = filled(&key);
        let mut stage = |replace| {
            let id = "third-id".parse().unwrap();
            contents.stage(&key, &name("acme"), id, &secret("secret-4"), replace, DateTime::UNIX_EPOCH)
        };
        assert!(matches!(stage(false), Err(ChangeError::StagedExists)));
        stage(true).unwrap();
        assert_eq!(open(&contents, &key, Which::Staged), "secret-4");
    }

    #[test]
    fn what_is_not_there_is_said_so() {
        let key = VaultKey::random();
        let mut contents = filled(&key);
        let other = name("other");
        let id = "id".parse().unwrap();
        let staged = contents.stage(&key, &other, id, &secret("s"), true, DateTime::UNIX_EPOCH);
        for outcome in
            [staged, contents.promote(&other, 1), contents.rollback(&other), contents.remove(&other)]
        {
            assert!(matches!(outcome, Err(ChangeError::UnknownCredential)), "{outcome:?}");
        }
        let again = contents.add(&key, new_credential("acme", "x"), DateTime::UNIX_EPOCH);
        assert!(matches!(again, Err(ChangeError::Exists)));
        assert_eq!(contents.client_secret(&key, &other, Which::Current).unwrap_err(), SecretError::Unknown);
    }

    #[test]
    fn a_version_is_never_given_twice() {
        let key = VaultKey::random();
        let mut contents = filled(&key);
        contents.remove(&name("acme")).unwrap();
        contents.remove(&name("acme/reporting")).unwrap();
        let mut contents = Contents::decode(&contents.encode()).unwrap();
        contents.add(&key, new_credential("acme", "secret-5"), DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(contents.get(&name("acme")).unwrap().current.version, 4);
    }

    #[test]
    fn a_secret_opens_in_its_own_pair_only() {
        let key = VaultKey::random();
        let contents = filled(&key);
        let with = |change: &dyn Fn(&mut Credential)| {
            let mut bent = contents.clone();
            change(bent.get_mut(&name("acme")).unwrap());
            bent.client_secret(&key, &name("acme"), Which::Current).map(|secret| shown(&secret))
        };
        let other = contents.get(&name("acme/reporting")).unwrap().current.clone();
        assert_eq!(with(&|_| {}).unwrap(), "secret-1");
        assert_eq!(with(&|c| c.current.version += 1).unwrap_err(), SecretError::Damaged);
        assert_eq!(with(&|c| c.current.client_id = "x".parse().unwrap()).unwrap_err(), SecretError::Damaged);
        assert_eq!(with(&|c| c.current = other.clone()).unwrap_err(), SecretError::Damaged);
        assert_eq!(with(&|c| c.current.secret.0.clear()).unwrap_err(), SecretError::Damaged);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let contents = filled(&VaultKey::random());
        let bytes = contents.encode();
        assert_eq!(Contents::decode(&bytes).unwrap(), contents);
        assert_eq!(Contents::decode(&Contents::empty().encode()).unwrap(), Contents::empty());
        for length in 0..bytes.len() {
            assert!(Contents::decode(&bytes[..length]).is_none(), "{length} bytes");
        }
        let mut descending: Vec<_> = contents.iter().collect();
        assert!(Contents::decode(&record::encode(&(4_u64, &descending))).is_some());
        assert!(
            Contents::decode(&record::encode(&(3_u64, &descending))).is_none(),
            "a version of the future"
        );
        descending.reverse();
        assert!(Contents::decode(&record::encode(&(4_u64, &descending))).is_none(), "descending names");
        assert!(Contents::decode(&[&bytes[..], &[0]].concat()).is_none(), "a byte left over");
    }

    #[test]
    fn what_neighbours_say_alike_is_in_memory_once() {
        let contents = Contents::decode(&filled(&VaultKey::random()).encode()).unwrap();
        let [one, other] = ["acme", "acme/reporting"].map(|n| contents.get(&name(n)).unwrap());
        let texts = |c: &Credential| [c.audience.as_str().as_ptr(), c.token_url.as_str().as_ptr()];
        assert_eq!(texts(one), texts(other));
        assert_ne!(one.current.client_id.as_str().as_ptr(), other.current.client_id.as_str().as_ptr());
    }

    #[test]
    fn debug_shows_no_secret_sealed_or_not() {
        let shown = format!("{:?}", filled(&VaultKey::random()));
        assert!(!shown.contains("secret-") && shown.contains("SealedSecret,"), "{shown}");
    }

    #[test]
    fn a_millionth_credential_fits_and_no_more() {
        let key = VaultKey::random();
        let mut contents = filled(&key);
        let one = contents.credentials[&name("acme")].clone();
        contents.credentials = (1..MAX_CREDENTIALS).map(|n| (name(&format!("c{n}")), one.clone())).collect();
        contents.add(&key, new_credential("acme", "last"), DateTime::UNIX_EPOCH).unwrap();
        let more = contents.add(&key, new_credential("acme/reporting", "more"), DateTime::UNIX_EPOCH);
        assert!(matches!(more, Err(ChangeError::Full)));
    }
}
