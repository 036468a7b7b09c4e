use procurify_token_protocol::frame::HEAD;
use procurify_token_protocol::{CredentialName, DaemonStatus, Fingerprint, VaultState};
use tokio::io::DuplexStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::audit;
use crate::clock::SystemClock;
use crate::driver::Handle;
use crate::ipc::acquaintances::Acquaintances;
use crate::lookup::Lookup;
use crate::principal::Principal;

const OWNER: u32 = 1000;

/// A session on one end of a pipe, and the driver's inbox in the test's hand.
struct Visitor {
    stream: DuplexStream,
    buffer: FrameBuffer,
    driver: tokio::sync::mpsc::Receiver<(Request, oneshot::Sender<Result<Answer, Refusal>>)>,
    lookup: Arc<Lookup>,
    session: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Visitor {
    fn new(uid: u32) -> Self {
        let (stream, other_end) = tokio::io::duplex(256 * 1024);
        let (handle, driver) = Handle::in_hand();
        let lookup = Arc::new(Lookup::default());
        let (stop, stopping) = watch::channel(false);
        let service = Service {
            access: watch::channel(Arc::new(Access::new(Principal::numbered(OWNER), Vec::new()))).1,
            onlooker: None,
            lookup: Arc::clone(&lookup),
            driver: handle,
            clock: SystemClock,
            uploads: Arc::new(Semaphore::new(1)),
            stopping,
            audit: audit::Handle::default(),
            acquaintances: Acquaintances::default(),
        };
        let peer = Peer { user: Some(Principal::numbered(uid)), ..Peer::default() };
        let session =
            tokio::spawn(converse(other_end, Caller { peer, ..Caller::default() }, Arc::new(service)));
        Self { stream, buffer: FrameBuffer::new(frame::MAX_ANSWER), driver, lookup, session, stop }
    }

    async fn send(&mut self, request_id: u16, request: &Request) {
        let frame = codec::encode_request(request_id, request).unwrap();
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The next reply, or `None` when the session has closed.
    async fn reply(&mut self) -> Option<(u16, Result<Answer, Refusal>)> {
        loop {
            if let Some(frame) = self.buffer.next_frame().unwrap() {
                return Some((frame.request_id, codec::decode_reply(frame).unwrap()));
            }
            let count = self.stream.read(self.buffer.space()).await.unwrap();
            if count == 0 {
                return None;
            }
            self.buffer.filled(count);
        }
    }

    async fn refusal(&mut self) -> RefusalCode {
        self.reply().await.unwrap().1.unwrap_err().code
    }
}

fn name() -> CredentialName {
    "acme".parse().unwrap()
}

fn fingerprint() -> Fingerprint {
    Fingerprint::from_bytes([7; 8])
}

fn get() -> Request {
    Request::Get { name: name(), min_ttl: Duration::ZERO, deadline: Duration::from_secs(5) }
}

#[tokio::test]
async fn a_held_token_is_answered_from_the_table_without_the_driver() {
    let mut visitor = Visitor::new(OWNER);
    let frame = codec::encode_reply(0, &Ok(Answer::Done)).unwrap();
    let expires = SystemClock.boot() + Duration::from_hours(1);
    visitor.lookup.publish(&name(), Some(Ready { frame, expires, fingerprint: fingerprint() }.into()));
    visitor.send(513, &get()).await;
    assert!(matches!(visitor.reply().await, Some((513, Ok(Answer::Done)))));
    assert!(visitor.driver.try_recv().is_err());
}

#[tokio::test]
async fn whoever_wants_more_than_is_held_gets_that_where_the_driver_takes_nothing_more() {
    for dismissal in [explain::busy(), explain::stopping()] {
        let mut visitor = Visitor::new(OWNER);
        let frame = codec::encode_reply(0, &Ok(Answer::Done)).unwrap();
        let expires = SystemClock.boot() + Duration::from_hours(1);
        visitor.lookup.publish(&name(), Some(Ready { frame, expires, fingerprint: fingerprint() }.into()));
        let longer = Duration::from_hours(2);
        let get = Request::Get { name: name(), min_ttl: longer, deadline: Duration::from_secs(5) };
        visitor.send(513, &get).await;
        let (_, reply) = visitor.driver.recv().await.unwrap();
        reply.send(Err(dismissal)).unwrap();
        assert!(matches!(visitor.reply().await, Some((513, Ok(Answer::Done)))));
    }
}

#[tokio::test]
async fn replies_come_in_the_order_in_which_they_are_ready() {
    let mut visitor = Visitor::new(OWNER);
    visitor.send(1, &get()).await;
    visitor.send(2, &Request::Status).await;
    let (_, slow) = visitor.driver.recv().await.unwrap();
    let (_, quick) = visitor.driver.recv().await.unwrap();
    quick.send(Ok(Answer::Status(Box::new(status())))).unwrap();
    assert!(matches!(visitor.reply().await, Some((2, Ok(Answer::Status(_))))));
    slow.send(Err(explain::busy())).unwrap();
    assert!(matches!(visitor.reply().await, Some((1, Err(_)))));
}

#[tokio::test]
async fn strangers_are_denied_whatever_they_ask_and_the_driver_never_hears_of_it() {
    let mut visitor = Visitor::new(OWNER + 1);
    for request in [get(), Request::Status, Request::Lock, Request::Stop] {
        visitor.send(7, &request).await;
        assert_eq!(visitor.refusal().await, RefusalCode::DENIED);
    }
    assert!(visitor.driver.try_recv().is_err());
}

#[tokio::test]
async fn a_request_of_a_later_version_is_refused_and_the_connection_stays() {
    let mut visitor = Visitor::new(OWNER);
    let mut frame = codec::encode_request(7, &Request::Status).unwrap();
    frame[HEAD] = 250;
    visitor.stream.write_all(&frame).await.unwrap();
    assert_eq!(visitor.refusal().await, RefusalCode::UNKNOWN_REQUEST);
    visitor.send(8, &Request::Status).await;
    assert!(matches!(visitor.driver.recv().await, Some((Request::Status, _))));
}

#[tokio::test(start_paused = true)]
async fn garbage_is_refused_and_the_connection_closed() {
    for garbage in [&[4, 0, 0, 0, 1, 9, 1, 0][..], &[0; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut visitor = Visitor::new(OWNER);
        visitor.stream.write_all(garbage).await.unwrap();
        let code = visitor.refusal().await;
        assert!([RefusalCode::MALFORMED, RefusalCode::TOO_LARGE].contains(&code), "{code:?}");
        assert!(visitor.reply().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_another_version_is_told_the_versions() {
    let mut visitor = Visitor::new(OWNER);
    let mut frame = codec::encode_request(7, &Request::Status).unwrap();
    frame[4] = 9;
    visitor.stream.write_all(&frame).await.unwrap();
    let mut reply = [0; HEAD + 2];
    visitor.stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, frame::versions(7));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_in_is_not_waited_for_longer_than_its_time() {
    let Visitor { mut stream, session, stop: _stop, .. } = Visitor::new(OWNER);
    let frame = codec::encode_request(7, &get()).unwrap();
    let began = Instant::now();
    tokio::spawn(async move {
        for byte in frame.iter() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stream.write_all(&[*byte]).await.unwrap_or_default();
        }
    });
    session.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 1 + FRAME.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_busy_caller_whose_frames_arrive_cut_in_two_is_never_slow() {
    let mut visitor = Visitor::new(OWNER);
    let frame = codec::encode_reply(0, &Ok(Answer::Done)).unwrap();
    let expires = SystemClock.boot() + Duration::from_hours(1);
    visitor.lookup.publish(&name(), Some(Ready { frame, expires, fingerprint: fingerprint() }.into()));
    let request = codec::encode_request(7, &get()).unwrap();
    let (head, tail) = request.split_at(5);
    visitor.stream.write_all(head).await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        visitor.stream.write_all(&[tail, head].concat()).await.unwrap();
        assert!(matches!(visitor.reply().await, Some((7, Ok(Answer::Done)))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_us_is_not_the_slow_one() {
    let mut visitor = Visitor::new(OWNER);
    let requests = codec::encode_request(7, &get()).unwrap().repeat(MOST_PENDING + 40);
    visitor.stream.write_all(&requests).await.unwrap();
    let (_, first) = visitor.driver.recv().await.unwrap();
    tokio::time::sleep(IDLE).await;
    first.send(Ok(Answer::Done)).unwrap();
    assert!(matches!(visitor.reply().await, Some((7, Ok(Answer::Done)))));
}

/// Where as many requests are under way as may be, nobody reads what would complete a frame.
#[tokio::test(start_paused = true)]
async fn a_frame_that_we_did_not_read_on_is_not_the_callers_fault() {
    let mut visitor = Visitor::new(OWNER);
    let request = codec::encode_request(7, &get()).unwrap();
    let (head, tail) = request.split_at(5);
    visitor.stream.write_all(&[&request.repeat(MOST_PENDING), head].concat()).await.unwrap();
    let mut replies = Vec::new();
    for _ in 0..MOST_PENDING {
        replies.push(visitor.driver.recv().await.unwrap().1);
    }
    tokio::time::sleep(FRAME * 2).await;
    for reply in replies {
        reply.send(Ok(Answer::Done)).unwrap();
        assert!(matches!(visitor.reply().await, Some((7, Ok(Answer::Done)))));
    }
    visitor.stream.write_all(tail).await.unwrap();
    assert!(visitor.driver.recv().await.is_some(), "the last one arrives, too");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_request_is_refused_though_more_is_on_its_way() {
    let mut visitor = Visitor::new(OWNER);
    let mut malformed = codec::encode_request(7, &Request::Status).unwrap().to_vec();
    malformed.push(0);
    malformed[0] += 1;
    visitor.stream.write_all(&malformed).await.unwrap();
    assert_eq!(visitor.refusal().await, RefusalCode::MALFORMED);
    assert!(visitor.reply().await.is_none(), "nothing more is said");
    visitor.stream.write_all(&malformed).await.expect("it may still finish its sentence");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_but_not_one_that_waits_for_an_answer() {
    let began = Instant::now();
    Visitor::new(OWNER).session.await.unwrap();
    assert_eq!(began.elapsed(), IDLE);

    let mut visitor = Visitor::new(OWNER);
    visitor.send(7, &get()).await;
    let (_, reply) = visitor.driver.recv().await.unwrap();
    tokio::time::sleep(IDLE * 2).await;
    reply.send(Ok(Answer::Done)).unwrap();
    assert!(matches!(visitor.reply().await, Some((7, Ok(Answer::Done)))));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_reads_nothing_is_left() {
    let mut visitor = Visitor::new(OWNER);
    let frame = Zeroizing::new(vec![0; 300 * 1024]);
    let expires = SystemClock.boot() + Duration::from_hours(1);
    visitor.lookup.publish(&name(), Some(Ready { frame, expires, fingerprint: fingerprint() }.into()));
    visitor.send(7, &get()).await;
    let began = Instant::now();
    visitor.session.await.unwrap();
    assert_eq!(began.elapsed(), FRAME);
}

#[tokio::test]
async fn when_the_daemon_stops_what_was_begun_is_answered_and_the_connection_closed() {
    let mut visitor = Visitor::new(OWNER);
    visitor.send(7, &get()).await;
    let (_, reply) = visitor.driver.recv().await.unwrap();
    visitor.stop.send(true).unwrap();
    tokio::task::yield_now().await;
    reply.send(Ok(Answer::Done)).unwrap();
    assert!(matches!(visitor.reply().await, Some((7, Ok(Answer::Done)))));
    assert!(visitor.reply().await.is_none());
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_side_still_gets_its_answer() {
    let mut visitor = Visitor::new(OWNER);
    visitor.send(7, &get()).await;
    visitor.stream.shutdown().await.unwrap();
    let (_, reply) = visitor.driver.recv().await.unwrap();
    reply.send(Ok(Answer::Done)).unwrap();
    assert!(matches!(visitor.reply().await, Some((7, Ok(Answer::Done)))));
    assert!(visitor.reply().await.is_none());
}

fn status() -> DaemonStatus {
    DaemonStatus {
        version: String::new(),
        pid: 1,
        started_at: chrono::DateTime::UNIX_EPOCH,
        vault: VaultState::Missing,
        vault_path: String::new(),
        credentials: 0,
        with_token: 0,
        extra_ca: None,
        memory: procurify_token_protocol::MemoryProtection::None,
        core_dumps_forbidden: false,
        sandbox: procurify_token_protocol::Sandbox::None,
        warnings: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_was_killed_keeps_no_place_and_its_requests_are_dropped() {
    for requests in [1, 256] {
        let mut visitor = Visitor::new(OWNER);
        let mut replies = Vec::new();
        for request_id in 0..requests {
            let deadline = Duration::from_hours(1);
            visitor.send(request_id, &Request::Watch { name: name(), seen: Some(7), deadline }).await;
            replies.push(visitor.driver.recv().await.unwrap().1);
        }
        drop(visitor.stream);
        let soon = Duration::from_secs(2);
        timeout(soon, visitor.session).await.expect("the session ends").unwrap();
        for mut reply in replies {
            timeout(soon, reply.closed()).await.expect("nobody waits for the answer");
        }
    }
}
