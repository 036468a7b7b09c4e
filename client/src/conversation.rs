//! The task that owns a connection of the async client: it gives each call an id, sends the frames one behind the
//! other, and hands each answer to the call that waits for it.
//!
//! A call that was dropped leaves its id behind until its answer has come, so a late answer never reaches another call.
//! The task ends with the connection, or when the last client is gone. It keeps no time and connects to nobody.

use std::collections::{HashMap, VecDeque};
use std::{future, io};

use procurify_token_protocol::frame::{FrameBuffer, MAX_ANSWER};
use procurify_token_protocol::{Answer, codec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::call::{self, Setback};
use crate::dial::AsyncStream;
use crate::error::ProtocolError;

/// A request, its frame without an id yet, and who waits for the answer.
pub(crate) struct Call {
    pub(crate) frame: Zeroizing<Vec<u8>>,
    pub(crate) reply: Reply,
}

type Reply = oneshot::Sender<Result<Answer, Setback>>;

/// Starts the task. The channel is unbounded because every caller waits for its answer: there are never more calls
/// than callers.
pub(crate) fn start(stream: AsyncStream) -> UnboundedSender<Call> {
    let (sender, calls) = unbounded_channel();
    let conversation = Conversation {
        stream,
        incoming: FrameBuffer::new(MAX_ANSWER),
        unsent: VecDeque::new(),
        waiting: HashMap::new(),
        last_id: 0,
        hung_up: None,
    };
    tokio::spawn(conversation.run(calls));
    sender
}

struct Conversation {
    stream: AsyncStream,
    incoming: FrameBuffer,
    unsent: VecDeque<Unsent>,
    waiting: HashMap<u16, Reply>,
    last_id: u16,
    /// Set when the other side takes no more; it may still have something to say.
    hung_up: Option<io::ErrorKind>,
}

struct Unsent {
    id: u16,
    frame: Zeroizing<Vec<u8>>,
    written: usize,
}

impl Conversation {
    async fn run(mut self, mut calls: UnboundedReceiver<Call>) {
        if let Err(setback) = self.converse(&mut calls).await {
            self.end(calls, &setback);
        }
    }

    /// Returns when the last client is gone.
    async fn converse(&mut self, calls: &mut UnboundedReceiver<Call>) -> Result<(), Setback> {
        loop {
            self.deliver()?;
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.enqueue(call)?,
                    None => return Ok(()),
                },
                written = write_first(&self.stream, &self.unsent), if self.hung_up.is_none() => {
                    self.written(written);
                }
                read = read_some(&self.stream, &mut self.incoming) => match read {
                    Ok(0) => return Err(self.severed(io::ErrorKind::UnexpectedEof)),
                    Ok(count) => self.incoming.filled(count),
                    Err(error) => return Err(self.severed(error.kind())),
                },
            }
        }
    }

    fn enqueue(&mut self, Call { mut frame, reply }: Call) -> Result<(), Setback> {
        if reply.is_closed() {
            return Ok(());
        }
        let id = call::free_id(self.last_id, |id| self.waiting.contains_key(&id))
            .ok_or_else(|| self.severed(io::ErrorKind::ResourceBusy))?;
        codec::readdress(&mut frame, id);
        self.last_id = id;
        self.waiting.insert(id, reply);
        self.unsent.push_back(Unsent { id, frame, written: 0 });
        Ok(())
    }

    fn written(&mut self, written: io::Result<usize>) {
        match (written, self.unsent.front_mut()) {
            (Ok(0), _) => self.hung_up = Some(io::ErrorKind::WriteZero),
            (Ok(count), Some(first)) => {
                first.written += count;
                if first.written >= first.frame.len() {
                    self.unsent.pop_front();
                }
            }
            (Ok(_), None) => {}
            (Err(error), _) => self.hung_up = Some(error.kind()),
        }
    }

    fn deliver(&mut self) -> Result<(), Setback> {
        while let Some(frame) = self.incoming.next_frame()? {
            let (id, outcome) = call::read(frame)?;
            let reply = self.waiting.remove(&id).ok_or(Setback::Fault(ProtocolError::UnexpectedAnswer))?;
            // Nobody listens any more where the call was dropped.
            let _ = reply.send(outcome);
        }
        Ok(())
    }

    fn severed(&self, kind: io::ErrorKind) -> Setback {
        Setback::Severed { kind: self.hung_up.unwrap_or(kind), mid_answer: self.incoming.is_within_frame() }
    }

    /// Tells everybody who still waits. The channel is closed first: who is told to try again must not find it open.
    fn end(mut self, mut calls: UnboundedReceiver<Call>, setback: &Setback) {
        calls.close();
        let undelivered = match setback {
            Setback::Severed { kind, .. } => Setback::Undelivered(*kind),
            other => other.clone(),
        };
        let unsent = self.unsent.drain(..).filter_map(|unsent| self.waiting.remove(&unsent.id));
        let unread = std::iter::from_fn(|| calls.try_recv().ok()).map(|call| call.reply);
        for reply in unsent.chain(unread) {
            let _ = reply.send(Err(undelivered.clone()));
        }
        for reply in self.waiting.into_values() {
            let _ = reply.send(Err(setback.clone()));
        }
    }
}

async fn write_first(mut stream: &AsyncStream, unsent: &VecDeque<Unsent>) -> io::Result<usize> {
    match unsent.front() {
        Some(first) => stream.write(&first.frame[first.written..]).await,
        None => future::pending().await,
    }
}

async fn read_some(mut stream: &AsyncStream, incoming: &mut FrameBuffer) -> io::Result<usize> {
    stream.read(incoming.space()).await
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use procurify_token_protocol::frame::HEAD;
    use std::time::Duration;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_frame_larger_than_the_socket_goes_out_in_pieces() {
        const LONG: usize = 4 * 1024 * 1024;
        let (here, mut there) = UnixStream::pair().unwrap();
        let calls = start(AsyncStream::UdSocket(here.into()));
        for (byte, length) in [(7, LONG), (8, HEAD + 1)] {
            let (reply, _) = oneshot::channel();
            calls.send(Call { frame: Zeroizing::new(vec![byte; length]), reply }).unwrap();
        }
        assert!(timeout(Duration::from_secs(1), there.readable()).await.is_err(), "nobody waits for these");

        let mut waiting = Vec::new();
        for (byte, length) in [(7, LONG), (8, HEAD + 1)] {
            let (reply, outcome) = oneshot::channel();
            calls.send(Call { frame: Zeroizing::new(vec![byte; length]), reply }).unwrap();
            waiting.push(outcome);
        }
        let mut arrived = vec![0; LONG + HEAD + 1];
        timeout(Duration::from_secs(1), there.read_exact(&mut arrived)).await.unwrap().unwrap();
        let (long, short) = arrived.split_at(LONG);
        assert!(long[HEAD..].iter().all(|byte| *byte == 7));
        assert_eq!((long[6..HEAD].to_vec(), short[6..].to_vec()), (vec![1, 0], vec![2, 0, 8]));
    }
}
