//! The configuration file: words in, valid types out.
//!
//! Every key is optional and an unknown one is an error with its line and column. What the words do to the running
//! daemon is for `startup`.

mod access;
mod folders;
mod values;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use procurify_token_protocol::CredentialName;
use serde::Deserialize;
use thiserror::Error;
use tracing::level_filters::LevelFilter;

use crate::access::Access;
use crate::audit::{Keep, Limits, Settings};
use crate::principal::Principal;
use crate::refresh::{Policy, Terms};

pub use access::{AccessConfig, AccessError, UnitName};
pub use folders::Folders;
pub use values::{
    AbsolutePath, CommandLine, Concurrency, FileSize, Files, Generations, KeyMemory, MaxConnections, Rate,
    Share, Tokens,
};

use values::{duration, level};

/// The file as it is written.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Where to listen.
    pub socket: Option<AbsolutePath>,
    /// How many callers are served at once.
    pub max_connections: MaxConnections,
    /// The vault.
    pub vault: VaultConfig,
    /// The sealed tokens.
    pub cache: CacheConfig,
    /// Token requests.
    pub issuer: IssuerConfig,
    /// When tokens are refreshed.
    pub refresh: RefreshConfig,
    /// How many tokens may be issued.
    pub budget: BudgetConfig,
    /// What single credentials have of their own.
    pub credential: HashMap<CredentialName, CredentialConfig>,
    /// Who is served beside the daemon's own user and root.
    pub access: Vec<AccessConfig>,
    /// Who got and did what.
    pub audit: AuditConfig,
    /// What the daemon does for its own safety.
    pub security: SecurityConfig,
    /// The log.
    pub log: LogConfig,
}

/// `[vault]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct VaultConfig {
    /// The sealed file.
    pub path: Option<AbsolutePath>,
    /// The key file, which should not stand in the same folder.
    pub key_file: Option<AbsolutePath>,
    /// A program that prints a key.
    pub command: Option<CommandLine>,
    /// How long that program may take.
    #[serde(deserialize_with = "duration")]
    pub command_timeout: Duration,
    /// How many older states of the vault are kept.
    pub generations: Generations,
}

impl Default for VaultConfig {
    fn default() -> Self {
        Self {
            path: None,
            key_file: None,
            command: None,
            command_timeout: Duration::from_secs(30),
            generations: Generations::default(),
        }
    }
}

/// `[cache]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CacheConfig {
    /// The file.
    pub path: Option<AbsolutePath>,
}

/// `[issuer]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct IssuerConfig {
    /// A PEM file with certificates that are trusted beside the system's.
    pub extra_ca: Option<AbsolutePath>,
    /// How long connecting may take.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// How long a whole token request may take.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
}

impl Default for IssuerConfig {
    fn default() -> Self {
        Self {
            extra_ca: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// `[refresh]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RefreshConfig {
    /// A token is refreshed after a random share of its life between this …
    pub from: Share,
    /// … and this.
    pub to: Share,
    /// How many token requests may be out at once.
    pub concurrency: Concurrency,
    /// How many token requests may go out in any second.
    pub rate: Rate,
    /// The longest wait between two attempts after transient failures.
    #[serde(deserialize_with = "duration")]
    pub backoff_cap: Duration,
    /// How often rejected client credentials are tried all the same.
    #[serde(deserialize_with = "duration")]
    pub probe_interval: Duration,
}

impl Default for RefreshConfig {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            from: Share(policy.terms.refresh_from),
            to: Share(policy.terms.refresh_to),
            concurrency: Concurrency(policy.concurrency),
            rate: Rate(policy.rate),
            backoff_cap: policy.backoff_cap,
            probe_interval: policy.probe_interval,
        }
    }
}

/// `[budget]`: of each credential.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BudgetConfig {
    /// How many tokens may be issued in any hour.
    pub per_hour: Tokens,
    /// How many tokens may be issued in any 24 hours.
    pub per_day: Tokens,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { per_hour: Tokens(Terms::DEFAULT.per_hour), per_day: Tokens(Terms::DEFAULT.per_day) }
    }
}

/// `[credential."NAME"]`: what is not said here is as for all.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CredentialConfig {
    /// As in `[refresh]`.
    pub from: Option<Share>,
    /// As in `[refresh]`.
    pub to: Option<Share>,
    /// As in `[budget]`.
    pub per_hour: Option<Tokens>,
    /// As in `[budget]`.
    pub per_day: Option<Tokens>,
}

/// `[audit]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AuditConfig {
    /// Whether records are kept, and whether nothing goes without.
    pub keep: Keep,
    /// The folder.
    pub path: Option<AbsolutePath>,
    /// How large a file gets.
    pub file_size: FileSize,
    /// How many files are kept.
    pub files: Files,
}

/// `[security]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SecurityConfig {
    /// Which memory the keys get.
    pub memory: KeyMemory,
    /// Whether the daemon may do without it.
    pub require_memory_protection: bool,
    /// Whether the daemon denies itself what it does not need.
    pub sandbox: bool,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self { memory: KeyMemory::default(), require_memory_protection: false, sandbox: true }
    }
}

/// `[log]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LogConfig {
    /// How much is logged.
    #[serde(deserialize_with = "level")]
    pub level: LevelFilter,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LevelFilter::INFO }
    }
}

/// Why a configuration cannot be used. `Display` names line and column and does not show what stands there: there is no key for a
/// secret, but somebody may have looked for one, and it goes into the log.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("in the configuration {}, line {line}, column {column}: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// `from` lies behind `to`.
    #[error("in the configuration {}: {table} from must not be greater than to", .path.display())]
    RefreshRange {
        /// The file.
        path: PathBuf,
        /// The table in it.
        table: String,
    },
    /// A rule cannot be in force.
    #[error("in the configuration {}: [[access]] rule {number} {error}", .path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// The rule, the first being 1.
        number: usize,
        /// Why not.
        error: AccessError,
    },
    /// There is no home folder to put things in.
    #[error("there is no home folder: set HOME, or use --system for a service")]
    NoHome,
}

impl ConfigError {
    fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let message = error.message().lines().next().unwrap_or_default();
        // serde repeats the text that it did not want.
        let what = match message.split_once(": string \"").zip(message.rsplit_once("\", expected")) {
            Some(((complaint, _), (_, wanted))) => format!("{complaint}: a text, expected{wanted}"),
            None => message.to_owned(),
        };
        Self::Malformed {
            path: path.to_owned(),
            line: 1 + before.matches('\n').count(),
            column: 1 + line.chars().count(),
            what: what.chars().take(LONGEST_COMPLAINT).collect(),
        }
    }
}

impl Config {
    /// Reads a file. One that was not named by anybody may be missing.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file and the line.
    pub fn read(path: &Path, may_be_missing: bool) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError::Unreadable { path: path.to_owned(), error }),
        };
        let malformed = |error: toml::de::Error| ConfigError::malformed(path, &text, &error);
        let config: Self = toml::from_str(&text).map_err(malformed)?;
        let range = |table: String, terms: Terms| {
            let is_range = terms.refresh_from <= terms.refresh_to;
            is_range.then_some(()).ok_or_else(|| ConfigError::RefreshRange { path: path.to_owned(), table })
        };
        let policy = config.policy();
        range("[refresh]".to_owned(), policy.terms)?;
        for (name, terms) in policy.exceptions {
            range(format!("[credential.\"{name}\"]"), terms)?;
        }
        Ok(config)
    }

    /// The rules in force, for a daemon that runs as `owner`. Users and groups are looked up now.
    ///
    /// # Errors
    /// [`ConfigError::Access`], naming the rule; `path` is the file that this was read from.
    pub fn access(&self, owner: Principal, path: &Path) -> Result<Access, ConfigError> {
        let told = access::access(&self.access, owner);
        told.map_err(|(number, error)| ConfigError::Access { path: path.to_owned(), number, error })
    }

    /// Where and how audit records are kept.
    pub fn audit(&self, folders: &Folders) -> Settings {
        let limits = Limits { file_size: self.audit.file_size.0, files: self.audit.files.0 };
        Settings { keep: self.audit.keep, folder: folders.audit(&self.audit), limits }
    }

    /// The Keeper's settings.
    pub fn policy(&self) -> Policy {
        let terms = Terms {
            refresh_from: self.refresh.from.0,
            refresh_to: self.refresh.to.0,
            per_hour: self.budget.per_hour.0,
            per_day: self.budget.per_day.0,
        };
        Policy {
            terms,
            exceptions: self.credential.iter().map(|(name, own)| (name.clone(), own.terms(terms))).collect(),
            rate: self.refresh.rate.0,
            backoff_cap: self.refresh.backoff_cap,
            probe_interval: self.refresh.probe_interval,
            concurrency: self.refresh.concurrency.0,
            ticket_life: self.issuer.request_timeout + TICKET_MARGIN,
        }
    }
}

impl CredentialConfig {
    /// With everything that is not said taken from what holds for all.
    fn terms(&self, general: Terms) -> Terms {
        Terms {
            refresh_from: self.from.map_or(general.refresh_from, |share| share.0),
            refresh_to: self.to.map_or(general.refresh_to, |share| share.0),
            per_hour: self.per_hour.map_or(general.per_hour, |tokens| tokens.0),
            per_day: self.per_day.map_or(general.per_day, |tokens| tokens.0),
        }
    }
}

/// The text that `--print-default-config` prints.
pub const DEFAULT_CONFIG: &str = include_str!("default-config.toml");

/// How much longer than the issuer's own deadline a request is waited for.
const TICKET_MARGIN: Duration = Duration::from_secs(10);

const LONGEST_COMPLAINT: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::read(file.path(), false)
    }

    #[test]
    fn the_printed_defaults_are_the_defaults() {
        let uncommented: String = DEFAULT_CONFIG
            .lines()
            .map(|line| line.strip_prefix("#= ").unwrap_or(line))
            .filter(|line| !line.contains("= \"/") && !line.contains("= [\""))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(read(DEFAULT_CONFIG).unwrap(), Config::default());
        assert_eq!(read(&uncommented).unwrap(), Config::default());
        let keys = DEFAULT_CONFIG.lines().filter(|line| line.starts_with("#= ")).count();
        assert_eq!(keys, 27, "every key is shown");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = read("[issuer]\nextra_ca = \"/x\"\n").unwrap_err().to_string();
        assert!(error.contains("line 2, column 1") && error.contains("extra_ca"), "{error}");
    }

    #[test]
    fn what_stands_in_the_file_is_not_repeated() {
        for text in [
            "[vault]\npassphrase = \"canary\"",
            "[vault]\ncommand = \"pass show canary\"",
            "[vault]\ngenerations = \"canary\"",
            "x = \"canary",
            "[issuer]\nrequest-timeout = \"canary\"",
            "canary",
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(!error.contains("canary") && error.contains(", line "), "{error}");
        }
        let long = read(&format!("{} = 1", "x".repeat(100_000))).unwrap_err().to_string();
        assert!(long.len() < 1000, "{}", long.len());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for text in [
            "socket = \"relative\"",
            "[security]\nmemory = \"swapped\"",
            "[vault]\ncommand = []",
            "[vault]\ncommand = \"pass show it\"",
            "[vault]\ngenerations = 0",
            "max-connections = 1",
            "[issuer]\nrequest-timeout = \"0s\"",
            "[issuer]\nrequest-timeout = \"soon\"",
            "[refresh]\nfrom = 0.99",
            "[refresh]\nfrom = 0.9\nto = 0.8",
            "[refresh]\nconcurrency = 0",
            "[refresh]\nrate = 0",
            "[budget]\nper-hour = 0",
            "[credential.acme]\nfrom = 0.95",
            "[credential.\"a b\"]\nfrom = 0.5",
            "[log]\nlevel = \"loud\"",
            "[audit]\nkeep = \"perhaps\"",
            "[audit]\nfile-size = \"8\"",
            "[audit]\nfile-size = \"1KiB\"",
            "[audit]\nfiles = 1",
            "[audit]\npath = \"relative\"",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_credential_may_have_terms_of_its_own() {
        let config =
            read("[budget]\nper-hour = 9\n[credential.\"acme/jobs\"]\nfrom = 0.5\nper-day = 99").unwrap();
        let policy = config.policy();
        let own = policy.terms_of(&"acme/jobs".parse().unwrap());
        assert_eq!(own, Terms { refresh_from: 0.5, refresh_to: 0.9, per_hour: 9, per_day: 99 });
        assert_eq!(policy.terms_of(&"acme".parse().unwrap()), Terms { per_hour: 9, ..Terms::DEFAULT });
    }

    #[test]
    fn only_a_file_that_nobody_named_may_be_missing() {
        let nowhere = Path::new("/nonexistent/config.toml");
        assert_eq!(Config::read(nowhere, true).unwrap(), Config::default());
        assert!(matches!(Config::read(nowhere, false), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn key_and_vault_stand_in_different_folders() {
        let paths = Folders::of_system().vault(&VaultConfig::default());
        assert_ne!(paths.vault.parent(), paths.key_file.parent());
    }
}
