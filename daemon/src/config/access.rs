//! `[[access]]`: who is served beside the daemon's own user and root, and with what.

use std::path::PathBuf;

use procurify_token_protocol::Verb;
use serde::Deserialize;
use thiserror::Error;

use super::AbsolutePath;
use crate::access::{Access, CredentialPattern, Rule, RuleError, Who};
use crate::os;
use crate::principal::Principal;

/// One rule as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AccessConfig {
    /// A user, by name or number.
    user: Option<String>,
    /// A group, by name or number.
    group: Option<String>,
    /// A unit of the system's service manager.
    unit: Option<UnitName>,
    /// A program.
    program: Option<AbsolutePath>,
    /// Which credentials.
    credentials: Vec<CredentialPattern>,
    /// What may be done with them.
    #[serde(default = "get_alone")]
    verbs: Vec<Verb>,
}

/// The name of a unit, with its suffix.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UnitName(String);

impl TryFrom<String> for UnitName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let has_suffix = name.rsplit_once('.').is_some_and(|(_, kind)| ["service", "scope"].contains(&kind));
        if has_suffix && !name.contains('/') && !name.contains(char::is_whitespace) {
            Ok(Self(name))
        } else {
            Err("write the whole name of a service or a scope, such as nightly.service")
        }
    }
}

/// Why a rule cannot be in force.
#[derive(Debug, Error)]
pub enum AccessError {
    /// Nobody has this name.
    #[error("names the user {0:?}, whom this system does not know: {hint} shows those whom it knows", hint = USERS)]
    UnknownUser(String),
    /// No group has this name.
    #[error("names the group {0:?}, which this system does not know: {hint} shows those that it knows", hint = GROUPS)]
    UnknownGroup(String),
    /// There is nothing by which this system would tell.
    #[cfg(windows)]
    #[error("names a {0}, which is told of no caller on Windows: name a user or a group alone")]
    NotTold(&'static str),
    /// It means nobody or nothing.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

impl AccessConfig {
    fn rule(&self) -> Result<Rule, AccessError> {
        #[cfg(windows)]
        for (what, is_named) in [("unit", self.unit.is_some()), ("program", self.program.is_some())] {
            if is_named {
                return Err(AccessError::NotTold(what));
            }
        }
        let user = self.user.as_ref().map(|name| {
            let account = os::account(name).ok_or_else(|| AccessError::UnknownUser(name.clone()))?;
            Ok::<_, AccessError>((account.name, account.user))
        });
        let group = self.group.as_ref().map(|name| {
            let group = os::group(name).ok_or_else(|| AccessError::UnknownGroup(name.clone()))?;
            Ok::<_, AccessError>((name.clone(), group))
        });
        let who = Who {
            user: user.transpose()?,
            group: group.transpose()?,
            unit: self.unit.clone().map(|unit| unit.0),
            program: self.program.clone().map(PathBuf::from),
        };
        Ok(Rule::new(who, self.credentials.clone(), self.verbs.clone())?)
    }
}

/// The rules in force, for a daemon that runs as `owner`; or which of them cannot be, the first being 1.
pub(super) fn access(rules: &[AccessConfig], owner: Principal) -> Result<Access, (usize, AccessError)> {
    let rules = rules.iter().enumerate();
    let rules = rules.map(|(at, rule)| rule.rule().map_err(|error| (at + 1, error)));
    Ok(Access::new(owner, rules.collect::<Result<_, _>>()?))
}

/// What to type to see whom the system knows.
const USERS: &str = if cfg!(windows) { "net user" } else { "getent passwd" };
const GROUPS: &str = if cfg!(windows) { "net localgroup" } else { "getent group" };

fn get_alone() -> Vec<Verb> {
    vec![Verb::Get]
}
