//! `api`: requests with both headers set. A token that the API refuses is replaced once; the body goes to stdout as it
//! comes, except that a terminal is not driven by it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use http::{Method, Response, StatusCode};
use procurify_token_client::TokenGrant;
use procurify_token_protocol::CredentialName;
use ureq::Body;

use super::get;
use super::pages::Pages;
use crate::args::{ApiArgs, TokenArgs};
use crate::connect::{Connection, Daemon};
use crate::exit::{ExitCode, Failure};
use crate::http::Api;
use crate::{say, text};

pub(super) fn run(daemon: &Daemon, args: ApiArgs) -> Result<(), Failure> {
    let body = args.data.as_deref().map(data).transpose()?;
    let method = args.method.unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
    let mut caller = Caller::new(daemon.connect()?, args.name, args.token)?;
    let url = caller.grant.base_url.join(&args.path);
    let url = url.map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))?;
    if args.paginate {
        return every_page(&mut caller, &method, url);
    }
    let response = caller.send(&method, &url, body.as_deref())?;
    if args.include {
        print_head(&response)?;
    }
    let verdict = Verdict::of(&response);
    stream(response.into_body().into_reader())?;
    verdict.settle(&caller.name)
}

/// Calls the API on behalf of one credential, and replaces a token that the API refuses.
struct Caller<'a> {
    daemon: Connection<'a>,
    api: Api,
    name: CredentialName,
    wishes: TokenArgs,
    grant: TokenGrant,
}

impl<'a> Caller<'a> {
    fn new(mut daemon: Connection<'a>, name: CredentialName, wishes: TokenArgs) -> Result<Self, Failure> {
        let grant = get::token(&mut daemon, &name, &wishes)?;
        let extra_ca = daemon.ask(wishes.deadline, |client, _| client.status())?.extra_ca;
        Ok(Self { api: Api::new(&grant.base_url, extra_ca.as_deref())?, daemon, name, wishes, grant })
    }

    fn send(&mut self, method: &Method, url: &str, body: Option<&[u8]>) -> Result<Response<Body>, Failure> {
        let response = self.api.send(method, url, &self.grant, body)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let refused = self.grant.token.fingerprint();
        self.daemon
            .ask(self.wishes.deadline, |client, _| client.invalidate_fingerprint(&self.name, refused))?;
        self.grant = get::token(&mut self.daemon, &self.name, &self.wishes)
            .map_err(|failure| failure.while_doing("the API refused the token, and no other could be had"))?;
        self.api.send(method, url, &self.grant, body)
    }
}

fn every_page(caller: &mut Caller<'_>, method: &Method, first: String) -> Result<(), Failure> {
    let mut pages = Pages::new(caller.grant.base_url.as_str(), &first);
    let mut url = Some(first);
    while let Some(address) = url {
        let response = caller.send(method, &address, None)?;
        let verdict = Verdict::of(&response);
        let page = response.into_body().into_with_config().limit(LARGEST_PAGE).read_to_vec();
        let page = page.map_err(|error| cut_short(&error.to_string()))?;
        stream(page.as_slice())?;
        verdict.settle(&caller.name)?;
        url = pages.next(&page)?;
    }
    Ok(())
}

/// What the status means, kept while the body goes out.
struct Verdict {
    status: StatusCode,
    request_id: Option<String>,
    location: Option<String>,
}

impl Verdict {
    fn of(response: &Response<Body>) -> Self {
        let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        Self { status: response.status(), request_id: header("x-request-id"), location: header("location") }
    }

    fn settle(self, name: &CredentialName) -> Result<(), Failure> {
        if self.status.is_success() {
            return Ok(());
        }
        let mut message = format!("Procurify answered {}", self.status);
        if let Some(request_id) = &self.request_id {
            let _ = write!(message, " (x-request-id {request_id})");
        }
        let failure = Failure::new(ExitCode::ApiError, message);
        Err(match (self.status, self.location) {
            (StatusCode::UNAUTHORIZED, _) => {
                failure.hint(format!("a new token was refused as well: procurify-token status {name}"))
            }
            (StatusCode::FORBIDDEN, _) => failure.hint(
                "the user who owns the application lacks a permission; a new token does not change that",
            ),
            (status, Some(location)) if status.is_redirection() => {
                failure.hint(format!("redirects are not followed with a token; this one leads to {location}"))
            }
            _ => failure,
        })
    }
}

fn print_head(response: &Response<Body>) -> Result<(), Failure> {
    let mut head = format!("{:?} {}\n", response.version(), response.status());
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = writeln!(head, "{name}: {}", text::one_line(&value));
    }
    say::line(head)
}

/// Prints a body as it comes, with a line end after it where it has none.
fn stream(mut body: impl Read) -> Result<(), Failure> {
    let mut escaper = io::stdout().is_terminal().then(text::BodyEscaper::default);
    let mut buffer = vec![0; 64 * 1024];
    let mut last = None;
    loop {
        let count = match body.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(cut_short(&error.to_string())),
        };
        let Some(byte) = buffer[..count].last() else { break };
        last = Some(*byte);
        match &mut escaper {
            Some(escaper) => say::bytes(escaper.push(&buffer[..count]).as_bytes())?,
            None => say::bytes(&buffer[..count])?,
        }
    }
    if let Some(escaper) = escaper {
        say::bytes(escaper.finish().as_bytes())?;
    }
    if last.is_some_and(|byte| byte != b'\n') { say::bytes(b"\n") } else { Ok(()) }
}

fn data(argument: &OsStr) -> Result<Vec<u8>, Failure> {
    let bytes = argument.as_encoded_bytes();
    let unreadable = |what: &str, error: io::Error| Failure::new(ExitCode::Usage, format!("{what}: {error}"));
    match bytes.strip_prefix(b"@") {
        None => Ok(bytes.to_vec()),
        Some(b"-") => {
            let mut data = Vec::new();
            io::stdin().read_to_end(&mut data).map_err(|error| unreadable("stdin", error))?;
            Ok(data)
        }
        Some(_) => {
            let argument = argument
                .to_str()
                .ok_or_else(|| Failure::new(ExitCode::Usage, "this file name is not text"))?;
            let path = Path::new(argument.strip_prefix('@').unwrap_or(argument));
            fs::read(path).map_err(|error| unreadable(&path.display().to_string(), error))
        }
    }
}

fn cut_short(why: &str) -> Failure {
    Failure::new(ExitCode::Unavailable, format!("the answer ended before it was whole: {why}"))
}

const LARGEST_PAGE: u64 = 64 * 1024 * 1024;
