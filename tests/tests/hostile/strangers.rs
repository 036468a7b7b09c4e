//! Another user of the machine, on either side of the socket. Needs root, to become somebody else.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use procurify_token_tests::client::{Distrust, Error, Options, blocking};
use procurify_token_tests::protocol::{
    AuditFilter, ClientSecret, Description, ExportProof, Fingerprint, NewSlot, Passphrase, Piece,
    REQUEST_COUNT, RefreshMode, RefusalCode, Request, UnlockWith,
};
use procurify_token_tests::{Home, PATIENCE, credential, name, skipped};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::peers::{Heard, Peer};

#[test]
fn a_stranger_is_refused_every_verb_in_every_state_and_learns_nothing() {
    if !is_root("a_stranger_is_refused_every_verb_in_every_state_and_learns_nothing") {
        return;
    }
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    let_in(&home);
    let without_vault = refusals(&home);
    home.enrol("acme");
    let token = home.client().token(&name("acme")).expect("a token");
    let with_token = refusals(&home);
    home.client().request(&Request::Lock, PATIENCE).expect("the daemon locks");
    let locked = refusals(&home);
    // Word for word the same, whatever there is to be known.
    assert_eq!(with_token, without_vault);
    assert_eq!(locked, without_vault);

    home.client()
        .request(&Request::Unlock { key: UnlockWith::Unattended, generation: 0 }, PATIENCE)
        .expect("it is as it was");
    let after = home.client().token(&name("acme")).expect("nothing was invalidated or removed");
    assert_eq!(after.fingerprint(), token.fingerprint());
    assert_eq!(home.client().list().expect("a list").len(), 1);
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 1);
    assert!(daemon.stop().success());
}

#[test]
fn a_strangers_socket_is_told_nothing() {
    if !is_root("a_strangers_socket_is_told_nothing") {
        return;
    }
    let folder = tempfile::Builder::new().prefix("ptt-").tempdir_in("/tmp").unwrap();
    let socket = folder.path().join("tokend.sock");
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let place = socket.clone();
    let listener = as_nobody(move || UnixListener::bind(place).expect("nobody may listen in its own folder"));
    let listening = thread::spawn(move || heard_from_one(&listener));

    let options = Options::new().socket(&socket).deadline(PATIENCE);
    let error = blocking::Client::connect(&options).unwrap_err();
    let Error::Untrusted { why: Distrust::Stranger { peer, own, .. }, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!((peer, own), (NOBODY, 0));
    assert_eq!(listening.join().unwrap(), b"", "a stranger was told something");
}

#[test]
fn the_command_tells_a_strangers_socket_nothing_and_says_why() {
    if !is_root("the_command_tells_a_strangers_socket_nothing_and_says_why") {
        return;
    }
    let home = Home::new(&[]);
    let folder = home.path().join("strange");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    open(home.path());
    let socket = folder.join("tokend.sock");
    let place = socket.clone();
    let listener = as_nobody(move || UnixListener::bind(place).expect("nobody may listen in its own folder"));
    let listening = thread::spawn(move || heard_from_one(&listener));
    let socket = socket.to_str().unwrap();
    let words = ["--socket", socket, "add", "acme", "--client-id", "id", "--secret-stdin"];
    let refused = home.command(words).stdin("s3cret").run().fails_with(6);
    let _ = refused.saying(&["nothing was sent", "uid 65534"]);
    assert_eq!(listening.join().unwrap(), b"", "a stranger was told something");
}

#[test]
fn a_socket_in_a_folder_that_others_may_write_in_is_told_nothing() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    let folder = home.socket().parent().unwrap().to_owned();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let error = blocking::Client::connect(&home.options()).unwrap_err();
    assert!(
        matches!(error, Error::Untrusted { why: Distrust::WritableFolder { mode: 0o777, .. }, .. }),
        "{error:?}"
    );
    let _ = home.command(["status"]).run().fails_with(6).saying(&["chmod go-w", folder.to_str().unwrap()]);
}

/// What a stranger hears to each verb: refused, all of them.
fn refusals(home: &Home) -> Vec<String> {
    let socket = home.socket();
    let heard = as_nobody(move || {
        let requests = every_request();
        let mut heard = Vec::new();
        for (request_id, request) in (1..).zip(&requests) {
            let mut peer = Peer::of(UnixStream::connect(&socket).expect("the test opened the way"));
            peer.ask(request_id, request);
            heard.push((request_id, peer.hear()));
        }
        heard
    });
    let told = |(asked, heard): (u16, Heard)| match heard {
        Heard::Refusal(request_id, refusal) if request_id == asked => {
            assert_eq!(refusal.code, RefusalCode::DENIED, "request {asked}");
            format!("{refusal:?}")
        }
        other => panic!("a stranger's request {asked} was not refused: {other:?}"),
    };
    heard.into_iter().map(told).collect()
}

fn every_request() -> Vec<Request> {
    let acme = || name("acme");
    let (min_ttl, deadline) = (Duration::ZERO, PATIENCE);
    let secret = || ClientSecret::new(&"s3cret".into()).expect("a client secret");
    let words = || Passphrase::new("passphrase".into()).expect("a passphrase");
    let passphrase = || UnlockWith::Passphrase(words());
    let fingerprint: Fingerprint = "0123456789abcdef".parse().expect("a fingerprint");
    let requests = vec![
        Request::Get { name: acme(), min_ttl, deadline },
        Request::Invalidate { name: acme(), fingerprint },
        Request::List { after: None },
        Request::Describe { name: acme() },
        Request::Status,
        Request::Init { slots: vec![NewSlot::KeyFile] },
        Request::Init { slots: vec![NewSlot::Passphrase(words())] },
        Request::Unlock { key: UnlockWith::Unattended, generation: 0 },
        Request::Unlock { key: passphrase(), generation: 1 },
        Request::Lock,
        Request::Add(Box::new(credential("globex"))),
        Request::Stage {
            name: acme(),
            client_id: "id".parse().expect("a client id"),
            client_secret: secret(),
            replace: true,
        },
        Request::Promote { name: acme(), deadline },
        Request::Rollback { name: acme() },
        Request::Refresh { name: acme(), mode: RefreshMode::Retry, deadline },
        Request::Watch { name: acme(), seen: None, deadline },
        Request::Remove { name: acme() },
        Request::Slots,
        Request::AddSlot {
            proof: passphrase(),
            slot: NewSlot::RecoveryCode,
            description: Description::default(),
        },
        Request::Rekey { without: Vec::new(), keys: vec![passphrase()] },
        Request::Backup { generation: None, offset: 0 },
        Request::Upload(Piece::new(vec![1])),
        Request::Restore { length: 1 },
        Request::Import { length: 1 },
        Request::Export { proof: ExportProof::Key(UnlockWith::Unattended), after: None },
        Request::Examine,
        Request::ExplainAccess { user: "root".to_owned(), name: acme() },
        Request::AuditShow { after: None, filter: AuditFilter::default(), deadline },
        Request::AuditVerify,
        Request::Stop,
    ];
    let verbs = requests.iter().map(std::mem::discriminant).collect::<std::collections::HashSet<_>>();
    assert_eq!(u32::try_from(verbs.len()), Ok(REQUEST_COUNT), "a verb is not tried here");
    requests
}

/// Everything that the first one to connect says.
fn heard_from_one(listener: &UnixListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().expect("somebody connects");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("it can be read");
    heard
}

/// Takes away what keeps strangers from the socket besides the daemon itself.
fn let_in(home: &Home) {
    for folder in home.socket().ancestors().skip(1).take_while(|folder| *folder != Path::new("/tmp")) {
        open(folder);
    }
    fs::set_permissions(home.socket(), Permissions::from_mode(0o666)).expect("it is our socket");
}

fn open(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o711)).expect("it is our folder");
}

/// Does this as another user, in a thread that remains one.
fn as_nobody<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[]).expect("root may drop its groups");
        set_thread_res_gid(group, group, group).expect("root may become any group");
        set_thread_res_uid(user, user, user).expect("root may become anybody");
        what()
    });
    thread.join().expect("what a stranger does is part of the test")
}

fn is_root(test: &str) -> bool {
    if !geteuid().is_root() {
        skipped(test, "only root can become another user");
    }
    geteuid().is_root()
}

const NOBODY: u32 = 65534;
