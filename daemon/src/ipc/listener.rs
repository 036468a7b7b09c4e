//! Listening, and accepting callers. How the place is taken, and what the system says of a caller, is for `binding`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use interprocess::local_socket::tokio::prelude::*;
use procurify_token_protocol::codec;
use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::binding::{BindError, Door, Inherited, bind, has_hung_up, identify, is_gone, process_of};
use super::places::{Places, Standing};
use super::service::Service;
use super::session::{Caller, Origin, converse};
use crate::access::{LookAt, Peer};
use crate::clock::Clock;
use crate::{explain, os};

/// A bound socket. Its file goes when this is dropped, unless a service manager has bound it.
#[derive(Debug)]
pub struct Listener {
    inner: LocalSocketListener,
    /// How many more callers can be served, on this and the daemon's other sockets.
    places: Arc<Places>,
    callers: TaskTracker,
    socket: PathBuf,
    door: Door,
    /// Of a socket that this process has bound, where its name alone does not say so: the right to that.
    lock: Option<File>,
}

impl Listener {
    /// Binds the socket, taking the place of a socket that a dead daemon left.
    ///
    /// Must be called within a tokio runtime. Each caller takes one of the `places` while it is served.
    ///
    /// # Errors
    /// [`BindError`], which says what to do.
    pub fn bind(socket: &Path, door: Door, places: &Arc<Places>) -> Result<Self, BindError> {
        let (inner, lock) = bind(socket, door)?;
        let (socket, places) = (socket.to_owned(), Arc::clone(places));
        Ok(Self { inner, socket, door, places, callers: TaskTracker::new(), lock })
    }

    /// Takes over a socket that a service manager has bound and keeps over restarts: whoever connects meanwhile waits in it, and
    /// its mode is the service manager's affair.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError::Io`].
    pub fn inherit(inherited: Inherited, places: &Arc<Places>) -> Result<Self, BindError> {
        let socket = inherited.path();
        let inner = inherited.open().map_err(|error| BindError::Io { socket: socket.clone(), error })?;
        Ok(Self {
            inner,
            socket,
            door: Door::Open,
            places: Arc::clone(places),
            callers: TaskTracker::new(),
            lock: None,
        })
    }

    /// Accepts callers for ever, a task for each.
    async fn accept<C: Clock>(&self, service: &Arc<Service<C>>) {
        let (mut is_failing, mut in_a_row) = (false, 0_usize);
        loop {
            match self.inner.accept().await {
                Ok(stream) => {
                    is_failing = false;
                    self.receive(stream, service).await;
                    in_a_row += 1;
                    if in_a_row % AT_ONCE == 0 && self.places.are_shared() {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => {
                    // The system is out of descriptors or of memory: those who are being served will leave. Said once.
                    if !is_failing {
                        warn!(%error, "cannot accept a connection; where descriptors are short, raise LimitNOFILE= or lower max-connections");
                    }
                    is_failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts nobody any more, and gives the socket's name up. What is left are the callers to wait for.
    pub fn close(self) -> TaskTracker {
        self.callers.close();
        self.callers
    }

    fn mend(&mut self) {
        let Some(lock) = &self.lock else { return };
        if !is_gone(&self.socket) {
            return;
        }
        // The lock is ours already, and would keep us out ourselves.
        let _ = lock.unlock();
        match bind(&self.socket, self.door) {
            Ok((inner, lock)) => {
                warn!(socket = %self.socket.display(), "the socket was gone, and is back");
                // The old one would take the new one's name along when it goes.
                self.inner.do_not_reclaim_name_on_drop();
                (self.inner, self.lock) = (inner, lock);
            }
            Err(problem) => debug!("the socket is gone: {problem}"),
        }
    }

    async fn receive<C: Clock>(&self, stream: LocalSocketStream, service: &Arc<Service<C>>) {
        let access = Arc::clone(&service.access.borrow());
        let identity = identify(&stream, |user| !access.is_unlimited_user(user)).unwrap_or_default();
        let os::Identity { user, pid, groups } = identity;
        let peer = Peer { user, pid, groups, ..Peer::default() };
        let standing = if access.may_know(&peer) { Standing::Known } else { Standing::Stranger };
        let process = (access.looks_at(&peer) != LookAt::default()).then(|| process_of(&stream, pid));
        let service = Arc::clone(service);
        let Some(place) = self.places.take(peer.user.clone(), standing) else {
            debug!(
                uid = peer.user.as_ref().map(display),
                pid = peer.pid,
                "turned away: every place is taken"
            );
            // At once: a crowd of them must not take descriptors from those who are served. What is said fits into a new socket.
            return turn_away(stream).await;
        };
        let caller = Caller { peer, process: process.flatten().map(Arc::new), place: Some(place) };
        self.callers.spawn(converse(stream, caller, service));
    }
}

/// Serves at these sockets for ever. One whose name was swept away gets it back. Each time that it comes round, at the start and
/// every other minute, it calls `round`, which may want to be called sooner the next time.
pub async fn serve<C: Clock>(
    listeners: &mut [Listener],
    service: &Arc<Service<C>>,
    mut round: impl FnMut() -> Option<Duration>,
) {
    loop {
        let pause = round().map_or(SWEEP, |sooner| sooner.min(SWEEP));
        let accepting = join_all(listeners.iter().map(|listener| listener.accept(service)));
        tokio::select! {
            _ = accepting => {}
            () = C::nap(pause) => {}
        }
        listeners.iter_mut().for_each(Listener::mend);
    }
}

impl Origin for LocalSocketStream {
    fn has_hung_up(&self) -> Option<bool> {
        has_hung_up(self)
    }

    fn process(&self, pid: Option<i32>) -> Option<os::Process> {
        process_of(self, pid)
    }
}

async fn turn_away(mut stream: LocalSocketStream) {
    if let Ok(frame) = codec::encode_reply(0, &Err(explain::busy())) {
        let _ = tokio::time::timeout(ACCEPT_PAUSE, stream.write_all(&frame)).await;
    }
}

/// How often to look whether the sockets still have their names.
const SWEEP: Duration = Duration::from_mins(2);
/// So many are let in before those who are in are served.
const AT_ONCE: usize = 16;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
