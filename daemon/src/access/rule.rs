//! One rule: who, which credentials, which verbs. All that it names has to hold.

use std::fmt;
use std::path::PathBuf;

use glob::Pattern;
use procurify_token_protocol::{CredentialName, Verb};
use serde::Deserialize;
use thiserror::Error;

use super::Peer;
use crate::principal::Principal;

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) who: Who,
    pub(super) credentials: Vec<CredentialPattern>,
    verbs: Vec<Verb>,
}

/// Whom a rule means. Names are kept beside numbers, to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// This user.
    pub user: Option<(String, Principal)>,
    /// Whoever belongs to this group.
    pub group: Option<(String, Principal)>,
    /// The processes of this unit of the system's service manager.
    pub unit: Option<String>,
    /// Whoever runs this program. It narrows the others: by itself it says nothing of whose hands the program is in.
    pub program: Option<PathBuf>,
}

/// Why something is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// It names neither user, group nor unit.
    #[error(
        "says not who: name a user, a group or a unit (a program alone is no identity: anybody can run it)"
    )]
    Nobody,
    /// It names no credentials.
    #[error("names no credentials; credentials = [\"*\"] means all of them")]
    NoCredentials,
    /// It names no verbs.
    #[error("names no verbs; without verbs = […] it means get")]
    NoVerbs,
    /// It administers a part.
    #[error(
        "cannot allow to administer a part: the vault is one. Write credentials = [\"*\"], or leave the verb away"
    )]
    PartOfWhole,
}

impl Rule {
    /// A rule.
    ///
    /// # Errors
    /// [`RuleError`], where it would mean nobody, nothing, or something that cannot be.
    pub fn new(who: Who, credentials: Vec<CredentialPattern>, verbs: Vec<Verb>) -> Result<Self, RuleError> {
        if who.user.is_none() && who.group.is_none() && who.unit.is_none() {
            return Err(RuleError::Nobody);
        }
        if credentials.is_empty() {
            return Err(RuleError::NoCredentials);
        }
        if verbs.is_empty() {
            return Err(RuleError::NoVerbs);
        }
        let rule = Self { who, credentials, verbs };
        if rule.says(Verb::Administer) && !rule.covers_everything() {
            return Err(RuleError::PartOfWhole);
        }
        Ok(rule)
    }

    /// Whether more than user and groups decides.
    pub fn is_conditional(&self) -> bool {
        self.who.unit.is_some() || self.who.program.is_some()
    }

    pub(super) fn says(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    pub(super) fn covers(&self, name: &CredentialName) -> bool {
        self.credentials.iter().any(|pattern| pattern.means(name))
    }

    pub(super) fn covers_everything(&self) -> bool {
        self.credentials.iter().any(CredentialPattern::means_everything)
    }
}

impl Who {
    pub(super) fn is(&self, peer: &Peer) -> bool {
        let is_in = self.unit.as_ref().is_none_or(|unit| peer.unit.as_ref() == Some(unit));
        let runs = self.program.as_ref().is_none_or(|program| peer.program.as_ref() == Some(program));
        self.could_be(peer) && is_in && runs
    }

    /// As far as user and groups go.
    pub(super) fn could_be(&self, peer: &Peer) -> bool {
        let Some(caller) = &peer.user else { return false };
        self.user.as_ref().is_none_or(|(_, user)| user == caller)
            && self.group.as_ref().is_none_or(|(_, group)| peer.groups.contains(group))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Who { user, group, unit, program } = &self.who;
        let name = |named: &Option<(String, Principal)>| named.as_ref().map(|(name, _)| name.clone());
        let program = program.as_ref().map(|path| path.display().to_string());
        let told =
            [("user", name(user)), ("group", name(group)), ("unit", unit.clone()), ("program", program)];
        let told = told.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value?)));
        let credentials = self.credentials.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        write!(f, "{}, credentials {credentials}", told.collect::<Vec<_>>().join(", "))
    }
}

/// Which credentials: a name in which `*` stands for anything, `/` included, and `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CredentialPattern(Pattern);

/// No name is like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write the name of a credential as list shows it; * stands for anything and ? for one character")]
pub struct PatternError;

impl CredentialPattern {
    /// Whether this credential is meant.
    pub fn means(&self, name: &CredentialName) -> bool {
        self.0.matches(name.as_str())
    }

    fn means_everything(&self) -> bool {
        self.0.as_str() == "*"
    }
}

impl TryFrom<String> for CredentialPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-/*?".contains(c);
        if text.is_empty() || !text.chars().all(is_of_name) || text.contains("**") {
            return Err(PatternError);
        }
        Pattern::new(&text).map(Self).map_err(|_| PatternError)
    }
}

impl fmt::Display for CredentialPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}
