use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use procurify_token_protocol::{Audience, BaseUrl, BodyEncoding, Domain, Passphrase, TokenUrl};
use proptest::prelude::*;
use rstest::rstest;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::disk::faults::{self, Fault};
use super::*;
use procurify_token_protocol::UnlockWith;

const CHEAP: KdfParameters = KdfParameters { memory_kib: 8 * 1024, passes: 1, lanes: 1 };

pub(super) fn name(text: &str) -> CredentialName {
    text.parse().unwrap()
}

pub(super) fn secret(text: &str) -> ClientSecret {
    ClientSecret::new(&text.into()).unwrap()
}

pub(super) fn new_credential(credential: &str, client_secret: &str) -> NewCredential {
    let base_url = BaseUrl::of_domain(&"acme".parse::<Domain>().unwrap());
    NewCredential {
        name: name(credential),
        description: "Größe 1".parse().unwrap(),
        client_id: "client-id".parse().unwrap(),
        client_secret: secret(client_secret),
        token_url: TokenUrl::below(&base_url),
        base_url,
        audience: Audience::default(),
        body_encoding: BodyEncoding::Form,
    }
}

#[expect(clippy::disallowed_methods, reason = "tests compare secrets")]
pub(super) fn shown(secret: &ClientSecret) -> String {
    secret.secret().expose_secret().to_owned()
}

fn kinds(paths: &VaultPaths) -> Vec<SlotKind> {
    Vault::slots_at(paths).unwrap().into_iter().map(|slot| slot.kind).collect()
}

fn later_slot(payload: Vec<u8>) -> RawSlot {
    let id = SlotId::from_bytes([7; 4]);
    RawSlot {
        kind: 77,
        id,
        added_at: Some(DateTime::UNIX_EPOCH),
        description: "later".parse().unwrap(),
        payload,
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.into()).unwrap()
}

/// A home of its own: the vault below `data`, the key file below `config`.
struct Home {
    folder: TempDir,
    paths: VaultPaths,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault = folder.path().join("data/procurify-token/vault");
        let key_file = folder.path().join("config/procurify-token/vault.key");
        Self { folder, paths: VaultPaths::new(vault, key_file) }
    }

    fn with_vault() -> (Self, Vault) {
        let home = Self::new();
        let (mut vault, _) = Vault::create(&home.paths, &[NewSlot::KeyFile], now()).unwrap();
        vault.add(new_credential("acme", "canary-1"), now()).unwrap();
        (home, vault)
    }

    fn open(&self) -> Result<Vault, VaultError> {
        let mut vault = Vault::open(&self.paths, Key::Unattended)?;
        vault.settle()?;
        Ok(vault)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.paths.vault).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(&self.paths.vault, bytes).unwrap();
    }

    fn previous(&self) -> PathBuf {
        self.paths.generation(1)
    }

    fn vault_folder(&self) -> Vec<String> {
        names_beside(&self.paths.vault)
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap()
}

/// Everything in a vault, opened.
fn everything(vault: &Vault) -> Vec<(Credential, [Option<String>; 3])> {
    let open = |c: &Credential, which| vault.client_secret(&c.name, which).ok().map(|s| shown(&s));
    let all = [Which::Current, Which::Staged, Which::Previous];
    vault.credentials().map(|c| (c.clone(), all.map(|which| open(c, which)))).collect()
}

fn names_beside(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn staged_version(vault: &Vault) -> u64 {
    let acme = vault.credential(&name("acme"));
    acme.and_then(|acme| acme.pair(Which::Staged)).map_or(0, |staged| staged.version)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_vault_is_the_same_after_it_was_closed() {
    let (home, mut vault) = Home::with_vault();
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    vault.stage(&name("acme"), "id-2".parse().unwrap(), &secret("canary-3"), false, now()).unwrap();
    vault.promote(&name("acme"), staged_version(&vault)).unwrap();
    vault.remove(&name("beta")).unwrap();
    let before = everything(&vault);
    drop(vault);
    let vault = home.open().unwrap();
    assert_eq!(everything(&vault), before);
    assert_eq!(before[0].1, [Some("canary-3".to_owned()), None, Some("canary-1".to_owned())]);
    assert_eq!(vault.credential(&name("acme")).unwrap().added_at.timestamp_subsec_nanos(), 123_000_000);
}

#[test]
fn a_passphrase_opens_and_another_does_not() {
    let home = Home::new();
    let right = passphrase("correct horse");
    let slots = [NewSlot::Passphrase(passphrase("correct horse"))];
    Vault::create_with(&home.paths, &slots, now(), CHEAP).unwrap();
    assert!(!home.paths.key_file.exists());
    assert_eq!(kinds(&home.paths), [SlotKind::Passphrase]);
    Vault::open(&home.paths, Key::Passphrase(&right)).unwrap();
    let wrong = Vault::open(&home.paths, Key::Passphrase(&passphrase("wrong"))).unwrap_err();
    assert!(matches!(wrong, VaultError::WrongKey { kind: SlotKind::Passphrase, .. }), "{wrong:?}");
    let other = Vault::open(&home.paths, Key::Unattended).unwrap_err();
    assert!(matches!(other, VaultError::OnlyByPerson { .. }), "{other:?}");
}

#[test]
fn everything_made_is_closed_to_others() {
    let (home, _vault) = Home::with_vault();
    for folder in ["data", "data/procurify-token", "config", "config/procurify-token"] {
        assert_eq!(mode(&home.folder.path().join(folder)), 0o700, "{folder}");
    }
    for file in [&home.paths.vault, &home.paths.key_file, &home.previous()] {
        assert_eq!(mode(file), 0o600, "{file:?}");
    }
}

#[test]
fn no_file_shows_a_secret_a_name_or_a_key() {
    let (home, mut vault) = Home::with_vault();
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    for file in [home.bytes(), fs::read(home.previous()).unwrap()] {
        for text in [&b"canary"[..], b"acme", b"client-id", b"procurify.com"] {
            assert!(!file.windows(text.len()).any(|window| window == text));
        }
    }
    assert!(!format!("{vault:?}").contains("canary"));
}

#[test]
fn making_a_vault_touches_none_that_is_there() {
    let (home, _vault) = Home::with_vault();
    let made = |home: &Home| Vault::create(&home.paths, &[NewSlot::KeyFile], now()).unwrap_err();
    let before = home.bytes();
    assert!(matches!(made(&home), VaultError::Exists { path } if path == home.paths.vault));
    assert_eq!(home.bytes(), before);
    // The vault itself is lost: what is left of it is all the more precious.
    fs::remove_file(&home.paths.vault).unwrap();
    assert!(matches!(made(&home), VaultError::Exists { path } if path == home.previous()));
    fs::remove_file(home.previous()).unwrap();
    symlink("/nowhere", &home.paths.vault).unwrap();
    assert!(matches!(made(&home), VaultError::Exists { .. }));
}

#[test]
fn two_that_make_a_vault_at_once_do_not_overwrite_each_other() {
    let (home, _vault) = Home::with_vault();
    let before = home.bytes();
    let late = file::create(&home.paths.vault, b"late").unwrap_err();
    assert!(matches!(late, VaultError::Exists { .. }), "{late:?}");
    assert_eq!(home.bytes(), before);
    assert_eq!(home.vault_folder(), ["vault", "vault.1"]);
}

#[test]
fn a_key_file_is_used_again_and_never_replaced() {
    let (home, vault) = Home::with_vault();
    drop(vault);
    let key = fs::read(&home.paths.key_file).unwrap();
    let kept = home.bytes();
    fs::remove_file(&home.paths.vault).unwrap();
    fs::remove_file(home.previous()).unwrap();
    Vault::create(&home.paths, &[NewSlot::KeyFile], now()).unwrap();
    assert_eq!(fs::read(&home.paths.key_file).unwrap(), key);
    // So the backup of the first vault still opens.
    home.put(&kept);
    assert_eq!(home.open().unwrap().credentials().count(), 1);

    fs::write(&home.paths.key_file, "something else\n").unwrap();
    fs::remove_file(&home.paths.vault).unwrap();
    let refused = Vault::create(&home.paths, &[NewSlot::KeyFile], now()).unwrap_err();
    assert!(matches!(refused, VaultError::KeyFileMalformed { .. }), "{refused:?}");
    assert_eq!(fs::read(&home.paths.key_file).unwrap(), b"something else\n");
    assert!(!home.paths.vault.exists());
}

#[test]
fn each_way_in_which_the_files_can_be_wrong_has_its_own_error() {
    let home = Home::new();
    assert!(matches!(home.open(), Err(VaultError::Missing { .. })));
    assert!(matches!(Vault::slots_at(&home.paths), Err(VaultError::Missing { .. })));

    let (home, vault) = Home::with_vault();
    drop(vault);
    let good = home.bytes();
    home.put(b"-----BEGIN PRIVATE KEY-----");
    assert!(matches!(home.open(), Err(VaultError::NotAVault { .. })));
    home.put(&good[..good.len() - 1]);
    assert!(matches!(home.open(), Err(VaultError::Truncated { .. })));
    home.put(&[&good[..], &[0]].concat());
    assert!(matches!(home.open(), Err(VaultError::Damaged { .. })));
    home.put(&resummed(&good, |file| file[8] = 3));
    assert!(matches!(home.open(), Err(VaultError::Newer { found: 3, known: 2, .. })));
    // Whoever changes the sealed body and mends the checksum, too, gets no further.
    home.put(&resummed(&good, |file| file[good.len() - 40] ^= 1));
    assert!(matches!(home.open(), Err(VaultError::Damaged { .. })));
    fs::File::create(&home.paths.vault).unwrap().set_len(MAX_FILE + 1).unwrap();
    assert!(matches!(home.open(), Err(VaultError::TooLarge { .. })));
    home.put(&good);

    let passphrase = passphrase("x");
    let error = Vault::open(&home.paths, Key::Passphrase(&passphrase)).unwrap_err();
    assert!(matches!(error, VaultError::NoSuchSlot { kind: SlotKind::Passphrase, .. }), "{error:?}");

    let key = fs::read_to_string(&home.paths.key_file).unwrap();
    let digit = if key.ends_with("0\n") { "1\n" } else { "0\n" };
    fs::write(&home.paths.key_file, format!("{}{digit}", &key[..key.len() - 2])).unwrap();
    assert!(matches!(home.open(), Err(VaultError::WrongKey { kind: SlotKind::KeyFile, .. })));
    fs::write(&home.paths.key_file, &key[..key.len() - 2]).unwrap();
    assert!(matches!(home.open(), Err(VaultError::KeyFileMalformed { .. })));
    fs::remove_file(&home.paths.key_file).unwrap();
    assert!(matches!(home.open(), Err(VaultError::KeyFileMissing { .. })));
}

#[rstest]
#[case::vault(|paths: &VaultPaths| paths.vault.clone())]
#[case::key_file(|paths: &VaultPaths| paths.key_file.clone())]
fn a_file_that_others_can_touch_is_not_used(#[case] which: fn(&VaultPaths) -> PathBuf) {
    let (home, vault) = Home::with_vault();
    drop(vault);
    let path = which(&home.paths);
    let folder = path.parent().unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();

    for bad in [0o640, 0o604, 0o620, 0o601] {
        set(&path, bad);
        let error = home.open().unwrap_err();
        assert!(
            matches!(&error, VaultError::Mode { path: at, found } if *at == path && *found == bad),
            "{error:?}"
        );
        assert!(error.to_string().contains(&format!("{bad:04o}")), "{error}");
    }
    for good in [0o400, 0o600] {
        set(&path, good);
        home.open().unwrap();
    }
    for bad in [0o770, 0o702, 0o1777] {
        set(folder, bad);
        let error = home.open().unwrap_err();
        assert!(
            matches!(&error, VaultError::FolderMode { path, found } if path == folder && *found == bad),
            "{error:?}"
        );
    }
    set(folder, 0o755);
    home.open().unwrap();

    let kept = path.with_extension("kept");
    fs::rename(&path, &kept).unwrap();
    symlink(&kept, &path).unwrap();
    assert!(matches!(home.open(), Err(VaultError::NotAFile { .. })), "a link");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(home.open(), Err(VaultError::NotAFile { .. })), "a folder");
    fs::remove_dir(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    assert!(matches!(home.open(), Err(VaultError::NotAFile { .. })), "a pipe");
}

#[rstest]
#[case::vault(|paths: &VaultPaths| paths.vault.clone())]
#[case::key_file(|paths: &VaultPaths| paths.key_file.clone())]
fn a_file_of_somebody_else_is_not_used(#[case] which: fn(&VaultPaths) -> PathBuf) {
    let (home, vault) = Home::with_vault();
    drop(vault);
    let path = which(&home.paths);
    if fs::metadata(&path).unwrap().uid() != 0 {
        // Only root can give files away. Others have root's to look at, and the folder's owner is not tested.
        let error = disk::open_private(Path::new("/etc/hosts")).unwrap_err();
        assert!(matches!(error, VaultError::Owner { found: 0, .. }), "{error:?}");
        say_skipped("the owner of the folder, because only root can give one away");
        return;
    }
    std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
    let error = home.open().unwrap_err();
    assert!(matches!(&error, VaultError::Owner { found: 4242, wanted: 0, .. }), "{error:?}");
    assert!(error.to_string().contains("4242") && error.to_string().contains(path.to_str().unwrap()));
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    std::os::unix::fs::chown(path.parent().unwrap(), Some(4242), None).unwrap();
    assert!(matches!(home.open(), Err(VaultError::FolderOwner { found: 4242, wanted: 0, .. })));
}

#[expect(clippy::print_stderr, reason = "what is skipped is skipped aloud")]
fn say_skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
}

#[test]
fn any_flipped_bit_is_damage_and_never_a_wrong_key_or_a_newer_version() {
    let (home, vault) = Home::with_vault();
    drop(vault);
    let good = home.bytes();
    for bit in 0..good.len() * 8 {
        let mut bent = good.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        home.put(&bent);
        let error = home.open().unwrap_err();
        let is_right = match bit / 8 {
            0..8 => matches!(error, VaultError::NotAVault { .. }),
            _ => matches!(error, VaultError::Truncated { .. } | VaultError::Damaged { .. }),
        };
        assert!(is_right, "bit {bit}: {error:?}");
    }
    for length in 0..good.len() {
        home.put(&good[..length]);
        assert!(matches!(home.open(), Err(VaultError::Truncated { .. })), "{length} bytes");
    }
    home.put(&good);
    home.open().unwrap();
}

#[test]
fn a_later_versions_slot_survives_our_saves() {
    let (home, vault) = Home::with_vault();
    let later = later_slot(vec![1, 2, 3]);
    let slots = [vec![later.clone()], vault.slots.clone()].concat();
    home.put(&write(&slots, &vault.key, &vault.contents));
    let mut vault = home.open().unwrap();
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    assert_eq!(kinds(&home.paths), [SlotKind::Unknown(77), SlotKind::KeyFile]);
    assert_eq!(home.open().unwrap().slots[0], later);
}

#[test]
fn the_slots_are_authentic() {
    let (home, vault) = Home::with_vault();
    drop(vault);
    // A slot of an unknown kind is not looked into, and yet a change in it is noticed.
    let good = home.bytes();
    let slots = [vec![later_slot(vec![])], format::parse(&good).unwrap().slots].concat();
    let body = format::parse(&good).unwrap().sealed_body.to_vec();
    home.put(&format::write(&slots, body.len(), |_| body.clone()));
    assert!(matches!(home.open(), Err(VaultError::Damaged { .. })));
}

#[test]
fn the_previous_generation_is_kept_and_forgotten_with_a_removed_credential() {
    let (home, mut vault) = Home::with_vault();
    let before = home.bytes();
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    assert_eq!(fs::read(home.previous()).unwrap(), before);
    vault.remove(&name("beta")).unwrap();
    assert_eq!(fs::read(home.previous()).unwrap(), home.bytes());
    // Now both names are one file, which a rename alone would not part.
    let before = home.bytes();
    vault.add(new_credential("gamma", "canary-3"), now()).unwrap();
    assert_eq!(fs::read(home.previous()).unwrap(), before);
    let third = home.bytes();
    vault.add(new_credential("delta", "canary-4"), now()).unwrap();
    assert_eq!(home.vault_folder(), ["vault", "vault.1", "vault.2"]);
    assert_eq!([1, 2].map(|n| fs::read(home.paths.generation(n)).unwrap()), [third, before]);
    for name in ["epsilon", "zeta", "eta"] {
        vault.add(new_credential(name, "canary-5"), now()).unwrap();
    }
    assert_eq!(home.vault_folder(), ["vault", "vault.1", "vault.2", "vault.3"]);
    vault.remove(&name("eta")).unwrap();
    assert_eq!(home.vault_folder(), ["vault", "vault.1"], "they hold what was removed");
}

#[test]
fn a_save_that_is_repeated_pushes_no_good_generation_out() {
    let (home, mut vault) = Home::with_vault();
    for name in ["beta", "gamma", "delta"] {
        vault.add(new_credential(name, "canary-2"), now()).unwrap();
    }
    let kept = || [1, 2, 3].map(|number| fs::read(home.paths.generation(number)).unwrap());
    let (newest, before) = (home.bytes(), kept());
    for _ in 0..5 {
        let fault = Fault::Fail(Step::Replace, 1);
        let add = || vault.add(new_credential("epsilon", "canary-3"), now());
        faults::with(fault, add).0.unwrap_err();
    }
    assert_eq!((home.bytes(), kept()), (newest.clone(), [newest, before[0].clone(), before[1].clone()]));
}

#[test]
fn an_older_generation_takes_the_place_of_a_damaged_one_and_nothing_is_lost() {
    let (home, mut vault) = Home::with_vault();
    let before = everything(&vault);
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    drop(vault);
    let damaged = home.bytes()[..100].to_vec();
    home.put(&damaged);
    let error = home.open().unwrap_err().to_string();
    assert!(error.contains("vault.1") && error.contains("unlock --generation 1"), "{error}");
    let mut back = Vault::open_generation(&home.paths, Key::Unattended, 1).unwrap();
    assert_eq!(home.bytes(), damaged, "nothing is touched until it is settled");
    back.settle().unwrap();
    assert_eq!(everything(&home.open().unwrap()), before);
    let aside = home.vault_folder().into_iter().find(|name| name.starts_with("vault.aside-")).unwrap();
    assert_eq!(fs::read(home.paths.vault.with_file_name(aside)).unwrap(), damaged);
    // And where the newest is gone altogether.
    fs::remove_file(&home.paths.vault).unwrap();
    Vault::open_generation(&home.paths, Key::Unattended, 1).unwrap().settle().unwrap();
    assert_eq!(everything(&home.open().unwrap()), before);
}

#[test]
fn slots_come_and_go_and_what_went_opens_nothing_any_more() {
    let (home, mut vault) = Home::with_vault();
    let before = everything(&vault);
    let text = passphrase("correct horse");
    let mut code = PreparedSlot::new(&home.paths, &NewSlot::RecoveryCode).unwrap();
    let words = PreparedSlot::with(&home.paths, &NewSlot::Passphrase(text.clone()), CHEAP).unwrap();
    let code_slot = vault.add_slot(&code, Description::default(), now()).unwrap();
    let code = code.take_recovery_code().unwrap();
    let words_slot = vault.add_slot(&words, "Anna".parse().unwrap(), now()).unwrap();
    let key_file = PreparedSlot::new(&home.paths, &NewSlot::KeyFile).unwrap();
    let second = vault.add_slot(&key_file, Description::default(), now()).unwrap_err();
    assert!(matches!(second, ChangeError::NotStored(VaultError::SlotExists { .. })), "{second:?}");
    assert_eq!(kinds(&home.paths), [SlotKind::KeyFile, SlotKind::RecoveryCode, SlotKind::Passphrase]);
    for key in [Key::Unattended, Key::Passphrase(&text), Key::RecoveryCode(&code)] {
        assert_eq!(everything(&Vault::open(&home.paths, key).unwrap()), before);
    }
    let copy = home.bytes();

    // The passphrase stays, so it is needed; without it nothing happens.
    let without = [code_slot.id];
    let kept = vault.door().keep(&without, &[]).unwrap_err();
    assert!(matches!(kept, ChangeError::SlotNotOpened { id, .. } if id == words_slot.id), "{kept:?}");
    assert_eq!(home.bytes(), copy);
    let keys = [UnlockWith::Passphrase(text.clone())];
    let kept = vault.door().keep(&without, &keys).unwrap();
    assert_eq!(vault.rekey(&kept, &without).unwrap(), 3);
    assert_eq!(home.vault_folder(), ["vault", "vault.1"]);
    assert_eq!(fs::read(home.previous()).unwrap(), home.bytes());
    let contents =
        |vault: &Vault| everything(vault).into_iter().map(|(_, secrets)| secrets).collect::<Vec<_>>();
    let secrets: Vec<_> = before.iter().map(|(_, secrets)| secrets.clone()).collect();
    for key in [Key::Unattended, Key::Passphrase(&text)] {
        assert_eq!(contents(&Vault::open(&home.paths, key).unwrap()), secrets);
    }
    let gone = Vault::open(&home.paths, Key::RecoveryCode(&code)).unwrap_err();
    assert!(matches!(gone, VaultError::NoSuchSlot { .. }), "{gone:?}");
    // Whoever has an old copy and the code has the old vault key, and opens nothing of the new vault with it.
    let stolen = Home::new();
    fs::create_dir_all(stolen.paths.vault.parent().unwrap()).unwrap();
    fs::set_permissions(stolen.paths.vault.parent().unwrap(), Permissions::from_mode(0o700)).unwrap();
    fs::write(&stolen.paths.vault, &copy).unwrap();
    fs::set_permissions(&stolen.paths.vault, Permissions::from_mode(0o600)).unwrap();
    let old = Vault::open(&stolen.paths, Key::RecoveryCode(&code)).unwrap();
    let bytes = home.bytes();
    let file = format::parse(&bytes).unwrap();
    assert!(old.key.open(Purpose::Body, file.header, file.sealed_body).is_err());
    // The changes go on.
    vault.add(new_credential("beta", "canary-9"), now()).unwrap();
    assert_eq!(everything(&home.open().unwrap()), everything(&vault));

    let all: Vec<_> = vault.slots().into_iter().map(|slot| slot.id).collect();
    assert!(matches!(vault.door().keep(&all, &keys), Err(ChangeError::LastSlot)));
    let unknown = [SlotId::from_bytes([9; 4])];
    assert!(matches!(vault.door().keep(&unknown, &keys), Err(ChangeError::UnknownSlot(_))));
}

#[test]
fn a_slot_that_nothing_here_opens_makes_room_for_one_of_its_kind_and_one_that_is_opened_does_not() {
    let (home, mut vault) = Home::with_vault();
    let credential = home.folder.path().join("credential");
    let seal = || {
        let _ = fs::remove_file(&credential);
        fs::write(&credential, *new_key_line()).unwrap();
        fs::set_permissions(&credential, Permissions::from_mode(0o400)).unwrap();
    };
    let paths = VaultPaths { credential: Some(credential.clone()), ..home.paths.clone() };
    let prepared = || PreparedSlot::new(&paths, &NewSlot::Credential).unwrap();
    seal();
    let lost = vault.add_slot(&prepared(), "lost".parse().unwrap(), now()).unwrap();
    let before = home.bytes();
    let refused = vault.add_slot(&prepared(), Description::default(), now()).unwrap_err();
    let is_there = ChangeError::NotStored(VaultError::SlotExists {
        path: paths.vault.clone(),
        kind: SlotKind::Credential,
    });
    assert_eq!(refused.to_string(), is_there.to_string());
    assert_eq!(home.bytes(), before);

    seal();
    let found = vault.add_slot(&prepared(), Description::default(), now()).unwrap();
    let ids: Vec<_> = vault.slots().into_iter().map(|slot| slot.id).collect();
    assert!(ids.contains(&found.id) && !ids.contains(&lost.id), "{ids:?}");
    assert_eq!(kinds(&paths), [SlotKind::KeyFile, SlotKind::Credential]);
    let contents = everything(&vault);
    fs::remove_file(&paths.key_file).unwrap();
    assert_eq!(everything(&Vault::open(&paths, Key::Unattended).unwrap()), contents);

    // The same for a key file that is lost; of what is typed there may be several, whether it fits or not.
    let key_file = PreparedSlot::new(&paths, &NewSlot::KeyFile).unwrap();
    vault.add_slot(&key_file, Description::default(), now()).unwrap();
    for _ in 0..2 {
        let code = PreparedSlot::new(&paths, &NewSlot::RecoveryCode).unwrap();
        vault.add_slot(&code, Description::default(), now()).unwrap();
    }
    let codes = [SlotKind::RecoveryCode; 2];
    assert_eq!(kinds(&paths), [&[SlotKind::Credential, SlotKind::KeyFile], &codes[..]].concat());
}

#[test]
fn slots_that_have_changed_since_they_were_opened_are_not_wrapped() {
    let (home, mut vault) = Home::with_vault();
    let kept = vault.door().keep(&[], &[]).unwrap();
    let code = PreparedSlot::new(&home.paths, &NewSlot::RecoveryCode).unwrap();
    vault.add_slot(&code, Description::default(), now()).unwrap();
    let before = home.bytes();
    assert!(matches!(vault.rekey(&kept, &[]), Err(ChangeError::SlotsChanged)));
    assert_eq!(home.bytes(), before);
}

#[test]
fn a_credential_of_systemd_and_a_command_open_a_vault() {
    let (home, mut vault) = Home::with_vault();
    let folder = home.folder.path().join("credentials");
    fs::create_dir(&folder).unwrap();
    let credential = folder.join("procurify-token.vault-key");
    fs::write(&credential, *new_key_line()).unwrap();
    fs::set_permissions(&credential, Permissions::from_mode(0o440)).unwrap();
    let line = home.folder.path().join("line");
    fs::write(&line, *new_key_line()).unwrap();
    let command = KeyCommand {
        program: "cat".to_owned(),
        arguments: vec![line.display().to_string()],
        timeout: std::time::Duration::from_mins(1),
    };
    let missing = PreparedSlot::new(&home.paths, &NewSlot::Credential).unwrap_err();
    assert!(matches!(missing, VaultError::CredentialMissing { path: None }), "{missing:?}");
    let missing = PreparedSlot::new(&home.paths, &NewSlot::Command).unwrap_err();
    assert!(matches!(missing, VaultError::NoCommand), "{missing:?}");
    let paths =
        VaultPaths { credential: Some(credential.clone()), command: Some(command), ..home.paths.clone() };
    for slot in [NewSlot::Credential, NewSlot::Command] {
        let prepared = PreparedSlot::new(&paths, &slot).unwrap();
        vault.add_slot(&prepared, Description::default(), now()).unwrap();
    }
    fs::remove_file(&home.paths.key_file).unwrap();
    Vault::open(&paths, Key::Unattended).unwrap();
    fs::set_permissions(&credential, Permissions::from_mode(0o444)).unwrap();
    Vault::open(&paths, Key::Unattended).unwrap();
    fs::write(&line, "nothing").unwrap();
    let failures = match Vault::open(&paths, Key::Unattended).unwrap_err() {
        VaultError::NoneOpens { failures } => failures,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        failures[..],
        [VaultError::KeyFileMissing { .. }, VaultError::Mode { .. }, VaultError::Command { .. }]
    ));
}

#[test]
fn a_backup_is_restored_where_no_vault_is_and_opened_by_any_slot() {
    let (home, mut vault) = Home::with_vault();
    let mut code = PreparedSlot::new(&home.paths, &NewSlot::RecoveryCode).unwrap();
    vault.add_slot(&code, Description::default(), now()).unwrap();
    let mut backup = Vec::new();
    let mut generation = None;
    loop {
        let piece = Vault::piece(&home.paths, generation, backup.len() as u64, 100).unwrap().unwrap();
        generation = Some(piece.generation);
        backup.extend_from_slice(piece.piece.bytes());
        if backup.len() as u64 == piece.length {
            break;
        }
    }
    assert_eq!(backup, home.bytes());
    let refused = Vault::restore(&home.paths, &backup).unwrap_err();
    assert!(matches!(refused, VaultError::Exists { .. }), "{refused:?}");
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    assert!(Vault::piece(&home.paths, generation, 0, 100).unwrap().is_none(), "another generation");

    let other = Home::new();
    let damaged = Vault::restore(&other.paths, &backup[..backup.len() - 1]).unwrap_err();
    assert!(matches!(damaged, VaultError::BadBackup), "{damaged:?}");
    assert!(!other.paths.vault.exists());
    Vault::restore(&other.paths, &backup).unwrap();
    let code = code.take_recovery_code().unwrap();
    let opened = Vault::open(&other.paths, Key::RecoveryCode(&code)).unwrap();
    assert_eq!(everything(&opened)[0].1, [Some("canary-1".to_owned()), None, None]);
    assert!(matches!(Vault::open(&other.paths, Key::Unattended), Err(VaultError::KeyFileMissing { .. })));
}

#[test]
fn what_is_copied_out_is_taken_in_all_or_none() {
    let (home, mut vault) = Home::with_vault();
    vault.stage(&name("acme"), "id-2".parse().unwrap(), &secret("canary-2"), false, now()).unwrap();
    vault.promote(&name("acme"), staged_version(&vault)).unwrap();
    vault.stage(&name("acme"), "id-3".parse().unwrap(), &secret("canary-3"), false, now()).unwrap();
    let copies = |vault: &Vault| vault.credentials().map(|c| vault.copy_of(c).unwrap()).collect::<Vec<_>>();
    let before = home.bytes();
    let error = vault.take_in(copies(&vault), now()).unwrap_err();
    assert!(matches!(&error, ChangeError::SomeExist(names) if names[..] == [name("acme")]), "{error:?}");
    assert_eq!(home.bytes(), before);

    let other = Home::new();
    let (mut copy, _) = Vault::create(&other.paths, &[NewSlot::KeyFile], now()).unwrap();
    copy.take_in(copies(&vault), now()).unwrap();
    let secrets =
        |vault: &Vault| everything(vault).into_iter().map(|(_, secrets)| secrets).collect::<Vec<_>>();
    assert_eq!(secrets(&other.open().unwrap()), secrets(&vault));
    let twice = copies(&vault).into_iter().chain(copies(&vault)).collect();
    let third = Home::new();
    let (mut empty, _) = Vault::create(&third.paths, &[NewSlot::KeyFile], now()).unwrap();
    assert!(matches!(empty.take_in(twice, now()), Err(ChangeError::Exists)));
    assert_eq!(empty.credentials().count(), 0);
}

#[test]
fn somebody_elses_vault_is_not_overwritten_but_a_damaged_one_is() {
    let (home, mut vault) = Home::with_vault();
    let backup = fs::read(home.previous()).unwrap();
    let good = home.bytes();
    for foreign in [backup.clone(), resummed(&good, |file| file[8] = 9), b"notes".to_vec()] {
        home.put(&foreign);
        let refused = vault.add(new_credential("beta", "canary-2"), now()).unwrap_err();
        assert!(matches!(refused, ChangeError::NotStored(VaultError::ChangedOnDisk { .. })), "{refused:?}");
        assert_eq!((home.bytes(), vault.credentials().count()), (foreign, 1));
    }
    home.put(&good[..100]);
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    assert_eq!(everything(&home.open().unwrap()), everything(&vault));
    assert_eq!(fs::read(home.previous()).unwrap(), backup, "the damaged file did not displace a good one");
    fs::remove_file(&home.paths.vault).unwrap();
    vault.add(new_credential("gamma", "canary-3"), now()).unwrap();
    assert_eq!(everything(&home.open().unwrap()), everything(&vault));
}

#[rstest]
#[case::inspect(Step::Inspect, 1)]
#[case::open_previous(Step::Read, 1)]
#[case::create(Step::Create, 1)]
#[case::write(Step::Write, 1)]
#[case::flush(Step::Flush, 1)]
#[case::link(Step::Link, 1)]
#[case::keep(Step::Keep, 1)]
#[case::replace(Step::Replace, 1)]
fn a_failure_before_the_end_changes_nothing(#[case] step: Step, #[case] nth: u32) {
    let (home, mut vault) = Home::with_vault();
    let (bytes, held) = (home.bytes(), everything(&vault));
    for change in CHANGES {
        let (outcome, struck) = faults::with(Fault::Fail(step, nth), || change.apply(&mut vault));
        assert!(struck, "{change:?}");
        let error = outcome.unwrap_err();
        assert!(matches!(&error, ChangeError::NotStored(VaultError::Io(f)) if f.step == step), "{error:?}");
        assert_eq!((home.bytes(), everything(&vault)), (bytes.clone(), held.clone()), "{change:?}");
        assert!(home.vault_folder().iter().all(|file| is_ours(file)), "{change:?}");
    }
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    assert_eq!(everything(&home.open().unwrap()), everything(&vault));
}

#[rstest]
#[case::flush_folder(Step::FlushFolder, Change::Add)]
#[case::flush_folder_of_removal(Step::FlushFolder, Change::Remove)]
fn a_failure_behind_the_replacement_is_told_apart_and_the_new_state_counts(
    #[case] step: Step,
    #[case] change: Change,
) {
    let (home, mut vault) = Home::with_vault();
    let before = everything(&vault);
    let (outcome, struck) = faults::with(Fault::Fail(step, 1), || change.apply(&mut vault));
    let error = outcome.unwrap_err();
    assert!(struck && matches!(&error, ChangeError::Unconfirmed(f) if f.step == step), "{error:?}");
    assert_ne!(everything(&vault), before);
    assert_eq!(everything(&home.open().unwrap()), everything(&vault));
    vault.add(new_credential("gamma", "canary-5"), now()).unwrap();
    assert_eq!(everything(&home.open().unwrap()), everything(&vault));
    assert!(home.vault_folder().iter().all(|file| is_ours(file)));
}

/// Not a temporary file.
fn is_ours(file: &str) -> bool {
    ["vault", "vault.1", "vault.2", "vault.3"].contains(&file)
}

#[test]
fn a_crash_while_a_vault_is_made_leaves_none_or_a_whole_one_and_can_be_repeated() {
    for step in STEPS {
        for nth in 1.. {
            let home = Home::new();
            let create = || Vault::create(&home.paths, &[NewSlot::KeyFile], now());
            let (outcome, struck) = faults::with(Fault::Crash(step, nth), create);
            if !struck {
                outcome.unwrap();
                break;
            }
            match home.open() {
                Err(VaultError::Missing { .. }) => drop(create().unwrap()),
                opened => drop(opened.unwrap()),
            }
            home.open().unwrap();
            assert_eq!(home.vault_folder(), ["vault"], "{step:?} {nth}");
            assert_eq!(names_beside(&home.paths.key_file), ["vault.key"], "{step:?} {nth}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Add,
    AddSecond,
    Stage,
    Promote,
    Rollback,
    Remove,
}

impl Change {
    fn apply(self, vault: &mut Vault) -> Result<(), ChangeError> {
        let acme = name("acme");
        match self {
            Self::Add if vault.credential(&name("beta")).is_some() => vault.remove(&name("beta")),
            Self::Add => vault.add(new_credential("beta", "canary-2"), now()),
            Self::AddSecond => vault.add(new_credential("acme", "canary-3"), now()),
            Self::Stage => vault.stage(&acme, "id-2".parse().unwrap(), &secret("canary-4"), true, now()),
            Self::Promote => vault.promote(&acme, staged_version(vault)),
            Self::Rollback => vault.rollback(&acme),
            Self::Remove => vault.remove(&acme),
        }
    }
}

const CHANGES: [Change; 3] = [Change::Add, Change::Stage, Change::Remove];
const STEPS: [Step; 10] = [
    Step::CreateFolder,
    Step::Inspect,
    Step::Read,
    Step::Create,
    Step::Write,
    Step::Flush,
    Step::Link,
    Step::Keep,
    Step::Replace,
    Step::FlushFolder,
];

fn any_fault() -> impl Strategy<Value = Fault> {
    let step = proptest::sample::select(&STEPS[..]);
    (0..4_u8, step, 1..3_u32).prop_map(|(kind, step, nth)| match kind {
        0 => Fault::Fail(step, nth),
        1 => Fault::Crash(step, nth),
        _ => Fault::None,
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    use Change::{Add, AddSecond, Promote, Remove, Rollback, Stage};
    proptest::sample::select(vec![Add, AddSecond, Stage, Stage, Promote, Promote, Rollback, Remove])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done and whatever fails: what was reported stored is there, what was reported not stored is not,
    /// and after a crash the vault opens and holds the state before or behind the change.
    #[test]
    fn nothing_that_was_reported_stored_is_ever_lost(
        story in proptest::collection::vec((any_change(), any_fault()), 1..12),
    ) {
        let (home, mut vault) = Home::with_vault();
        for (change, fault) in story {
            let before = everything(&vault);
            let (outcome, struck) = faults::with(fault, || change.apply(&mut vault));
            if struck && matches!(fault, Fault::Crash(..)) {
                let died_with = everything(&vault);
                vault = home.open().unwrap();
                let found = everything(&vault);
                prop_assert!(found == before || found == died_with);
                prop_assert!(home.vault_folder().iter().all(|file| is_ours(file)));
                continue;
            }
            match outcome {
                Ok(()) | Err(ChangeError::Unconfirmed(_)) => {}
                Err(_) => prop_assert_eq!(&everything(&vault), &before),
            }
            prop_assert_eq!(everything(&home.open().unwrap()), everything(&vault));
        }
    }
}

#[test]
fn errors_are_whole_sentences_without_secrets() {
    let (home, mut vault) = Home::with_vault();
    let (outcome, _) = faults::with(Fault::Fail(Step::Write, 1), || Change::Stage.apply(&mut vault));
    let text = outcome.unwrap_err().to_string();
    assert!(text.starts_with("The change was not stored. Could not write /"), "{text}");
    assert!(text.ends_with(": injected.") && !text.contains("canary"), "{text}");
    home.put(&[]);
    let text = home.open().unwrap_err().to_string();
    assert!(text.contains("vault is missing") && text.contains("vault.1;"), "{text}");
}

/// The files in `tests/vectors/vault` were written by the versions that first had their formats, and must open forever. To
/// write new ones beside them for a new format, run this test once with `WRITE_VAULT_VECTORS=1`: it never overwrites.
#[test]
fn the_vaults_of_every_format_open() {
    let vectors = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/vault"));
    if std::env::var_os("WRITE_VAULT_VECTORS").is_some() {
        write_vectors(vectors);
    }
    let home = Home::new();
    let folder = home.folder.path();
    // Git keeps no modes.
    for file in V1.into_iter().chain(V2) {
        fs::write(folder.join(file), fs::read(vectors.join(file)).unwrap()).unwrap();
        fs::set_permissions(folder.join(file), Permissions::from_mode(0o600)).unwrap();
    }
    let paths = |vault: &str, key: &str| VaultPaths::new(folder.join(vault), folder.join(key));
    let text = passphrase("correct horse battery staple");
    let code = RecoveryCode::parse(&VECTOR_CODE.into()).unwrap();
    let [_, by_key, by_text] = V1;
    let opened = [
        Vault::open(&paths(by_key, "v1.key"), Key::Unattended),
        Vault::open(&paths(by_text, "v1.key"), Key::Passphrase(&text)),
        Vault::open(&paths("v2.vault", "v2.key"), Key::Unattended),
        Vault::open(&paths("v2.vault", "none"), Key::Passphrase(&text)),
        Vault::open(&paths("v2.vault", "none"), Key::RecoveryCode(&code)),
    ];
    for vault in opened {
        let vault = vault.unwrap();
        let secrets: Vec<_> = everything(&vault).into_iter().map(|(_, secrets)| secrets).collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            secrets,
            [
                [some("second-secret"), some("third-secret"), some("first-secret")],
                [some("other"), None, None]
            ]
        );
        let acme = vault.credential(&name("acme")).unwrap();
        assert_eq!(
            (acme.description.as_str(), acme.body_encoding, acme.added_at.timestamp_millis()),
            ("Größe 1", BodyEncoding::Form, 1_800_000_000_123)
        );
        assert_eq!(acme.token_url.as_str(), "https://acme.procurify.com/oauth/token");
        assert_eq!((acme.current.version, acme.current.client_id.as_str()), (3, "second-id"));
    }
}

#[test]
fn a_vault_of_an_older_format_is_written_anew_with_its_next_change_and_keeps_its_slots() {
    let vectors = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/vault"));
    let home = Home::new();
    create_folders(disk::folder_of(&home.paths.vault)).unwrap();
    create_folders(disk::folder_of(&home.paths.key_file)).unwrap();
    let put = |from: &str, to: &Path| {
        fs::write(to, fs::read(vectors.join(from)).unwrap()).unwrap();
        fs::set_permissions(to, Permissions::from_mode(0o600)).unwrap();
    };
    put("v1_key_file.vault", &home.paths.vault);
    put("v1.key", &home.paths.key_file);
    let mut vault = home.open().unwrap();
    let slots = vault.slots();
    vault.add(new_credential("beta", "canary-2"), now()).unwrap();
    assert_eq!(home.bytes()[8], 2);
    assert_eq!(
        (home.open().unwrap().slots(), everything(&home.open().unwrap())),
        (slots, everything(&vault))
    );
}

fn write_vectors(folder: &Path) {
    let home = Home::new();
    let parameters = KdfParameters { memory_kib: 8 * 1024, passes: 2, lanes: 2 };
    let vault = home.folder.path().join("v2.vault");
    let paths = VaultPaths::new(vault, home.folder.path().join("v2.key"));
    let (mut vault, _) = Vault::create_with(&paths, &[NewSlot::KeyFile], now(), parameters).unwrap();
    let words = NewSlot::Passphrase(passphrase("correct horse battery staple"));
    let words = PreparedSlot::with(&paths, &words, parameters).unwrap();
    vault.add_slot(&words, "Größe".parse().unwrap(), now()).unwrap();
    let code = RecoveryCode::parse(&VECTOR_CODE.into()).unwrap();
    let code = PreparedSlot::of_recovery_code(code);
    vault.add_slot(&code, Description::default(), now()).unwrap();
    let acme = name("acme");
    vault.add(new_credential("acme", "first-secret"), now()).unwrap();
    vault.add(new_credential("acme/reporting", "other"), now()).unwrap();
    vault.stage(&acme, "second-id".parse().unwrap(), &secret("second-secret"), false, now()).unwrap();
    vault.promote(&acme, staged_version(&vault)).unwrap();
    vault.stage(&acme, "third-id".parse().unwrap(), &secret("third-secret"), false, now()).unwrap();
    for file in V2 {
        let mut new = fs::File::create_new(folder.join(file)).unwrap();
        std::io::copy(&mut fs::File::open(home.folder.path().join(file)).unwrap(), &mut new).unwrap();
    }
}

const V1: [&str; 3] = ["v1.key", "v1_key_file.vault", "v1_passphrase.vault"];
const V2: [&str; 2] = ["v2.key", "v2.vault"];
const VECTOR_CODE: &str = "006H9-M9SMZ-85750-PT3N5-GA7SS-SADPS-RF8DF-VTQQ7";

/// A file with a change and a checksum that is right again.
fn resummed(file: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut file = file.to_vec();
    let (summed, sum) = file.split_last_chunk_mut().unwrap();
    change(summed);
    *sum = seal::checksum(summed);
    file
}
