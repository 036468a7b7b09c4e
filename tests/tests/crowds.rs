//! Many at once: ten thousand connections, a flood of one user, and fewer descriptors than callers. Whoever has a place is
//! served, and whoever finds none is told so.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;

use procurify_token_tests::PATIENCE;
use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::protocol::{Answer, Request};
use procurify_token_tests::{Home, credential, name, skipped};
use rustix::process::{Gid, Resource, Rlimit, Uid, geteuid, getrlimit, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

#[test]
fn with_ten_thousand_connections_open_everybody_is_served() {
    let test = "ten thousand connections";
    if !may_open(14_200) {
        return skipped(test, "this process may not open so many descriptors");
    }
    let home = Home::new(&["acme"]);
    configure(&home, "max-connections = 14000\n", "");
    let daemon = home.start();
    home.enrol("acme");
    let mut before = home.client();
    let token = before.token(&name("acme")).unwrap().fingerprint();
    let crowd: Vec<_> = (0..CROWD).map(|_| UnixStream::connect(home.socket()).unwrap()).collect();
    for client in [&mut before, &mut home.client()] {
        assert_eq!(client.token(&name("acme")).unwrap().fingerprint(), token);
    }
    assert!(resident(daemon.pid()) < 64 * 1024 + 16 * CROWD, "kB of memory: {}", resident(daemon.pid()));
    drop(crowd);
    assert_eq!(home.client().token(&name("acme")).unwrap().fingerprint(), token);
    assert!(daemon.stop().success());
}

#[test]
fn where_descriptors_are_few_callers_are_told_to_come_back_and_the_vault_can_be_written() {
    let home = Home::new(&["acme", "globex"]);
    let daemon = home.daemon_command();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=200:200", "--"]).arg(daemon.get_program());
    command.env_clear().current_dir(home.path());
    command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _daemon = home.try_start_with(command).unwrap();
    home.enrol("acme");
    let mut client = home.client();
    assert!(client.status().unwrap().warnings.iter().any(|warning| warning.contains("LimitNOFILE=")));
    let mut crowd: Vec<_> = (0..400).map(|_| UnixStream::connect(home.socket()).unwrap()).collect();
    // The last of them was turned away.
    let mut told = Vec::new();
    crowd.last_mut().unwrap().read_to_end(&mut told).unwrap();
    assert!(String::from_utf8_lossy(&told).contains("hands full"), "{told:?}");
    assert!(!home.log().contains("cannot accept"), "it accepted more than it has descriptors for");
    let added = client.request(&Request::Add(Box::new(credential("globex"))), PATIENCE);
    assert!(matches!(added, Ok(Answer::Done)), "{added:?}");
    assert!(client.token(&name("globex")).is_ok(), "there is a descriptor for a token request");
    drop(crowd);
    assert!(home.client().token(&name("acme")).is_ok());
}

#[test]
fn a_flood_of_one_user_leaves_places_for_the_others() {
    if !geteuid().is_root() {
        return skipped("a flood of one user", "only root can become another user");
    }
    let home = Home::new(&["acme"]);
    let rules = "[[access]]\nuser = \"nobody\"\ncredentials = [\"acme\"]\n";
    configure(&home, "max-connections = 64\n", rules);
    let _daemon = home.start();
    for folder in home.socket().ancestors().skip(1).take_while(|folder| *folder != Path::new("/tmp")) {
        fs::set_permissions(folder, Permissions::from_mode(0o711)).unwrap();
    }
    home.enrol("acme");
    let (known, stranger) = (65534, 65533);
    let flood = connected_as(&home, known, 100);
    assert_eq!(still_open(&flood), 48, "three quarters");
    let strangers = connected_as(&home, stranger, 20);
    assert_eq!(still_open(&strangers), 8);
    let mut owners: Vec<Client> = (0..4).map(|_| home.client()).collect();
    assert!(owners.iter_mut().all(|client| client.token(&name("acme")).is_ok()));
    drop(flood);
    assert!(home.client().token(&name("acme")).is_ok());
}

fn configure(home: &Home, head: &str, rest: &str) {
    home.configure(rest);
    let file = home.config_folder().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{head}{text}")).unwrap();
}

fn may_open(descriptors: usize) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.is_none_or(|most| most >= descriptors as u64)
}

/// In kB.
fn resident(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// So many connections of another user.
fn connected_as(home: &Home, user: u32, count: usize) -> Vec<UnixStream> {
    let socket = home.socket();
    let work = move || {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_groups(&[]).expect("root may drop its groups");
        set_thread_res_gid(gid, gid, gid).expect("root may become any group");
        set_thread_res_uid(uid, uid, uid).expect("root may become anybody");
        (0..count).map(|_| UnixStream::connect(&socket).unwrap()).collect()
    };
    thread::spawn(work).join().unwrap()
}

/// How many of them have not been turned away. The daemon accepts in order, so that all before the last have been seen
/// once somebody who came later is told something.
fn still_open(crowd: &[UnixStream]) -> usize {
    let mut last = crowd.last().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut told = Vec::new();
    last.read_to_end(&mut told).unwrap();
    let is_open = |stream: &&UnixStream| {
        stream.set_nonblocking(true).unwrap();
        let mut stream: &UnixStream = stream;
        matches!(stream.read(&mut [0; 512]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    crowd[..crowd.len() - 1].iter().filter(is_open).count()
}

const CROWD: usize = 10_000;
