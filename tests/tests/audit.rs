//! Who got which token and did what, as the daemon keeps it: the real programs, other users, restarts, crashes, full disks, and hands
//! that change the files.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use procurify_token_tests::client::{Error, blocking::Client};
use procurify_token_tests::protocol::{Answer, Fingerprint, RefusalCode, Request};
use procurify_token_tests::{Home, PATIENCE, credential, name, skipped, text_of};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde_json::Value;

#[test]
fn each_token_and_each_deed_has_a_record_of_who_and_none_has_a_secret() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    let typed = home.command(["get", "acme", "--json"]).run().succeeds().json();
    let _ = home.command(["slot", "add", "recovery-code", "--no-confirm"]).run().succeeds();
    let _ = home.client().request(&Request::Remove { name: name("nosuch") }, PATIENCE).unwrap_err();
    let _ = home.command(["remove", "acme", "--yes"]).run().succeeds();

    let records = shown(&home, &[]);
    let seqs: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=records.len() as u64).collect::<Vec<_>>());
    let acts: Vec<&str> = records.iter().map(|record| record["act"].as_str().unwrap()).collect();
    assert_eq!(acts, ["file", "start", "init", "add", "get", "add-slot", "remove", "remove"]);
    let get = &records[4];
    assert_eq!((&get["credential"], &get["token"]), (&"acme".into(), &typed["fingerprint"]));
    assert_eq!(get["uid"], geteuid().as_raw());
    assert!(get["pid"].as_u64().unwrap() > 1 && get["outcome"] == "ok");
    let program = get["program"].as_str().expect("this kernel tells programs").to_owned();
    assert!(program.ends_with("/procurify-token"), "{program}");
    assert_eq!(records[6]["outcome"], "unknown-credential");
    assert!(records[3]["detail"].as_str().unwrap().contains("sandbox-acme"), "the client id");

    // For people, and some of them.
    let told = home.command(["audit", "show"]).run().succeeds().stdout;
    assert!(told.contains("WHEN") && told.contains(typed["fingerprint"].as_str().unwrap()), "{told}");
    assert_eq!(shown(&home, &["--credential", "acme"]).len(), 3);
    assert_eq!(shown(&home, &["--user", "root"]).len(), if geteuid().is_root() { 6 } else { 0 });
    assert_eq!(shown(&home, &["--since", "2020-01-01T00:00:00Z"]).len(), records.len());
    assert_eq!(shown(&home, &["--since", "2100-01-01T00:00:00Z"]).len(), 0);
    let _ = home.command(["audit", "show", "--user", "no such user"]).run().fails_with(2);
    let _ = verified(&home);

    let files = all_of(&folder(&home));
    for secret in ["sandbox-acme-secret", typed["access_token"].as_str().unwrap()] {
        assert!(!files.contains(secret), "a secret is in the records");
    }
    assert!(daemon.stop().success());
    for file in fs::read_dir(folder(&home)).unwrap().flatten() {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn other_users_are_named_and_whoever_is_denied_as_well() {
    if !geteuid().is_root() {
        return skipped(
            "other_users_are_named_and_whoever_is_denied_as_well",
            "only root becomes another user",
        );
    }
    let home = Home::new(&["acme", "globex"]);
    home.configure("[[access]]\nuser = \"nobody\"\ncredentials = [\"acme\"]\n");
    let daemon = home.start();
    for folder in home.socket().ancestors().skip(1).take_while(|folder| *folder != Path::new("/tmp")) {
        fs::set_permissions(folder, Permissions::from_mode(0o711)).unwrap();
    }
    home.enrol("acme");
    home.enrol("globex");
    let mut client = client_of(&home, NOBODY);
    let token = client.token(&name("acme")).unwrap().fingerprint();
    for _ in 0..20 {
        assert_eq!(client.token(&name("acme")).unwrap().fingerprint(), token);
        assert!(
            matches!(client.token(&name("globex")), Err(Error::Refused(refusal)) if refusal.code == RefusalCode::DENIED)
        );
    }
    let denied = client.request(&Request::AuditVerify, PATIENCE);
    assert!(matches!(denied, Err(Error::Refused(refusal)) if refusal.code == RefusalCode::DENIED));
    drop(client);
    assert!(daemon.stop().success());
    let _daemon = home.start();

    let records = shown(&home, &["--user", "nobody"]);
    let of = |act: &'static str, outcome: &'static str| {
        records.iter().filter(move |record| record["act"] == act && record["outcome"] == outcome)
    };
    let times = |act: &'static str, outcome: &'static str| -> u64 {
        of(act, outcome).map(|record| record["count"].as_u64().unwrap_or(1)).sum()
    };
    assert_eq!((times("get", "ok"), times("get", "denied"), times("audit-verify", "denied")), (21, 20, 1));
    for record in &records {
        assert_eq!((&record["uid"], &record["pid"]), (&NOBODY.into(), &std::process::id().into()));
    }
    assert!(of("get", "ok").all(|record| record["token"] == token.to_string()));
    assert!(of("get", "denied").all(|record| record["credential"] == "globex" && record["token"].is_null()));
    let _ = verified(&home);
}

#[test]
fn whatever_hands_do_to_the_files_the_first_record_that_is_amiss_is_named() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    deeds(&home, 12);
    assert!(daemon.stop().success());
    let file = files(&home).pop().unwrap();
    let good = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let last = lines.len();
    let joined = |lines: &[&str]| lines.join("\n") + if lines.is_empty() { "" } else { "\n" };
    let without = |at: usize| joined(&[&lines[..at], &lines[at + 1..]].concat());
    let mut swapped = lines.clone();
    swapped.swap(5, 6);
    let changed = lines[4].replace("invalidate", "validate");
    assert_ne!(changed, lines[4]);
    let head = fs::read(folder(&home).join("head")).unwrap();
    let all = [
        ("changed", joined(&[&lines[..4], &[&*changed], &lines[5..]].concat()), 5),
        ("removed", without(5), 6),
        ("reordered", joined(&swapped), 6),
        ("doubled", joined(&[&lines[..6], &lines[5..]].concat()), 7),
        ("cut off", joined(&lines[..last - 2]), last - 1),
        ("the first removed", without(0), 1),
        ("emptied", String::new(), 1),
    ];
    for (what, text, record) in all {
        fs::write(&file, text).unwrap();
        fs::write(folder(&home).join("head"), &head).unwrap();
        let daemon = home.start();
        let _ = amiss(&home, record, what);
        // It stays amiss, whatever is written after it.
        deeds(&home, 2);
        let _ = amiss(&home, record, what);
        daemon.kill9();
        // A file more may have been begun.
        files(&home).iter().filter(|other| **other != file).for_each(|other| fs::remove_file(other).unwrap());
    }

    // Without the head nobody knows whether the end is missing, and that is said.
    fs::write(&file, joined(&lines[..last - 2])).unwrap();
    fs::remove_file(folder(&home).join("head")).unwrap();
    let daemon = home.start();
    let _ = amiss(&home, last - 1, "without its head");
    assert!(daemon.stop().success());

    // As it was, it is good; and what is done to it under a running daemon is noticed as well.
    fs::write(&file, &good).unwrap();
    fs::write(folder(&home).join("head"), &head).unwrap();
    let _daemon = home.start();
    let _ = verified(&home);
    let good = fs::read_to_string(&file).unwrap();
    let last = good.lines().count();
    for (what, text, record) in [
        ("cut off", joined(&good.lines().take(last - 1).collect::<Vec<_>>()), last),
        ("doubled at its end", format!("{good}{}\n", good.lines().last().unwrap()), last + 1),
        ("changed", good.replacen("invalidate", "validate", 1), 5),
    ] {
        fs::write(&file, text).unwrap();
        let _ = amiss(&home, record, what);
        fs::write(&file, &good).unwrap();
    }
    let _ = verified(&home);
}

#[test]
fn files_are_begun_anew_at_their_size_and_the_oldest_go() {
    let home = Home::new(&["acme"]);
    home.configure("[audit]\nfile-size = \"64KiB\"\nfiles = 3");
    let daemon = home.start();
    home.enrol("acme");
    deeds(&home, 1500);
    let verdict = verified(&home);
    assert!(verdict["first"].as_u64().unwrap() > 1 && verdict["last"].as_u64().unwrap() > 1500, "{verdict}");
    let kept = files(&home);
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|file| fs::metadata(file).unwrap().len() < 65 << 10));
    let first = shown(&home, &[]).into_iter().next().unwrap();
    assert_eq!((&first["act"], &first["seq"]), (&"file".into(), &verdict["first"]));
    assert!(daemon.stop().success());

    // Two files that have changed places, and one that is gone.
    let [oldest, middle, _] = &kept[..] else { panic!("there are three") };
    let numbers = |file: &Path| file.file_stem().unwrap().to_str().unwrap().parse::<usize>().unwrap();
    let aside = home.path().join("aside");
    let swap = || {
        fs::rename(oldest, &aside).unwrap();
        fs::rename(middle, oldest).unwrap();
        fs::rename(&aside, middle).unwrap();
    };
    swap();
    let daemon = home.start();
    let _ = amiss(&home, numbers(oldest), "exchanged");
    assert!(daemon.stop().success());
    swap();
    fs::rename(oldest, &aside).unwrap();
    let daemon = home.start();
    let _ = amiss(&home, numbers(oldest), "without the oldest file");
    assert!(daemon.stop().success());
    fs::rename(&aside, oldest).unwrap();
    fs::rename(middle, &aside).unwrap();
    let _daemon = home.start();
    let _ = amiss(&home, numbers(middle), "without a file in the middle");
}

#[test]
fn a_crash_breaks_no_chain_and_an_unfinished_line_is_mended_and_said() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    deeds(&home, 5);
    // Written by now, for showing waits for that.
    let before = shown(&home, &[]);
    daemon.kill9();
    let daemon = home.start();
    let _ = verified(&home);
    let after = shown(&home, &[]);
    assert_eq!(after[..before.len()], before);
    daemon.kill9();

    let file = files(&home).pop().unwrap();
    OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"seq\":99,\"at\"").unwrap();
    let _daemon = home.start();
    let _ = verified(&home);
    let mended = shown(&home, &[]).into_iter().find(|record| record["act"] == "mended").unwrap();
    assert_eq!(mended["detail"], "an unfinished line of 14 bytes was cut off");
}

#[test]
fn a_new_vault_key_leaves_the_chain_as_it_was_and_what_happens_while_locked_is_written_late() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    deeds(&home, 3);
    let before = verified(&home)["last"].as_u64().unwrap();
    let _ = home.command(["rekey"]).run().succeeds();
    assert!(verified(&home)["last"].as_u64().unwrap() > before);
    assert!(daemon.stop().success());
    let daemon = home.start();
    let _ = verified(&home);

    let _ = home.command(["lock"]).run().succeeds();
    let _ = home.command(["audit", "verify"]).run().fails_with(4);
    let _ = home.command(["backup", &home.path().join("copy").display().to_string()]).run().succeeds();
    assert_eq!(shown(&home, &[]).last().unwrap()["act"], "lock", "it is in the files before the key goes");
    let _ = home.command(["unlock"]).run().succeeds();
    let _ = verified(&home);
    let records = shown(&home, &[]);
    let late = records.iter().find(|record| record["act"] == "backup").unwrap();
    assert_eq!((&late["late"], &late["outcome"]), (&true.into(), &"ok".into()));
    assert_eq!(records.last().unwrap()["act"], "unlock");
    assert!(daemon.stop().success());

    // Another vault's key verifies nothing here, and that is said.
    fs::remove_file(home.data_folder().join("vault.audit-key")).unwrap();
    let _daemon = home.start();
    // Showing waits until the files are open.
    let _ = shown(&home, &[]);
    let status = home.command(["status"]).run().succeeds().stdout;
    assert!(status.contains("The key of the audit records is a new one"), "{status}");
    let _ = amiss(&home, 1, "under another key");
}

#[test]
fn a_full_disk_stops_nobody_and_what_is_lost_is_counted() {
    let test = "a_full_disk_stops_nobody_and_what_is_lost_is_counted";
    let home = Home::new(&["acme"]);
    let Some(disk) = SmallDisk::mount(&home.path().join("disk")) else {
        return skipped(test, "no tmpfs may be mounted");
    };
    home.configure(&format!("[audit]\npath = \"{}\"", disk.0.join("audit").display()));
    let daemon = home.start();
    home.enrol("acme");
    deeds(&home, 1);
    // Whoever looks has everything written first.
    let _ = shown(&home, &[]);
    let filler = disk.fill();
    // What room is left in the last page of the file is used up first, by records of what is lost as well.
    let is_told = (1..100_u64).find(|_| {
        deeds(&home, 20);
        let _ = shown(&home, &[]);
        let told = home.command(["status"]).run().succeeds().stdout;
        told.contains("Audit records cannot be written") && told.contains("lost so far")
    });
    let done = 2 + 20 * is_told.expect("status warns");
    let _ = home.command(["get", "acme"]).run().succeeds();
    fs::remove_file(filler).unwrap();
    deeds(&home, 1);
    let _ = verified(&home);
    let records = shown(&home, &[]);
    let gaps = records.iter().filter(|record| record["act"] == "gap");
    let deeds = records.iter().filter(|record| record["act"] == "invalidate").count() as u64;
    let lost: u64 = gaps.map(|gap| gap["lost"].as_u64().unwrap()).sum();
    // The get may be lost as well.
    let sum = deeds + lost;
    assert!(lost > 0 && (sum == done || sum == done + 1), "{deeds} of {done} have records, {lost} are lost");
    let told = home.command(["status"]).run().succeeds().stdout;
    assert!(!told.contains("Audit records cannot be written"), "{told}");
    daemon.kill9();
    let _daemon = home.start();
    let _ = verified(&home);
}

#[test]
fn where_records_are_required_a_full_disk_stops_everything_but_looking_locking_and_stopping() {
    let test = "where_records_are_required_a_full_disk_stops_everything_but_looking_locking_and_stopping";
    let home = Home::new(&["acme"]);
    let Some(disk) = SmallDisk::mount(&home.path().join("disk")) else {
        return skipped(test, "no tmpfs may be mounted");
    };
    home.configure(&format!("[audit]\nkeep = \"required\"\npath = \"{}\"", disk.0.join("audit").display()));
    let daemon = home.start();
    home.enrol("acme");
    let token = home.command(["get", "acme"]).run().succeeds();
    let _filler = disk.fill();
    // What room is left in the last page of the file is used up.
    let refused = (0..1000).find_map(|_| {
        let typed = home.client().request(&invalidate(), PATIENCE);
        typed.err()
    });
    assert!(matches!(refused, Some(Error::Refused(refusal)) if refusal.code == RefusalCode::NOT_AUDITED));
    // Its record is shorter than those.
    let typed = (0..100).map(|_| home.command(["get", "acme"]).run()).find(|typed| typed.code != Some(0));
    let typed = typed.expect("it is refused").fails_with(13);
    let typed = typed.saying(&["audit record", "procurify-token status"]);
    assert!(!typed.stderr.contains(token.line()));
    // Nothing is asked for either, once there is no room for the record that somebody wants it, which is shorter still.
    let issued = || home.sandbox().ledger().issued("acme");
    let asks_for_nothing = (0..20).any(|_| {
        let before = issued();
        let _ = home.command(["refresh", "acme"]).run().fails_with(13);
        issued() == before
    });
    assert!(asks_for_nothing, "{} tokens were issued", issued());
    let add = Request::Add(Box::new(credential("acme/second")));
    let refused = home.client().request(&add, PATIENCE);
    assert!(matches!(refused, Err(Error::Refused(refusal)) if refusal.code == RefusalCode::NOT_AUDITED));
    assert_eq!(home.client().list().unwrap().len(), 1, "nothing was done");
    let told = home.command(["status"]).run().succeeds().stdout;
    assert!(told.contains("Nothing is handed out or changed meanwhile"), "{told}");
    fs::remove_file(disk.0.join("filler")).unwrap();
    let _ = home.command(["get", "acme"]).run().succeeds();
    let _ = verified(&home);
    let records = shown(&home, &[]);
    assert!(records.iter().any(|record| record["act"] == "add" && record["outcome"] == "asked"));
    disk.fill();
    let _ = home.command(["lock"]).run().succeeds();
    let _ = home.command(["stop"]).run().succeeds();
    assert!(daemon.wait().success());
}

#[test]
fn who_follows_is_told_and_where_none_are_kept_that_is_said() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    let last = verified(&home)["last"].as_u64().unwrap();
    let mut waiting = home.client();
    let waiting = thread::spawn(move || {
        let filter = procurify_token_tests::protocol::AuditFilter::default();
        waiting.request(&Request::AuditShow { after: Some(last), filter, deadline: PATIENCE }, PATIENCE)
    });
    let token = text_of(&home.client().token(&name("acme")).unwrap());
    let told = waiting.join().unwrap();
    let Ok(Answer::AuditRecords { lines, .. }) = told else { panic!("{told:?}") };
    assert!(lines[0].contains("\"act\":\"get\"") && !lines[0].contains(&token), "{lines:?}");
    assert!(daemon.stop().success());

    home.configure("[audit]\nkeep = \"off\"");
    let _daemon = home.start();
    let before = all_of(&folder(&home));
    let _ = home.command(["get", "acme"]).run().succeeds();
    let _ = home
        .command(["audit", "show"])
        .run()
        .fails_with(12)
        .saying(&["no audit records are kept", "[audit] keep"]);
    assert_eq!(all_of(&folder(&home)), before);
}

fn folder(home: &Home) -> PathBuf {
    home.state_folder().join("audit")
}

/// The files of records, in their order.
fn files(home: &Home) -> Vec<PathBuf> {
    let files = fs::read_dir(folder(home)).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|kind| kind == "jsonl")).collect();
    files.sort();
    files
}

fn all_of(folder: &Path) -> String {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).collect()
}

#[track_caller]
fn shown(home: &Home, words: &[&str]) -> Vec<Value> {
    let typed = home.command(["audit", "show", "--json"].iter().chain(words)).run().succeeds();
    typed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn verified(home: &Home) -> Value {
    home.command(["audit", "verify", "--json"]).run().succeeds().json()["audit"].clone()
}

/// Makes sure that this record is the first that is named.
#[track_caller]
fn amiss(home: &Home, record: usize, what: &str) -> Value {
    let typed = home.command(["audit", "verify", "--json"]).run().ends_with(15);
    let told = typed.json()["audit"].clone();
    assert_eq!(told["broken"]["record"], record, "{what}: {told}");
    assert!(typed.stderr.contains(&format!("audit record {record} is the first")), "{}", typed.stderr);
    told
}

/// Does something of which each has a record of its own.
fn deeds(home: &Home, count: usize) {
    let mut client = home.client();
    for _ in 0..count {
        let answer = client.request(&invalidate(), PATIENCE);
        assert!(matches!(answer, Ok(Answer::Done)), "{answer:?}");
    }
}

fn invalidate() -> Request {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let fingerprint = Fingerprint::from_bytes(NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Request::Invalidate { name: name("acme"), fingerprint }
}

/// A client that another user has connected. The kernel has noted who that was, whoever asks from then on.
fn client_of(home: &Home, user: u32) -> Client {
    let options = home.options();
    thread::scope(|scope| {
        let work = move || {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
            set_thread_groups(&[]).expect("root may have any groups");
            set_thread_res_gid(gid, gid, gid).expect("root may become any group");
            set_thread_res_uid(uid, uid, uid).expect("root may become anybody");
            Client::connect(&options).expect("root's daemon is believed")
        };
        scope.spawn(work).join().expect("others can connect")
    })
}

/// A small tmpfs; unmounted on drop. Only root may have one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).expect("a place to mount it");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs"]).arg(at);
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    /// Leaves no room, by a file that can be removed.
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        // Fails when there is no room left, which is what it is for.
        let _ = fs::write(&filler, vec![0; 512 * 1024]);
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const NOBODY: u32 = 65534;
