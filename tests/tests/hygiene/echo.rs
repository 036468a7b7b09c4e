//! A token endpoint at its worst: it says everything it was told again, wherever there is room in an answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Listens until the test ends.
pub(crate) struct Echo {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Echo {
    /// One that knows this secret.
    pub(crate) fn of(secret: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let asked = Arc::new(AtomicUsize::new(0));
        let (secret, counter) = (secret.to_owned(), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                answer(stream, &secret, number);
            }
        });
        Self { address, asked }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// How many different answers there are.
pub(crate) const ANSWERS: usize = 9;

fn answer(mut stream: TcpStream, secret: &str, number: usize) {
    let mut reader = BufReader::new(&stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        line.clear();
    }
    let mut asked = vec![0; length];
    let _ = reader.read_exact(&mut asked);
    let asked = String::from_utf8(asked).expect("the request is text");
    assert!(asked.contains(secret), "the secret was not even sent");
    let (status, more, body) = match number % ANSWERS {
        0 => ("401 Unauthorized", String::new(), asked),
        1 => (
            "400 Bad Request",
            String::new(),
            format!(r#"{{"error":"{secret}","error_description":"{secret}"}}"#),
        ),
        2 => (
            "400 Bad Request",
            String::new(),
            format!(r#"{{"error":"invalid_client","error_uri":"{secret}"}}"#),
        ),
        3 => {
            ("307 Temporary Redirect", format!("location: http://127.0.0.1:1/{secret}?s={secret}\r\n"), asked)
        }
        4 => (
            "429 Too Many Requests",
            format!("retry-after: {secret}\r\nx-ratelimit-reset: {secret}\r\n"),
            asked,
        ),
        5 => ("503 Service Unavailable", format!("retry-after: {secret}\r\ndate: {secret}\r\n"), asked),
        6 => ("200 OK", String::new(), format!("<html>{secret}</html>")),
        7 => ("200 OK", String::new(), granted(&format!("urn:procurify-api:domain:{secret}"), "Bearer")),
        _ => ("200 OK", format!("content-encoding: {secret}\r\n"), granted(secret, secret)),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: {secret}\r\nset-cookie: {secret}\r\n\
         www-authenticate: Bearer realm=\"{secret}\"\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes());
}

fn granted(scope: &str, kind: &str) -> String {
    format!(r#"{{"access_token":"abc.def.ghi","token_type":"{kind}","expires_in":86400,"scope":"{scope}"}}"#)
}
