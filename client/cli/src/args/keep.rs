//! The arguments for a token in a file: where, with which mode, for how long, and what to run when it is another one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser as _};

#[derive(Debug, Default, Args)]
pub(crate) struct KeepArgs {
    /// Write it into this file instead, whole or not at all
    #[arg(long, value_name = "PATH", value_parser = PathBufValueParser::new().try_map(a_file))]
    pub(crate) file: Option<PathBuf>,
    /// Who may read the file [default: 0600]
    #[arg(long, value_name = "MODE", requires = "file")]
    pub(crate) mode: Option<FileMode>,
    /// Keep the file fresh until interrupted
    #[arg(long, requires = "file")]
    pub(crate) follow: bool,
    /// A line for the shell, run each time the file was written
    #[arg(long, value_name = "LINE", requires = "follow")]
    pub(crate) on_change: Option<OsString>,
    /// How long that may take [default: 30s]
    #[arg(long, value_name = "TIME", requires = "on_change", value_parser = humantime::parse_duration)]
    pub(crate) on_change_timeout: Option<Duration>,
}

/// What ends as a folder does would be written beside the folder that was meant.
fn a_file(path: PathBuf) -> Result<PathBuf, &'static str> {
    match path.as_os_str().as_encoded_bytes() {
        [.., last] if std::path::is_separator(char::from(*last)) => {
            Err("this is a folder: name the file in it")
        }
        _ => Ok(path),
    }
}

/// The mode of a file with a token in it: for its owner, and a group at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileMode(u32);

impl FileMode {
    /// Its bits.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

/// For the owner alone.
impl Default for FileMode {
    fn default() -> Self {
        Self(0o600)
    }
}

impl FromStr for FileMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
        match bits.ok_or("a mode is written in octal, such as 0600 or 0640")? {
            bits if bits & 0o400 == 0 => Err("its owner has to be able to read it"),
            bits if bits & 0o007 != 0 => Err("everybody could use the token; 0640 lets a group read it"),
            bits if bits & !0o660 != 0 => {
                Err("a token is not executed, so there is only 4 and 2, such as 0640")
            }
            bits => Ok(Self(bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_folder_is_no_file() {
        assert!(a_file("token".into()).is_ok() && a_file("folder/token".into()).is_ok());
        assert!(a_file("folder/".into()).is_err() && a_file("/".into()).is_err());
    }

    #[rstest]
    #[case("0600", Some(0o600))]
    #[case("640", Some(0o640))]
    #[case("0400", Some(0o400))]
    #[case("0660", Some(0o660))]
    #[case("0644", None)]
    #[case("0604", None)]
    #[case("0700", None)]
    #[case("4600", None)]
    #[case("0060", None)]
    #[case("600x", None)]
    #[case("+600", None)]
    #[case("0o600", None)]
    #[case("00600", None)]
    #[case("9", None)]
    fn a_mode_is_octal_and_shuts_out_everybody(#[case] text: &str, #[case] bits: Option<u32>) {
        assert_eq!(text.parse().ok().map(FileMode::bits), bits, "{text}");
    }
}
