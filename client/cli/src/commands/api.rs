//! `api`: requests with both headers set. A token that the API refuses is replaced once, and where it asks for patience it is waited
//! for within the deadline; the body goes to stdout as it comes.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Method, Response, StatusCode};
use procurify_token_client::TokenGrant;
use procurify_token_protocol::CredentialName;
use ureq::Body;

use super::obtain;
use super::pages::Pages;
use super::printing::{print_head, printed};
use super::{extra_ca, fields};
use crate::args::{ApiArgs, TokenArgs};
use crate::connect::{Connection, Daemon};
use crate::exit::{ExitCode, Failure};
use crate::http::Api;
use crate::{clock, say, when};

pub(super) fn run(daemon: &Daemon, args: ApiArgs) -> Result<(), Failure> {
    let (mut path, mut body) = (args.path, args.data.as_deref().map(data).transpose()?);
    let mut method = args.method;
    if let Some(fields) = fields::read(&args.fields)? {
        if matches!(method, Some(Method::GET | Method::HEAD)) {
            path = fields::in_query(&path, &fields);
        } else if args.paginate {
            return Err(Failure::new(ExitCode::Usage, "pages are asked for without a body")
                .hint("with -X GET the fields go into the query"));
        } else {
            body = Some(serde_json::to_vec(&fields).expect("a map of texts is always JSON"));
        }
    }
    let method = method.take().unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
    let mut caller = Caller::new(daemon.connect()?, args.name, args.token)?;
    let url = caller.grant.base_url.join(&path);
    let url = url.map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))?;
    if args.paginate {
        return every_page(&mut caller, &method, url);
    }
    let response = caller.send(&method, &url, body.as_deref())?;
    if args.include {
        print_head(&response)?;
    }
    let verdict = Verdict::of(&response);
    printed(response.into_body().into_reader()).finish()?;
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
        let grant = obtain::token(&mut daemon, &name, &wishes)?;
        let extra_ca = extra_ca(&mut daemon, wishes.deadline)?;
        Ok(Self { api: Api::new(&grant.base_url, extra_ca.as_deref())?, daemon, name, wishes, grant })
    }

    fn send(&mut self, method: &Method, url: &str, body: Option<&[u8]>) -> Result<Response<Body>, Failure> {
        let left = clock::countdown(self.wishes.deadline);
        loop {
            let response = self.send_now(method, url, body)?;
            // A request that was put off has not been carried out, so it may be sent again whatever it is.
            let pause = put_off(&response).map(|pause| pause.max(SHORTEST_PAUSE));
            let Some(pause) = pause.filter(|pause| *pause < left()) else { return Ok(response) };
            say::note(&format!(
                "{} asks for patience (HTTP 429): waiting for {}",
                self.grant.base_url,
                when::span(pause)
            ));
            clock::pause(pause);
        }
    }

    fn send_now(
        &mut self,
        method: &Method,
        url: &str,
        body: Option<&[u8]>,
    ) -> Result<Response<Body>, Failure> {
        let response = self.api.send(method, url, &self.grant, body)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let refused = self.grant.token.fingerprint();
        self.daemon
            .ask(self.wishes.deadline, |client, _| client.invalidate_fingerprint(&self.name, refused))?;
        self.grant = obtain::token(&mut self.daemon, &self.name, &self.wishes)
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
        let mut page = printed(response.into_body().into_reader());
        let next = pages.next(&address, &mut page);
        page.finish()?;
        verdict.settle(&caller.name)?;
        url = next?;
    }
    Ok(())
}

/// For how long the API puts a request off, where it says so (RFC 6585 §4).
fn put_off(response: &Response<Body>) -> Option<Duration> {
    let after =
        response.headers().get(RETRY_AFTER).filter(|_| response.status() == StatusCode::TOO_MANY_REQUESTS)?;
    pause_of(after.to_str().ok()?, clock::now().into())
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn pause_of(after: &str, now: std::time::SystemTime) -> Option<Duration> {
    match after.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(after.trim()).ok()?.duration_since(now).unwrap_or_default()),
    }
}

/// What the status means, kept while the body goes out.
struct Verdict {
    status: StatusCode,
    request_id: Option<String>,
    location: Option<String>,
    put_off: Option<Duration>,
}

impl Verdict {
    fn of(response: &Response<Body>) -> Self {
        let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (request_id, location) = (header("x-request-id"), header("location"));
        Self { status: response.status(), request_id, location, put_off: put_off(response) }
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
            (StatusCode::UNAUTHORIZED, _) => failure.hint(format!(
                "so was another token, unless none could be asked for: procurify-token status {name}"
            )),
            (StatusCode::FORBIDDEN, _) => failure.hint(
                "the user who owns the application lacks a permission; a new token does not change that",
            ),
            (status, Some(location)) if status.is_redirection() => {
                failure.hint(format!("redirects are not followed with a token; this one leads to {location}"))
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => match self.put_off {
                Some(pause) => failure.hint(format!(
                    "it asks for {} of patience: --deadline with a longer time waits for that",
                    when::span(pause)
                )),
                None => failure.hint("it does not say for how long to wait"),
            },
            _ => failure,
        })
    }
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

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("120", Some(120))]
    #[case(" 0 ", Some(0))]
    #[case("Thu, 01 Jan 1970 00:02:00 GMT", Some(60))]
    #[case("Thursday, 01-Jan-70 00:02:00 GMT", Some(60))]
    #[case("Thu Jan  1 00:02:00 1970", Some(60))]
    #[case("Thu, 01 Jan 1970 00:00:00 GMT", Some(0))]
    #[case("soon", None)]
    #[case("-5", None)]
    fn patience_is_asked_for_in_seconds_or_until_a_date(#[case] after: &str, #[case] seconds: Option<u64>) {
        let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        assert_eq!(pause_of(after, now), seconds.map(Duration::from_secs));
    }
}
