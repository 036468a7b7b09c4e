//! The options of `audit`.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use procurify_token_protocol::CredentialName;

use super::{JsonArgs, help};

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the records that are kept
    #[command(after_help = help::AUDIT_SHOW)]
    Show(AuditShowArgs),
    /// Say whether the records are those that were written, all of them and in their order, or which is the first that is not
    #[command(after_help = help::AUDIT_VERIFY)]
    Verify(JsonArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditShowArgs {
    /// Only what is about this credential
    #[arg(long, value_name = "NAME", value_parser = CredentialName::from_pasted)]
    pub(crate) credential: Option<CredentialName>,
    /// Only what this user did: a name or a number of the daemon's system
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Only from then on: a time such as 2026-03-01T12:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<Since>,
    /// Each record as it is kept: a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Go on with those that come, until interrupted
    #[arg(long)]
    pub(crate) follow: bool,
}

/// A point in time, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// At that moment.
    At(DateTime<Utc>),
    /// So long ago.
    Ago(TimeDelta),
}

impl Since {
    pub(crate) fn moment(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub_signed(ago).unwrap_or(DateTime::UNIX_EPOCH),
        }
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(at.with_timezone(&Utc)));
        }
        let ago = humantime::parse_duration(text).ok().and_then(|ago| TimeDelta::from_std(ago).ok());
        ago.map(Self::Ago).ok_or("write a time such as 2026-03-01T12:00:00Z, or how long ago, such as 2h")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_said_in_two_ways() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let of = |text: &str| text.parse::<Since>().map(|since| (now - since.moment(now)).num_seconds());
        assert_eq!(of("2h"), Ok(7200));
        assert_eq!(of("2027-01-15T07:59:00Z"), Ok(60));
        assert_eq!(of("2027-01-15T08:59:00+01:00"), Ok(60));
        assert!(of("yesterday").is_err());
    }
}
