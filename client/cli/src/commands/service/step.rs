//! One thing to do: how it is shown, and how it is done.

use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use procurify_token_client::Options;
use procurify_token_client::blocking::Client;

use super::super::stop;
use super::units::CREDENTIAL;
use crate::exit::{ExitCode, Failure};
use crate::{say, text};

/// See the [room's front page](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something that is as it is, and a person should know.
    Note(String),
    /// A daemon that nobody but a command looks after ends, to make room.
    Stop {
        socket: PathBuf,
        pid: u32,
    },
    /// A file for everybody to read, in a folder that is made where it is missing.
    Write {
        path: PathBuf,
        text: String,
    },
    Remove(PathBuf),
    /// A command that has to succeed.
    Run(Vec<String>),
    /// A command without which most of it works, and what is to be said where it fails.
    Try {
        words: Vec<String>,
        otherwise: String,
    },
    /// A script of ours, from the standard input of a shell.
    Script {
        name: &'static str,
        text: &'static str,
    },
    /// A new key goes from the daemon's program to systemd-creds by a pipe, and comes out sealed for this machine.
    Seal {
        daemon: PathBuf,
        sealed: PathBuf,
    },
}

impl Step {
    pub(super) fn run<const N: usize>(words: [&str; N]) -> Self {
        Self::Run(words.map(str::to_owned).to_vec())
    }

    /// With the contents of files, for who only looks.
    pub(super) fn show_all(&self) -> Result<(), Failure> {
        say::line(self.to_string())?;
        if let Self::Write { text, .. } = self {
            text.lines().try_for_each(|line| say::line(format!("    {line}").trim_end()))?;
        }
        Ok(())
    }

    /// Says what it does, and does it.
    pub(super) fn take(&self, environment: &[(&str, PathBuf)]) -> Result<(), Failure> {
        say::line(self.to_string())?;
        match self {
            Self::Note(_) => Ok(()),
            Self::Stop { socket, .. } => {
                let mut client = Client::connect(&Options::new().without_cache().socket(socket))?;
                stop::stop(&mut client).map(|_| ())
            }
            Self::Write { path, text } => write(path, text).map_err(|error| cannot("write", path, &error)),
            Self::Remove(path) => fs::remove_file(path).map_err(|error| cannot("remove", path, &error)),
            Self::Run(words) => run(words, environment),
            Self::Try { words, otherwise } => {
                if let Err(failure) = run(words, environment) {
                    say::warning(&format!("{}; {otherwise}", failure.message()));
                }
                Ok(())
            }
            Self::Script { name, text } => {
                let mut child = Command::new("sh").arg("-s").stdin(Stdio::piped()).spawn();
                let outcome = child.as_mut().map_err(|error| io::Error::new(error.kind(), error.to_string()));
                let outcome = outcome.and_then(|child| {
                    child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()))?;
                    child.wait()
                });
                match outcome {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(Failure::new(ExitCode::Other, format!("{name} failed ({status})"))),
                    Err(error) => {
                        Err(Failure::new(ExitCode::Other, format!("{name} cannot be run: {error}")))
                    }
                }
            }
            Self::Seal { daemon, sealed } => seal(daemon, "systemd-creds", sealed),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(note) => write!(f, "note: {note}"),
            Self::Stop { socket, pid } => {
                write!(
                    f,
                    "stop: the daemon at {} (pid {pid}), which no service manager has started",
                    socket.display()
                )
            }
            Self::Write { path, .. } => write!(f, "write: {}", path.display()),
            Self::Remove(path) => write!(f, "remove: {}", path.display()),
            Self::Run(words) | Self::Try { words, .. } => write!(f, "run: {}", words.join(" ")),
            Self::Script { name, .. } => write!(f, "run: {name}"),
            Self::Seal { daemon, sealed } => {
                let (daemon, sealed) = (daemon.display(), sealed.display());
                write!(f, "run: {daemon} --new-key | systemd-creds encrypt --name={CREDENTIAL} - {sealed}")
            }
        }
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let code =
        if error.kind() == io::ErrorKind::PermissionDenied { ExitCode::Denied } else { ExitCode::Other };
    Failure::new(code, format!("cannot {what} {}: {error}", path.display()))
}

/// Whole or not at all: a service manager may read it at any moment.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let mut new = tempfile::Builder::new().prefix(".procurify").tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(Permissions::from_mode(0o644))?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn run(words: &[String], environment: &[(&str, PathBuf)]) -> Result<(), Failure> {
    let [program, arguments @ ..] = words else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).envs(environment.iter().map(|(name, value)| (*name, value)));
    let output = command.output().map_err(|error| {
        Failure::new(ExitCode::of_unrunnable(&error), format!("{program} cannot be run: {error}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message =
        format!("{} failed ({}): {}", words.join(" "), output.status, text::paragraphs(said.trim()));
    Err(Failure::new(ExitCode::Other, message))
}

/// The key is never here: one program's output is the other's input. What is at the final name is whole, and never replaced: a vault may need it.
fn seal(daemon: &Path, systemd_creds: &str, sealed: &Path) -> Result<(), Failure> {
    let folder = sealed.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| cannot("make", folder, &error))?;
    let failed = |what: &str| {
        Failure::new(ExitCode::Other, format!("the vault's key could not be sealed: {what}"))
            .hint("systemd-creds setup may help; or keep the key in a file: procurify-token service install --system --key-file")
    };
    let mut maker = Command::new(daemon)
        .arg("--new-key")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&format!("{} cannot be run: {error}", daemon.display())))?;
    let key = maker.stdout.take().ok_or_else(|| failed("no pipe"))?;
    // Beside it, in a folder that only root enters.
    let place = |error: io::Error| cannot("write", sealed, &error);
    let new = tempfile::Builder::new().prefix(".procurify").tempfile_in(folder).map_err(place)?;
    let output = Command::new(systemd_creds)
        .arg("encrypt")
        .arg(format!("--name={CREDENTIAL}"))
        .args(["-", "-"])
        .stdin(key)
        .stdout(new.as_file().try_clone().map_err(place)?)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(|error| failed(&format!("{systemd_creds} cannot be run: {error}")));
    let made = maker.wait().map_err(|error| failed(&error.to_string()))?;
    let output = output?;
    if !made.success() || !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim()));
    }
    // It is what opens the vault: it has to outlive a power loss as the vault does.
    new.as_file().sync_all().map_err(place)?;
    new.persist_noclobber(sealed).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => {
            let message = format!("{} has been made meanwhile, and was left alone", sealed.display());
            Failure::new(ExitCode::Conflict, message).hint("the same once more, which uses it")
        }
        _ => place(error.error),
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot("flush", folder, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = folder.path().join("store/key");
        assert!(seal(Path::new("true"), "false", &sealed).is_err());
        assert!(seal(Path::new("false"), "echo", &sealed).is_err());
        assert_eq!(fs::read_dir(folder.path().join("store")).unwrap().count(), 0);
        seal(Path::new("true"), "echo", &sealed).unwrap();
        let said = fs::read_to_string(&sealed).unwrap();
        assert_eq!(said, "encrypt --name=procurify-token.vault-key - -\n");
        assert_eq!(fs::metadata(&sealed).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_sealed_key_that_somebody_else_has_made_meanwhile_stays_whatever_comes_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = folder.path().join("key");
        fs::write(&sealed, "another's").unwrap();
        let Err(Failure::Told { code, .. }) = seal(Path::new("true"), "echo", &sealed) else {
            panic!("replaced")
        };
        assert_eq!(code, ExitCode::Conflict);
        assert!(seal(Path::new("true"), "false", &sealed).is_err());
        assert_eq!(fs::read_to_string(&sealed).unwrap(), "another's");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left beside it");
    }
}
