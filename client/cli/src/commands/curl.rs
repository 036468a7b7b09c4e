//! `curl`: become curl, which reads both headers from a pipe, so that no token is among its arguments. Which of its words may stand is
//! `words`' to say: curl is handed the token for one host, and whatever could show it to another is refused.
//!
//! A token that the API refuses is not replaced: by then curl has taken our place.

mod words;

use procurify_token_protocol::is_plain_http;

use self::words::Words;
use super::{extra_ca, obtain};
use crate::args::CurlArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{bearer, system};

/// Comes back only with the reason why there is no curl in our place.
pub(super) fn run(daemon: &Daemon, args: &CurlArgs) -> Failure {
    match become_curl(daemon, args) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

enum Never {}

fn become_curl(daemon: &Daemon, args: &CurlArgs) -> Result<Never, Failure> {
    if cfg!(windows) {
        return Err(Failure::new(
            ExitCode::Usage,
            "on Windows nothing but its stdin can hand curl.exe a token unseen",
        )
        .hint(format!("procurify-token get {} --curl-config | curl.exe -K - URL", args.name)));
    }
    // What is wrong with them is said before a token is asked for.
    let words = Words::read(&args.words)?;
    let mut daemon = daemon.connect()?;
    let grant = obtain::token(&mut daemon, &args.name, &args.token)?;
    let words = words.at(&grant.base_url)?;
    let extra_ca = if is_plain_http(grant.base_url.as_str()) || words.names_certificates() {
        None
    } else {
        extra_ca(&mut daemon, args.token.deadline)?
    };
    let options = bearer::curl_options(&grant, extra_ca.as_deref());
    let mut command = system::reading_options("curl", options.as_bytes(), |command, from| {
        // First, or curl would have read its own configuration by then.
        command.arg("--disable").arg("--config").arg(from);
        // They have curl write down what the token could be read with.
        command.env_remove("SSLKEYLOGFILE").env_remove("QLOGDIR");
        if is_plain_http(grant.base_url.as_str()) {
            // It is this machine; a proxy would see the token.
            command.args(["--noproxy", "*"]);
        }
        command.args(words.as_arguments());
    })
    .map_err(|error| Failure::new(ExitCode::Other, format!("there is no pipe for the headers: {error}")))?;
    let error = system::become_command(&mut command);
    let code = ExitCode::of_unrunnable(&error);
    Err(Failure::new(code, format!("curl: {error}")).hint(match code {
        ExitCode::CommandNotFound => {
            "install it, for example: apt install curl, dnf install curl, apk add curl; or use procurify-token api"
        }
        _ => "it has to be a program that you may execute",
    }))
}
