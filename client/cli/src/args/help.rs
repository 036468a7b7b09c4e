//! The ends of the help texts: what one has to know, examples to copy, and the exit codes.
//!
//! A paragraph is one line here: it is wrapped to the width of the terminal. The man pages are made of the same texts.

use crate::exit::ExitCode;

/// Examples and exit codes, for the end of the main help.
pub(super) fn after_help() -> String {
    let codes = ExitCode::ALL.map(|code| format!("  {:>3}  {}\n", code.number(), code.meaning())).concat();
    format!("{EXAMPLES}\n\nExit codes:\n{codes}")
}

const EXAMPLES: &str = "\
Examples:
  procurify-token demo                       see it work, without an account
  procurify-token add acme                   enrol https://acme.procurify.com
  procurify-token get acme                   a valid token on stdout
  procurify-token api acme /api/v3/vendors/  a request with it";

pub(super) const INIT: &str = "\
`add` makes a vault by itself where there is none. Back up the vault and what opens it, in different places.

Examples:
  procurify-token init
  procurify-token init --passphrase
  procurify-token init --no-confirm --json | jq -r .recovery_code";

pub(super) const ADD: &str = "\
The client secret is typed, or read from stdin or a file; as an argument others could see it. At any question the whole dialog of \
Procurify may be pasted, with both values and their labels; stdin and a file may hold the same, and then no --client-id is needed. \
Where there is no vault yet, one is made with a key file, after everything was asked.

Examples:
  procurify-token add acme
  procurify-token add https://acme.procurify.com/
  procurify-token add acme/reporting --description 'nightly report'
  pass show acme | procurify-token add acme --client-id ID --secret-stdin";

pub(super) const LIST: &str = "\
On a terminal: a table as wide as the terminal has room for, with a bar of each token's remaining life, in colour unless NO_COLOR is \
set. Elsewhere: no bar and no colour, the fields parted by tabs, times as 2026-11-24T04:52:50Z, - where there is none:
  NAME  STATE  TOKEN ENDS  NEXT REQUEST  DESCRIPTION

--json is one object: version (1) and credentials, an object each:
  name domain description client_id base_url token_url audience body_encoding added_at staged previous
  token: null, or {fingerprint, issued_at, expires_at, expires_in (seconds)}
  activity: resting, requesting, backing-off or barred;  next_attempt_at: null or a time
  last_failure: null, or {code, http_status, request_id, at, attempts, message, advice}
  budget: {issued_in_hour, per_hour, issued_in_day, per_day}
Fields may be added; none is changed while version stays 1.

Examples:
  procurify-token list
  procurify-token list | cut -f 1-3
  procurify-token list --json | jq -r '.credentials[].name'";

pub(super) const STATUS: &str = "\
--json is one object: version (1) and, of one credential, credential, which is as in list --json; without a NAME, credentials as there, \
and daemon: {version, pid, socket, started_at, vault (missing, locked or open), vault_path, credentials, with_token, memory, \
core_dumps_forbidden, sandbox, extra_ca, warnings}. --watch is for a terminal: each second, and over a restart of the daemon.

It starts no daemon: that none runs is the answer, with exit code 3.

Examples:
  procurify-token status
  procurify-token status acme
  procurify-token status --watch";

pub(super) const GET: &str = "\
A token that lives shorter than --min-ttl is printed all the same when Procurify cannot be asked, with a warning.

With several NAMEs there is one token to a line in the order of the NAMEs, and all of them or none: where one cannot be had nothing is printed, \
stderr says which, and the exit code is that of the first. The variables of --env are then PROCURIFY_TOKEN_GLOBEX, \
PROCURIFY_BASE_URL_GLOBEX and PROCURIFY_DOMAIN_GLOBEX.

--file replaces the file in one step: whoever reads it finds the old token or the new one. With --follow it is written again as soon as there \
is another token, over restarts of the daemon too, until SIGINT or SIGTERM, which end it with 0. What is amiss meanwhile is on stderr, and \
above all that the token in the file has ended. It gives up where the credential is unknown or not for you. The line of --on-change finds \
PROCURIFY_TOKEN_FILE and PROCURIFY_TOKEN_NAME in its environment; it never runs twice at once, and what it fails with is told and stops nothing.

Examples:
  TOKEN=$(procurify-token get acme)
  { read -r ACME; read -r GLOBEX; } <<<\"$(procurify-token get acme globex)\"
  procurify-token get acme --header | curl -H @- URL
  eval \"$(procurify-token get acme --env)\"
  procurify-token get acme --min-ttl 10m --deadline 5s --json
  procurify-token get acme --file FILE --follow --on-change 'systemctl reload x'";

pub(super) const EXEC: &str = "\
CMD gets PROCURIFY_TOKEN, PROCURIFY_DOMAIN and PROCURIFY_BASE_URL. It takes the place of this process, so its exit \
code is its own; 126 and 127 say that it could not be run.

Examples:
  procurify-token exec acme -- ./report.py --month 3
  procurify-token exec acme -- sh -c 'echo ${#PROCURIFY_TOKEN}'";

pub(super) const API: &str = "\
The body goes to stdout whatever the status. On 401 the token is invalidated and the request sent once more with a new \
one. On 429 with a Retry-After that the deadline leaves room for, it waits and sends it again. Redirects are not followed: the token is for one host. \
-f and -F make a JSON object; with -X GET they go into the query.

Examples:
  procurify-token api acme /api/v3/vendors/ -f name='New vendor' -F active=true
  procurify-token api acme /api/v3/vendors/
  procurify-token api acme /api/v3/vendors/ --paginate | jq -c '.data[]'
  procurify-token api acme /api/v3/vendors/ -d '{\"name\": \"New vendor\"}'";

pub(super) const CURL: &str = "\
What follows NAME is for curl. A path goes to the base URL of the credential. curl is handed the headers through a pipe, reads no .curlrc, and its \
exit code is passed on. Options that could show the token to anybody else are refused: those that lead elsewhere (-L, -x, -K, --next, …), that put \
other credentials in its place, and that print it (-v). Options of ours come before NAME.

Examples:
  procurify-token curl acme /api/v3/vendors/
  procurify-token curl acme -sS -o vendors.json '/api/v3/vendors/?page_size=100'
  procurify-token curl acme /api/v3/vendors/ --json '{\"name\": \"New vendor\"}'";

pub(super) const DOCTOR: &str = "\
It changes nothing, starts no daemon, and asks for no token; where a service manager keeps the socket, being asked may have that start \
its daemon. Where none answers it looks at what one would stand on. \
15 is its exit code where something has to be mended.

Examples:
  procurify-token doctor
  procurify-token doctor --json | jq '.findings[] | select(.mend != \"\")'";

pub(super) const SERVICE: &str = "\
It says what it does, step by step; --dry-run says so beforehand. For the machine, the vault's key is sealed by systemd-creds (TPM or the \
machine's own key), so that it opens after each boot without anybody. Uninstalling removes no vault and no key.

Examples:
  procurify-token service install --dry-run
  sudo procurify-token service install --system
  procurify-token service status";

pub(super) const SERVICE_INSTALL: &str = "\
Units that a package has brought are used as they are, and those that this command wrote before it make room.
A daemon that a command started is stopped first.

Examples:
  procurify-token service install --dry-run
  procurify-token service install
  sudo procurify-token service install --system";

pub(super) const SERVICE_UNINSTALL: &str = "\
Vault, keys, configuration and audit records stay where they are.

Examples:
  procurify-token service uninstall --dry-run
  sudo procurify-token service uninstall --system";

pub(super) const SERVICE_STATUS: &str = "\
It ends with 0 only where the service runs.

Examples:
  procurify-token service status
  procurify-token service status --system --json | jq .service.running";

pub(super) const ROTATE: &str = "\
Create a second application in Procurify first. The pair in use stays in use until the new one has brought a token, and \
is then kept to go back to.

Examples:
  procurify-token rotate acme
  procurify-token rotate acme --retry
  procurify-token rotate acme --rollback";

pub(super) const REFRESH: &str = "\
Tokens are refreshed ahead of time by themselves. This is for who has mended something and does not want to wait.

Examples:
  procurify-token refresh acme
  procurify-token refresh acme --retry
  procurify-token refresh acme --over-budget --json";

pub(super) const WATCH: &str = "\
It never prints the token. It goes on over a restart of the daemon, and ends when the vault is locked, when the credential \
is removed, or when nobody reads it any more.

Examples:
  procurify-token watch acme
  procurify-token watch acme --json | jq --unbuffered -r .token.expires_at";

pub(super) const INVALIDATE: &str = "\
`api` does this by itself. A newer token than the one that is named is not touched.

Examples:
  procurify-token invalidate acme
  procurify-token invalidate acme --fingerprint 88d626cf6e3825ac";

pub(super) const REMOVE: &str = "\
Procurify shows a client secret only once, so this asks first. Tokens that were handed out live on for up to 24 h.

Examples:
  procurify-token remove acme
  procurify-token remove acme/reporting --yes";

pub(super) const LOCK: &str = "\
Example:
  procurify-token lock";

pub(super) const UNLOCK: &str = "\
What needs nobody is tried first: the key file, a command, a keychain. Then the passphrase or recovery code is asked for.

Examples:
  procurify-token unlock
  procurify-token unlock --passphrase-stdin < FILE
  procurify-token unlock --generation 1";

pub(super) const SLOT: &str = "\
Any one of the slots opens the vault. Who adds one is asked for what opens the vault already, unless that needs nobody.

Examples:
  procurify-token slot list
  procurify-token slot add passphrase --description Anna
  procurify-token slot add command
  procurify-token slot remove 9b31d007";

pub(super) const SLOT_LIST: &str = "\
Examples:
  procurify-token slot list
  procurify-token slot list --json | jq -r '.slots[].kind'";

pub(super) const SLOT_ADD: &str = "\
Who adds one is asked for what opens the vault already, unless that needs nobody.

Examples:
  procurify-token slot add passphrase --description Anna
  procurify-token slot add recovery-code
  procurify-token slot add command";

pub(super) const SLOT_REMOVE: &str = "\
What opens the slots that stay is asked for once more, and the older generations of the vault are dropped.

Examples:
  procurify-token slot remove 9b31d007
  procurify-token slot remove 9b31d007 7f01b2aa --keys-stdin < FILE";

pub(super) const REKEY: &str = "\
All slots stay; what opens them is asked for once more. Backups that were made before open as they did.

Examples:
  procurify-token rekey
  procurify-token rekey --keys-stdin < FILE";

pub(super) const BACKUP: &str = "\
The copy is sealed as the vault is: any of the slots opens it, on any machine; so does whoever has one of them.

Example:
  procurify-token backup \"/mnt/backup/$(date +%F).vault\"";

pub(super) const RESTORE: &str = "\
A vault that is there is left alone. What comes back is locked, and opened by what opened it when the backup was made.

Example:
  procurify-token restore procurify.vault && procurify-token unlock";

pub(super) const EXPORT: &str = "\
Nothing in it is encrypted, so it goes into a pipe and nowhere else. It is a line of JSON for each credential.

Examples:
  procurify-token export | age -r RECIPIENT > procurify.age
  procurify-token export | ssh other-machine procurify-token import -";

pub(super) const IMPORT: &str = "\
FILE is what export wrote, lines of JSON, or CSV with a header; - is stdin. The fields are name, client_id and client_secret, \
and where they are not the usual ones description, base_url, token_url, audience and body_encoding.

If anything is wrong with any line, or a name is enrolled already, every such line is named and nothing is stored.

Examples:
  procurify-token import customers.csv
  age -d procurify.age | procurify-token import -";

pub(super) const ACCESS: &str = "\
The daemon's own user and root may do everything. Whom else it serves is in its configuration:

  [[access]]
  user = \"reports\"        # or group, unit, program; all that is said has to hold
  credentials = [\"acme\", \"globex/*\"]
  verbs = [\"get\"]         # get, refresh, inspect, change, administer

Example:
  procurify-token access explain reports acme";

pub(super) const ACCESS_EXPLAIN: &str = "\
Examples:
  procurify-token access explain reports acme
  procurify-token access explain 1001 globex/archive --json";

pub(super) const AUDIT: &str = "\
A record has a number, a time, who (user, process, program, unit), what, and the fingerprint of a token; never a token. Each \
is chained to the one before under a key that only the open vault gives.

Examples:
  procurify-token audit show --since 2h --credential acme
  procurify-token audit verify";

pub(super) const AUDIT_SHOW: &str = "\
Examples:
  procurify-token audit show --since 2h --credential acme
  procurify-token audit show --json | jq -c 'select(.outcome == \"denied\")'";

pub(super) const AUDIT_VERIFY: &str = "\
15 is the exit code where a record is amiss.

Examples:
  procurify-token audit verify
  procurify-token audit verify --json | jq .audit.broken";

pub(super) const STOP: &str = "\
The sealed tokens wait for the next daemon. A service manager may start it again.

Example:
  procurify-token stop";

pub(super) const DEMO: &str = "\
It needs no account and no network, and leaves nothing behind.

Example:
  procurify-token demo";

pub(super) const COMPLETIONS: &str = "\
A package installs these scripts; this is for who built the programs himself. They ask the command what may come next, and it \
asks a daemon that runs for the names; it starts none, and waits for none that hangs.

Examples:
  eval \"$(procurify-token completions bash)\"    in ~/.bashrc
  eval \"$(procurify-token completions zsh)\"     in ~/.zshrc, after compinit
  procurify-token completions fish | source      in config.fish
  procurify-token completions powershell >> $PROFILE";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::{Command, CommandFactory as _, Parser as _};

    use crate::args::CommandLine;

    #[test]
    fn every_help_fits_a_terminal_of_80_columns_and_of_40() {
        for width in [80, 40] {
            for mut command in all() {
                let help =
                    command.clone().term_width(width).max_term_width(width).render_long_help().to_string();
                for line in help.lines().filter(|line| line.chars().count() > width) {
                    // In a narrow one, a word that cannot be parted stands as it is, and clap never wraps the usage.
                    let longest =
                        line.split_whitespace().map(|word| word.chars().count()).max().unwrap_or_default();
                    assert!(
                        width < 80 && (longest > 20 || line.starts_with("Usage:")),
                        "{} at {width}: {line:?}",
                        command.render_usage()
                    );
                }
            }
        }
    }

    #[test]
    fn every_command_has_examples_and_each_is_a_command_line() {
        let mut count = 0;
        for command in all() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let (_, examples) =
                help.split_once("xample").unwrap_or_else(|| panic!("{} has none", command.get_name()));
            let examples = examples.split("Exit codes:").next().unwrap_or_default();
            for line in examples.lines().filter(|line| line.starts_with("  ")) {
                assert!(line.chars().count() <= 80, "it would be folded, and is to be copied: {line}");
                let words = words_of(line).unwrap_or_else(|| panic!("no command in {line:?}"));
                if let Err(error) = CommandLine::try_parse_from(&words) {
                    panic!("{line:?}, read as {words:?}: {error}");
                }
                count += 1;
            }
        }
        assert!(count > 50, "only {count} examples were found");
    }

    /// Every command that is shown, down to those of `slot`.
    fn all() -> Vec<Command> {
        let mut command = CommandLine::command().disable_help_subcommand(true);
        command.build();
        let mut all = vec![command];
        let mut next = 0;
        while next < all.len() {
            let inner: Vec<_> =
                all[next].get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
            all.extend(inner);
            next += 1;
        }
        all
    }

    /// The words of the last command of ours on a line of shell, without pipes, redirections and remarks.
    fn words_of(line: &str) -> Option<Vec<OsString>> {
        let start = line.find("procurify-token ")?;
        let line = line[start..].split(" && ").next()?;
        let mut words = Vec::new();
        let (mut word, mut quote, mut gap) = (String::new(), None, 0);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') if word.is_empty() || c == '\'' => quote = Some(c),
                (None, '|' | '<' | '>' | ')' | '"') => break,
                (None, ' ') => {
                    gap += 1;
                    if gap > 1 {
                        break;
                    }
                    words.push(std::mem::take(&mut word).into());
                    continue;
                }
                (_, c) => word.push(c),
            }
            gap = 0;
        }
        if !word.is_empty() {
            words.push(word.into());
        }
        Some(words)
    }
}
