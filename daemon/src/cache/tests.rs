use std::cell::Cell;
use std::os::unix::fs::{MetadataExt, symlink};
use std::panic;
use std::time::Duration;

use redb::ReadableTable;
use rstest::rstest;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::vault::{Key, Vault, VaultPaths, fingerprint};
use procurify_token_protocol::FailureCode;

const TOKEN: &str = "canary-eyJhbGciOiJSUzI1NiJ9.token";

/// A vault for its keys, and a place for the cache.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let slots = [procurify_token_protocol::NewSlot::KeyFile];
        Vault::create(&home.vault(), &slots, DateTime::UNIX_EPOCH).unwrap();
        home
    }

    fn vault(&self) -> VaultPaths {
        VaultPaths::new(self.0.path().join("vault"), self.0.path().join("vault.key"))
    }

    fn keys(&self) -> CacheKeys {
        Vault::open(&self.vault(), Key::Unattended).unwrap().cache_keys()
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("cache/folder/tokens.redb")
    }

    fn open(&self) -> (Cache, Condition) {
        Cache::open(&self.path(), self.keys()).unwrap()
    }

    fn with_token() -> Self {
        let home = Self::new();
        let (mut cache, condition) = home.open();
        assert_eq!(condition, Condition::New);
        store(&mut cache, "acme", cached(TOKEN)).unwrap();
        home
    }
}

fn stamp() -> Stamp {
    let wall = DateTime::from_timestamp_millis(1_800_000_000_123).unwrap();
    Stamp { boot: Moment::from_millis(7_000), wall, boot_id: Some(5) }
}

fn load(cache: &Cache, text: &str) -> Option<CachedToken> {
    cache.load(&name(text), &stamp()).token.map(|(token, _)| token)
}

fn store(cache: &mut Cache, text: &str, token: CachedToken) -> Result<(), CacheError> {
    let entry =
        Entry { name: &name(text), token: TokenChange::Store(token), history: (History::default(), 7) };
    cache.store(&[entry], &stamp())
}

fn name(text: &str) -> CredentialName {
    text.parse().unwrap()
}

fn cached(text: &str) -> CachedToken {
    let value = text.into();
    let print = fingerprint(&value);
    let token = AccessToken::new(value, print, stamp().wall + chrono::TimeDelta::hours(24)).unwrap();
    let issued = stamp().boot;
    CachedToken {
        token: Arc::new(token),
        issued,
        expires: issued + Duration::from_hours(24),
        pair_version: 7,
    }
}

#[expect(clippy::disallowed_methods, reason = "tests compare tokens")]
fn shown(cached: &CachedToken) -> String {
    let CachedToken { token, issued, expires, pair_version } = cached;
    let text = token.secret().expose_secret();
    format!("{text} {} {} {issued:?} {expires:?} {pair_version}", token.fingerprint(), token.expires_at())
}

#[test]
fn a_restart_keeps_the_tokens() {
    let home = Home::with_token();
    let (cache, condition) = home.open();
    assert_eq!(condition, Condition::Kept);
    assert_eq!(shown(&load(&cache, "acme").unwrap()), shown(&cached(TOKEN)));
    assert!(load(&cache, "acme/reporting").is_none());
}

fn history() -> History {
    let minutes = |minutes| stamp().boot + Duration::from_mins(minutes);
    let failure = Failure { retry_after: Some(Duration::from_hours(2)), ..FailureCode::THROTTLED.into() };
    let setback = Setback {
        failure,
        at: DateTime::from_timestamp_millis(1_800_000_000_000).unwrap(),
        in_a_row: 3,
        until: minutes(120),
        is_barred: false,
    };
    History {
        issued: vec![stamp().boot - Duration::from_mins(50), stamp().boot],
        setback: Some(setback),
        refused_in_a_row: 2,
        is_refused: true,
        changed_at: Some(Moment::from_millis(0)),
    }
}

fn with_history() -> Home {
    let home = Home::new();
    let entry = Entry { name: &name("acme"), token: TokenChange::Leave, history: (history(), 7) };
    home.open().0.store(&[entry], &stamp()).unwrap();
    home
}

#[test]
fn a_history_comes_back_as_it_was_whatever_the_wall_clock_says() {
    let home = with_history();
    let later = Stamp { boot: stamp().boot + Duration::from_mins(9), ..stamp() };
    let wrong_wall = Stamp { wall: DateTime::UNIX_EPOCH, ..later };
    for now in [stamp(), later, wrong_wall] {
        assert_eq!(home.open().0.load(&name("acme"), &now).history, (history(), 7));
    }
    assert_eq!(home.open().0.load(&name("globex"), &stamp()).history, (History::default(), 0));
}

#[test]
fn after_a_reboot_a_setback_lasts_no_longer_than_when_it_was_new() {
    let home = with_history();
    let rebooted = |wall_minutes: i64| {
        let wall = stamp().wall + chrono::TimeDelta::minutes(wall_minutes);
        let now = Stamp { boot: Moment::from_millis(500), wall, boot_id: Some(6) };
        let history = home.open().0.load(&name("acme"), &now).history.0;
        now.boot.until(history.setback.unwrap().until)
    };
    assert_eq!(rebooted(30), Duration::from_mins(90));
    assert_eq!(rebooted(121), Duration::ZERO);
    assert_eq!(rebooted(-100_000), Duration::from_hours(2), "the clock was ahead when it was written");
}

#[test]
fn a_tokens_life_goes_by_the_boot_time_clock_within_a_boot_and_by_the_wall_clock_after_it() {
    let home = Home::with_token();
    let (cache, _) = home.open();
    let life = |now: Stamp| {
        let (token, anchor) = cache.load(&name("acme"), &now).token.unwrap();
        (now.boot.until(token.expires), anchor)
    };
    let back = stamp().wall - chrono::TimeDelta::hours(20);
    let on = Stamp { boot: stamp().boot + Duration::from_hours(20), wall: back, ..stamp() };
    assert_eq!(life(on), (Duration::from_hours(4), Anchor::ThisBoot));
    let wall = stamp().wall + chrono::TimeDelta::hours(20);
    let rebooted = Stamp { boot: Moment::from_millis(1), wall, boot_id: Some(6) };
    assert_eq!(life(rebooted), (Duration::from_hours(4), Anchor::WallClock));
}

#[test]
fn a_token_is_replaced_and_forgotten() {
    let home = Home::with_token();
    let (mut cache, _) = home.open();
    store(&mut cache, "acme", cached("newer")).unwrap();
    assert_eq!(shown(&load(&cache, "acme").unwrap()), shown(&cached("newer")));
    cache.forget(&name("acme")).unwrap();
    cache.forget(&name("acme")).unwrap();
    assert!(load(&cache, "acme").is_none());
}

#[test]
fn what_is_not_retained_is_forgotten() {
    let home = Home::with_token();
    let (mut cache, _) = home.open();
    for other in ["beta", "gamma"] {
        store(&mut cache, other, cached(other)).unwrap();
    }
    cache.retain([&name("beta"), &name("unheard-of")]).unwrap();
    let kept = ["acme", "beta", "gamma"].map(|text| load(&cache, text).is_some());
    assert_eq!(kept, [false, true, false]);
}

#[test]
fn another_vaults_keys_see_nothing_and_the_file_is_not_blamed() {
    let home = Home::with_token();
    let (mut cache, condition) = Cache::open(&home.path(), Home::new().keys()).unwrap();
    assert_eq!(condition, Condition::Kept);
    assert!(load(&cache, "acme").is_none());
    cache.retain([&name("acme")]).unwrap();
    drop(cache);
    assert!(load(&home.open().0, "acme").is_none(), "another vault's records are cleared away");
}

#[test]
fn a_record_opens_in_its_own_place_only() {
    let home = Home::with_token();
    let (cache, _) = home.open();
    let [from, to] = ["acme", "beta"].map(|text| cache.keys.hashed_name(&name(text)));
    cache
        .write(|transaction| {
            let mut table = transaction.open_table(TOKENS)?;
            let record = table.get(&from)?.unwrap().value().to_vec();
            table.insert(&to, &*record)?;
            table.insert(&from, &record[..record.len() - 1])?;
            Ok(())
        })
        .unwrap();
    assert!(load(&cache, "beta").is_none(), "moved");
    assert!(load(&cache, "acme").is_none(), "cut");
}

#[test]
fn the_file_shows_neither_tokens_nor_names() {
    let home = Home::with_token();
    let (mut cache, _) = home.open();
    store(&mut cache, "acme/reporting", cached(TOKEN)).unwrap();
    cache.forget(&name("acme")).unwrap();
    drop(cache);
    let bytes = fs::read(home.path()).unwrap();
    for text in ["canary", "eyJhbGciOiJSUzI1NiJ9", "acme", "reporting"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    assert!(bytes.windows(8).any(|window| window == b"tokens 2"), "the search finds what is there");
}

#[test]
fn the_file_and_its_folders_are_closed_to_others() {
    let home = Home::with_token();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let _open = home.open();
    assert_eq!(mode(&home.path()), 0o600);
    assert_eq!(mode(&home.0.path().join("cache")), 0o700);
    assert_eq!(mode(&home.0.path().join("cache/folder")), 0o700);
}

#[rstest]
#[case::text(|path: &Path| fs::write(path, "not a cache at all\n").unwrap())]
#[case::zeros(|path: &Path| fs::write(path, vec![0; 100_000]).unwrap())]
#[case::cut_short(|path: &Path| File::options().write(true).open(path).unwrap().set_len(5000).unwrap())]
#[case::cut_to_head(|path: &Path| File::options().write(true).open(path).unwrap().set_len(20).unwrap())]
#[case::link(|path: &Path| {
    fs::rename(path, path.with_extension("kept")).unwrap();
    symlink(path.with_extension("kept"), path).unwrap();
})]
#[case::another_redb(|path: &Path| {
    fs::remove_file(path).unwrap();
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("tokens 2")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
})]
fn a_file_that_cannot_be_used_is_replaced(#[case] spoil: fn(&Path)) {
    let home = Home::with_token();
    spoil(&home.path());
    let (mut cache, condition) = home.open();
    assert_eq!(condition, Condition::Replaced);
    assert!(load(&cache, "acme").is_none());
    store(&mut cache, "acme", cached(TOKEN)).unwrap();
    drop(cache);
    let (cache, condition) = home.open();
    assert_eq!((condition, shown(&load(&cache, "acme").unwrap())), (Condition::Kept, shown(&cached(TOKEN))));
}

/// Also without a panic that is caught: where panics abort, one over a damaged file would come again at every start.
#[test]
fn damage_anywhere_never_breaks_the_cache() {
    thread_local! { static PANICS: Cell<u32> = const { Cell::new(0) } }
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.set(PANICS.get() + 1);
        others(info);
    }));
    let home = Home::with_token();
    let names: Vec<_> = (0..200).map(|n| name(&format!("n{n}"))).collect();
    let (cache, _) = home.open();
    let filled = cache.write(|transaction| {
        let mut table = transaction.open_table(TOKENS)?;
        for hashed in names.iter().map(|name| cache.keys.hashed_name(name)) {
            table.insert(&hashed, &*vec![7; 200])?;
        }
        Ok(())
    });
    filled.unwrap();
    drop(cache);
    let good = fs::read(home.path()).unwrap();
    // redb's own header, and where each of its pages says what it is.
    let header = (0..256).step_by(8);
    let pages = (4096..good.len()).step_by(4096).flat_map(|page| [page, page + 2]);
    for at in header.chain(pages).filter(|at| good[*at] != 0) {
        let mut bent = good.clone();
        bent[at] ^= 0x5a;
        fs::write(home.path(), &bent).unwrap();
        let (mut cache, _) = home.open();
        if let Some(found) = load(&cache, "acme") {
            assert_eq!(shown(&found), shown(&cached(TOKEN)), "damage at {at}");
        }
        assert!(names.iter().all(|name| cache.load(name, &stamp()).token.is_none()), "damage at {at}");
        store(&mut cache, "acme", cached("newer")).unwrap();
        assert_eq!(shown(&load(&cache, "acme").unwrap()), shown(&cached("newer")), "damage at {at}");
        assert_eq!(PANICS.get(), 0, "damage at {at}");
    }
}

#[test]
fn a_cache_that_is_open_elsewhere_is_left_alone() {
    let home = Home::with_token();
    let (cache, _) = home.open();
    let second = Cache::open(&home.path(), home.keys()).unwrap_err();
    assert!(matches!(second, CacheError::InUse { .. }), "{second:?}");
    assert!(load(&cache, "acme").is_some());
}

#[test]
fn debug_shows_no_token() {
    let home = Home::with_token();
    let (cache, _) = home.open();
    let shown = format!("{cache:?} {:?}", load(&cache, "acme"));
    assert!(!shown.contains("canary"), "{shown}");
}
