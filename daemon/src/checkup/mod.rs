//! What is amiss, or could be: each finding with what to type about it.
//!
//! The room looks and judges; it changes nothing, opens no vault, and asks nobody for a token. It is used by a daemon that
//! runs, which adds what it knows of its credentials, and by `procurify-tokend --doctor` where none does: that one cannot
//! start is when a doctor is needed most. What is looked at is read into plain facts, and those are judged apart from it.
//!
//! | file | what |
//! | --- | --- |
//! | `mod.rs` | memory, clock, and the list of all places |
//! | `files.rs` | owners, modes, who else could read, room on the disk |
//! | `vault.rs` | key slots and generations |
//! | `network.rs` | the way to a token URL |
//! | `credentials.rs` | how a credential fares |

mod credentials;
mod files;
mod network;
mod vault;

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use procurify_token_protocol::{Area, Finding, Severity};

use crate::guarded::Protection;
use crate::os::sandbox::Confinement;
use crate::vault::VaultPaths;

pub use credentials::Credentials;
pub use network::way;

/// Where everything is that a daemon stands on.
#[derive(Clone, Debug)]
pub struct Places {
    /// The user id that it must belong to; of no meaning on Windows.
    pub owner: u32,
    /// The configuration file, where there is one.
    pub config: PathBuf,
    /// The vault and what opens it.
    pub vault: VaultPaths,
    /// The token cache.
    pub cache: PathBuf,
    /// The folder of the audit records.
    pub audit: PathBuf,
    /// Where it listens, or would.
    pub sockets: Vec<PathBuf>,
}

impl Places {
    /// Looks at the disk. Blocks on it.
    pub fn examine(&self) -> Vec<Finding> {
        [files::examine(self), vault::examine(&self.vault)].concat()
    }
}

/// What keeps the daemon's memory from others.
///
/// Whether it has put itself into a sandbox, only a daemon that runs can say.
pub fn memory(
    protection: Protection,
    core_dumps_forbidden: bool,
    sandbox: Option<Confinement>,
) -> Vec<Finding> {
    let finding = |severity, subject: &str, found: &str, mend: &str| Finding {
        severity,
        area: Area::Memory,
        subject: subject.to_owned(),
        found: found.to_owned(),
        mend: mend.to_owned(),
    };
    let keys = match protection {
        Protection::Secret => {
            finding(Severity::Fine, "keys", "in secret memory, which no debugger reads", "")
        }
        Protection::Locked => {
            finding(Severity::Fine, "keys", "locked into memory: never swapped, not in core files", "")
        }
        Protection::None => finding(
            Severity::Notice,
            "keys",
            "cannot be locked into memory, so they may reach swap",
            "ulimit -l 64 before the daemon is started, or LimitMEMLOCK=64K in its unit",
        ),
    };
    let dumps = if core_dumps_forbidden {
        let found = if cfg!(windows) {
            "reports of a crash have nothing of the heap; other processes of the user can look at it"
        } else {
            "forbidden, and closed to other processes of the user"
        };
        finding(Severity::Fine, "core files", found, "")
    } else {
        finding(
            Severity::Notice,
            "core files",
            "could not be forbidden; a crash may leave tokens on the disk",
            "ulimit -c 0 before the daemon is started, or LimitCORE=0 in its unit",
        )
    };
    let sandbox = sandbox.map(|confinement| match confinement {
        Confinement::Full => finding(
            Severity::Fine,
            "sandbox",
            "the daemon reaches its own files and the system's, and runs no program",
            "",
        ),
        Confinement::Loosened => finding(
            Severity::Fine,
            "sandbox",
            "loosened, because [vault] command has to run a program: only writing is confined",
            "",
        ),
        Confinement::None => finding(
            Severity::Notice,
            "sandbox",
            if cfg!(windows) {
                "none: there is nothing of the kind on Windows"
            } else {
                "none: the kernel has no landlock, or [security] sandbox is false"
            },
            "",
        ),
    });
    [keys, dumps].into_iter().chain(sandbox).collect()
}

/// The clock, against the calendar and against the servers' dates: how far the farthest of them is ahead.
pub fn clock(wall: DateTime<Utc>, server_ahead: Option<TimeDelta>) -> Vec<Finding> {
    let finding = |severity, found: String, mend: &str| Finding {
        severity,
        area: Area::Clock,
        subject: "wall clock".to_owned(),
        found,
        mend: mend.to_owned(),
    };
    if wall.timestamp() < OLDEST_PRESENT {
        let found =
            format!("says {}, which is in the past: certificates are judged by it", wall.date_naive());
        return vec![finding(Severity::Problem, found, SYNCHRONISE)];
    }
    match server_ahead {
        Some(ahead) if ahead.abs() > GREATEST_SKEW => {
            let side = if ahead > TimeDelta::zero() { "behind" } else { "ahead of" };
            let found = format!(
                "{} s {side} a server's: the times shown are off by that",
                ahead.num_seconds().unsigned_abs()
            );
            vec![finding(Severity::Notice, found, SYNCHRONISE)]
        }
        Some(_) => vec![finding(Severity::Fine, "agrees with the servers' to a minute".to_owned(), "")],
        None => Vec::new(),
    }
}

/// The configuration cannot be used, so that no daemon starts. `check` is what to type to have it judged.
pub fn bad_configuration(path: &Path, why: String, check: &str) -> Finding {
    Finding {
        severity: Severity::Problem,
        area: Area::Daemon,
        subject: path.display().to_string(),
        found: why,
        mend: format!("mend the configuration; {check} says whether it is good"),
    }
}

/// The daemon goes on with an earlier configuration, for that on the disk was refused when it was read again.
pub fn not_in_force(path: &Path, why: &str, check: &str) -> Finding {
    let found = format!("the configuration on the disk is not in force: {why}");
    let mend = format!("mend the configuration until {check} finds it good; then have it read again");
    Finding { found, mend, ..bad_configuration(path, String::new(), check) }
}

/// What stands in the place of credentials that nobody may look at.
pub fn not_looked_at() -> Finding {
    Finding {
        severity: Severity::Notice,
        area: Area::Credentials,
        subject: "all".to_owned(),
        found: "the vault is not open, so neither they nor the servers that they need were looked at"
            .to_owned(),
        mend: "procurify-token unlock, or init where there is no vault yet; then procurify-token doctor"
            .to_owned(),
    }
}

/// That more servers are needed than are tried at once.
pub fn untried(servers: usize) -> Option<Finding> {
    let more = servers.checked_sub(MOST_SERVERS).filter(|more| *more > 0)?;
    Some(Finding {
        severity: Severity::Notice,
        area: Area::Network,
        subject: "others".to_owned(),
        found: format!("{more} more servers are needed, and were not tried"),
        mend: String::new(),
    })
}

/// As many findings as fit into so many bytes, with a word about the rest. What has to be mended is the last to go.
pub fn fitted(mut found: Vec<Finding>, bytes: usize) -> Vec<Finding> {
    let size = |finding: &Finding| {
        finding.subject.len() + finding.found.len() + finding.mend.len() + BESIDE_ITS_TEXT
    };
    if found.iter().map(size).sum::<usize>() <= bytes {
        return found;
    }
    found.sort_by_key(|finding| match finding.severity {
        Severity::Problem => 0,
        Severity::Notice => 1,
        Severity::Fine => 2,
    });
    let (all, mut left) = (found.len(), bytes.saturating_sub(ABOUT_THE_REST));
    found.retain(|finding| {
        let fits = size(finding) <= left;
        left -= if fits { size(finding) } else { 0 };
        fits
    });
    found.push(Finding {
        severity: Severity::Notice,
        area: Area::Daemon,
        subject: "others".to_owned(),
        found: format!("{} more findings do not fit into one answer", all - found.len()),
        mend: "mend what is told here first, then: procurify-token doctor".to_owned(),
    });
    found
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// An answer has at most 256 KiB, head and frame included.
pub const MOST_IN_ANSWER: usize = 240 * 1024;
/// So many servers are tried at once.
pub const MOST_SERVERS: usize = 20;
/// Lengths and numbers of a finding as it is sent.
const BESIDE_ITS_TEXT: usize = 32;
const ABOUT_THE_REST: usize = 256;
const SYNCHRONISE: &str = "timedatectl set-ntp true";
/// 2026-01-01, before which none of this was there.
const OLDEST_PRESENT: i64 = 1_767_225_600;
const GREATEST_SKEW: TimeDelta = TimeDelta::seconds(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_another_age_is_a_problem_and_one_that_is_off_is_told() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let seen = |wall, ahead: Option<i64>| {
            let found = clock(wall, ahead.map(TimeDelta::seconds));
            found.first().map(|finding| (finding.severity, finding.found.clone()))
        };
        assert_eq!(seen(DateTime::UNIX_EPOCH, None).unwrap().0, Severity::Problem);
        assert_eq!(seen(now, None), None);
        assert_eq!(seen(now, Some(-60)).unwrap().0, Severity::Fine);
        let (severity, found) = seen(now, Some(90)).unwrap();
        assert!(severity == Severity::Notice && found.starts_with("90 s behind"), "{found}");
    }

    #[test]
    fn whatever_there_is_to_tell_fits_into_an_answer_and_problems_go_last() {
        let finding = |severity, number: usize| Finding {
            severity,
            area: Area::Files,
            subject: format!("{number}"),
            found: "x".repeat(4000),
            mend: "y".repeat(4000),
        };
        let found = |many: usize| -> Vec<_> {
            let severity = |number| if number % 100 == 99 { Severity::Problem } else { Severity::Fine };
            (0..many).map(|number| finding(severity(number), number)).collect()
        };
        assert_eq!(fitted(found(20), MOST_IN_ANSWER), found(20));
        let kept = fitted(found(1000), MOST_IN_ANSWER);
        assert_eq!(kept.iter().filter(|finding| finding.severity == Severity::Problem).count(), 10);
        let told = kept.last().unwrap();
        assert_eq!(told.found, format!("{} more findings do not fit into one answer", 1001 - kept.len()));
        let answer = procurify_token_protocol::Answer::Findings(kept);
        procurify_token_protocol::codec::encode_reply(1, &Ok(answer)).unwrap();
    }

    #[test]
    fn whatever_is_short_of_full_protection_says_what_to_do_or_why() {
        let bad = memory(Protection::None, false, Some(Confinement::None));
        assert!(bad.iter().all(|finding| finding.severity == Severity::Notice));
        let good = memory(Protection::Locked, true, Some(Confinement::Full));
        assert!(good.iter().all(|finding| finding.severity == Severity::Fine && finding.mend.is_empty()));
    }
}
