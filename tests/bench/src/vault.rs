//! What a vault costs: to open by a key file and by a passphrase, and to change, with few and with very many credentials.
//!
//! Prints a table. The vaults lie in a temporary folder, whose disk decides what a save costs.

#![expect(clippy::print_stdout, reason = "this is what a benchmark is for")]

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use procurify_token_protocol::{CredentialCopy, Description, NewSlot, Passphrase};
use procurify_token_tests::credential;
use procurify_tokend::clock::{Clock as _, SystemClock};
use procurify_tokend::vault::{Key, PreparedSlot, Vault, VaultPaths};

fn main() {
    println!("| credentials | file | open, key file | open, passphrase | import | add one | new key |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for number in [10, 1_000, 100_000] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let paths = VaultPaths::new(folder.path().join("vault"), folder.path().join("vault.key"));
        let (mut vault, _) = Vault::create(&paths, &[NewSlot::KeyFile], now()).expect("a vault can be made");
        let copies = (0..number).map(|n| copy(&format!("acme/n{n:06}"))).collect();
        let ((), import) = timed(|| vault.take_in(copies, now()).expect("they can be stored"));
        let passphrase = Passphrase::new("correct horse battery staple".into()).expect("a passphrase");
        let slot = PreparedSlot::new(&paths, &NewSlot::Passphrase(passphrase.clone())).expect("a slot");
        vault.add_slot(&slot, Description::default(), now()).expect("it can be stored");
        let ((), add) = timed(|| vault.add(credential("acme/one-more"), now()).expect("it can be stored"));
        let by_key_file = median(|| drop(Vault::open(&paths, Key::Unattended).expect("it opens")));
        let by_passphrase =
            median(|| drop(Vault::open(&paths, Key::Passphrase(&passphrase)).expect("it opens")));
        let keys = [procurify_token_protocol::UnlockWith::Passphrase(passphrase)];
        let (_, rekey) = timed(|| {
            let kept = vault.door().keep(&[], &keys).expect("both open");
            vault.rekey(&kept, &[]).expect("it can be stored")
        });
        let size = std::fs::metadata(&paths.vault).map_or(0, |file| file.len());
        println!(
            "| {number} | {} kB | {} | {} | {} | {} | {} |",
            size / 1000,
            shown(by_key_file),
            shown(by_passphrase),
            shown(import),
            shown(add),
            shown(rekey)
        );
    }
}

fn copy(name: &str) -> CredentialCopy {
    CredentialCopy { credential: credential(name), added_at: None, staged: None, previous: None }
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..RUNS).map(|_| timed(&mut work).1).collect();
    times.sort();
    times[RUNS / 2]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

fn shown(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn now() -> DateTime<Utc> {
    SystemClock.now().wall
}

const RUNS: usize = 7;
