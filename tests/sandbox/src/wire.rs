//! The two ends of a connection that hyper does not reach: a socket that can end in a reset, and
//! bodies that end too early or never seem to end.
//!
//! Whether either happens is decided elsewhere.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket that is closed with RST instead of FIN when its [`Ending`] says so.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    ending: Ending,
}

/// Decides how the connection it belongs to ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Arc<AtomicBool>);

/// The connection ends here, without (the rest of) an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub(crate) struct Cut;

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> (Self, Ending) {
        let ending = Ending::default();
        let wire = Self { stream, ending: ending.clone() };
        (wire, ending)
    }
}

impl Ending {
    /// The connection will be reset. Return the error to hyper, which drops the socket.
    pub(crate) fn reset(&self) -> Cut {
        self.0.store(true, Ordering::Relaxed);
        Cut
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.ending.0.load(Ordering::Relaxed) {
            // Without it the client sees an ordinary end, which is the worst that can happen.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    /// All of it, once.
    Whole(Bytes),
    /// This much white space, then the rest. Without an announced length it goes out in chunks.
    Padded { blanks: u64, then: Bytes },
    /// This much, then the end of the connection.
    CutShort(Bytes),
    /// The part that was sent is on its way; the next step is the cut.
    Cutting,
    /// Nothing more.
    Empty,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        let (piece, rest) = match std::mem::replace(this, Self::Empty) {
            Self::Empty => return Poll::Ready(None),
            Self::Whole(bytes) => (bytes, Self::Empty),
            Self::Padded { blanks: 0, then } => (then, Self::Empty),
            Self::Padded { blanks, then } => {
                let piece = blanks.min(BLANKS.len() as u64);
                let rest = Self::Padded { blanks: blanks - piece, then };
                let piece = usize::try_from(piece).unwrap_or(BLANKS.len());
                (Bytes::from_static(&BLANKS[..piece]), rest)
            }
            Self::CutShort(bytes) if bytes.is_empty() => {
                // hyper flushes what it has when a body pauses, and only then.
                *this = Self::Cutting;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Self::CutShort(bytes) => (bytes, Self::CutShort(Bytes::new())),
            Self::Cutting => return Poll::Ready(Some(Err(Cut))),
        };
        *this = rest;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Empty => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}

static BLANKS: [u8; 16 * 1024] = [b' '; 16 * 1024];
