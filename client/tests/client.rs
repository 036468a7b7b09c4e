//! The client on tokio, against a daemon that follows a script.

#[cfg(test)]
mod fake;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use fake::{Place, fingerprint, name, refusal, token};
use procurify_token_client::protocol::frame;
use procurify_token_client::tower::ProcurifyLayer;
use procurify_token_client::{
    Answer, Client, CredentialName, Distrust, Error, Fingerprint, Options, ProtocolError, RefusalCode,
    Request, TokenOptions, Watched,
};
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

const SECOND: Duration = Duration::from_secs(1);

async fn token_of(client: &Client, name: &CredentialName) -> Result<Fingerprint, Error> {
    client.token(name).await.map(|grant| grant.fingerprint())
}

#[tokio::test]
async fn answers_find_their_requests_in_whatever_order_they_come() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let mut waiting: Vec<_> = (0..3).map(|_| wire.get()).collect();
        waiting.reverse();
        for (id, name) in waiting {
            let number =
                ["acme", "globex", "initech"].iter().position(|known| fake::name(known) == name).unwrap();
            wire.answer(id, token(u8::try_from(number).unwrap()));
        }
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let names = [name("acme"), name("globex"), name("initech")];
    let (first, second, third) = tokio::join!(
        token_of(&client, &names[0]),
        token_of(&client, &names[1]),
        token_of(&client, &names[2])
    );
    assert_eq!([first, second, third].map(Result::unwrap), [0, 1, 2].map(fingerprint));
    daemon.join().unwrap();
}

/// Answers 401 to whatever it is sent.
#[derive(Clone)]
struct Refusing;

impl Service<http::Request<()>> for Refusing {
    type Response = http::Response<()>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<http::Response<()>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<()>) -> Self::Future {
        std::future::ready(Ok(http::Response::builder().status(401).body(()).expect("an answer")))
    }
}

#[tokio::test]
async fn the_layer_demands_of_the_next_token_what_it_demands_of_the_first() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        for number in [1, 2] {
            let (id, request) = wire.request();
            let Request::Get { min_ttl, deadline, .. } = request else { panic!("no get: {request:?}") };
            assert_eq!(min_ttl, 600 * SECOND);
            assert!(deadline <= 5 * SECOND, "{deadline:?}");
            wire.answer(id, token(number));
            let (id, request) = wire.request();
            assert!(matches!(request, Request::Invalidate { fingerprint: refused, .. } if refused == fingerprint(number)));
            wire.answer(id, Answer::Done);
        }
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let options = TokenOptions { min_ttl: 600 * SECOND, deadline: Some(5 * SECOND) };
    let layer = ProcurifyLayer::new(client, name("acme")).token_options(options);
    let mut service = layer.layer(Refusing);
    let response = service.call(http::Request::get("/api/").body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 401);
    daemon.join().unwrap();
}

#[tokio::test]
async fn a_dropped_call_disturbs_no_other() {
    let place = Place::new();
    let (arrived, has_arrived) = oneshot::channel();
    let daemon = place.daemon(move |listener| {
        let mut wire = listener.accept();
        let (abandoned, _) = wire.get();
        arrived.send(()).unwrap();
        let (id, _) = wire.get();
        assert_ne!(abandoned, id);
        wire.answer(abandoned, token(1));
        wire.answer(id, token(2));
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let acme = name("acme");
    tokio::select! {
        _ = client.token(&acme) => panic!("answered"),
        arrived = has_arrived => arrived.unwrap(),
    }
    assert_eq!(token_of(&client, &acme).await.unwrap(), fingerprint(2));
    daemon.join().unwrap();
}

#[tokio::test]
async fn a_refusal_reaches_the_one_whom_it_concerns() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let [(first, _), (second, _)] = [wire.get(), wire.get()];
        wire.refuse(first, refusal(RefusalCode::UNKNOWN_CREDENTIAL));
        wire.answer(second, token(2));
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let (acme, globex) = (name("acme"), name("globex"));
    let (refused, granted) = tokio::join!(token_of(&client, &acme), token_of(&client, &globex));
    let Err(Error::Refused(said)) = refused else { panic!("not refused") };
    assert_eq!(said.code, RefusalCode::UNKNOWN_CREDENTIAL);
    assert_eq!(granted.unwrap(), fingerprint(2));
    daemon.join().unwrap();
}

#[tokio::test]
async fn a_restart_in_the_middle_goes_unnoticed_by_everybody_who_waits() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        wire.get();
        wire.get();
        let listener = listener.restart(wire);
        let mut wire = listener.accept();
        for _ in 0..2 {
            let (id, _) = wire.get();
            wire.answer(id, token(2));
        }
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let acme = name("acme");
    let clone = client.clone();
    let (first, second) = tokio::join!(token_of(&client, &acme), token_of(&clone, &acme));
    assert_eq!([first.unwrap(), second.unwrap()], [fingerprint(2); 2]);
    daemon.join().unwrap();
}

#[tokio::test]
async fn a_credential_that_lost_its_place_is_not_watched() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let [(first, _), (second, _)] = [wire.request(), wire.request()];
        wire.refuse(second, refusal(RefusalCode::LOCKED));
        let (id, _) = wire.get();
        wire.refuse(id, refusal(RefusalCode::LOCKED));
        let news = Watched { revision: 1, token: None, refusal: None };
        wire.answer(first, Answer::Watched(Box::new(news)));
        let (id, _) = wire.get();
        wire.answer(id, token(1));
        wire.request_is_status();
    });
    let client = Client::connect(&Options::new().socket(place.socket())).await.unwrap();
    let acme = name("acme");
    let long = TokenOptions { min_ttl: 60 * SECOND, deadline: None };
    let (first, second) = tokio::join!(biased; token_of(&client, &acme), client.token_with(&acme, &long));
    assert_eq!(first.unwrap(), fingerprint(1));
    assert!(matches!(second, Err(Error::Refused(said)) if said.code == RefusalCode::LOCKED));
    client.request(&Request::Status, 9 * SECOND).await.unwrap();
    daemon.join().unwrap();
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_not_repeated() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        listener.accept().request();
        listener.accept().request_is_status();
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let remove = Request::Remove { name: name("acme") };
    let error = client.request(&remove, 9 * SECOND).await.unwrap_err();
    assert!(error.outcome_unknown().is_some(), "{error:?}");
    client.request(&Request::Status, 9 * SECOND).await.unwrap();
    daemon.join().unwrap();
}

#[tokio::test]
async fn a_daemon_that_hangs_up_at_once_is_heard_out() {
    let place = Place::new();
    let (hung_up, has_hung_up) = oneshot::channel();
    let daemon = place.daemon(move |listener| {
        let mut wire = listener.accept();
        wire.get();
        wire.refuse(0, refusal(RefusalCode::DENIED));
        drop(wire);
        hung_up.send(()).unwrap();
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let Err(Error::Refused(said)) = client.token(&name("acme")).await else { panic!("not refused") };
    assert_eq!(said.code, RefusalCode::DENIED);
    has_hung_up.await.unwrap();
    daemon.join().unwrap();
}

#[tokio::test]
async fn a_daemon_that_is_busy_or_stopping_is_asked_again_whatever_it_was() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, _) = wire.request();
        wire.refuse(id, refusal(RefusalCode::BUSY));
        wire.request();
        wire.refuse(0, refusal(RefusalCode::STOPPING));
        let mut wire = listener.accept();
        let (id, _) = wire.request();
        wire.answer(id, Answer::Done);
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let remove = Request::Remove { name: name("acme") };
    client.request(&remove, 9 * SECOND).await.unwrap();
    daemon.join().unwrap();
}

#[tokio::test]
async fn garbage_costs_the_connection_and_nothing_else() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        wire.get();
        wire.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        wire.answer(id, token(2));
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let acme = name("acme");
    assert!(matches!(token_of(&client, &acme).await, Err(Error::Protocol(ProtocolError::Frame(_)))));
    assert_eq!(token_of(&client, &acme).await.unwrap(), fingerprint(2));
    daemon.join().unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_costs_the_connection() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        wire.answer(id + 1, token(1));
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let outcome = token_of(&client, &name("acme")).await;
    assert!(matches!(outcome, Err(Error::Protocol(ProtocolError::UnexpectedAnswer))));
    daemon.join().unwrap();
}

#[tokio::test]
async fn a_daemon_of_another_version_says_which() {
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        let (id, _) = wire.get();
        let mut versions = frame::versions(id);
        versions[frame::HEAD..].copy_from_slice(&[4, 7]);
        wire.raw(&versions);
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let outcome = token_of(&client, &name("acme")).await;
    assert!(matches!(outcome, Err(Error::Version { oldest: 4, newest: 7 })));
    daemon.join().unwrap();
}

/// More than the socket takes at once, so that frames are written in pieces and while answers are read.
#[tokio::test]
async fn a_flood_of_requests_is_answered_in_full() {
    const FLOOD: usize = 20_000;
    let place = Place::new();
    let daemon = place.daemon(|listener| {
        let mut wire = listener.accept();
        for _ in 0..FLOOD {
            let (id, _) = wire.request();
            wire.answer(id, Answer::Done);
        }
    });
    let client = Client::connect(&place.options()).await.unwrap();
    let callers: Vec<_> = (0..FLOOD)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.invalidate_fingerprint(&name("acme"), fingerprint(1)).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    daemon.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_daemon_is_not_waited_for_beyond_the_deadline() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.socket()).unwrap();
    let client = Client::connect(&place.options()).await.unwrap();
    assert!(matches!(client.token(&name("acme")).await, Err(Error::Deadline)));
}

#[tokio::test(start_paused = true)]
async fn a_daemon_too_busy_to_accept_is_not_waited_for_beyond_the_timeout() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first_in_the_queue = UnixStream::connect(place.socket()).unwrap();
    assert!(matches!(Client::connect(&place.options()).await, Err(Error::Deadline)));
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_does_not_come_back_is_no_daemon() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let client = Client::connect(&place.options()).await.unwrap();
    fs::remove_file(place.socket()).unwrap();
    drop(listener);
    let Err(Error::NoDaemon { looked_at }) = client.status().await else { panic!("somebody is there") };
    assert_eq!(looked_at, [place.socket()]);
}

#[tokio::test]
async fn a_socket_in_a_folder_that_others_may_write_in_is_not_trusted() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.socket()).unwrap();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    let Err(Error::Untrusted { why, .. }) = Client::connect(&place.options()).await else {
        panic!("trusted")
    };
    assert!(matches!(why, Distrust::WritableFolder { mode: 0o777, .. }));
}

#[tokio::test]
async fn a_daemon_that_was_never_there_is_not_waited_for() {
    let place = Place::new();
    let Err(Error::NoDaemon { looked_at }) = Client::connect(&place.options()).await else {
        panic!("somebody is there")
    };
    assert_eq!(looked_at, [place.socket()]);
}

#[test]
fn a_call_may_move_between_threads() {
    fn is_send_and_sync<T: Clone + Send + Sync + 'static>() {}
    fn is_send<T: Send>(_: impl FnOnce(&'static Client, &'static CredentialName) -> T) {}
    is_send_and_sync::<Client>();
    is_send(Client::token);
}
