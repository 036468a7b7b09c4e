//! `remove`: forget a credential with its secret, after asking.

use procurify_token_protocol::Request;

use super::done;
use crate::args::RemoveArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{dialog, report, say, terminal, text};

pub(super) fn run(daemon: &Daemon, args: RemoveArgs) -> Result<(), Failure> {
    let mut client = daemon.connect()?;
    // Asked for first: nobody should confirm the removal of what is not there.
    let status = client.describe(&args.name)?;
    if !args.yes {
        confirm(&format!(
            "Forget {} (client id {}) with its secret, which Procurify shows only once? [y/N] ",
            args.name,
            text::one_line(status.client_id.as_str())
        ))?;
    }
    let name = args.name;
    done(&mut client, &Request::Remove { name: name.clone() })?;
    if args.form.json {
        return report::print_json(&[("credential", name.as_str().into()), ("removed", true.into())]);
    }
    say::line(format!("{name} is gone from the vault, and so is its token."))?;
    say::line(
        "Tokens that were handed out may live for up to 24 h. To end its access, delete the application in Procurify \
         (Settings > Integrations > API).",
    )
}

fn confirm(question: &str) -> Result<(), Failure> {
    if !terminal::is_interactive() {
        return Err(
            Failure::new(ExitCode::Usage, "stdin is not a terminal, so nobody can be asked").hint("--yes")
        );
    }
    match dialog::ask(question)?.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(ExitCode::Usage, "nothing was removed")),
    }
}
