//! A whole conversation for the fuzzer: a caller that follows any script, a driver that answers as the script says, and what the
//! specification promises of it. It comes with the fuzzer's own `--cfg fuzzing`, and is in no program that anybody runs. A little
//! long: what was done and what may be heard of it are one account.

use std::collections::HashMap;
use std::future::pending;

use procurify_token_protocol::frame::{HEAD, Kind, MAX_ANSWER, MAX_REQUEST, VERSION};
use procurify_token_protocol::{Area, Finding, RefusalCode, Severity};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use super::*;
use crate::audit;
use crate::clock::SystemClock;
use crate::driver::Handle;
use crate::ipc::acquaintances::Acquaintances;
use crate::lookup::{Lookup, Ready};
use crate::principal::Principal;

/// Takes a session through a script, and to its end. The clock of the runtime has to be one that is stopped.
///
/// # Panics
/// Where the session breaks a promise.
pub async fn conversation(script: &[u8]) {
    let mut script = script.iter().copied();
    let settings = script.next().unwrap_or_default();
    let mut caller = Caller::new(settings);
    while let Some(step) = script.next() {
        let mut number = || script.next().unwrap_or_default();
        match step % 8 {
            0 | 1 => {
                let (length, id) = (usize::from(number()), u16::from(number()) * 129);
                let body: Vec<u8> = script.by_ref().take(length).collect();
                caller.last = [&frame_head(id, body.len())[..], &body].concat();
                caller.send(&caller.last.clone()).await;
            }
            2 => {
                let length = usize::from(number());
                let bytes: Vec<u8> = script.by_ref().take(length).collect();
                caller.send(&bytes).await;
            }
            3 => {
                caller.cut = usize::MAX;
                caller.send(&caller.last.repeat(usize::from(number()) * 2)).await;
            }
            4 => caller.answer(number().into(), number()),
            5 => caller.wait([0, 1, 3, 9, 11, 60, 700][usize::from(number() % 7)]).await,
            6 => caller.turn_deaf(u64::from(number() % 12)).await,
            _ => caller.cut = 1 + usize::from(number()),
        }
        caller.settle().await;
    }
    match settings >> 6 {
        0 => caller.hang_up().await,
        ending => caller.stay_to_the_end(ending).await,
    }
}

struct Caller {
    reader: Option<ReadHalf<DuplexStream>>,
    writer: Option<WriteHalf<DuplexStream>>,
    session: JoinHandle<()>,
    is_served: bool,
    stop: watch::Sender<bool>,
    requests: mpsc::Receiver<(Request, Reply)>,
    unanswered: Vec<Reply>,
    sent: Vec<u8>,
    heard: Vec<u8>,
    /// The frame to send again.
    last: Vec<u8>,
    /// The most that is sent in one piece.
    cut: usize,
    /// For how long it left a frame unfinished, and said nothing while nothing was due.
    unfinished: u64,
    idle: u64,
    /// It was slow, or the daemon stopped: it may have been left.
    may_be_left: bool,
}

type Reply = oneshot::Sender<Result<Answer, Refusal>>;

impl Caller {
    fn new(settings: u8) -> Self {
        let (stream, other_end) = tokio::io::duplex(32 << (settings >> 2 & 15));
        let (driver, requests) = Handle::in_hand();
        let lookup = Arc::new(Lookup::default());
        let frame = codec::encode_reply(0, &Ok(Answer::Done)).expect("it fits");
        let expires = SystemClock.boot() + Duration::from_hours(1);
        let fingerprint = procurify_token_protocol::Fingerprint::from_bytes([7; 8]);
        lookup.publish(&"acme".parse().expect("a name"), Some(Ready { frame, expires, fingerprint }.into()));
        let (stop, stopping) = watch::channel(false);
        let uploads = Arc::new(Semaphore::new(usize::from(settings & 2) / 2));
        let access = watch::channel(Arc::new(Access::new(Principal::numbered(1000), Vec::new()))).1;
        let onlooker = None;
        let (clock, audit) = (SystemClock, audit::Handle::default());
        let acquaintances = Acquaintances::default();
        let service =
            Service { access, onlooker, lookup, driver, clock, uploads, stopping, audit, acquaintances };
        let is_served = settings & 1 == 0;
        let peer =
            Peer { user: Some(Principal::numbered(if is_served { 1000 } else { 1001 })), ..Peer::default() };
        let peer = super::Caller { peer, ..super::Caller::default() };
        let session = tokio::spawn(converse(other_end, peer, Arc::new(service)));
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: Some(reader),
            writer: Some(writer),
            session,
            is_served,
            stop,
            requests,
            unanswered: Vec::new(),
            sent: Vec::new(),
            heard: Vec::new(),
            last: [&frame_head(7, 1)[..], &[4]].concat(),
            cut: usize::MAX,
            unfinished: 0,
            idle: 0,
            may_be_left: false,
        }
    }

    /// Sends in pieces, and reads meanwhile. Where the session takes no more, the driver answers.
    async fn send(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let (Some(writer), false) = (&mut self.writer, rest.is_empty() || self.sent.len() > MOST_SENT) {
            let piece = &rest[..rest.len().min(self.cut)];
            tokio::select! {
                biased;
                written = writer.write(piece) => match written {
                    Ok(count) if count > 0 => {
                        self.sent.extend_from_slice(&piece[..count]);
                        rest = &rest[count..];
                        yield_now().await;
                    }
                    _ => self.writer = None,
                },
                () = listen(&mut self.reader, &mut self.heard) => {}
                () = sleep(SECOND) => self.answer_all(),
            }
        }
    }

    /// Lets everybody do what there is to do, and hears what is said.
    async fn settle(&mut self) {
        self.listen_for(Duration::from_millis(1)).await;
        self.take_requests();
    }

    async fn listen_for(&mut self, time: Duration) {
        let mut end = std::pin::pin!(sleep(time));
        loop {
            tokio::select! {
                () = listen(&mut self.reader, &mut self.heard) => {}
                () = &mut end => return,
            }
        }
    }

    fn take_requests(&mut self) {
        while let Ok((_, reply)) = self.requests.try_recv() {
            self.unanswered.push(reply);
        }
        assert!(self.is_served || self.unanswered.is_empty(), "the driver hears of a stranger");
        assert!(self.unanswered.len() <= MOST_PENDING, "more requests are under way than may be");
    }

    fn answer(&mut self, which: usize, how: u8) {
        if self.unanswered.is_empty() {
            return;
        }
        let reply = self.unanswered.swap_remove(which % self.unanswered.len());
        let finding = |length| Finding {
            severity: Severity::Fine,
            area: Area::Daemon,
            subject: "x".repeat(length),
            found: String::new(),
            mend: String::new(),
        };
        let _ = match how % 5 {
            0 => reply.send(Ok(Answer::Done)),
            1 => reply.send(Err(explain::busy())),
            2 => reply.send(Ok(Answer::Findings(vec![finding(1000)]))),
            3 => reply.send(Ok(Answer::Findings(vec![finding(MAX_ANSWER)]))),
            _ => return drop(reply),
        };
    }

    fn answer_all(&mut self) {
        self.take_requests();
        while !self.unanswered.is_empty() {
            self.answer(0, 0);
        }
    }

    async fn wait(&mut self, seconds: u64) {
        self.spend(seconds);
        self.listen_for(SECOND * u32::try_from(seconds).unwrap_or_default()).await;
    }

    /// Counts the time against the caller where it is its turn.
    fn spend(&mut self, seconds: u64) {
        let is_its_turn = self.unanswered.len() < MOST_PENDING;
        self.unfinished = match self.due().is_within_frame {
            true if is_its_turn => self.unfinished + seconds,
            true => self.unfinished,
            false => 0,
        };
        self.idle += if self.unanswered.is_empty() { seconds } else { 0 };
        self.may_be_left |= self.unfinished >= FRAME.as_secs() - 1 || self.idle >= IDLE.as_secs() - 10;
    }

    async fn turn_deaf(&mut self, seconds: u64) {
        self.may_be_left |= seconds >= FRAME.as_secs();
        self.spend(seconds);
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Nobody is left who could hear an answer, and nothing is left of the conversation.
    async fn hang_up(mut self) {
        self.check();
        (self.reader, self.writer) = (None, None);
        let ended = timeout(SECOND * 3, self.session).await;
        ended.expect("a caller that is gone keeps no place").expect("a session does not panic");
    }

    async fn stay_to_the_end(mut self, ending: u8) {
        match ending {
            1 => drop(self.stop.send_replace(true)),
            2 => {
                if let Some(writer) = &mut self.writer {
                    let _ = writer.shutdown().await;
                }
            }
            _ => {}
        }
        self.may_be_left |= ending == 1;
        // What could not be read for want of answers is read now.
        self.settle().await;
        while !self.unanswered.is_empty() {
            self.answer_all();
            self.settle().await;
        }
        self.listen_for(IDLE + FRAME).await;
        assert!(self.reader.is_none(), "a session ends");
        self.check();
        let ended = timeout(SECOND * 3, self.session).await;
        ended.expect("a session ends").expect("a session does not panic");
    }

    /// What the specification says of what was sent.
    fn due(&self) -> Due {
        let (mut due, mut rest) = (Due::default(), &self.sent[..]);
        loop {
            let length = rest.first_chunk().map(|field| u32::from_le_bytes(*field) as usize + 4);
            let Some(length) =
                length.filter(|length| !(HEAD..=MAX_REQUEST).contains(length) || *length <= rest.len())
            else {
                due.is_within_frame = !rest.is_empty();
                return due;
            };
            if !(HEAD..=MAX_REQUEST).contains(&length) {
                let code = if length < HEAD { RefusalCode::MALFORMED } else { RefusalCode::TOO_LARGE };
                due.farewell = Some(Heard::Refusal(0, code));
                return due;
            }
            let (frame, behind) = rest.split_at(length);
            let request_id = u16::from_le_bytes([frame[6], frame[7]]);
            rest = behind;
            due.farewell = match (frame[4], frame[5]) {
                (VERSION, 1) => {
                    let frame = frame::Frame { kind: Kind::Request, request_id, body: &frame[HEAD..] };
                    match codec::decode_request(frame) {
                        Ok(_) if self.is_served => due.add(Heard::Other(request_id)),
                        Ok(_) => due.add(Heard::Refusal(request_id, RefusalCode::DENIED)),
                        Err(DecodeError::UnknownRequest) => {
                            due.add(Heard::Refusal(request_id, RefusalCode::UNKNOWN_REQUEST))
                        }
                        Err(_) => Some(Heard::Refusal(request_id, RefusalCode::MALFORMED)),
                    }
                }
                (_, 0) | (VERSION, 2 | 3) => Some(Heard::Refusal(request_id, RefusalCode::MALFORMED)),
                (VERSION, _) => Some(Heard::Refusal(0, RefusalCode::MALFORMED)),
                _ => Some(Heard::Versions(request_id)),
            };
            if due.farewell.is_some() {
                return due;
            }
        }
    }

    /// Holds what was heard against what is due.
    fn check(&self) {
        let due = self.due();
        let heard = self.heard();
        let (farewells, replies): (Vec<Heard>, Vec<_>) = heard.iter().partition(|heard| heard.is_farewell());
        assert!(farewells.iter().all(|said| Some(*said) == due.farewell), "it was not to end like this");
        assert!(farewells.len() <= 1 && heard.iter().rev().skip(1).all(|heard| !heard.is_farewell()));
        let mut open = due.replies;
        for reply in replies {
            let count = open.entry(reply).or_default();
            *count = count.checked_sub(1).expect("a reply that nobody waits for");
        }
        let is_over = self.reader.is_none() && !self.may_be_left;
        if is_over && due.farewell.is_some() {
            assert!(!farewells.is_empty(), "it ended without saying why");
        } else if is_over {
            let left: usize = open.values().sum();
            assert!(left == 0, "{left} requests were not answered");
        }
        // What needs no driver is said at once, and in the order of the requests.
        if is_over {
            let is_at_once = |heard: &Heard| matches!(heard, Heard::Refusal(..));
            assert!(open.iter().all(|(heard, count)| *count == 0 || !is_at_once(heard)));
        }
    }

    fn heard(&self) -> Vec<Heard> {
        let (mut all, mut buffer, mut rest) = (Vec::new(), FrameBuffer::new(MAX_ANSWER), &self.heard[..]);
        loop {
            while let Some(frame) = buffer.next_frame().expect("the daemon sends frames") {
                let request_id = frame.request_id;
                all.push(match codec::decode_reply(frame) {
                    Ok(Err(refusal)) if OF_THE_SESSION.contains(&refusal.code) => {
                        Heard::Refusal(request_id, refusal.code)
                    }
                    Ok(_) => Heard::Other(request_id),
                    Err(DecodeError::Versions { oldest: 1, newest: VERSION }) => Heard::Versions(request_id),
                    Err(error) => panic!("the daemon speaks nonsense: {error}"),
                });
            }
            if rest.is_empty() {
                // A caller that is too slow may be left in the middle of a reply.
                let is_whole = !buffer.is_within_frame() || self.reader.is_some() || self.may_be_left;
                assert!(is_whole, "half a reply");
                return all;
            }
            let space = buffer.space();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            buffer.filled(count);
            rest = &rest[count..];
        }
    }
}

#[derive(Default)]
struct Due {
    replies: HashMap<Heard, usize>,
    farewell: Option<Heard>,
    is_within_frame: bool,
}

impl Due {
    fn add(&mut self, reply: Heard) -> Option<Heard> {
        *self.replies.entry(reply).or_default() += 1;
        None
    }
}

/// A reply: a refusal that the session itself makes, versions, or anything else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Heard {
    Refusal(u16, RefusalCode),
    Versions(u16),
    Other(u16),
}

impl Heard {
    fn is_farewell(self) -> bool {
        match self {
            Self::Versions(_) => true,
            Self::Refusal(_, code) => [RefusalCode::MALFORMED, RefusalCode::TOO_LARGE].contains(&code),
            Self::Other(_) => false,
        }
    }
}

fn frame_head(request_id: u16, body_length: usize) -> [u8; HEAD] {
    let [l0, l1, l2, l3] = u32::try_from(HEAD - 4 + body_length).unwrap_or_default().to_le_bytes();
    let [i0, i1] = request_id.to_le_bytes();
    [l0, l1, l2, l3, VERSION, 1, i0, i1]
}

async fn listen(reader: &mut Option<ReadHalf<DuplexStream>>, heard: &mut Vec<u8>) {
    let Some(open) = reader else { return pending().await };
    let mut piece = [0; 4096];
    match open.read(&mut piece).await {
        Ok(count) if count > 0 => heard.extend_from_slice(&piece[..count]),
        _ => *reader = None,
    }
}

/// What the session says of the bytes of a request, or of who sends it; all else depends on more.
const OF_THE_SESSION: [RefusalCode; 4] =
    [RefusalCode::MALFORMED, RefusalCode::TOO_LARGE, RefusalCode::UNKNOWN_REQUEST, RefusalCode::DENIED];
const SECOND: Duration = Duration::from_secs(1);
const MOST_SENT: usize = 16 * 1024;
