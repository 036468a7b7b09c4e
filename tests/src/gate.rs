//! A door in front of the sandbox's proxy that the test opens when it wants to: so that requests pile up for as long as
//! the test needs, and not for a number of seconds that somebody guessed.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::processes::PATIENCE;

/// A closed gate. Connections are accepted and counted, and carried on once it is open.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    is_open: bool,
    knocks: usize,
}

impl Gate {
    /// A closed gate in front of this address.
    pub fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for knock in listener.incoming().map_while(Result::ok) {
                shared.change(|seen| seen.knocks += 1);
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.wait(|seen| seen.is_open);
                    let _ = carry(&knock, target);
                });
            }
        });
        Self { address, state }
    }

    /// For [`Home::behind`](crate::Home::behind).
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets through whoever stands before it, and everybody from now on.
    pub fn open(&self) {
        self.state.change(|seen| seen.is_open = true);
    }

    /// Closes it again for those who come from now on.
    pub fn close(&self) {
        self.state.change(|seen| seen.is_open = false);
    }

    /// How many connections there were so far.
    pub fn knocks(&self) -> usize {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).knocks
    }

    /// Waits until there were this many connections.
    #[track_caller]
    pub fn await_knocks(&self, count: usize) {
        assert!(self.state.wait(|seen| seen.knocks >= count), "only {} knocked at the gate", self.knocks());
    }
}

impl State {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait(&self, condition: impl Fn(&Seen) -> bool) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(seen, PATIENCE, |seen| !condition(seen));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// Carries bytes both ways until both ends are done.
fn carry(knock: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let onward = TcpStream::connect(target)?;
    let (mut there, mut back) = (knock.try_clone()?, onward.try_clone()?);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut there, &mut &onward);
            let _ = onward.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut back, &mut &*knock);
        let _ = knock.shutdown(Shutdown::Write);
    });
    Ok(())
}
