//! `get --file`: a token in a file, once, or kept fresh for programs that can only read files.
//!
//! The daemon renews tokens long before they end, and the watch tells of each, so the file has the next one before the last one has
//! ended. Where that fails it says so: `standing` knows what to say, `on_change` runs what is to be run.

mod on_change;
mod standing;

use std::path::PathBuf;
use std::time::Duration;

use procurify_token_client::TokenGrant;
use procurify_token_protocol::{Answer, CredentialName, Request, Watched};

use self::on_change::{Ending, OnChange};
use self::standing::Standing;
use super::{obtain, unexpected};
use crate::args::{FileMode, FormArgs, GetArgs, KeepArgs, TokenArgs};
use crate::connect::{Connection, Daemon};
use crate::exit::{ExitCode, Failure};
use crate::{clock, kept_file, say, when};

pub(super) fn run(daemon: &Daemon, args: GetArgs) -> Result<(), Failure> {
    let GetArgs { names, token: wishes, form, keep } = args;
    let KeepArgs { file, mode, follow, on_change, on_change_timeout } = keep;
    let path = file.expect("clap requires --file of whoever comes here");
    let [name] = <[CredentialName; 1]>::try_from(names).map_err(|_| {
        Failure::new(ExitCode::Usage, "--file is for one NAME").hint("give each NAME a file of its own")
    })?;
    let file = KeptFile { path, mode: mode.unwrap_or_default(), name, form };
    if !follow {
        let grant = obtain::token(&mut daemon.connect()?, &file.name, &wishes)?;
        return file.write(&grant);
    }
    let ending = Ending::default();
    ending.on_request().map_err(|error| {
        Failure::new(ExitCode::Other, format!("this system says nothing of its signals: {error}"))
    })?;
    let limit = on_change_timeout.unwrap_or(LONGEST_COMMAND);
    let on_change =
        on_change.map(|line| OnChange::start(line, limit, &file.name, &file.path, ending.clone()));
    let standing = Standing::new(&file.name, &file.path);
    let daemon = &daemon.not_awaited();
    Follower { daemon, connection: None, file, standing, ending, on_change, current: None }.follow(&wishes)
}

/// The file, and what is written into it.
struct KeptFile {
    path: PathBuf,
    mode: FileMode,
    name: CredentialName,
    form: FormArgs,
}

impl KeptFile {
    fn write(&self, grant: &TokenGrant) -> Result<(), Failure> {
        kept_file::write(&self.path, self.mode, obtain::in_form(self.form, &self.name, grant).as_bytes())
    }
}

struct Follower<'a> {
    daemon: &'a Daemon,
    connection: Option<Connection<'a>>,
    file: KeptFile,
    standing: Standing,
    ending: Ending,
    on_change: Option<OnChange>,
    /// The token that should be in the file.
    current: Option<TokenGrant>,
}

impl<'a> Follower<'a> {
    /// Comes back only with the reason why there is no use in going on.
    fn follow(mut self, wishes: &TokenArgs) -> Result<(), Failure> {
        let (name, mut pause) = (self.file.name.clone(), FIRST_PAUSE);
        match self.connected().and_then(|daemon| obtain::token(daemon, &name, wishes)) {
            Ok(grant) => {
                self.current = Some(grant);
                // What cannot be written now is a mistake to be mended by whoever typed it.
                self.write()?;
            }
            Err(failure) => self.trouble(failure, false)?,
        }
        let mut seen = None;
        loop {
            match self.watch(&name, seen) {
                Ok(watched) => {
                    (seen, pause) = (Some(watched.revision), FIRST_PAUSE);
                    self.told(watched)?;
                }
                Err(failure) => {
                    self.trouble(failure, false)?;
                    // Another daemon may count otherwise.
                    seen = None;
                    clock::pause(pause);
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    fn connected(&mut self) -> Result<&mut Connection<'a>, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.daemon.connect()?,
        };
        Ok(self.connection.insert(connection))
    }

    /// How things stand, as soon as that is otherwise than it was, or the token in the file has ended.
    fn watch(&mut self, name: &CredentialName, seen: Option<u64>) -> Result<Watched, Failure> {
        let patience = match &self.current {
            Some(grant) if !self.standing.has(grant) => RETRY_OF_WRITING,
            _ => self.standing.time_left(clock::now()).clamp(SHORTEST_POLL, POLL),
        };
        let request = Request::Watch { name: name.clone(), seen, deadline: patience };
        match self.connected()?.ask(patience, |client, left| client.request(&request, left))? {
            Answer::Watched(watched) => Ok(*watched),
            other => Err(unexpected(&other)),
        }
    }

    fn told(&mut self, watched: Watched) -> Result<(), Failure> {
        let is_gone = watched.token.is_none();
        self.current = watched.token;
        if let Err(failure) = self.write() {
            return self.trouble(failure, is_gone);
        }
        match watched.refusal {
            Some(refusal) => self.trouble(refusal.into(), is_gone),
            None if is_gone => {
                let asked = Failure::new(ExitCode::Unavailable, "another one is asked for");
                self.trouble(asked, is_gone)
            }
            None => {
                self.standing.is_well();
                Ok(())
            }
        }
    }

    /// Writes the current token, where it is not in the file yet.
    fn write(&mut self) -> Result<(), Failure> {
        let Some(grant) = self.current.as_ref().filter(|grant| !self.standing.has(grant)) else {
            return Ok(());
        };
        self.ending.not_during(|| self.file.write(grant))?;
        self.standing.written(grant);
        say::note(&format!(
            "{}: token {} of {}, until {}",
            self.file.path.display(),
            grant.token.fingerprint(),
            self.file.name,
            when::stamp(grant.token.expires_at())
        ));
        if let Some(on_change) = &self.on_change {
            on_change.file_was_written();
        }
        Ok(())
    }

    /// Says what is amiss, once; and gives up where waiting does not mend it.
    fn trouble(&mut self, failure: Failure, is_gone: bool) -> Result<(), Failure> {
        let Failure::Told { code, message, hint } = &failure else { return Err(failure) };
        if is_lasting(*code, self.standing.is_written()) {
            return Err(failure.while_doing(&self.standing.sentence(is_gone, clock::now())));
        }
        if let Some(said) = self.standing.trouble(*code, message, is_gone, clock::now()) {
            let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") };
            say::warning(&format!("{said}{hint}"));
        }
        Ok(())
    }
}

/// Whether somebody has to do something else than start a daemon, open the vault, or mend the credential.
fn is_lasting(code: ExitCode, is_written: bool) -> bool {
    match code {
        ExitCode::UnknownCredential | ExitCode::Denied | ExitCode::Usage => true,
        // A folder that is gone may come back; where nothing could be written yet it is no use to wait.
        ExitCode::Other => !is_written,
        _ => false,
    }
}

/// How long one question stays open before it is asked again.
const POLL: Duration = Duration::from_mins(5);
const SHORTEST_POLL: Duration = Duration::from_secs(1);
/// How long a file that could not be written is left alone.
const RETRY_OF_WRITING: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_COMMAND: Duration = Duration::from_secs(30);
