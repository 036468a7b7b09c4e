//! The token request as it is sent, in the two encodings that a credential can ask for.
//!
//! The plaintext of the secret is written once, into one buffer of exactly the right size that is wiped when hyper lets
//! go of it.

use std::io::{self, Write};

use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use procurify_token_protocol::BodyEncoding;
use secrecy::ExposeSecret;
use serde::Serialize;
use zeroize::Zeroizing;

use super::TokenRequest;

/// The POST as Procurify documents it, towards `target`, which is the token URL of the request.
pub(super) fn post(request: &TokenRequest, target: &Uri) -> Request<Full<Bytes>> {
    let content_type = match request.body_encoding {
        BodyEncoding::Json => "application/json",
        BodyEncoding::Form => "application/x-www-form-urlencoded",
    };
    Request::post(target.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, target.authority().map_or("", |authority| authority.as_str()))
        .header(USER_AGENT, concat!("procurify-tokend/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from_owner(encoded(request))))
        .expect("the parts of a parsed URL are good header values")
}

#[expect(clippy::disallowed_methods, reason = "the one place where the client secret is written to be sent")]
fn encoded(request: &TokenRequest) -> Zeroizing<Vec<u8>> {
    let members = Members {
        client_id: request.client_id.as_str(),
        client_secret: request.client_secret.secret().expose_secret(),
        audience: request.audience.as_str(),
        grant_type: "client_credentials",
    };
    match request.body_encoding {
        BodyEncoding::Json => exactly_sized(|out| Ok(serde_json::to_writer(out, &members)?)),
        BodyEncoding::Form => exactly_sized(|out| write_form(out, &members)),
    }
}

#[derive(Serialize)]
struct Members<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    audience: &'a str,
    grant_type: &'a str,
}

/// Writes twice, the first time only to count: a buffer that grows would leave copies behind.
fn exactly_sized(write: impl Fn(&mut dyn Write) -> io::Result<()>) -> Zeroizing<Vec<u8>> {
    let mut length = Length(0);
    write(&mut length).expect("counting does not fail");
    let mut buffer = Zeroizing::new(Vec::with_capacity(length.0));
    write(&mut *buffer).expect("writing to memory does not fail");
    buffer
}

struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// RFC 6749, appendix B.
fn write_form(out: &mut dyn Write, members: &Members<'_>) -> io::Result<()> {
    write_value(out, "client_id=", members.client_id)?;
    write_value(out, "&client_secret=", members.client_secret)?;
    write_value(out, "&audience=", members.audience)?;
    write_value(out, "&grant_type=", members.grant_type)
}

fn write_value(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    out.write_all(name.as_bytes())?;
    value.bytes().try_for_each(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.write_all(&[byte]),
        b' ' => out.write_all(b"+"),
        _ => write!(out, "%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::classify::tests::request;
    use rstest::rstest;

    fn request_with(secret: &str, body_encoding: BodyEncoding) -> TokenRequest {
        let client_secret = procurify_token_protocol::ClientSecret::new(&secret.into()).unwrap();
        TokenRequest { client_secret, body_encoding, ..request() }
    }

    #[rstest]
    #[case(
        BodyEncoding::Json,
        r#"{"client_id":"an-id","client_secret":"a\"b\\ü&=%+","audience":"https://api.procurify.com/","grant_type":"client_credentials"}"#
    )]
    #[case(
        BodyEncoding::Form,
        "client_id=an-id&client_secret=a%22b%5C%C3%BC%26%3D%25%2B&audience=https%3A%2F%2Fapi.procurify.com%2F\
         &grant_type=client_credentials"
    )]
    fn the_members_are_escaped_into_a_buffer_without_slack(
        #[case] encoding: BodyEncoding,
        #[case] body: &str,
    ) {
        let buffer = encoded(&request_with("a\"b\\ü&=%+", encoding));
        assert_eq!(std::str::from_utf8(&buffer).unwrap(), body);
        assert_eq!(buffer.len(), buffer.capacity());
    }

    #[test]
    fn the_head_is_as_documented_and_asks_for_no_compression() {
        let target: Uri = "https://acme.procurify.com:8443/oauth/token?x=1".parse().unwrap();
        let post = post(&request_with("abc", BodyEncoding::Json), &target);
        let headers: Vec<_> =
            post.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!((post.method().as_str(), post.uri().to_string().as_str()), ("POST", "/oauth/token?x=1"));
        assert_eq!(
            headers,
            [
                ("host", "acme.procurify.com:8443"),
                ("user-agent", concat!("procurify-tokend/", env!("CARGO_PKG_VERSION"))),
                ("accept", "application/json"),
                ("content-type", "application/json"),
            ]
        );
    }
}
