//! `access`: who may do what, and which rule of the daemon's configuration says so.

use procurify_token_protocol::{Answer, Request, Ruling};
use serde_json::json;

use super::{PATIENCE, unexpected};
use crate::args::{AccessArgs, AccessCommand};
use crate::connect::Daemon;
use crate::exit::Failure;
use crate::{report, say, text};

pub(super) fn run(daemon: &Daemon, args: AccessArgs) -> Result<(), Failure> {
    let AccessCommand::Explain { user, name, json } = args.command;
    let request = Request::ExplainAccess { user: user.clone(), name: name.clone() };
    let (uid, rulings) = match daemon.connect()?.request(&request, PATIENCE)? {
        Answer::AccessExplained { uid, rulings } => (uid, rulings),
        other => return Err(unexpected(&other)),
    };
    if json {
        return report::print_json(&[
            ("user", user.into()),
            ("uid", uid.into()),
            ("credential", name.as_str().into()),
            ("rulings", json!(rulings)),
        ]);
    }
    say::line(format!("{} (uid {uid}) and {name}:", text::one_line(&user)))?;
    for Ruling { verb, outcome, because } in &rulings {
        say::line(format!("  {verb:<11} {outcome:<8} {}", text::one_line(because)))?;
    }
    Ok(())
}
