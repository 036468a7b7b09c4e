//! One conversation: frames in, judged, answered from the table or by the driver, frames out.
//!
//! A session trusts nothing that arrives. Whatever a caller does, it holds up nobody else: what it may leave unfinished
//! is bounded in bytes, in requests and in time. A little long: what becomes of a request is to be seen in one place.

use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use procurify_token_protocol::codec::{self, DecodeError};
use procurify_token_protocol::frame::{self, FrameBuffer, FrameError};
use procurify_token_protocol::{Answer, CredentialName, MOST_IN_UPLOAD, Refusal, RefusalCode, Request, Verb};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::bells::{Bells, Rung};
use super::places::Place;
use super::service::Service;
use super::witness::{self, Act, Lately};
use crate::access::{self, Access, LookAt, Peer, Scope};
use crate::audit::{Keep, Noted, Who};
use crate::clock::Clock;
use crate::driver::Upload;
use crate::explain;
use crate::lookup::Ready;
use crate::os::{self, Process};

/// Talks with one caller until it leaves, errs, or keeps silent for too long.
pub async fn converse<S, C>(stream: S, caller: Caller, service: Arc<Service<C>>)
where
    S: AsyncRead + AsyncWrite + Origin + Unpin,
    C: Clock,
{
    let Caller { peer, process, place } = caller;
    let program = process.as_ref().and_then(|process| service.program_of(&peer, process));
    let (lately, pending, uploading) = (Lately::default(), FuturesUnordered::new(), None);
    let caller = Who { user: peer.user.clone(), pid: peer.pid, ..Who::default() };
    let is_noted = service.audit.keep() != Keep::Off;
    let id = || service.acquaintances.id(peer.pid, || stream.process(peer.pid));
    let caller = Who { process: if is_noted { id() } else { 0 }, ..caller };
    let access = Arc::clone(&service.access.borrow());
    let mut session = Session {
        stream,
        peer,
        process,
        program,
        caller,
        service,
        place,
        access,
        lately,
        pending,
        uploading,
    };
    session.run().await;
}

/// A connection that may know which process is at its other end.
pub trait Origin {
    /// Whether whoever connected is gone, where the system says so without anything being written.
    fn has_hung_up(&self) -> Option<bool> {
        None
    }

    /// The process, as long as it is there. It takes a descriptor, so it is not held on to for longer than it is looked at.
    fn process(&self, _: Option<i32>) -> Option<Process> {
        None
    }
}

#[cfg(any(test, fuzzing))]
impl Origin for tokio::io::DuplexStream {}

/// Who has connected.
#[derive(Debug, Default)]
pub struct Caller {
    /// What the kernel noted.
    pub peer: Peer,
    /// The process, where the system holds on to it.
    pub process: Option<Arc<Process>>,
    /// Its place, for as long as the conversation lasts.
    pub place: Option<Place>,
}

struct Session<S, C> {
    stream: S,
    peer: Peer,
    process: Option<Arc<Process>>,
    /// What the process ran when it connected.
    program: Option<PathBuf>,
    /// Who that is in an audit record, but for what has to be looked at.
    caller: Who,
    service: Arc<Service<C>>,
    place: Option<Place>,
    /// The rules in force.
    access: Arc<Access>,
    lately: Lately,
    pending: FuturesUnordered<Pin<Box<dyn Future<Output = Frame> + Send>>>,
    /// What was uploaded so far, and the right to.
    uploading: Option<(Upload, OwnedSemaphorePermit)>,
}

type Frame = Zeroizing<Vec<u8>>;

/// The connection is of no more use.
struct Closed;

/// What a conversation goes on with.
enum Next {
    Reply(Frame),
    Arrived(io::Result<usize>),
    Rung(Rung),
}

/// Whether a whole request has arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    None,
    Some,
}

impl<S, C> Session<S, C>
where
    S: AsyncRead + AsyncWrite + Origin + Unpin,
    C: Clock,
{
    async fn run(&mut self) {
        let mut buffer = FrameBuffer::new(frame::MAX_REQUEST);
        let service = Arc::clone(&self.service);
        let mut stopping = service.stopping.clone();
        let stopped = pin!(stopped(&mut stopping));
        let mut is_open = true;
        let now = Instant::now();
        let (mut patience_ends, mut look_at) = (now + IDLE, now);
        // It may ring too early, for whoever was served meanwhile has more time: to set it anew for each request would cost more
        // than the request.
        let alarm = pin!(tokio::time::sleep_until(patience_ends));
        let mut bells = Bells::new(&service.stopping, stopped, alarm);
        let mut has_begun = false;
        loop {
            let Ok(progress) = self.take_requests(&mut buffer).await else { return };
            // A caller that never rests would not let it be asked for below.
            is_open &= bells.is_quiet();
            if !is_open && self.pending.is_empty() {
                return;
            }
            let is_within_frame = buffer.is_within_frame();
            // A frame that has begun has a fixed time to arrive, however slowly it trickles in.
            if progress == Progress::Some || has_begun {
                patience_ends = Instant::now() + if is_within_frame { FRAME } else { IDLE };
            }
            has_begun = false;
            let may_read = is_open && self.pending.len() < MOST_PENDING;
            let alarm_at = match may_read {
                // Only where it is the caller's turn: not while it waits for us.
                true if is_within_frame || self.pending.is_empty() => Some(patience_ends),
                true => None,
                // Whoever has said all it wants may still listen; whoever was killed does not, and keeps no place. Where we
                // read no further, no end of input tells.
                false => Some(look_at),
            };
            if let Some(at) = alarm_at
                && at < bells.alarm_at()
            {
                bells.set_alarm(at);
            }
            match self.next(&mut buffer, may_read, &mut bells, (is_open, alarm_at.is_some())).await {
                Next::Reply(reply) => {
                    let began = Instant::now();
                    if self.send(&reply).await.is_err() {
                        return;
                    }
                    // A frame does not arrive while nobody reads.
                    patience_ends = match (is_within_frame, may_read) {
                        (true, true) => patience_ends + began.elapsed(),
                        (true, false) => Instant::now() + FRAME,
                        (false, _) => Instant::now() + IDLE,
                    };
                }
                Next::Arrived(Ok(0)) | Next::Rung(Rung::Stopped) => is_open = false,
                Next::Arrived(Ok(count)) => {
                    buffer.filled(count);
                    has_begun = !is_within_frame;
                    if let Some(place) = &self.place {
                        place.turn().await;
                    }
                }
                Next::Arrived(Err(_)) => return,
                Next::Rung(Rung::Alarm) => {
                    let at = alarm_at.unwrap_or(patience_ends);
                    let now = Instant::now();
                    if now < at {
                        bells.set_alarm(at);
                        continue;
                    }
                    if may_read || self.has_hung_up() {
                        return;
                    }
                    look_at = now + LOOK;
                    bells.set_alarm(look_at);
                }
            }
        }
    }

    /// Whatever comes first, in this order: replies, then what arrives; whether to stop, and the time, matter where there is neither.
    async fn next(
        &mut self,
        buffer: &mut FrameBuffer,
        may_read: bool,
        bells: &mut Bells<'_, impl Future<Output = ()>>,
        (to_stopped, to_alarm): (bool, bool),
    ) -> Next {
        let Self { stream, pending, .. } = self;
        let mut read = pin!(stream.read(buffer.space()));
        poll_fn(|context| {
            if !pending.is_empty()
                && let Poll::Ready(Some(reply)) = pending.poll_next_unpin(context)
            {
                return Poll::Ready(Next::Reply(reply));
            }
            if may_read && let Poll::Ready(count) = read.as_mut().poll(context) {
                return Poll::Ready(Next::Arrived(count));
            }
            bells.poll(context, to_stopped, to_alarm).map(Next::Rung)
        })
        .await
    }

    /// Starts or answers every whole request that has arrived, as far as there is room for it.
    async fn take_requests(&mut self, buffer: &mut FrameBuffer) -> Result<Progress, Closed> {
        let mut progress = Progress::None;
        while self.pending.len() < MOST_PENDING {
            let (request_id, request) = match buffer.next_frame() {
                Ok(Some(frame)) => (frame.request_id, codec::decode_request(frame)),
                Ok(None) => break,
                // In a box: every conversation would have the room for it otherwise, and hardly one parts like this.
                Err(error) => return Err(Box::pin(self.part(&farewell(error))).await),
            };
            progress = Progress::Some;
            match request {
                Ok(request) => self.take(request_id, request).await?,
                Err(DecodeError::UnknownRequest) => {
                    self.send(&encode(request_id, &Err(explain::unknown_request()))).await?;
                }
                Err(_) => {
                    let farewell = encode(request_id, &Err(explain::malformed()));
                    return Err(Box::pin(self.part(&farewell)).await);
                }
            }
        }
        Ok(progress)
    }

    async fn take(&mut self, request_id: u16, request: Request) -> Result<(), Closed> {
        // To see that nothing has changed since the start costs less than to borrow.
        if self.service.access.has_changed().unwrap_or(true) {
            self.access = Arc::clone(&self.service.access.borrow());
        }
        let looked = self.look(&self.access);
        let peer = looked.as_ref().unwrap_or(&self.peer);
        let Ok(scope) = self.access.judge(peer, &request) else {
            self.service.note_denial(&self.caller, &request, || self.who());
            return self.send(&encode(request_id, &Err(explain::denied()))).await;
        };
        if let Request::Get { name, min_ttl, .. } = &request
            && let now = self.service.clock.boot()
            && let Some(ready) = self.service.lookup.find(name, *min_ttl, now)
        {
            let mut lately = mem::take(&mut self.lately);
            let noted = self.service.note_get(&self.caller, name, &ready, now, &mut lately, || self.who());
            self.lately = lately;
            if matches!(noted, Noted::Done) {
                return self.send_ready(&ready, request_id).await;
            }
            self.pending.push(Box::pin(async move {
                if noted.is_settled().await {
                    Zeroizing::new(addressed(&ready, request_id))
                } else {
                    encode(request_id, &Err(explain::not_audited()))
                }
            }));
            return Ok(());
        }
        let request = match request {
            Request::Upload(piece) => {
                let taken = self.take_upload(piece.bytes());
                return self.send(&encode(request_id, &taken.map(|()| Answer::Done))).await;
            }
            Request::ExplainAccess { user, name } => {
                let access = Arc::clone(&self.access);
                // A name service may be far away.
                let explained = tokio::task::spawn_blocking(move || explained(&access, &user, &name));
                self.pending.push(Box::pin(async move {
                    let gone = |_| Err(explain::internal("the name service failed"));
                    encode(request_id, &explained.await.unwrap_or_else(gone))
                }));
                return Ok(());
            }
            Request::AuditShow { .. } | Request::AuditVerify => {
                let audit = self.service.audit.clone();
                self.pending.push(Box::pin(async move {
                    encode(request_id, &witness::records(&audit, request).await)
                }));
                return Ok(());
            }
            request => request,
        };
        let peer = peer.clone();
        self.ask_driver(request_id, request, peer, scope);
        Ok(())
    }

    /// Has the driver answer, and whoever is to be told of it noted.
    fn ask_driver(&mut self, request_id: u16, request: Request, peer: Peer, scope: Scope) {
        let upload = match request {
            Request::Restore { length } | Request::Import { length } => {
                // Where a connection broke and was made anew, a part may be missing.
                self.uploading.take().filter(|(upload, _)| upload.len() as u64 == length)
            }
            _ => None,
        };
        let (service, act) = (Arc::clone(&self.service), Act::of(&request));
        let room = self.place.as_ref().map(Place::room);
        let token_of = access::token_wanted(&request).map(|(verb, name)| (verb, name.clone(), peer.clone()));
        let is_of_note = act.is_of_note() && service.audit.keep() != Keep::Off;
        let who = Arc::new(if is_of_note { self.who() } else { Who::default() });
        let is_deed = act.is_deed() && is_of_note;
        let answered = async move {
            // Its own, until there is an answer.
            let room = room;
            // The right to upload goes when the driver has what was uploaded: no two of them are ever in memory.
            let (upload, _permit) = upload.unzip();
            let wanted = if let Request::Get { name, .. } = &request { Some(name.clone()) } else { None };
            let is_still_allowed = |service: &Service<C>| {
                let access = service.access.borrow();
                token_of.as_ref().is_none_or(|(verb, name, peer)| access.allows(peer, *verb, name))
            };
            let answer = async {
                if let Some(None) = room {
                    return Err(explain::busy());
                }
                let reply = service.driver.ask_about(request, upload, peer, scope).await;
                // Who waited may have lost his right meanwhile.
                if witness::brings_token(&reply) && !is_still_allowed(&service) {
                    service.note_revoked(&who, &act);
                    return Err(explain::denied());
                }
                reply
            };
            let reply = if is_of_note {
                service.witnessed(act.clone(), Arc::clone(&who), answer).await
            } else {
                answer.await
            };
            // A driver that takes nothing more is no reason to refuse what is held, though it is less than was asked for.
            let wanted =
                wanted.filter(|_| reply.as_ref().is_err_and(is_dismissal) && is_still_allowed(&service));
            let now = service.clock.boot();
            let held = wanted.and_then(|name| Some((service.lookup.find(&name, Duration::ZERO, now)?, name)));
            let Some((held, name)) = held else { return encode(request_id, &reply) };
            let noted = service.note_get(&who, &name, &held, now, &mut Lately::default(), || (*who).clone());
            if noted.is_settled().await {
                Zeroizing::new(addressed(&held, request_id))
            } else {
                encode(request_id, &Err(explain::not_audited()))
            }
        };
        if is_deed {
            // Its record is written whether or not anybody is left to be answered.
            let done = tokio::spawn(answered);
            let gone =
                move |_| encode(request_id, &Err(explain::internal("the daemon failed over this request")));
            self.pending.push(Box::pin(async move { done.await.unwrap_or_else(gone) }));
        } else {
            self.pending.push(Box::pin(answered));
        }
    }

    /// The caller as an audit record names it, looked at now.
    fn who(&self) -> Who {
        let process = || self.process.clone().or_else(|| self.stream.process(self.peer.pid).map(Arc::new));
        let looked = self.service.onlooker.as_ref().and_then(|onlooker| Some(onlooker.look(&process()?)));
        let os::Seen { program, unit } = looked.unwrap_or_default();
        Who { program, unit, ..self.caller.clone() }
    }

    /// The caller as it is now, as far as the rules look at it.
    fn look(&self, access: &Access) -> Option<Peer> {
        let look_at = access.looks_at(&self.peer);
        let process = self.process.as_ref().filter(|_| look_at != LookAt::default())?;
        let unit = if look_at.unit { process.unit() } else { None };
        let program = self.program.as_ref().filter(|_| look_at.program);
        // Whoever became another program since it connected is neither.
        let program = program.filter(|_| self.service.program_of(&self.peer, process) == self.program);
        Some(Peer { unit, program: program.cloned(), ..self.peer.clone() })
    }

    fn take_upload(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let (mut upload, permit) = if let Some(uploading) = self.uploading.take() {
            uploading
        } else {
            let permit = Arc::clone(&self.service.uploads).try_acquire_owned();
            (Upload::default(), permit.map_err(|_| explain::busy())?)
        };
        if upload.len() + bytes.len() > MOST_IN_UPLOAD {
            return Err(explain::upload_too_large());
        }
        upload.extend_from_slice(bytes);
        self.uploading = Some((upload, permit));
        Ok(())
    }

    /// Whether nobody is left to read an answer. Writing nothing fails then, and does nothing otherwise.
    fn has_hung_up(&mut self) -> bool {
        let told = self.stream.has_hung_up();
        told.unwrap_or_else(|| self.stream.write(&[]).now_or_never().is_some_and(|written| written.is_err()))
    }

    /// Says why the connection ends, and ends it.
    async fn part(&mut self, farewell: &[u8]) -> Closed {
        let _ = self.send(farewell).await;
        // What the peer still sends is read and thrown away for a moment: closing a socket with unread bytes in it
        // would take the farewell away from under the peer.
        let _ = self.stream.shutdown().await;
        let mut rest = [0; 4096];
        let drained = async { while matches!(self.stream.read(&mut rest).await, Ok(count) if count > 0) {} };
        let _ = timeout(FAREWELL, drained).await;
        Closed
    }

    /// Sends a token's reply, by way of the stack where it fits: to have a piece of memory for each copy, and that wiped, costs more
    /// than to copy it.
    async fn send_ready(&mut self, ready: &Ready, request_id: u16) -> Result<(), Closed> {
        let sent = match self.write_by_stack(&ready.frame, request_id) {
            Some(Ok(sent)) if sent == ready.frame.len() => return Ok(()),
            Some(Ok(sent)) => sent,
            Some(Err(_)) => return Err(Closed),
            None => 0,
        };
        let reply = Zeroizing::new(addressed(ready, request_id));
        self.send(&reply[sent..]).await
    }

    /// `None` where it does not fit there, or where there is no room in the socket.
    fn write_by_stack(&mut self, frame: &[u8], request_id: u16) -> Option<io::Result<usize>> {
        let mut stack = [0; ON_STACK];
        let reply = stack.get_mut(..frame.len())?;
        reply.copy_from_slice(frame);
        codec::readdress(reply, request_id);
        let written = self.stream.write(reply).now_or_never();
        zeroize::zeroize_bytes(reply);
        written
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), Closed> {
        // There is room for it, nearly always; then nobody has to watch the time.
        let written = match self.stream.write(frame).now_or_never() {
            Some(Ok(written)) if written == frame.len() => return Ok(()),
            Some(Ok(written)) => written,
            Some(Err(_)) => return Err(Closed),
            None => 0,
        };
        match timeout(FRAME, self.stream.write_all(&frame[written..])).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Closed),
        }
    }
}

/// What a user may do with a credential, and which rules say so.
fn explained(access: &Access, user: &str, name: &CredentialName) -> Result<Answer, Refusal> {
    let account = os::account(user).ok_or_else(|| explain::unknown_user(user))?;
    // Elsewhere the groups of somebody are known only once that somebody has connected.
    let uid = account.user.uid().ok_or_else(explain::unexplained_access)?;
    let peer = Peer { user: Some(account.user), groups: account.groups, ..Peer::default() };
    let ruling = |verb| explain::ruling(verb, &access.grounds(&peer, verb, name));
    Ok(Answer::AccessExplained { uid, rulings: Verb::ALL.map(ruling).into() })
}

/// What is said to whoever sends something that is not a frame.
fn farewell(error: FrameError) -> Frame {
    match error {
        FrameError::Version { request_id, .. } => Zeroizing::new(frame::versions(request_id).to_vec()),
        FrameError::TooLong => encode(0, &Err(explain::too_large())),
        FrameError::Malformed => encode(0, &Err(explain::malformed())),
    }
}

/// Resolves when the daemon stops, or when there is nobody left to say so.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Whether it says that nothing was done, for want of a driver.
fn is_dismissal(refusal: &Refusal) -> bool {
    [RefusalCode::BUSY, RefusalCode::STOPPING].contains(&refusal.code)
}

/// The program's allocator wipes it; to have it wiped twice takes longer than all the rest that is done for a `get`.
fn addressed(ready: &Ready, request_id: u16) -> Vec<u8> {
    let mut reply = ready.frame.to_vec();
    codec::readdress(&mut reply, request_id);
    reply
}

fn encode(request_id: u16, reply: &Result<Answer, Refusal>) -> Frame {
    codec::encode_reply(request_id, reply).unwrap_or_else(|_| {
        // An answer of ours that does not fit is our fault; the caller learns that much.
        let refusal = explain::internal("the answer does not fit into one message");
        codec::encode_reply(request_id, &Err(refusal)).expect("a refusal of two sentences fits")
    })
}

/// How long a frame may take to arrive, and a reply to be read.
const FRAME: Duration = Duration::from_secs(10);
/// How long a connection may rest without any request in progress.
const IDLE: Duration = Duration::from_mins(10);
/// How often to look whether a caller that says nothing more is still there.
const LOOK: Duration = Duration::from_secs(1);
/// How long a peer that is turned away may still finish its sentence.
const FAREWELL: Duration = Duration::from_millis(500);
/// Room for the reply with a token of the usual length, about 1 kB.
const ON_STACK: usize = 2048;
/// How many requests of one connection may wait for the driver at once; further ones wait in the socket.
const MOST_PENDING: usize = 256;

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod tests;
