//! The three ways in.

use std::io::{Read, Write};
use std::thread;

use procurify_sandbox::{Config, DomainConfig, Door, Fault, Knobs, Sandbox};

use crate::support::{Answer, acme, ask, dial, exchange, plain, read_head, request, right_body, tls};

fn token_request(path: &str, host: &str) -> Vec<u8> {
    let headers = [("content-type", "application/json")];
    request("POST", path, host, &headers, &right_body().to_string())
}

#[test]
fn the_proxy_leads_to_the_real_url_under_the_sandboxs_own_certificate() {
    let sandbox = acme(Knobs::default());
    let mut stream = dial(sandbox.http_addr());
    stream.write_all(b"CONNECT acme.procurify.com:443 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200"));
    let mut stream = tls(&sandbox, stream, "acme.procurify.com");
    let token = exchange(&mut stream, &token_request("/oauth/token", "acme.procurify.com")).unwrap().token();
    assert!(!token.is_empty());
    assert_eq!(sandbox.ledger().token_requests("acme")[0].head.door, Door::Proxy);
}

#[test]
fn the_proxy_refuses_every_other_place() {
    let sandbox = acme(Knobs::default());
    for place in [
        "globex.procurify.com:443",
        "acme.procurify.com:80",
        "acme.procurify.com.evil.com:443",
        "a.acme.procurify.com:443",
        "procurify.com:443",
        "127.0.0.1:443",
    ] {
        let mut stream = dial(sandbox.http_addr());
        write!(stream, "CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n\r\n").unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 403"), "{place}");
    }
}

#[test]
fn a_reset_reaches_through_a_tunnel() {
    let sandbox = acme(Knobs::failing(Fault::Reset));
    let mut stream = dial(sandbox.http_addr());
    stream.write_all(b"CONNECT acme.procurify.com:443 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    read_head(&mut stream);
    let mut stream = tls(&sandbox, stream, "acme.procurify.com");
    let error = exchange(&mut stream, &token_request("/oauth/token", "x")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn tls_serves_localhost_the_loopback_addresses_and_hosts_of_domains() {
    let sandbox = acme(Knobs::default());
    let ask = |name: &'static str, path: &str| -> Answer {
        let mut stream = tls(&sandbox, dial(sandbox.https_addr()), name);
        exchange(&mut stream, &token_request(path, name)).unwrap()
    };
    for name in ["localhost", "127.0.0.1", "::1"] {
        ask(name, "/d/acme/oauth/token").token();
    }
    for name in ["acme.procurify.com", "acme.localhost"] {
        ask(name, "/oauth/token").token();
    }
    let entry = sandbox.ledger().token_requests("acme").pop().unwrap();
    assert_eq!((entry.head.door, entry.head.path.as_str()), (Door::Tls, "/oauth/token"));
    assert!(sandbox.base_url("acme").ends_with("/d/acme"));
}

#[test]
fn another_hosts_certificate_is_not_to_be_had() {
    let sandbox = acme(Knobs::default());
    let mut stream = tls(&sandbox, dial(sandbox.https_addr()), "globex.procurify.com");
    assert!(exchange(&mut stream, &token_request("/d/acme/oauth/token", "x")).is_err());
}

#[test]
fn plain_http_goes_by_path_or_host() {
    let sandbox = acme(Knobs::default());
    let ask = |path: &str, host: &str| {
        exchange(&mut dial(sandbox.http_addr()), &token_request(path, host)).unwrap().status
    };
    assert_eq!(ask("/d/acme/oauth/token", "127.0.0.1"), 200);
    assert_eq!(ask("/oauth/token", "Acme.Procurify.com:80"), 200);
    assert_eq!(ask("http://acme.procurify.com/oauth/token", "elsewhere"), 200);
    assert_eq!(ask("/oauth/token", "127.0.0.1"), 404);
    assert_eq!(ask("/d/globex/oauth/token", "127.0.0.1"), 404);
    assert_eq!(ask("/d/acme", "127.0.0.1"), 404);
}

#[test]
fn garbage_hurts_nobody_else() {
    let sandbox = acme(Knobs::default());
    let silent = dial(sandbox.http_addr());
    let garbage: [&[u8]; 7] = [
        b"\0\xff\xfe garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\n\r\n",
        b"CONNECT :443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /d/ HTTP/1.1\r\nconnection: close\r\nhost: \xff\r\n\r\n",
        b"GET /d/acme/api/v3/users/me/?%%%&=&page=%ff HTTP/1.1\r\nconnection: close\r\nhost: []:x\r\nauthorization: Bearer\r\n\r\n",
        b"POST /d/acme/oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ];
    for bytes in garbage {
        for address in [sandbox.http_addr(), sandbox.https_addr()] {
            let mut stream = dial(address);
            stream.write_all(bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Whatever it says, or a reset: only that it ends.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(ask(&sandbox).unwrap().status, 200);
    drop(silent);
}

#[test]
fn two_thousand_domains_and_many_callers_are_served() {
    let sandbox = Sandbox::spawn(Config::from_flags(Vec::new(), 2_000)).unwrap();
    let name = |n: u32| format!("load-{n:05}");
    thread::scope(|scope| {
        for caller in 0..8 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for n in (1 + caller..=400).step_by(8) {
                    let domain = name(n * 5);
                    let mut body = right_body();
                    body["client_id"] = format!("sandbox-{domain}").into();
                    body["client_secret"] = format!("sandbox-{domain}-secret").into();
                    let path = format!("/d/{domain}/oauth/token");
                    let headers = [("content-type", "application/json")];
                    plain(sandbox.http_addr(), "POST", &path, &headers, &body.to_string()).unwrap().token();
                }
            });
        }
    });
    for n in 1..=400 {
        assert_eq!(sandbox.ledger().issued(&name(n * 5)), 1);
    }
}

#[test]
fn a_port_that_is_taken_and_a_bad_name_are_errors() {
    let sandbox = acme(Knobs::default());
    let taken = Config { http_port: sandbox.http_addr().port(), ..Config::default() };
    assert!(Sandbox::spawn(taken).is_err());
    let mut bad = Config::default();
    bad.domains.push(DomainConfig::named("not a domain"));
    assert!(Sandbox::spawn(bad).is_err());
}

#[test]
fn a_stopped_sandbox_gives_its_ports_back() {
    let sandbox = acme(Knobs::default());
    let address = sandbox.http_addr();
    drop(sandbox);
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn it_runs_on_the_callers_runtime_too() {
    let sandbox = Sandbox::start(Config::of(&["acme"])).await.unwrap();
    let controls = (*sandbox).clone();
    let asked = tokio::task::spawn_blocking(move || ask(&controls).unwrap().status);
    assert_eq!(asked.await.unwrap(), 200);
    let address = sandbox.http_addr();
    sandbox.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
