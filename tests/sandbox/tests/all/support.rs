//! A small blocking HTTP client that shows what really came over the wire.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use procurify_sandbox::{Config, Controls, Knobs, Running, Sandbox};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

/// An answer, or what there was of one.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether all of the announced body came.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["access_token"].as_str().unwrap().to_owned()
    }
}

/// Acme alone, with these knobs.
pub(crate) fn acme(knobs: Knobs) -> Running {
    let sandbox = Sandbox::spawn(Config::of(&["acme"])).unwrap();
    sandbox.set("acme", knobs).unwrap();
    sandbox
}

/// The documented token request for acme.
pub(crate) fn right_body() -> Value {
    json!({
        "client_id": "sandbox-acme",
        "client_secret": "sandbox-acme-secret",
        "audience": "https://api.procurify.com/",
        "grant_type": "client_credentials",
    })
}

/// Asks for a token through the plain door.
pub(crate) fn ask(sandbox: &Controls) -> io::Result<Answer> {
    ask_with(sandbox, "application/json", &right_body().to_string())
}

pub(crate) fn ask_with(sandbox: &Controls, content_type: &str, body: &str) -> io::Result<Answer> {
    let headers = [("content-type", content_type)];
    plain(sandbox.http_addr(), "POST", "/d/acme/oauth/token", &headers, body)
}

/// Calls acme's API through the plain door, with both headers.
pub(crate) fn call(sandbox: &Controls, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-procurify-client", "api")];
    plain(sandbox.http_addr(), method, &format!("/d/acme{path}"), &headers, body).unwrap()
}

/// One request on a connection of its own.
pub(crate) fn plain(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    exchange(&mut dial(address), &request(method, path, "localhost", headers, body))
}

pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    // Only so that a broken sandbox fails the test instead of stopping it.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

pub(crate) fn request(method: &str, path: &str, host: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let length = body.len();
    let headers: String = headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// Sends the bytes and reads until the other side is done.
pub(crate) fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<Answer> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    answer(&bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Opens TLS over any stream, trusting the sandbox's CA alone.
pub(crate) fn tls<S: Read + Write>(
    sandbox: &Controls,
    stream: S,
    name: &'static str,
) -> StreamOwned<ClientConnection, S> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// The head of an answer, up to and with the empty line.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn answer(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, v)| v);
    let (body, complete) = match value("content-length") {
        _ if value("transfer-encoding").is_some() => unchunked(rest),
        Some(length) => (rest.to_vec(), length.parse() == Ok(rest.len())),
        None => (rest.to_vec(), true),
    };
    Some(Answer { status, headers, body, complete })
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (body, false);
        };
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}
