//! The client without a runtime, against a daemon that follows a script.

#[cfg(test)]
mod fake;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::time::Duration;

use fake::{Place, fingerprint, name, refusal, token};
use procurify_token_client::blocking::Client;
use procurify_token_client::protocol::{codec, frame};
use procurify_token_client::{Answer, Distrust, Error, ProtocolError, RefusalCode, Request, TokenOptions};

const SECOND: Duration = Duration::from_secs(1);

fn remove() -> Request {
    Request::Remove { name: name("acme") }
}

#[test]
fn a_token_is_asked_for_as_the_caller_wants_it() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, request) = wire.request();
        let Request::Get { name, min_ttl, deadline } = request else { panic!("not a get") };
        assert_eq!((name, min_ttl), (fake::name("acme"), 60 * SECOND));
        assert!(deadline <= 9 * SECOND && deadline > SECOND);
        wire.answer(id, token(1));
    });
    let mut client = Client::connect(&place.options()).unwrap();
    let options = TokenOptions { min_ttl: 60 * SECOND, deadline: Some(9 * SECOND) };
    let grant = client.token_with(&name("acme"), &options).unwrap();
    assert_eq!(grant.fingerprint(), fingerprint(1));
    assert_eq!(client.socket_path(), place.socket());
    daemon.join().unwrap();
}

#[test]
fn a_refusal_is_handed_on_and_the_connection_kept() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        wire.refuse(id, refusal(RefusalCode::LOCKED));
        let (id, _) = wire.request();
        wire.answer(id, Answer::Done);
    });
    let mut client = Client::connect(&place.options()).unwrap();
    let Err(Error::Refused(said)) = client.token(&name("acme")) else { panic!("not refused") };
    assert_eq!(said, refusal(RefusalCode::LOCKED));
    client.invalidate_fingerprint(&name("acme"), fingerprint(1)).unwrap();
    daemon.join().unwrap();
}

#[test]
fn a_list_goes_on_until_its_last_page() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, request) = wire.request();
        assert!(matches!(request, Request::List { after: None }));
        wire.answer(id, Answer::Credentials { page: Vec::new(), more: false });
    });
    let mut client = Client::connect(&place.options()).unwrap();
    assert_eq!(client.list().unwrap(), []);
    daemon.join().unwrap();
}

#[test]
fn a_restart_in_the_middle_of_a_get_goes_unnoticed() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        wire.get();
        let listener = listener.restart(wire);
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        wire.answer(id, token(2));
    });
    let mut client = Client::connect(&place.options()).unwrap();
    assert_eq!(client.token(&name("acme")).unwrap().fingerprint(), fingerprint(2));
    daemon.join().unwrap();
}

#[test]
fn several_tokens_are_asked_for_before_the_first_is_answered() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let asked: Vec<_> = (0..3).map(|_| wire.get()).collect();
        assert_eq!([0, 1, 2].map(|at| asked[at].1.to_string()), ["acme", "globex", "initech"]);
        wire.answer(asked[2].0, token(3));
        wire.refuse(asked[1].0, refusal(RefusalCode::REJECTED));
        wire.answer(asked[0].0, token(1));
        wire.request_is_status();
    });
    let mut client = Client::connect(&place.options()).unwrap();
    let names = ["acme", "globex", "initech"].map(name);
    let outcomes = client.tokens(&names, &TokenOptions::default());
    assert!(matches!(&outcomes[1], Err(Error::Refused(why)) if why.code == RefusalCode::REJECTED));
    let fingerprints = [0, 2].map(|at| outcomes[at].as_ref().unwrap().fingerprint());
    assert_eq!(fingerprints, [fingerprint(1), fingerprint(3)]);
    client.request(&Request::Status, 9 * SECOND).unwrap();
    daemon.join().unwrap();
}

#[test]
fn of_several_tokens_those_that_a_restart_left_unanswered_are_asked_for_again() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (first, _) = wire.get();
        wire.get();
        wire.answer(first, token(1));
        let listener = listener.restart(wire);
        let mut wire = listener.accept();
        let (id, name) = wire.get();
        assert_eq!(name.as_str(), "globex");
        wire.answer(id, token(2));
    });
    let mut client = Client::connect(&place.options()).unwrap();
    let outcomes = client.tokens(&["acme", "globex"].map(name), &TokenOptions::default());
    let fingerprints: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().fingerprint()).collect();
    assert_eq!(fingerprints, [fingerprint(1), fingerprint(2)]);
    daemon.join().unwrap();
}

#[test]
fn a_request_that_every_daemon_dies_of_is_given_up() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        for _ in 0..4 {
            listener.accept().get();
        }
        listener.accept().request_is_status();
    });
    let mut client = Client::connect(&place.options()).unwrap();
    assert!(matches!(client.token(&name("acme")), Err(Error::Connection(_))));
    client.request(&Request::Status, 9 * SECOND).unwrap();
    daemon.join().unwrap();
}

#[test]
fn what_must_not_be_done_twice_is_not_repeated() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        listener.accept().request();
        listener.accept().request_is_status();
    });
    let mut client = Client::connect(&place.options()).unwrap();
    let error = client.request(&remove(), 9 * SECOND).unwrap_err();
    assert!(error.outcome_unknown().is_some(), "{error:?}");
    client.request(&Request::Status, 9 * SECOND).unwrap();
    daemon.join().unwrap();
}

#[test]
fn what_could_not_be_delivered_is_sent_again_whatever_it_is() {
    let place = Place::new();
    let (hung_up, has_hung_up) = mpsc::channel();
    let daemon = place.daemon(move |listener| {
        let wire = listener.accept();
        let listener = listener.restart(wire);
        hung_up.send(()).unwrap();
        let mut wire = listener.accept();
        let (id, request) = wire.request();
        assert!(matches!(request, Request::Remove { .. }));
        wire.answer(id, Answer::Done);
    });
    let mut client = Client::connect(&place.options()).unwrap();
    has_hung_up.recv().unwrap();
    client.request(&remove(), 9 * SECOND).unwrap();
    daemon.join().unwrap();
}

#[test]
fn an_answer_that_breaks_off_is_not_asked_for_again() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        let answer = codec::encode_reply(id, &Ok(token(1))).unwrap();
        wire.raw(&answer[..answer.len() - 1]);
        drop(wire);
        listener.accept().request_is_status();
    });
    let mut client = Client::connect(&place.options()).unwrap();
    assert!(matches!(client.token(&name("acme")), Err(Error::Connection(_))));
    client.request(&Request::Status, 9 * SECOND).unwrap();
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_hangs_up_at_once_is_heard_out() {
    let place = Place::new();
    let (hung_up, has_hung_up) = mpsc::channel();
    let daemon = place.daemon(move |listener| {
        listener.accept().refuse(0, refusal(RefusalCode::DENIED));
        hung_up.send(()).unwrap();
    });
    let mut client = Client::connect(&place.options()).unwrap();
    has_hung_up.recv().unwrap();
    let Err(Error::Refused(said)) = client.token(&name("acme")) else { panic!("not refused") };
    assert_eq!(said.code, RefusalCode::DENIED);
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_is_busy_or_stopping_is_asked_again_whatever_it_was() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        listener.accept().refuse(0, refusal(RefusalCode::BUSY));
        let mut wire = listener.accept();
        let (id, _) = wire.request();
        wire.refuse(id, refusal(RefusalCode::BUSY));
        let (id, _) = wire.request();
        wire.refuse(id, refusal(RefusalCode::STOPPING));
        let mut wire = listener.accept();
        let (id, _) = wire.request();
        wire.answer(id, Answer::Done);
    });
    let mut client = Client::connect(&place.options()).unwrap();
    client.request(&remove(), 9 * SECOND).unwrap();
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_stays_busy_is_reported_at_the_deadline() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, _) = wire.request();
        wire.refuse(id, refusal(RefusalCode::BUSY));
    });
    let mut client = Client::connect(&place.options()).unwrap();
    let error = client.request(&remove(), Duration::from_millis(40)).unwrap_err();
    assert!(matches!(error, Error::Refused(said) if said.code == RefusalCode::BUSY));
    daemon.join().unwrap();
}

#[test]
fn garbage_costs_the_connection_and_nothing_else() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        wire.get();
        wire.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        wire.answer(id, token(2));
    });
    let mut client = Client::connect(&place.options()).unwrap();
    assert!(matches!(client.token(&name("acme")), Err(Error::Protocol(ProtocolError::Frame(_)))));
    assert_eq!(client.token(&name("acme")).unwrap().fingerprint(), fingerprint(2));
    daemon.join().unwrap();
}

#[test]
fn an_answer_to_something_else_is_not_taken() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        wire.answer(id, Answer::Done);
        let (id, _) = wire.get();
        wire.answer(id + 1, token(1));
    });
    let mut client = Client::connect(&place.options()).unwrap();
    for _ in 0..2 {
        let outcome = client.token(&name("acme"));
        assert!(matches!(outcome, Err(Error::Protocol(ProtocolError::UnexpectedAnswer))));
    }
    daemon.join().unwrap();
}

#[test]
fn a_daemon_of_another_version_says_which() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        let mut versions = frame::versions(id);
        versions[frame::HEAD..].copy_from_slice(&[4, 7]);
        wire.raw(&versions);
    });
    let mut client = Client::connect(&place.options()).unwrap();
    assert!(matches!(client.token(&name("acme")), Err(Error::Version { oldest: 4, newest: 7 })));
    daemon.join().unwrap();
}

#[test]
fn a_silent_daemon_is_not_waited_for_beyond_the_deadline() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.socket()).unwrap();
    let mut client = Client::connect(&place.options().deadline(Duration::from_millis(1))).unwrap();
    assert!(matches!(client.token(&name("acme")), Err(Error::Deadline)));
}

#[test]
fn a_daemon_too_busy_to_accept_is_not_waited_for_beyond_the_timeout() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first_in_the_queue = UnixStream::connect(place.socket()).unwrap();
    let options = place.options().connect_timeout(Duration::from_millis(20));
    assert!(matches!(Client::connect(&options), Err(Error::Deadline)));
}

#[test]
fn a_socket_in_a_folder_that_others_may_write_in_is_told_nothing() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    let Err(Error::Untrusted { socket, why }) = Client::connect(&place.options()) else { panic!("trusted") };
    assert_eq!(socket, place.socket());
    assert!(matches!(why, Distrust::WritableFolder { mode: 0o777, .. }));
    let (mut stream, _) = listener.accept().unwrap();
    assert_eq!(io::copy(&mut stream, &mut io::sink()).unwrap(), 0);
}

#[test]
fn a_daemon_that_was_never_there_is_not_waited_for() {
    let place = Place::new();
    let Err(Error::NoDaemon { looked_at }) = Client::connect(&place.options()) else {
        panic!("somebody is there")
    };
    assert_eq!(looked_at, [place.socket()]);
}

#[test]
fn a_daemon_that_does_not_come_back_is_no_daemon() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let options = place.options().patience(Duration::from_millis(20));
    let mut client = Client::connect(&options).unwrap();
    fs::remove_file(place.socket()).unwrap();
    drop(listener);
    let Err(Error::NoDaemon { looked_at }) = client.status() else { panic!("somebody is there") };
    assert_eq!(looked_at, [place.socket()]);
}
