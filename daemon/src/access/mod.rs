//! Who may do what: a pure judgement over data, and the one place that every request passes.
//!
//! The user as whom the daemon runs, and root (on Windows SYSTEM and the administrators), may do everything. Anybody else may do what a [`Rule`] of the configuration
//! says, and nothing where none does: there are no rules that take something away, so their order means nothing. A peer whose
//! identity the kernel does not give is nobody. How the kernel is asked is not known here.

mod rule;

use std::path::PathBuf;

use procurify_token_protocol::{CredentialName, Request, Verb};

use crate::principal::Principal;

pub use rule::{CredentialPattern, PatternError, Rule, RuleError, Who};

/// Who is calling, as the kernel says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The effective user at the time of connecting.
    pub user: Option<Principal>,
    /// The process at the time of connecting: for the log only, since it may be gone and its number reused.
    pub pid: Option<i32>,
    /// Its groups at the time of connecting, the first of them the effective one; of a user who [may do
    /// everything](Access::is_unlimited_user) no more than that.
    pub groups: Vec<Principal>,
    /// The unit of the system's service manager that the process belongs to now; `None` where nobody has looked.
    pub unit: Option<String>,
    /// The program that it runs now, and ran when it connected; `None` where nobody has looked.
    pub program: Option<PathBuf>,
}

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Access {
    owner: Principal,
    rules: Vec<Rule>,
}

/// The peer may not do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

/// Which credentials an answer may speak of.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All of them.
    Everything,
    /// Those that one of the patterns means.
    Of(Vec<CredentialPattern>),
}

impl Scope {
    /// Whether the answer may speak of this one.
    pub fn admits(&self, name: &CredentialName) -> bool {
        match self {
            Self::Everything => true,
            Self::Of(patterns) => patterns.iter().any(|pattern| pattern.means(name)),
        }
    }
}

/// What has to be known of a peer beside its user and groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookAt {
    /// Its unit.
    pub unit: bool,
    /// Its program.
    pub program: bool,
}

/// Why somebody may do something.
#[derive(Clone, Copy, Debug)]
pub enum Ground<'a> {
    /// The daemon runs as that user.
    Owner,
    /// It is root, or whoever could do everything anyway.
    Root,
    /// The rule with this number says so, the first being 1.
    Rule(usize, &'a Rule),
}

/// What a request is about.
enum Subject<'a> {
    One(&'a CredentialName),
    /// Whatever the peer may see.
    Visible,
    /// The daemon as a whole.
    Whole,
}

impl Access {
    /// The rules for a daemon that runs as this user.
    pub fn new(owner: Principal, rules: Vec<Rule>) -> Self {
        Self { owner, rules }
    }

    /// Whether this peer may do what it asks for, and what it may be told.
    ///
    /// # Errors
    /// [`Denied`], whatever is enrolled: that would tell strangers.
    pub fn judge(&self, peer: &Peer, request: &Request) -> Result<Scope, Denied> {
        if self.is_unlimited(peer) {
            return Ok(Scope::Everything);
        }
        let (verb, subject) = meaning(request);
        let mut rules = self.rules.iter().filter(|rule| rule.says(verb) && rule.who.is(peer));
        match subject {
            Subject::One(name) => {
                rules.any(|rule| rule.covers(name)).then_some(Scope::Everything).ok_or(Denied)
            }
            Subject::Whole => rules.any(Rule::covers_everything).then_some(Scope::Everything).ok_or(Denied),
            Subject::Visible => {
                let patterns: Vec<_> = rules.flat_map(|rule| rule.credentials.iter().cloned()).collect();
                if patterns.is_empty() { Err(Denied) } else { Ok(Scope::Of(patterns)) }
            }
        }
    }

    /// Whether this peer may do with this credential what the verb says.
    pub fn allows(&self, peer: &Peer, verb: Verb, name: &CredentialName) -> bool {
        self.is_unlimited(peer)
            || self.rules.iter().any(|rule| rule.says(verb) && rule.who.is(peer) && rule.covers(name))
    }

    /// Whether the rules are nothing to this user, whatever they become.
    pub fn is_unlimited_user(&self, user: &Principal) -> bool {
        *user == self.owner || user.is_superuser()
    }

    /// Whether any rule could ever allow this peer anything, whichever its unit and program.
    pub fn may_know(&self, peer: &Peer) -> bool {
        self.is_unlimited(peer) || self.rules.iter().any(|rule| rule.who.could_be(peer))
    }

    /// What has to be known of this peer for a judgement.
    pub fn looks_at(&self, peer: &Peer) -> LookAt {
        if self.rules.is_empty() || self.is_unlimited(peer) {
            return LookAt::default();
        }
        let whom = || self.rules.iter().map(|rule| &rule.who).filter(|who| who.could_be(peer));
        LookAt {
            unit: whom().any(|who| who.unit.is_some()),
            program: whom().any(|who| who.program.is_some()),
        }
    }

    /// What any of the rules looks at.
    pub fn ever_looks_at(&self) -> LookAt {
        let any = |names: fn(&Who) -> bool| self.rules.iter().any(|rule| names(&rule.who));
        LookAt { unit: any(|who| who.unit.is_some()), program: any(|who| who.program.is_some()) }
    }

    /// Whether anybody but the owner and root is served.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Every reason for which a peer may do something with a credential, were it of the unit and the program that the
    /// rule names.
    pub fn grounds(&self, peer: &Peer, verb: Verb, name: &CredentialName) -> Vec<Ground<'_>> {
        if Self::is_superuser(peer) {
            return vec![Ground::Root];
        }
        if self.is_unlimited(peer) {
            return vec![Ground::Owner];
        }
        let covers = |rule: &Rule| match verb {
            Verb::Administer => rule.covers_everything(),
            _ => rule.covers(name),
        };
        let rules = self.rules.iter().enumerate();
        rules
            .filter(|(_, rule)| rule.says(verb) && rule.who.could_be(peer) && covers(rule))
            .map(|(at, rule)| Ground::Rule(at + 1, rule))
            .collect()
    }

    fn is_unlimited(&self, peer: &Peer) -> bool {
        peer.user.as_ref().is_some_and(|user| *user == self.owner) || Self::is_superuser(peer)
    }

    fn is_superuser(peer: &Peer) -> bool {
        let Some(user) = &peer.user else { return false };
        user.is_superuser() || peer.groups.iter().any(Principal::is_group_of_superusers)
    }
}

/// Of a request that may be answered with a token: by which right, and whose.
pub fn token_wanted(request: &Request) -> Option<(Verb, &CredentialName)> {
    match request {
        Request::Get { name, .. } | Request::Watch { name, .. } | Request::Refresh { name, .. } => {
            Some((meaning(request).0, name))
        }
        _ => None,
    }
}

/// The verb of a request, and what it is about.
fn meaning(request: &Request) -> (Verb, Subject<'_>) {
    match request {
        Request::Get { name, .. } | Request::Invalidate { name, .. } | Request::Watch { name, .. } => {
            (Verb::Get, Subject::One(name))
        }
        Request::Refresh { name, .. } => (Verb::Refresh, Subject::One(name)),
        Request::Describe { name } => (Verb::Inspect, Subject::One(name)),
        Request::List { .. } => (Verb::Inspect, Subject::Visible),
        Request::Status | Request::Slots => (Verb::Inspect, Subject::Whole),
        Request::Add(new) => (Verb::Change, Subject::One(&new.name)),
        Request::Stage { name, .. }
        | Request::Promote { name, .. }
        | Request::Rollback { name }
        | Request::Remove { name } => (Verb::Change, Subject::One(name)),
        Request::Init { .. }
        | Request::Unlock { .. }
        | Request::Lock
        | Request::AddSlot { .. }
        | Request::Rekey { .. }
        | Request::Backup { .. }
        | Request::Upload(_)
        | Request::Restore { .. }
        | Request::Import { .. }
        | Request::Export { .. }
        | Request::Examine
        | Request::ExplainAccess { .. }
        | Request::AuditShow { .. }
        | Request::AuditVerify
        | Request::Stop => (Verb::Administer, Subject::Whole),
    }
}

#[cfg(test)]
mod tests;
