//! The network half against small servers of a few bytes each.
//!
//! Deadlines are tested by stopping tokio's clock once the server holds the connection: the runtime then has nothing to
//! wait for but the deadline, and moves straight to it.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use procurify_token_protocol::{BodyEncoding, RequestId};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rstest::rstest;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use secrecy::ExposeSecret;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::issuer::classify::tests::request;

const GOOD: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"access_token\":\"a-token\",\"token_type\":\"Bearer\"}  ";

/// A CA, and a server certificate that it signed.
struct Trust {
    ca: NamedTempFile,
    acceptor: TlsAcceptor,
}

impl Trust {
    fn in_server_called(name: &str) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Self { ca: file(&ca_certificate.pem()), acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    fn issuer(&self, proxy: Option<&str>) -> HttpsIssuer {
        let proxies =
            Proxies::from_variables(|name| proxy.filter(|_| name == "HTTPS_PROXY").map(OsString::from));
        HttpsIssuer::new(IssuerSettings {
            extra_ca: Some(self.ca.path().to_owned()),
            proxies: proxies.unwrap(),
            ..IssuerSettings::default()
        })
        .unwrap()
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn issuer() -> HttpsIssuer {
    Trust::in_server_called("localhost").issuer(None)
}

fn request_to(url: &str) -> TokenRequest {
    TokenRequest { token_url: url.parse().unwrap(), ..request() }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Takes one request, writes `answer`, closes, and tells what the request was.
async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, JoinHandle<String>) {
    let (listener, address) = listener().await;
    let answer = answer.into();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        serve(&mut stream, &answer).await
    });
    (address, served)
}

async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &[u8]) -> String {
    let request = received(stream).await;
    // The client may have heard enough before the end.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
    request
}

/// Reads a request up to the end of its body.
async fn received(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = String::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "the client left in the middle: {request}");
        request.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
                return request;
            }
        }
    }
}

async fn plain(answer: impl Into<Vec<u8>>) -> Result<Issued, Failure> {
    let (address, _served) = answering(answer).await;
    issuer().issue(request_to(&format!("http://{address}/oauth/token"))).await
}

#[rstest]
#[case::json(BodyEncoding::Json, "application/json", r#","client_secret":"canary-secret","#)]
#[case::form(BodyEncoding::Form, "application/x-www-form-urlencoded", "&client_secret=canary-secret&")]
#[tokio::test]
async fn one_post_brings_the_token(
    #[case] body_encoding: BodyEncoding,
    #[case] content_type: &str,
    #[case] secret: &str,
) {
    let (address, served) = answering(GOOD).await;
    let request = request_to(&format!("http://localhost:{}/oauth/token", address.port()));
    let issued = issuer().issue(TokenRequest { body_encoding, ..request }).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test compares it")]
    let token = issued.access_token.expose_secret();
    assert_eq!(token, "a-token");
    let seen = served.await.unwrap();
    assert!(seen.starts_with("POST /oauth/token HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: localhost:{}\r\n", address.port())), "{seen}");
    assert!(seen.contains(&format!("content-type: {content_type}\r\n")), "{seen}");
    assert!(!seen.contains("encoding: "), "{seen}");
    assert!(seen.contains(secret), "{seen}");
}

#[tokio::test]
async fn tls_is_trusted_through_the_extra_ca_alone() {
    let trust = Trust::in_server_called("localhost");
    for (issuer, code) in [
        (trust.issuer(None), None),
        (Trust::in_server_called("localhost").issuer(None), Some(FailureCode::UNTRUSTED)),
    ] {
        let (listener, address) = listener().await;
        let acceptor = trust.acceptor.clone();
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            Some(serve(&mut acceptor.accept(stream).await.ok()?, GOOD.as_bytes()).await)
        });
        let outcome = issuer.issue(request_to(&format!("https://localhost:{}/", address.port()))).await;
        assert_eq!(outcome.err(), code.map(Failure::from));
        assert_eq!(served.await.unwrap().is_some(), code.is_none());
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let trust = Trust::in_server_called("other.example");
    let (listener, address) = listener().await;
    let acceptor = trust.acceptor.clone();
    let served =
        tokio::spawn(async move { acceptor.accept(listener.accept().await.unwrap().0).await.is_ok() });
    let request = request_to(&format!("https://localhost:{}/", address.port()));
    assert_eq!(trust.issuer(None).issue(request).await.unwrap_err().code, FailureCode::UNTRUSTED);
    assert!(!served.await.unwrap());
}

#[tokio::test]
async fn a_server_without_tls_never_sees_the_secret() {
    let (listener, address) = listener().await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut seen = Vec::new();
        let _ = stream.read_to_end(&mut seen).await;
        String::from_utf8_lossy(&seen).into_owned()
    });
    let request = request_to(&format!("https://{address}/"));
    assert_eq!(issuer().issue(request).await.unwrap_err().code, FailureCode::NOT_CONNECTED);
    assert!(!served.await.unwrap().contains("canary"));
}

#[rstest]
#[case::truncated(
    "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"access_token\":",
    FailureCode::INTERRUPTED
)]
#[case::half_a_chunk(
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{\"acc",
    FailureCode::INTERRUPTED
)]
#[case::half_a_head("HTTP/1.1 200 OK\r\ncontent-le", FailureCode::INTERRUPTED)]
#[case::nothing("", FailureCode::INTERRUPTED)]
#[case::not_http("220 mail.example ESMTP\r\n", FailureCode::NOT_OAUTH)]
#[case::redirect(
    "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    FailureCode::REDIRECTED
)]
#[case::endless_header(format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(1_000_000)), FailureCode::NOT_OAUTH)]
#[case::announced("HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n", FailureCode::TOO_LARGE)]
#[case::endless(
    format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n200000\r\n{}", " ".repeat(0x0010_0001)),
    FailureCode::TOO_LARGE
)]
#[tokio::test]
async fn broken_answers(#[case] answer: impl Into<Vec<u8>>, #[case] code: FailureCode) {
    assert_eq!(plain(answer).await.unwrap_err().code, code);
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_still_read() {
    let body = r#"{"access_token":"a-token","token_type":"Bearer"}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n{body}{}",
        " ".repeat(MAX_BODY - body.len())
    );
    assert!(plain(answer).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_the_status_decides_is_not_read_to_its_end() {
    let answer = "HTTP/1.1 401 Unauthorized\r\nx-request-id: r-1\r\ncontent-length: 1048577\r\n\r\n{\"data\":{\"client_s";
    let failure = plain(answer).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::CREDENTIALS_REJECTED);
    assert_eq!(failure.request_id, RequestId::from_header("r-1"));
}

#[tokio::test]
async fn a_reset_is_an_interruption() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
        // Closing with the request unread resets the connection.
        drop(stream);
    });
    let failure = issuer().issue(request_to(&format!("http://{address}/"))).await.unwrap_err();
    assert_eq!(failure, FailureCode::INTERRUPTED.into());
}

#[tokio::test]
async fn a_closed_port_is_no_connection() {
    let (listener, address) = listener().await;
    drop(listener);
    let failure = issuer().issue(request_to(&format!("https://{address}/"))).await.unwrap_err();
    assert_eq!(failure, FailureCode::NOT_CONNECTED.into());
}

#[tokio::test]
async fn a_name_nobody_has_is_not_resolved() {
    // RFC 6761 §6.4: `invalid` never exists.
    let failure = issuer().issue(request_to("https://acme.invalid/oauth/token")).await.unwrap_err();
    assert_eq!(failure, FailureCode::NAME_NOT_RESOLVED.into());
}

/// Holds the first connection without a word and stops the clock once something arrived on it.
async fn hanging() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
        time::pause();
        std::future::pending::<()>().await;
        drop(stream);
    });
    address
}

#[rstest]
#[case::answer("http", 30)]
#[case::tls_handshake("https", 10)]
#[tokio::test]
async fn a_silent_server_is_given_up(#[case] scheme: &str, #[case] seconds: u64) {
    let request = request_to(&format!("{scheme}://{}/", hanging().await));
    let issuer = issuer();
    let begun = Instant::now();
    assert_eq!(issuer.issue(request).await.unwrap_err(), FailureCode::TIMED_OUT.into());
    assert_eq!((begun.elapsed() + Duration::from_millis(500)).as_secs(), seconds);
}

#[tokio::test]
async fn dropping_the_future_closes_the_connection() {
    let (listener, address) = listener().await;
    let issuer = issuer();
    let asking = tokio::spawn(async move { issuer.issue(request_to(&format!("http://{address}/"))).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    received(&mut stream).await;
    asking.abort();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// Asks through a proxy whose tunnel ends at a server with TLS. Tells the outcome, what `proxy` heard, and what the server
/// heard.
async fn proxied(
    trust: &Trust,
    proxy_url: impl Fn(SocketAddr) -> String,
    proxy: impl AsyncFnOnce(&mut TcpStream) -> String + Send + 'static,
) -> (Result<Issued, Failure>, String, String) {
    let (listener, address) = listener().await;
    let acceptor = trust.acceptor.clone();
    let local = tokio::task::LocalSet::new();
    let served = local.spawn_local(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let told = proxy(&mut stream).await;
        let mut tls = acceptor.accept(stream).await.unwrap();
        (told, serve(&mut tls, GOOD.as_bytes()).await)
    });
    let issuer = trust.issuer(Some(&proxy_url(address)));
    local
        .run_until(async {
            let outcome = issuer.issue(request_to("https://acme.procurify.com/oauth/token")).await;
            let (told, seen) = served.await.unwrap();
            (outcome, told, seen)
        })
        .await
}

#[tokio::test]
async fn a_proxy_carries_the_request_without_seeing_it() {
    let trust = Trust::in_server_called("acme.procurify.com");
    let (outcome, told, seen) = proxied(
        &trust,
        |address| format!("http://user:pass@{address}"),
        async |stream| {
            let told = received(stream).await;
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            told
        },
    )
    .await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(told.starts_with("CONNECT acme.procurify.com:443 HTTP/1.1\r\n"), "{told}");
    assert!(told.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{told}");
    assert!(!told.contains("canary"), "{told}");
    assert!(seen.contains("canary-secret") && seen.contains("host: acme.procurify.com\r\n"), "{seen}");
    assert!(!seen.to_lowercase().contains("proxy-"), "{seen}");
}

#[tokio::test]
async fn a_socks_proxy_resolves_the_name() {
    let trust = Trust::in_server_called("acme.procurify.com");
    let (outcome, told, _) = proxied(
        &trust,
        |address| format!("socks5://{address}"),
        async |stream| {
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting).await.unwrap();
            stream.write_all(&[5, 0]).await.unwrap();
            let mut told = [0; 5 + 18 + 2];
            stream.read_exact(&mut told).await.unwrap();
            stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.unwrap();
            String::from_utf8_lossy(&told).into_owned()
        },
    )
    .await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(told, "\u{5}\u{1}\0\u{3}\u{12}acme.procurify.com\u{1}\u{fffd}");
}

#[rstest]
#[case::refuses("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")]
#[case::cannot("HTTP/1.1 502 Bad Gateway\r\n\r\n")]
#[case::leaves("")]
#[tokio::test]
async fn a_proxy_that_gives_no_tunnel(#[case] answer: &'static str) {
    let (address, served) = answering(answer).await;
    let issuer = Trust::in_server_called("acme.procurify.com").issuer(Some(&format!("http://{address}")));
    let failure = issuer.issue(request_to("https://acme.procurify.com/")).await.unwrap_err();
    assert_eq!(failure, FailureCode::PROXY.into());
    assert!(!served.await.unwrap().contains("canary"));
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_silent() {
    let (listener, closed) = listener().await;
    drop(listener);
    for address in [closed, hanging().await] {
        let issuer = Trust::in_server_called("acme.procurify.com").issuer(Some(&format!("http://{address}")));
        let failure = issuer.issue(request_to("https://acme.procurify.com/")).await.unwrap_err();
        assert_eq!(failure, FailureCode::PROXY.into());
    }
}

#[tokio::test]
async fn plain_http_never_goes_through_a_proxy() {
    let (address, served) = answering(GOOD).await;
    let issuer = Trust::in_server_called("localhost").issuer(Some("http://127.0.0.1:1"));
    assert!(issuer.issue(request_to(&format!("http://{address}/"))).await.is_ok());
    assert!(served.await.unwrap().starts_with("POST / "));
}

#[test]
fn an_extra_ca_that_is_none_is_named() {
    let setup = |path: PathBuf| {
        let settings = IssuerSettings { extra_ca: Some(path), ..IssuerSettings::default() };
        HttpsIssuer::new(settings).err().map(|error| error.to_string()).unwrap()
    };
    assert!(setup("/nowhere/ca.pem".into()).contains("\"/nowhere/ca.pem\" cannot be read"));
    for text in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let file = file(text);
        assert!(setup(file.path().to_owned()).contains(&format!("{:?} holds no certificate", file.path())));
    }
}
