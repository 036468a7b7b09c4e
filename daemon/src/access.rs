//! Who may do what: a pure judgement over data, and the one place that every request passes.
//!
//! Today's rule is one line long: the daemon serves its own user and root, for every verb. A peer whose identity the
//! kernel does not give is nobody.

use procurify_token_protocol::Request;

/// Who is calling, as the kernel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The effective user id at the time of connecting.
    pub uid: Option<u32>,
    /// The process at the time of connecting: for the log only, since it may be gone and its number reused.
    pub pid: Option<i32>,
}

/// What a request amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To be handed a token, or to have one replaced.
    UseToken,
    /// To see what is enrolled and how it fares.
    Inspect,
    /// To change what is enrolled, or the state of the daemon.
    Administer,
}

impl Verb {
    /// The verb of a request.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Get { .. }
            | Request::Invalidate { .. }
            | Request::Refresh { .. }
            | Request::Watch { .. } => Self::UseToken,
            Request::List { .. } | Request::Describe { .. } | Request::Status | Request::Slots => {
                Self::Inspect
            }
            Request::Init { .. }
            | Request::Unlock { .. }
            | Request::Lock
            | Request::Add(_)
            | Request::Stage { .. }
            | Request::Promote { .. }
            | Request::Rollback { .. }
            | Request::Remove { .. }
            | Request::AddSlot { .. }
            | Request::Rekey { .. }
            | Request::Backup { .. }
            | Request::Upload(_)
            | Request::Restore { .. }
            | Request::Import { .. }
            | Request::Export { .. }
            | Request::Examine
            | Request::Stop => Self::Administer,
        }
    }
}

/// The rules in force.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    owner: u32,
}

impl Access {
    /// The rule for a daemon that runs as this user.
    pub fn of_owner(owner: u32) -> Self {
        Self { owner }
    }

    /// Whether this peer may do this.
    pub fn allows(self, peer: Peer, verb: Verb) -> bool {
        let is_served = peer.uid.is_some_and(|uid| uid == self.owner || uid == ROOT);
        match verb {
            Verb::UseToken | Verb::Inspect | Verb::Administer => is_served,
        }
    }
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_and_root_are_served_and_nobody_else_for_any_verb() {
        let access = Access::of_owner(1000);
        for verb in [Verb::UseToken, Verb::Inspect, Verb::Administer] {
            let allowed = |uid| access.allows(Peer { uid, pid: Some(1) }, verb);
            assert!(allowed(Some(1000)) && allowed(Some(0)));
            assert!(!allowed(Some(1001)) && !allowed(None));
        }
    }
}
