//! Who may do what, as a configuration says it and as it is explained to people.
//!
//! As in [`request`](crate::Request), order is format.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a request amounts to. The names are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// 0: to be handed a token, to watch for the next, and to report one that the API refused.
    Get,
    /// 1: to have a token replaced before its time.
    Refresh,
    /// 2: to see what is enrolled and how it fares.
    Inspect,
    /// 3: to enrol, to rotate and to remove credentials. Whoever may try a new pair is handed its token.
    Change,
    /// 4: what concerns the vault and the daemon as a whole: key slots, lock, backup, export, stop.
    Administer,
}

impl Verb {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::Get, Self::Refresh, Self::Inspect, Self::Change, Self::Administer];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Get => "get",
            Self::Refresh => "refresh",
            Self::Inspect => "inspect",
            Self::Change => "change",
            Self::Administer => "administer",
        })
    }
}

/// Whether somebody may do something, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// What.
    pub verb: Verb,
    /// Whether.
    pub outcome: Outcome,
    /// Which rule decides: a line for a person.
    pub because: String,
}

/// Whether somebody may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// 0: no.
    Denied,
    /// 1: yes.
    Allowed,
    /// 2: as a part of the unit, or by the program, that the rule names.
    Depends,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Denied => "denied",
            Self::Allowed => "allowed",
            Self::Depends => "depends",
        })
    }
}
