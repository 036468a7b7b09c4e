//! The connection of the async client, shared by all its clones, and how it is made anew.

use std::io;
use std::time::{Duration, Instant};

use procurify_token_protocol::endpoint::Endpoint;
use procurify_token_protocol::{Answer, Request};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout_at;
use zeroize::Zeroizing;

use crate::call::{self, Setback};
use crate::conversation::{self, Call};
use crate::deadline::Deadline;
use crate::dial::{AsyncStream, dial};
use crate::door::{self, Knock, Search, Step};
use crate::error::Error;
use crate::options::Patience;

/// See the [room's front page](self).
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) endpoint: Endpoint,
    /// How long a daemon that is gone is waited for.
    pub(crate) patience: Patience,
    /// Locked for as long as somebody connects, so that nobody else does.
    calls: Mutex<UnboundedSender<Call>>,
}

impl Line {
    /// The first one, to whichever of these answers.
    pub(crate) async fn connect(
        candidates: &[Endpoint],
        deadline: Deadline,
        patience: Patience,
    ) -> Result<Self, Error> {
        let (endpoint, calls) = converse(Search::first(candidates), deadline).await?;
        Ok(Self { endpoint: endpoint.clone(), patience, calls: Mutex::new(calls) })
    }

    /// Asks, once more where nothing came of it and that does no harm.
    pub(crate) async fn call(
        &self,
        request: &Request,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<Answer, Error> {
        let mut attempts = call::Attempts::default();
        loop {
            let attempt = self.attempt(request, deadline, patience).await?;
            match attempts.settle(request, attempt, deadline.left(now())) {
                call::Verdict::Over(outcome) => return outcome,
                call::Verdict::Again(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// One attempt over the connection that there is; none where it has ended, or somebody makes another one.
    pub(crate) async fn ask_here(&self, request: &Request, limit: Duration) -> Result<Answer, Setback> {
        let gone = || Setback::Undelivered(io::ErrorKind::NotConnected);
        let calls = self.calls.try_lock().map_err(|_| gone())?.clone();
        let deadline = Deadline::new(now(), limit);
        let frame = call::frame(call::WHOLE_CONNECTION, request, limit).map_err(|_| gone())?;
        exchange(&calls, frame, deadline).await
    }

    async fn attempt(
        &self,
        request: &Request,
        deadline: Deadline,
        patience: Patience,
    ) -> Result<Result<Answer, Setback>, Error> {
        let calls = self.open(deadline, patience).await?;
        let frame = call::frame(call::WHOLE_CONNECTION, request, deadline.left(now()))?;
        Ok(exchange(&calls, frame, deadline).await)
    }

    /// The connection, made anew where it has ended.
    async fn open(&self, deadline: Deadline, patience: Patience) -> Result<UnboundedSender<Call>, Error> {
        let within_grace = deadline.with_grace().at();
        let mut calls = timeout_at(within_grace, self.calls.lock()).await.map_err(|_| Error::Deadline)?;
        if calls.is_closed() {
            *calls = converse(Search::again(&self.endpoint, patience.get()), deadline).await?.1;
        }
        Ok(calls.clone())
    }
}

async fn exchange(
    calls: &UnboundedSender<Call>,
    frame: Zeroizing<Vec<u8>>,
    deadline: Deadline,
) -> Result<Answer, Setback> {
    let (reply, outcome) = oneshot::channel();
    if calls.send(Call { frame, reply }).is_err() {
        return Err(Setback::Undelivered(io::ErrorKind::BrokenPipe));
    }
    match timeout_at(deadline.with_grace().at(), outcome).await {
        Ok(Ok(outcome)) => outcome,
        // The task of the connection is gone, with its runtime.
        Ok(Err(_)) => Err(Setback::Severed { kind: io::ErrorKind::BrokenPipe, mid_answer: false }),
        Err(_) => Err(Setback::Deadline),
    }
}

async fn converse(
    mut search: Search<'_>,
    deadline: Deadline,
) -> Result<(&Endpoint, UnboundedSender<Call>), Error> {
    loop {
        match search.step(deadline.left(now())) {
            Step::Knock(endpoint) => match knock(endpoint, deadline).await? {
                Knock::Open(stream) => return Ok((endpoint, conversation::start(stream))),
                Knock::Crowded => search.crowded(),
                Knock::Absent => {}
            },
            Step::Pause(pause) => tokio::time::sleep(pause).await,
            Step::GiveUp(error) => return Err(error),
        }
    }
}

/// Looks at a handful of folders without leaving the thread: they are local, and it takes microseconds.
async fn knock(endpoint: &Endpoint, deadline: Deadline) -> Result<Knock<AsyncStream>, Error> {
    let Some(place) = door::look(endpoint)? else { return Ok(Knock::Absent) };
    let within_grace = deadline.with_grace().at();
    let connected = timeout_at(within_grace, dial(&place.socket)).await.map_err(|_| Error::Deadline)?;
    door::enter(endpoint, &place, connected)
}

/// The runtime's clock, which a test may stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
