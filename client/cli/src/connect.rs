//! Finding the daemon: connect first, start one only when nobody else is in charge of it.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use procurify_token_client::blocking::Client;
use procurify_token_client::{Error, Options, Surroundings};
use procurify_token_protocol::RefusalCode;

use crate::args::{Autostart, Global};
use crate::autostart;
use crate::clock;
use crate::exit::{ExitCode, Failure};
use crate::supervised::Supervisor;

/// The daemon that the command line leads to.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    named: Option<PathBuf>,
    autostart: Autostart,
    is_awaited: bool,
}

impl Daemon {
    /// Takes in what the command line and the environment say.
    pub(crate) fn new(global: Global) -> Self {
        let named = global.socket.or_else(|| Surroundings::of_process().socket_variable);
        Self { named, autostart: global.autostart, is_awaited: true }
    }

    /// The same for who says so when it is gone, instead of waiting for it as long as a request may take.
    pub(crate) fn not_awaited(&self) -> Self {
        Self { named: self.named.clone(), autostart: self.autostart, is_awaited: false }
    }

    /// Connects, to a daemon that is started for it where there is none and nobody else is in charge.
    pub(crate) fn connect(&self) -> Result<Connection<'_>, Failure> {
        Ok(Connection { daemon: self, client: self.client()? })
    }

    fn client(&self) -> Result<Client, Failure> {
        match Client::connect(&self.options()) {
            Err(error @ Error::NoDaemon { .. }) => self.start(error),
            outcome => Ok(outcome?),
        }
    }

    /// Connects to a daemon that runs already.
    pub(crate) fn connect_to_running(&self) -> Result<Client, Failure> {
        self.connected(&self.options())
    }

    /// The same for who has other things to look at, and waits no longer than a daemon takes that is well.
    pub(crate) fn look_in(&self) -> Result<Client, Failure> {
        self.connected(&self.options().deadline(GLANCE))
    }

    /// Who is in charge of the daemon that this leads to, unless that was named.
    pub(crate) fn supervisor(&self) -> Option<Supervisor> {
        if self.named.is_some() { None } else { Supervisor::here() }
    }

    fn connected(&self, options: &Options) -> Result<Client, Failure> {
        Client::connect(options).map_err(|error| match error {
            Error::NoDaemon { .. } => Failure::from(error).hint(self.how_to_start()),
            other => other.into(),
        })
    }

    /// The same for who comes again in a moment: whoever is not there is not waited for.
    pub(crate) fn glance(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.options().patience(Duration::ZERO).deadline(GLANCE))?)
    }

    /// The same for what is only nice to have: a daemon that cannot be asked is as good as none.
    pub(crate) fn if_running(&self) -> Option<Client> {
        Client::connect(&self.options()).ok()
    }

    /// The socket that was named, if one was.
    pub(crate) fn named_socket(&self) -> Option<&Path> {
        self.named.as_deref()
    }

    fn start(&self, absent: Error) -> Result<Client, Failure> {
        match (self.autostart, &self.named) {
            (Autostart::Never, _) | (Autostart::Auto, Some(_)) => {
                return Err(Failure::from(absent).hint(self.how_to_start()));
            }
            (Autostart::Auto, None) => {
                if let Some(supervisor) = Supervisor::here() {
                    if let Some(closed) = supervisor.closed_to_us() {
                        let message = format!(
                            "the system's procurify-tokend at {} is not for this user",
                            closed.display()
                        );
                        let hint = "run the command as the service's user, or have a daemon of your own: \
                                    --autostart always";
                        return Err(Failure::new(ExitCode::Denied, message).hint(hint));
                    }
                    let message = format!(
                        "procurify-tokend is not running, and {} is in charge of it",
                        supervisor.unit.display()
                    );
                    return Err(Failure::new(ExitCode::NoDaemon, message).hint(supervisor.start_command()));
                }
            }
            (Autostart::Always, _) => {}
        }
        let starter = autostart::Starter::alone()?;
        // Whoever held the lock before us may have started it.
        if let Ok(client) = Client::connect(&self.options()) {
            return Ok(client);
        }
        match starter.start(self.named.as_deref()) {
            Ok(()) => Ok(Client::connect(&self.options())?),
            // One that was started by other means may have won.
            Err(failure) => Client::connect(&self.options()).map_err(|_| failure),
        }
    }

    fn how_to_start(&self) -> String {
        match (&self.named, Supervisor::here()) {
            (Some(path), _) => format!("procurify-tokend --socket {}", path.display()),
            (None, Some(supervisor)) => supervisor.start_command(),
            (None, None) => "procurify-token list starts one".to_owned(),
        }
    }

    fn options(&self) -> Options {
        let options = match &self.named {
            Some(path) => Options::new().without_cache().socket(path),
            None => Options::new().without_cache(),
        };
        match (self.autostart, &self.named) {
            _ if !self.is_awaited => options.patience(PATIENCE),
            (Autostart::Always, _) => options.patience(PATIENCE),
            // Who is in charge is looked up on the disk: only when it matters.
            (Autostart::Auto, None) => options.patience_by(|| match Supervisor::here() {
                Some(_) => Duration::MAX,
                None => PATIENCE,
            }),
            (Autostart::Auto, Some(_)) | (Autostart::Never, _) => options,
        }
    }
}

/// A connection to the daemon, which may be stopping: who started nothing because one answered has to start one then.
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    daemon: &'a Daemon,
    client: Client,
}

impl Connection<'_> {
    /// Asks; and where the daemon went away before it did anything, asks once more one that is started for it. The
    /// question is told how much of the deadline is left.
    pub(crate) fn ask<T>(
        &mut self,
        deadline: Duration,
        question: impl Fn(&mut Client, Duration) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let left = clock::countdown(deadline);
        match question(&mut self.client, deadline) {
            Err(error) if has_left(&error) && !left().is_zero() => {
                self.client = self.daemon.client()?;
                Ok(question(&mut self.client, left())?)
            }
            outcome => Ok(outcome?),
        }
    }
}

/// For questions of several steps, and those that the answer to another depends on.
impl Deref for Connection<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Connection<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Neither comes of a request that may have been carried out.
pub(crate) fn has_left(error: &Error) -> bool {
    match error {
        Error::NoDaemon { .. } => true,
        Error::Refused(refusal) => refusal.code == RefusalCode::STOPPING,
        _ => false,
    }
}

/// How long an answer may take that is asked for again and again.
const GLANCE: Duration = Duration::from_secs(10);
/// For a daemon that somebody else starts again at this moment.
const PATIENCE: Duration = Duration::from_secs(1);
