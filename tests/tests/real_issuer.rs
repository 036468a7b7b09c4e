//! The whole path against a server that nobody here wrote: npm's `oauth2-mock-server`, which speaks the JSON bodies of
//! Procurify's token endpoint. `.ci/run` installs it; by hand: `npm ci --prefix tests/real-issuer`.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use procurify_token_tests::{Home, PATIENCE, skipped_unless_required};
use serde_json::{Value, json};

#[test]
fn enrol_get_refresh_and_restart_against_a_server_that_is_not_ours() {
    let Some(mut issuer) = Issuer::start() else { return };
    let home = Home::new(&[]);
    let daemon = home.start();
    let base = format!("http://127.0.0.1:{}", issuer.port);
    let token_url = format!("{base}/token");

    let words = ["add", "acme", "--client-id", "foreign-id", "--secret-stdin", "--description", "not ours"];
    let addresses = ["--base-url", &base, "--token-url", &token_url];
    let refused = home.command(words.iter().chain(&addresses)).stdin("foreign-secret").run();
    let _ = refused.fails_with(2).saying(&["--plain-http"]);
    let enrolled =
        home.command(words.iter().chain(&addresses).chain(&["--plain-http"])).stdin("foreign-secret");
    let enrolled = enrolled.run().succeeds();
    assert!(!format!("{enrolled:?}").contains("foreign-secret"), "the command repeats the secret");
    let request = json!({
        "id": "foreign-id",
        "audience": "https://api.procurify.com/",
        "grant": "client_credentials",
        "members": ["audience", "client_id", "client_secret", "grant_type"],
        "status": 200,
    });
    assert_eq!(issuer.line(), request);

    let first = token(&home);
    assert_eq!(
        claim(&first, "iss"),
        format!("http://localhost:{}", issuer.port),
        "it is the server's own token"
    );
    assert_eq!(token(&home), first);

    let _ = home.command(["refresh", "acme"]).run().succeeds();
    let second = token(&home);
    assert_ne!(second, first);
    assert_eq!(issuer.line(), request);

    daemon.kill9();
    let daemon = home.start();
    assert_eq!(token(&home), second);
    assert!(daemon.stop().success());
    let _daemon = home.start();
    assert_eq!(token(&home), second);
    assert_eq!(issuer.rest(), Vec::<Value>::new(), "a token was asked for that was not needed");
}

fn token(home: &Home) -> String {
    home.command(["get", "acme"]).run().succeeds().line().to_owned()
}

/// A claim of a JWT, unverified.
fn claim(token: &str, name: &str) -> String {
    let payload = token.split('.').nth(1).expect("a JWT has three parts");
    let claims: Value = serde_json::from_slice(&decoded(payload)).expect("a JWT's payload is JSON");
    claims[name].as_str().expect("the claim is there").to_owned()
}

/// base64url without padding (RFC 4648 §5).
fn decoded(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes() {
        let value = ALPHABET.iter().position(|&known| known == digit).expect("a digit of base64url");
        (held, bits) = (held << 6 | u32::try_from(value).expect("below 64"), bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).expect("a byte"));
        }
    }
    bytes
}

/// The server, which ends with this value.
struct Issuer {
    child: Child,
    lines: Receiver<Value>,
    port: u64,
}

impl Issuer {
    /// `None`, said loudly, where it is not installed; a failure where everything has to run.
    fn start() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("real-issuer");
        if let Err(why) = installed(&folder) {
            skipped_unless_required("real_issuer", &why);
            return None;
        }
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node can be run");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout is a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut issuer = Self { child, lines, port: 0 };
        issuer.port = issuer.line()["port"].as_u64().expect("it says where it listens");
        Some(issuer)
    }

    /// The next thing that it says.
    fn line(&mut self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("the server says something")
    }

    /// Everything that it says until it ends, as it is told to now.
    fn rest(&mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        self.child.wait().expect("a child can be waited for");
        self.lines.iter().collect()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed(folder: &Path) -> Result<(), String> {
    let on_path = |folder: PathBuf| folder.join("node").is_file();
    if !env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(on_path)) {
        return Err("there is no node on this machine".to_owned());
    }
    if !folder.join("node_modules/oauth2-mock-server").is_dir() {
        return Err(
            "oauth2-mock-server is not installed; to run it: npm ci --prefix tests/real-issuer".to_owned()
        );
    }
    Ok(())
}
