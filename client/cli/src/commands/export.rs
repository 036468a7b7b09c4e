//! `export`: every credential with its secrets, as lines of JSON into a pipe and nowhere else.

use std::io::{self, Write};

use procurify_token_protocol::{Answer, ExportProof, Request};

use super::{PATIENCE, key, unexpected};
use crate::args::ExportArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{records, say, system};

pub(super) fn run(daemon: &Daemon, args: ExportArgs) -> Result<(), Failure> {
    if !system::stdout_is_pipe() {
        return Err(Failure::new(
            ExitCode::Usage,
            "an export holds every client secret as it is, so it is written into a pipe only",
        )
        .hint("procurify-token export | age -r RECIPIENT > FILE; a sealed copy is made by procurify-token backup FILE"));
    }
    let mut client = daemon.connect()?;
    let mut answer = key::proven(&mut client, args.proof, |key| Request::Export {
        proof: ExportProof::Key(key),
        after: None,
    })?;
    let mut out = io::stdout().lock();
    let mut count = 0;
    write(&mut out, records::head().as_bytes())?;
    loop {
        let Answer::Exported { page, pass } = answer else { return Err(unexpected(&answer)) };
        for copy in &page {
            write(&mut out, &records::line(copy)?)?;
        }
        count += page.len();
        let (Some(pass), Some(last)) = (pass, page.last()) else { break };
        let after = Some(last.credential.name.clone());
        answer = client.request(&Request::Export { proof: ExportProof::Pass(pass), after }, PATIENCE)?;
    }
    out.flush().map_err(|error| cut_short(&error))?;
    say::note(&format!("{count} credentials were exported."));
    Ok(())
}

fn write(out: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(bytes).map_err(|error| cut_short(&error))
}

/// Not as elsewhere, where whoever reads may leave early: half of an export is none.
fn cut_short(error: &io::Error) -> Failure {
    Failure::new(ExitCode::Other, format!("the export was cut short, for whoever reads it has gone: {error}"))
}
