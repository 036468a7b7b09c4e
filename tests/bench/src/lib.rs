//! What benchmarks share: a home as an earlier run would have left it, and a stopwatch.
//!
//! The vault and the cache are written with the daemon's own code: tokens of all ages below four fifths of their life, so that
//! nothing is asked for when a daemon starts on them.

#![expect(missing_docs, reason = "a benchmark's own")]
#![expect(clippy::missing_panics_doc, reason = "to panic is how a benchmark fails")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use procurify_token_protocol::{AccessToken, CredentialCopy, CredentialName, Fingerprint, NewSlot};
use procurify_token_tests::{Home, credential};
use procurify_tokend::cache::{Cache, CachedToken, Entry, TokenChange};
use procurify_tokend::clock::{Clock as _, Stamp, SystemClock};
use procurify_tokend::refresh::History;
use procurify_tokend::vault::{Vault, VaultPaths};

/// A vault with these credentials, and a cache with a token for each.
pub fn furnish(home: &Home, names: &[CredentialName]) {
    let paths = VaultPaths::new(home.data_folder().join("vault"), home.config_folder().join("vault.key"));
    let (mut vault, _) = Vault::create(&paths, &[NewSlot::KeyFile], now()).expect("a vault can be made");
    let copy = |name: &CredentialName| CredentialCopy {
        credential: credential(name.as_str()),
        added_at: None,
        staged: None,
        previous: None,
    };
    vault.take_in(names.iter().map(copy).collect(), now()).expect("they can be stored");
    private_folder(&home.state_folder());
    let (mut cache, _) = Cache::open(&home.state_folder().join("tokens.redb"), vault.cache_keys())
        .expect("a cache can be made");
    let boot = SystemClock.boot();
    let youngest = LIFE.mul_f64(0.8) / u32::try_from(names.len()).expect("not that many");
    let entries: Vec<_> = (0_u32..)
        .zip(names)
        .map(|(n, name)| {
            let age = youngest * n;
            let left = LIFE.saturating_sub(age);
            let token = format!("{n:0>TOKEN_LENGTH$}").into();
            let fingerprint = Fingerprint::from_bytes(u64::from(n).to_be_bytes());
            let token = AccessToken::new(token, fingerprint, now() + left).expect("a token");
            let pair_version = vault.credential(name).expect("it is stored").current.version;
            let (issued, expires) = (boot - age, boot + left);
            let token =
                TokenChange::Store(CachedToken { token: token.into(), issued, expires, pair_version });
            Entry { name, token, history: (History::default(), pair_version) }
        })
        .collect();
    cache.store(&entries, &Stamp::of(&SystemClock)).expect("they can be kept");
}

pub fn private_folder(path: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).expect("a folder can be made");
}

pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = stopwatch();
    let result = work();
    (result, begun.elapsed())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
pub fn stopwatch() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "tokens are of today")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

const LIFE: Duration = Duration::from_hours(24);
const TOKEN_LENGTH: usize = 1200;
