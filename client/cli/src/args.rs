//! The command line: words in, valid types out. What a command does with them is not decided here.

mod about;
mod audit;
mod calls;
mod enrol;
mod help;
mod keep;
mod keys;
mod service;
mod shells;
mod smuggled;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use procurify_token_protocol::{CredentialName, Fingerprint};

pub(crate) use self::about::{About, about};
pub(crate) use self::audit::{AuditArgs, AuditCommand, AuditShowArgs};
pub(crate) use self::calls::{ApiArgs, CurlArgs, FieldArgs};
pub(crate) use self::enrol::{AddArgs, RotateArgs, RotateStep, SecretArgs};
pub(crate) use self::keep::{FileMode, KeepArgs};
pub(crate) use self::keys::{
    ExportArgs, FileArgs, InitArgs, NewSlotKind, ProofArgs, RekeyArgs, SlotArgs, SlotCommand, UnlockArgs,
};
pub(crate) use self::service::{ServiceArgs, ServiceCommand, WhoseArgs};
pub(crate) use self::shells::{CompleteArgs, CompletionsArgs, Shell};
use crate::exit::Failure;

/// Reads the command line of this process.
pub(crate) fn read() -> Result<CommandLine, Failure> {
    let words: Vec<OsString> = std::env::args_os().collect();
    smuggled::refuse_secrets(&words)?;
    if let Some(line) = plain_get(&words) {
        return Ok(line);
    }
    CommandLine::try_parse_from(&words).map_err(|error| smuggled::without_values(&words, error))
}

/// `get NAME` and no more, which is what scripts ask for: to describe the whole command line to clap takes longer than all the
/// rest of it. What comes of it is what clap would make of it, and whatever else there is to say is left to clap.
fn plain_get(words: &[OsString]) -> Option<CommandLine> {
    let [_, command, name] = words else { return None };
    if command != "get" || name.as_encoded_bytes().starts_with(b"-") {
        return None;
    }
    let autostart = match std::env::var_os(AUTOSTART) {
        None => Autostart::Auto,
        Some(when) => Autostart::from_str(when.to_str()?, false).ok()?,
    };
    let names = vec![CredentialName::from_pasted(name.to_str()?).ok()?];
    let (token, form, keep) = (TokenArgs::default(), FormArgs::default(), KeepArgs::default());
    let command = Command::Get(GetArgs { names, token, form, keep });
    Some(CommandLine { global: Global { socket: None, autostart }, command })
}

/// Access tokens for Procurify, from the local procurify-tokend
///
/// The daemon keeps client secrets in an encrypted vault and refreshes tokens ahead of time. It is started when the
/// first command needs it, unless a service manager is in charge of it.
#[derive(Debug, Parser)]
#[command(name = "procurify-token", version, after_help = help::after_help(), max_term_width = 100)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The daemon's socket [default: `$PROCURIFY_TOKEN_SOCKET`, else the user's own, else the system's]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Whether to start a daemon when none answers
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        env = AUTOSTART,
        default_value = "auto"
    )]
    #[arg(hide_env_values = true)]
    pub(crate) autostart: Autostart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Autostart {
    /// Unless a socket was named or a service manager is in charge
    Auto,
    /// Even then
    Always,
    /// Not at all
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the vault
    #[command(after_help = help::INIT)]
    Init(InitArgs),
    /// Enrol a credential: store it durably, then try it
    #[command(after_help = help::ADD)]
    Add(AddArgs),
    /// Print valid tokens, or keep a file that has one
    #[command(after_help = help::GET)]
    Get(GetArgs),
    /// Run a command with a valid token in its environment
    #[command(after_help = help::EXEC)]
    Exec(ExecArgs),
    /// Send a request to the API with both headers set
    #[command(after_help = help::API)]
    Api(ApiArgs),
    /// Run curl with both headers set, where `ps` does not show them
    #[command(after_help = help::CURL)]
    Curl(CurlArgs),
    /// List the credentials
    #[command(after_help = help::LIST)]
    List(JsonArgs),
    /// Show the daemon, or one credential: expiry, next refresh, last failure and what to do
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// Look for what is amiss with files, vault, memory, clock, network and credentials, and say what to type
    #[command(after_help = help::DOCTOR)]
    Doctor(JsonArgs),
    /// Replace client id and secret: store the new pair, try it, then use it
    #[command(after_help = help::ROTATE)]
    Rotate(RotateArgs),
    /// Ask Procurify for a new token now
    #[command(after_help = help::REFRESH)]
    Refresh(RefreshArgs),
    /// Print a line for each new token, refusal and removal, until interrupted
    #[command(after_help = help::WATCH)]
    Watch(WatchArgs),
    /// Report that the API answered 401 to a token, so that another takes its place
    #[command(after_help = help::INVALIDATE)]
    Invalidate(InvalidateArgs),
    /// Forget a credential with its secret
    #[command(after_help = help::REMOVE)]
    Remove(RemoveArgs),
    /// Forget the vault key and every token until `unlock`
    #[command(after_help = help::LOCK)]
    Lock(JsonArgs),
    /// Open the vault
    #[command(after_help = help::UNLOCK)]
    Unlock(UnlockArgs),
    /// What opens the vault: list, add or remove a key slot
    #[command(after_help = help::SLOT)]
    Slot(SlotArgs),
    /// Give the vault a new key, and drop all that the key so far could open
    #[command(after_help = help::REKEY)]
    Rekey(RekeyArgs),
    /// Write a copy of the sealed vault
    #[command(after_help = help::BACKUP)]
    Backup(FileArgs),
    /// Put a backup where there is no vault
    #[command(after_help = help::RESTORE)]
    Restore(FileArgs),
    /// Write every credential with its secrets into a pipe
    #[command(after_help = help::EXPORT)]
    Export(ExportArgs),
    /// Enrol many credentials at once, all or none
    #[command(after_help = help::IMPORT)]
    Import(FileArgs),
    /// Who may do what with a credential, and which rule says so
    #[command(after_help = help::ACCESS)]
    Access(AccessArgs),
    /// Who got which token and did what, and whether the records of that are as they were written
    #[command(after_help = help::AUDIT)]
    Audit(AuditArgs),
    /// Have the system's service manager start the daemon
    #[command(after_help = help::SERVICE)]
    Service(ServiceArgs),
    /// Stop the daemon
    #[command(after_help = help::STOP)]
    Stop(JsonArgs),
    /// Become a program that outlives whoever started it
    #[command(hide = true)]
    Detached(DetachedArgs),
    /// Show everything at work, against a sandbox in a temporary folder
    #[command(after_help = help::DEMO)]
    Demo,
    /// Print what makes a shell complete commands, options and the names of credentials
    #[command(after_help = help::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// What may come next on a command line, for the scripts of `completions`
    #[command(hide = true)]
    Complete(CompleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AccessArgs {
    #[command(subcommand)]
    pub(crate) command: AccessCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Say for each verb whether a user may use it on a credential, and why
    #[command(after_help = help::ACCESS_EXPLAIN)]
    Explain {
        /// The name or the number of a user of the daemon's system
        user: String,
        /// Which credential; it need not be enrolled
        #[arg(value_name = "NAME", value_parser = CredentialName::from_pasted)]
        name: CredentialName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What is asked of a token.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TokenArgs {
    /// How long the token should still live, such as 10m
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) min_ttl: Duration,
    /// How long to wait for it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) deadline: Duration,
}

/// As clap has it where nothing is said.
impl Default for TokenArgs {
    fn default() -> Self {
        Self { min_ttl: Duration::ZERO, deadline: Duration::from_secs(30) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[arg(value_name = "NAME", required = true, value_parser = CredentialName::from_pasted)]
    pub(crate) names: Vec<CredentialName>,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    #[command(flatten)]
    pub(crate) form: FormArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
}

/// How a token is printed: alone on its line, or as one of these.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own, and clap lets only one of them be set"
)]
pub(crate) struct FormArgs {
    /// Both headers, for `curl -H @-`
    #[arg(long)]
    pub(crate) header: bool,
    /// A JSON object with expiry, addresses and fingerprint; one line for each NAME
    #[arg(long)]
    pub(crate) json: bool,
    /// `export` lines for a shell; with several NAMEs the variables end in `_NAME`
    #[arg(long)]
    pub(crate) env: bool,
    /// Both headers, for `curl -K -`
    #[arg(long)]
    pub(crate) curl_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Which credential
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: CredentialName,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct DetachedArgs {
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct JsonArgs {
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Which credential
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: Option<CredentialName>,
    /// Keep showing it on the whole terminal, until q or Ctrl-C
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Which credential
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: CredentialName,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RefreshArgs {
    /// Which credential
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: CredentialName,
    /// Even though Procurify rejected these client credentials or asked for patience
    #[arg(long)]
    pub(crate) retry: bool,
    /// Even though the budget of issued tokens is spent, too
    #[arg(long)]
    pub(crate) over_budget: bool,
    /// How long to wait for it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) deadline: Duration,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InvalidateArgs {
    /// Which credential
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: CredentialName,
    /// Which token, as `status` and `get --json` name it [default: the current one]
    #[arg(long, value_name = "HEX")]
    pub(crate) fingerprint: Option<Fingerprint>,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Which credential
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: CredentialName,
    /// Without asking
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

const AUTOSTART: &str = "PROCURIFY_TOKEN_AUTOSTART";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitCode;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_plain_get_is_what_clap_makes_of_it_and_nothing_else_is_one() {
        let words = |line: &str| -> Vec<OsString> {
            std::iter::once("procurify-token").chain(line.split(' ')).map(OsString::from).collect()
        };
        for line in
            ["get acme", "get acme/reporting", "get https://acme.procurify.com", "get ACME", "get help"]
        {
            let plain = plain_get(&words(line)).map(|line| format!("{line:?}"));
            let whole = CommandLine::try_parse_from(words(line)).map(|line| format!("{line:?}"));
            assert_eq!(plain, whole.ok(), "{line}");
        }
        for line in [
            "get",
            "get -h",
            "get --help",
            "get --",
            "get acme globex",
            "get acme --json",
            "list acme",
            "get a!",
        ] {
            assert!(plain_get(&words(line)).is_none(), "{line}");
        }
    }

    #[test]
    fn help_lists_every_exit_code() {
        let help = CommandLine::command().render_help().to_string();
        for code in ExitCode::ALL {
            let line = format!("  {:>3}  {}", code.number(), code.meaning());
            assert!(help.contains(&line), "{line:?} is missing in\n{help}");
        }
    }
}
