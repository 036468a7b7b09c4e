//! What an examination of the daemon and its surroundings finds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How good or bad it is.
    pub severity: Severity,
    /// What it belongs to.
    pub area: Area,
    /// What was looked at: a path, a host, the name of a credential.
    pub subject: String,
    /// What was found, in a sentence without its full stop.
    pub found: String,
    /// What to type, or what else to do about it; empty where nothing is to be done.
    pub mend: String,
}

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// 0: as it should be.
    Fine,
    /// 1: good to know; nothing fails because of it.
    Notice,
    /// 2: something fails because of it, or somebody gets in.
    Problem,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fine => "ok",
            Self::Notice => "notice",
            Self::Problem => "problem",
        })
    }
}

/// What a finding belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// 0: whether a daemon answers.
    Daemon,
    /// 1: owners and modes of files and folders, and the room on their disk.
    Files,
    /// 2: what opens the vault, and what is kept of it.
    Vault,
    /// 3: what keeps secrets from other programs.
    Memory,
    /// 4: the clock.
    Clock,
    /// 5: the way to each token URL.
    Network,
    /// 6: how each credential fares.
    Credentials,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Daemon => "Daemon",
            Self::Files => "Files",
            Self::Vault => "Vault",
            Self::Memory => "Memory",
            Self::Clock => "Clock",
            Self::Network => "Network",
            Self::Credentials => "Credentials",
        })
    }
}
