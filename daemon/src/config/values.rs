//! The values that a configuration may hold: each is in its range once it is read.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use tracing::level_filters::LevelFilter;

use crate::vault::KeyCommand;

/// A path that means the same wherever the daemon is started.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct AbsolutePath(PathBuf);

impl TryFrom<PathBuf> for AbsolutePath {
    type Error = &'static str;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        if path.is_absolute() {
            Ok(Self(path))
        } else {
            Err(if cfg!(windows) {
                r"write an absolute path, one that begins like C:\, between single quotation marks"
            } else {
                "write an absolute path, one that begins with /"
            })
        }
    }
}

impl From<AbsolutePath> for PathBuf {
    fn from(path: AbsolutePath) -> Self {
        path.0
    }
}

/// A share of a token's life, from 0.1 to 0.95.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(pub(super) f64);

impl TryFrom<f64> for Share {
    type Error = &'static str;

    fn try_from(share: f64) -> Result<Self, Self::Error> {
        if (0.1..=0.95).contains(&share) { Ok(Self(share)) } else { Err("write a share from 0.1 to 0.95") }
    }
}

/// From 1 to 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct Concurrency(pub(super) usize);

impl TryFrom<usize> for Concurrency {
    type Error = &'static str;

    fn try_from(number: usize) -> Result<Self, Self::Error> {
        if (1..=256).contains(&number) { Ok(Self(number)) } else { Err("write a number from 1 to 256") }
    }
}

/// Requests a second, from 1 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Rate(pub(super) u32);

impl TryFrom<u32> for Rate {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if (1..=1000).contains(&number) { Ok(Self(number)) } else { Err("write a number from 1 to 1000") }
    }
}

/// Tokens issued, from 1 to 100,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Tokens(pub(super) u32);

impl TryFrom<u32> for Tokens {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if (1..=100_000).contains(&number) {
            Ok(Self(number))
        } else {
            Err("write a number from 1 to 100000")
        }
    }
}

/// From 16 to 65,536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct MaxConnections(usize);

impl Default for MaxConnections {
    fn default() -> Self {
        Self(1024)
    }
}

impl TryFrom<usize> for MaxConnections {
    type Error = &'static str;

    fn try_from(number: usize) -> Result<Self, Self::Error> {
        if (16..=65_536).contains(&number) {
            Ok(Self(number))
        } else {
            Err("write a number from 16 to 65536")
        }
    }
}

impl From<MaxConnections> for usize {
    fn from(number: MaxConnections) -> Self {
        number.0
    }
}

/// Which memory the keys get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyMemory {
    /// Secret for the system's daemon, locked for a user's.
    #[default]
    Auto,
    /// Not even root reads it; the machine cannot hibernate.
    Secret,
    /// Never swapped, and in no core file.
    Locked,
}

/// How many older generations of the vault are kept: from 1 to 20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub struct Generations(u8);

impl Default for Generations {
    fn default() -> Self {
        Self(3)
    }
}

impl TryFrom<u8> for Generations {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        if (1..=20).contains(&number) { Ok(Self(number)) } else { Err("write a number from 1 to 20") }
    }
}

impl From<Generations> for u8 {
    fn from(number: Generations) -> Self {
        number.0
    }
}

/// A size such as `8MiB`, from 64 KiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FileSize(pub(super) u64);

impl Default for FileSize {
    fn default() -> Self {
        Self(8 << 20)
    }
}

impl TryFrom<String> for FileSize {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        let size = units.iter().find_map(|(unit, shift)| {
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift)
        });
        let size = size.filter(|size| (64 << 10..=1 << 30).contains(size));
        size.map(Self).ok_or("write a size such as \"8MiB\", from 64KiB to 1GiB")
    }
}

/// How many audit files are kept: from 2 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct Files(pub(super) usize);

impl Default for Files {
    fn default() -> Self {
        Self(8)
    }
}

impl TryFrom<usize> for Files {
    type Error = &'static str;

    fn try_from(number: usize) -> Result<Self, Self::Error> {
        if (2..=1000).contains(&number) { Ok(Self(number)) } else { Err("write a number from 2 to 1000") }
    }
}

/// A program with its arguments: `["pass", "show", "procurify-token"]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct CommandLine {
    program: String,
    arguments: Vec<String>,
}

impl CommandLine {
    /// The command, and how long it may take.
    pub(super) fn timed(self, timeout: Duration) -> KeyCommand {
        KeyCommand { program: self.program, arguments: self.arguments, timeout }
    }
}

impl TryFrom<Vec<String>> for CommandLine {
    type Error = &'static str;

    fn try_from(mut words: Vec<String>) -> Result<Self, Self::Error> {
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self { program: words.remove(0), arguments: words }),
            _ => Err("write a program and its arguments, such as [\"pass\", \"show\", \"procurify-token\"]"),
        }
    }
}

/// A duration such as `30s`, from one second to one day.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || de::Error::custom("write a duration such as \"30s\" or \"5m\", between 1s and 24h");
    let duration = humantime::parse_duration(&text).map_err(|_| wrong())?;
    let is_sensible = (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&duration);
    if is_sensible { Ok(duration) } else { Err(wrong()) }
}

/// The name of a level.
pub(super) fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LevelFilter, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        _ => Err(de::Error::custom("write error, warn, info or debug")),
    }
}
