//! Who serves whom, and with what: the part of a conversation that all of them share.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::acquaintances::Acquaintances;
use crate::access::{Access, Peer};
use crate::audit;
use crate::driver::Handle;
use crate::lookup::Lookup;
use crate::os::{Onlooker, Process};

/// What every conversation needs.
#[derive(Debug)]
pub struct Service<C> {
    /// Who may do what, as the configuration was last read.
    pub access: watch::Receiver<Arc<Access>>,
    /// Who looks at programs, where any rule names one.
    pub onlooker: Option<Onlooker>,
    /// The tokens of this moment.
    pub lookup: Arc<Lookup>,
    /// Whoever decides everything else.
    pub driver: Handle,
    /// The time.
    pub clock: C,
    /// Who may upload: one connection at a time.
    pub uploads: Arc<Semaphore>,
    /// True once nothing more is answered.
    pub stopping: watch::Receiver<bool>,
    /// Where it is noted who gets and does what.
    pub audit: audit::Handle,
    /// Who was here a moment ago.
    pub acquaintances: Acquaintances,
}

impl<C> Service<C> {
    pub(super) fn program_of(&self, peer: &Peer, process: &Arc<Process>) -> Option<PathBuf> {
        let onlooker = self.onlooker.as_ref()?;
        if !self.access.borrow().looks_at(peer).program {
            return None;
        }
        onlooker.program_of(process)
    }
}
