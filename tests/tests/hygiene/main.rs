//! Secrets are planted through every way in, every failure is provoked, and then everything that can be seen is searched
//! for them: all output, all logs at the level `debug`, all files, what `ps` shows. There is nothing to be found.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

mod echo;
mod memory;
mod search;
mod terminal;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use echo::Echo;
use memory::Image;
use procurify_token_tests::protocol::{CredentialName, Fingerprint, Passphrase, Request, UnlockWith};
use procurify_token_tests::sandbox::{
    Application, Config, DomainConfig, ExpiresIn, Fault, Knobs, RetryAfter, Scope, Token, TokenType,
};
use procurify_token_tests::{Gate, Home, PATIENCE, Typed, name, skipped, text_of};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use search::{Canaries, Canary, forms};
use terminal::typed_in;

#[test]
fn no_secret_is_to_be_seen_whatever_way_it_came_in_and_whatever_fails() {
    let mut canaries = Canaries::default();
    let ways = Ways::new(&mut canaries);
    let home = Home::of_sandbox(ways.sandbox());
    home.configure(LOUD);
    let daemon = home.try_start_with(loud(&home)).expect("the daemon starts");

    ways.come_in(&home);
    canaries.must_be_hidden(&home, "after enrolling");
    for domain in ["typed", "piped", "filed", "special", "formed"] {
        let grant = home.client().token(&name(domain)).expect("a token");
        canaries.token(domain, &text_of(&grant));
    }
    use_tokens(&home, &canaries, "piped");
    use_tokens(&home, &canaries, "special");
    canaries.must_be_hidden(&home, "after using tokens");

    misspeak(&home, &ways, &mut canaries);
    babble(&home, &ways.piped.secret);
    canaries.must_be_hidden(&home, "after mistakes and garbage");

    for (domain, canary) in [("piped", &ways.rotated), ("special", &ways.special)] {
        fail_in_every_way(&home, domain, &canary.secret);
        canaries.token(domain, &text_of(&home.client().token(&name(domain)).expect("a token")));
        canaries.must_be_hidden(&home, &format!("after every failure of {domain}"));
    }
    ways.hear_the_echo(&home);
    canaries.must_be_hidden(&home, "after an endpoint that says everything again");

    assert!(daemon.stop().success());
    damage_the_vault(&home);
    canaries.must_be_hidden(&home, "after errors of the vault");
    misconfigure(&home, &mut canaries);
    canaries.must_be_hidden(&home, "after errors of the configuration");

    // A daemon that a command starts keeps a log of its own.
    let typed = home.command(["get", "piped"]).env_remove("PROCURIFY_TOKEN_AUTOSTART");
    hands_out(&home, &canaries, || typed.run());
    assert!(home.state_folder().join("tokend.log").is_file());
    canaries.must_be_hidden(&home, "after a command that starts a daemon");
    let _ = home.command(["stop"]).run().succeeds();
}

#[test]
fn no_passphrase_is_to_be_seen() {
    let mut canaries = Canaries::default();
    let (right, typed, wrong) =
        (Canary::special("passphrase"), Canary::special("typed one"), Canary::new("wrong one"));
    for canary in [&right, &typed, &wrong] {
        canaries.plant(canary);
    }
    for (way, right) in [("--passphrase-stdin", &right), ("--passphrase", &typed)] {
        let home = Home::new(&["acme"]);
        home.configure(LOUD);
        let daemon = home.try_start_with(loud(&home)).expect("the daemon starts");
        let give = |words: &[&str], questions: &[&str], passphrase: &str| {
            if way == "--passphrase-stdin" {
                home.command(words).stdin(format!("{passphrase}\n")).run().code
            } else {
                let answers: Vec<_> = questions.iter().map(|question| (*question, passphrase)).collect();
                at_a_terminal(&home, words, &answers)
            }
        };
        let init = ["init", way, "--no-recovery-code"];
        assert_eq!(give(&init, &["New passphrase: ", "The same again: "], &right.secret), Some(0));
        home.enrol("acme");
        let grant = home.client().token(&name("acme")).expect("a token");
        canaries.token("acme", &text_of(&grant));
        let _ = home.command(["lock"]).run().succeeds();
        assert_eq!(give(&["unlock", way], &["Passphrase: "], &wrong.secret), Some(4));
        let _ = home.command(["get", "acme"]).run().fails_with(4);
        let unlock = UnlockWith::Passphrase(Passphrase::new(wrong.secret.clone().into()).unwrap());
        let _ = home.client().request(&Request::Unlock { key: unlock, generation: 0 }, PATIENCE).unwrap_err();
        assert_eq!(give(&["unlock", way], &["Passphrase: "], &right.secret), Some(0));
        assert_eq!(give(&init, &["New passphrase: ", "The same again: "], &wrong.secret), Some(12));
        let _ = home.command(["unlock", &wrong.secret]).run().ends_with(2);
        canaries.must_be_hidden(&home, way);
        assert!(daemon.stop().success());
        let daemon = home.try_start_with(loud(&home)).expect("the daemon starts");
        assert_eq!(give(&["unlock", way], &["Passphrase: "], &right.secret), Some(0));
        canaries.must_be_hidden(&home, "after a restart");
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_core_of_the_daemon_shows_no_client_secret_no_key_and_once_locked_no_token() {
    memory_hides_everything(
        "a_core_of_the_daemon_shows_no_client_secret_no_key_and_once_locked_no_token",
        "locked",
    );
}

#[test]
fn root_sees_no_client_secret_no_key_and_once_locked_no_token_where_keys_are_in_secret_memory() {
    memory_hides_everything(
        "root_sees_no_client_secret_no_key_and_once_locked_no_token_where_keys_are_in_secret_memory",
        "secret",
    );
}

fn memory_hides_everything(test: &str, kind: &str) {
    if !rustix::process::geteuid().is_root() {
        return skipped(test, "only root reads another process's memory");
    }
    let mut secrets = Canaries::default();
    let (first, second, special) = (Canary::new("first"), Canary::new("second"), Canary::special("odd"));
    let words = Canary::special("words");
    for canary in [&first, &second, &special, &words] {
        secrets.plant(canary);
    }
    let home = Home::of_sandbox(sandbox(&[("acme", &first), ("globex", &special)]));
    home.configure(&format!("{LOUD}\n[security]\nmemory = \"{kind}\""));
    let daemon = home.try_start_with(loud(&home)).expect("the daemon starts");
    if home.command(["status", "--json"]).run().succeeds().json()["daemon"]["memory"] != kind {
        return skipped(test, "this kernel has no such memory");
    }
    let pid = daemon.pid();
    let made = home.command(["init", "--no-confirm"]).run().succeeds();
    let code = made.stdout.lines().find_map(|line| line.strip_prefix("Recovery code: ")).unwrap();
    secrets.plant(&Canary { label: "recovery code".into(), secret: code.to_owned() });
    let key_line = fs::read_to_string(home.config_folder().join("vault.key")).unwrap();
    let key_file = unhex(key_line.split_whitespace().nth(1).unwrap());
    secrets.key("key file", &key_file);
    let vault_key = vault_key(&home, &key_file);
    secrets.key("vault key", &vault_key);
    let audit_key = fs::read(home.data_folder().join("vault.audit-key")).unwrap();
    secrets.key("audit key", &unsealed(&vault_key, "audit key", &[], &audit_key[8..]));

    let add = |name: &str, canary: &Canary| {
        let words = ["add", name, "--client-id", "id", "--secret-stdin", "--description", ""];
        let _ = home.command(words).stdin(canary.secret.as_str()).run().succeeds();
    };
    add("acme", &first);
    add("globex", &special);
    let hides = |image: &Image, canaries: &Canaries, when: &str| {
        let seen = image.places(|bytes| canaries.within(bytes).into_iter().map(str::to_owned).collect());
        assert!(seen.is_empty(), "{when}, the memory shows:\n  {}", seen.join("\n  "));
    };
    let shown = |when: &str, pid: i32| {
        let image = Image::of(pid, kind == "secret");
        assert!(image.bytes() > 1 << 20, "{when}: this is not the memory of a process");
        hides(&image, &secrets, when);
        image
    };
    let token =
        |name: &str| text_of(&home.client().token(&procurify_token_tests::name(name)).expect("a token"));
    let mut tokens = Canaries::default();
    let plain = |tokens: &mut Canaries, text: &str| tokens.token("acme or globex", text);
    plain(&mut tokens, &token("acme"));
    plain(&mut tokens, &token("globex"));
    let image = shown("after enrolling", pid);
    // The search would have found them: what is there, it finds.
    assert!(!image.places(|bytes| tokens.within(bytes).into_iter().map(str::to_owned).collect()).is_empty());

    let _ = home.command(["refresh", "acme"]).run().succeeds();
    home.sandbox().set("acme", Knobs::failing(Fault::Wrapper401)).unwrap();
    let _ = home.command(["refresh", "acme"]).run();
    shown("after a refusal that echoes everything", pid);
    home.sandbox().set("acme", Knobs::default()).unwrap();
    home.sandbox().put_client("acme", application("acme", &second)).unwrap();
    let rotate = ["rotate", "acme", "--client-id", "id", "--secret-stdin"];
    let _ = home.command(rotate).stdin(second.secret.as_str()).run().succeeds();
    plain(&mut tokens, &token("acme"));
    shown("after a rotation", pid);
    let add_words = ["slot", "add", "passphrase", "--passphrase-stdin"];
    let _ = home.command(add_words).stdin(format!("{}\n", words.secret)).run().succeeds();
    shown("after a passphrase was added", pid);

    let _ = home.command(["lock"]).run().succeeds();
    let image = shown("once locked", pid);
    hides(&image, &tokens, "once locked");
    let unlock = ["unlock", "--passphrase-stdin"];
    let _ = home.command(unlock).stdin(format!("{}\n", words.secret)).run().succeeds();
    shown("after a passphrase opened it", pid);
    let _ = home.command(["lock"]).run().succeeds();
    let _ = home.command(["unlock", "--recovery-code-stdin"]).stdin(format!("{code}\n")).run().succeeds();
    shown("after the recovery code opened it", pid);
    assert!(daemon.stop().success());
    let daemon = home.try_start_with(loud(&home)).expect("the daemon starts");
    shown("right after a start", daemon.pid());
    let _ = home.command(["refresh", "acme"]).run();
    shown("after a restart", daemon.pid());
}

#[test]
fn the_search_of_memory_finds_what_lies_on_a_heap() {
    if !rustix::process::geteuid().is_root() {
        return skipped(
            "the_search_of_memory_finds_what_lies_on_a_heap",
            "only root reads another process's memory",
        );
    }
    let mut canaries = Canaries::default();
    let canary = Canary::new("on a heap");
    canaries.plant(&canary);
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "read line; kept=$line$line; echo; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    writeln!(shell.stdin.as_mut().unwrap(), "{}", canary.secret).unwrap();
    let mut line = [0];
    std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut line).unwrap();
    let image = Image::of(i32::try_from(shell.id()).unwrap(), true);
    let found = image.places(|bytes| canaries.within(bytes).into_iter().map(str::to_owned).collect());
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert!(found.iter().any(|place| place.contains("(plain) in [heap]")), "{found:?}");
}

/// The vault key, opened by hand from the first slot, as the vault's documentation has it.
fn vault_key(home: &Home, key_file: &[u8]) -> Vec<u8> {
    let file = fs::read(home.data_folder().join("vault")).unwrap();
    // Behind the magic, format, length and number of slots: kind, id, time, description, and the box of 80 bytes.
    let slot = &file[19..];
    let description = usize::from(u16::from_le_bytes([slot[13], slot[14]]));
    let wrapped = &slot[15 + description + 2..][..80];
    assert_eq!(slot[0], 1, "the first slot is the key file's");
    unsealed(key_file, "slot", &[1], wrapped)
}

/// What is in a sealed box, as the vault's documentation has it.
fn unsealed(key: &[u8], purpose: &str, associated_data: &[u8], sealed: &[u8]) -> Vec<u8> {
    use ring::{aead, hkdf};
    let (salt, sealed) = sealed.split_at(32);
    let info = [&b"procurify-token vault v1 "[..], purpose.as_bytes()];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let mut key = [0; 32];
    prk.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut key)).unwrap();
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &key).unwrap());
    let mut sealed = sealed.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
    key.open_in_place(nonce, aead::Aad::from(associated_data), &mut sealed).unwrap().to_vec()
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn ps_shows_no_secret_while_one_is_on_its_way() {
    let mut canaries = Canaries::default();
    let canary = Canary::new("on its way");
    canaries.plant(&canary);
    let home = Home::of_sandbox(sandbox(&[("acme", &canary)]));
    let gate = Gate::before(home.sandbox().http_addr());
    let home = home.behind(gate.proxy_url());
    let _daemon = home.start();
    let words = ["add", "acme", "--client-id", "id", "--secret-stdin", "--description", ""];
    let mut adding = home.command(words).stdin(canary.secret.as_str()).spawn();
    gate.await_knocks(1);
    let processes = home.processes();
    assert!(processes.len() >= 2, "the daemon and the command run: {processes:?}");
    canaries.must_be_hidden(&home, "while the secret is tried");
    gate.open();
    assert!(adding.wait().unwrap().success());
    canaries.must_be_hidden(&home, "once it was tried");
}

#[test]
fn a_crash_leaves_no_core_behind() {
    let mut canaries = Canaries::default();
    let canary = Canary::new("in a core");
    canaries.plant(&canary);
    // As where a developer, or a distribution, wants cores of everything.
    let most = rustix::process::getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).expect("up to one's own maximum");
    assert!(leaves_core(Command::new("sleep").arg("600")), "this machine writes cores at all");

    // A shell that starts its jobs in the background has them ignore QUIT, and children inherit that.
    let signals = [Signal::QUIT, Signal::ABORT].into_iter().filter(|signal| !is_ignored(*signal));
    for signal in signals {
        let home = Home::of_sandbox(sandbox(&[("acme", &canary)]));
        let gate = Gate::before(home.sandbox().http_addr());
        let home = home.behind(gate.proxy_url());
        let daemon = home.start();
        let words = ["add", "acme", "--client-id", "id", "--secret-stdin", "--description", ""];
        let mut adding = home.command(words).stdin(canary.secret.as_str()).spawn();
        gate.await_knocks(1);
        rustix::process::kill_process(rustix::process::Pid::from_child(&adding), signal).unwrap();
        let ended = adding.wait().unwrap();
        assert!(ended.signal().is_some() && !ended.core_dumped(), "the command left a core behind: {ended}");
        daemon.signal(signal);
        let ended = daemon.wait();
        assert!(ended.signal().is_some() && !ended.core_dumped(), "the daemon left a core behind: {ended}");
        canaries.must_be_hidden(&home, "after a crash");
    }
}

#[test]
fn the_search_finds_what_is_there_to_be_found() {
    let home = Home::new(&[]);
    let mut canaries = Canaries::default();
    let planted = [Canary::new("plain one"), Canary::special("special one")];
    for canary in &planted {
        canaries.plant(canary);
    }
    fs::create_dir(home.path().join("deep")).unwrap();
    for canary in &planted {
        for (form, bytes) in forms(&canary.secret) {
            let noise: Vec<u8> = (0..=255).cycle().take(100_000).collect();
            let file = [&noise[..77_777], &bytes, &noise].concat();
            fs::write(home.path().join("deep/file"), file).unwrap();
            let seen = canaries.seen_in(&home).join("\n");
            assert!(seen.contains("deep/file") && seen.contains(&canary.label), "{form}: {seen}");
        }
    }
    fs::remove_file(home.path().join("deep/file")).unwrap();
    canaries.must_be_hidden(&home, "with the canary gone");
    // In what `ps` shows.
    let mut seen = Command::new("sleep");
    seen.arg("600").env_clear().env("HOME", home.path()).env("CANARY", &planted[0].secret);
    let mut seen = seen.spawn().unwrap();
    let places = canaries.seen_in(&home).join("\n");
    assert!(places.contains("/environ: "), "{places}");
    seen.kill().unwrap();
    seen.wait().unwrap();
    // Every alignment of base64, by a hand that is not this test's.
    let secret = &planted[0].secret;
    for skipped in ["", "x", "xy", "xyz"] {
        let mut child =
            Command::new("base64").arg("-w0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{skipped}{secret}tail").as_bytes()).unwrap();
        let encoded = child.wait_with_output().unwrap().stdout;
        assert!(!canaries.within(&encoded).is_empty(), "behind {skipped:?}");
    }
}

/// The ways in, and what is planted through each.
struct Ways {
    typed: Canary,
    piped: Canary,
    filed: Canary,
    special: Canary,
    formed: Canary,
    rotated: Canary,
    retyped: Canary,
    wrong: Canary,
    echoed: Canary,
    /// Outside of the home, since it is there that it is searched.
    secret_file: tempfile::NamedTempFile,
}

impl Ways {
    fn new(canaries: &mut Canaries) -> Self {
        let mut plant = |canary: Canary| {
            canaries.plant(&canary);
            canary
        };
        let filed = plant(Canary::new("filed"));
        let mut secret_file = tempfile::NamedTempFile::new().unwrap();
        writeln!(secret_file, "{}", filed.secret).unwrap();
        Self {
            typed: plant(Canary::new("typed")),
            piped: plant(Canary::new("piped")),
            special: plant(Canary::special("special")),
            formed: plant(Canary::special("formed")),
            rotated: plant(Canary::new("rotated")),
            retyped: plant(Canary::new("retyped")),
            wrong: plant(Canary::new("wrong")),
            echoed: plant(Canary::new("echoed")),
            filed,
            secret_file,
        }
    }

    fn sandbox(&self) -> Config {
        sandbox(&[
            ("typed", &self.typed),
            ("piped", &self.piped),
            ("filed", &self.filed),
            ("special", &self.special),
            ("formed", &self.formed),
            // Its application has another secret than the one that will be given.
            ("wrong", &self.piped),
        ])
    }

    fn come_in(&self, home: &Home) {
        let add = |name: &'static str| ["add", name, "--client-id", "id", "--description", "a canary's cage"];
        let typed = |words: &[&str], secret: &str| at_a_terminal(home, words, &[("Client secret: ", secret)]);
        let piped =
            |words: &[&str], secret: &str| home.command(words).stdin(format!("{secret}\n")).run().code;
        let stdin = |name| [&add(name)[..], &["--secret-stdin"]].concat();

        let _ = home.command(["init"]).run().succeeds();
        assert_eq!(typed(&add("typed"), &self.typed.secret), Some(0));
        assert_eq!(piped(&stdin("piped"), &self.piped.secret), Some(0));
        assert_eq!(piped(&stdin("special"), &self.special.secret), Some(0));
        assert_eq!(piped(&[&stdin("formed")[..], &["--form"]].concat(), &self.formed.secret), Some(0));
        let file = self.secret_file.path().to_str().unwrap();
        let _ = home.command([&add("filed")[..], &["--secret-file", file]].concat()).run().succeeds();
        assert_eq!(piped(&stdin("wrong"), &self.wrong.secret), Some(7), "the echoing 401");

        let rotate = |name: &'static str| ["rotate", name, "--client-id", "id"];
        let next = |domain: &str, canary: &Canary| {
            home.sandbox().put_client(domain, application(domain, canary)).unwrap();
        };
        next("piped", &self.rotated);
        assert_eq!(
            piped(&[&rotate("piped")[..], &["--secret-stdin"]].concat(), &self.rotated.secret),
            Some(0)
        );
        let wrong = [&rotate("filed")[..], &["--secret-stdin"]].concat();
        assert_eq!(piped(&wrong, &self.wrong.secret), Some(7));
        assert_eq!(piped(&wrong, &self.wrong.secret), Some(12), "a staged pair waits");
        next("typed", &self.retyped);
        assert_eq!(typed(&rotate("typed"), &self.retyped.secret), Some(0));
    }

    fn hear_the_echo(&self, home: &Home) {
        let echo = Echo::of(&self.echoed.secret);
        let base = echo.base_url();
        let words =
            ["add", "echoed", "--client-id", "id", "--secret-stdin", "--description", "", "--plain-http"];
        let words = [&words[..], &["--base-url", &base, "--no-try"]].concat();
        let _ = home.command(words).stdin(self.echoed.secret.as_str()).run().succeeds();
        while echo.asked() < 2 * echo::ANSWERS {
            fails(home, "echoed");
        }
        let _ = home.command(["remove", "echoed", "--yes"]).run().succeeds();
    }
}

/// Everything that is done with a token, by those whose job is to hand it out and by those whose job is not.
fn use_tokens(home: &Home, canaries: &Canaries, name: &str) {
    for form in [&[][..], &["--header"], &["--json"], &["--env"], &["--curl-config"]] {
        hands_out(home, canaries, || home.command([&["get", name], form].concat()).run());
    }
    hands_out(home, canaries, || home.command(["exec", name, "--", "env"]).run());
    let _ = home.command(["exec", name, "--", "true"]).run().succeeds();
    let _ = home.command(["exec", name, "--", "/no/such/program"]).run().ends_with(127);
    let _ = home.command(["api", name, "/api/v3/vendors/", "--paginate"]).run().succeeds();
    let _ = home.command(["api", name, "/api/v3/users/me/", "--include"]).run().succeeds();
    let _ = home.command(["api", name, "/no/such/path/"]).run().ends_with(22);
    for words in [&["list"][..], &["list", "--json"], &["status"], &["status", "--json"], &["status", name]] {
        let _ = home.command(words).run().succeeds();
    }
    let _ = home.command(["status", name, "--json"]).run().succeeds();
    // The API no longer takes the token: it is reported, another one comes, and is tried.
    home.sandbox().revoke(name).unwrap();
    let _ = home.command(["api", name, "/api/v3/vendors/"]).run().succeeds();
    home.sandbox().set(name, Knobs { api_fault: Some(Fault::Wrapper401), ..Knobs::default() }).unwrap();
    assert_ne!(home.command(["api", name, "/api/v3/vendors/"]).run().code, Some(0));
    home.sandbox().clear(name).unwrap();
}

/// What people get wrong.
fn misspeak(home: &Home, ways: &Ways, canaries: &mut Canaries) {
    let (secret, file) = (ways.wrong.secret.as_str(), ways.secret_file.path().to_str().unwrap());
    for words in [
        &["add", "acme", secret][..],
        &["add", "acme", "--client-secret", secret],
        &["add", "acme", &format!("--secret={secret}")],
        &["add", "acme", &format!("--secret-stdin={secret}")],
        &["rotate", "piped", secret],
        &["add", "piped", "--client-id", "id", "--secret-stdin"],
        &["rotate", "nobody", "--client-id", "id", "--secret-stdin"],
        &["add", "acme", "--client-id", "id", "--secret-file", file, "--base-url", "http://127.0.0.1:1"],
        &["add", "acme", "--client-id", "id", "--secret-file", file, "--base-url", "nonsense"],
        &["init"],
    ] {
        let typed = home.command(words).stdin(secret).run();
        assert_ne!(typed.code, Some(0), "{words:?}");
    }
    let two_lines = Canary::new("two lines");
    canaries.plant(&two_lines);
    let text = format!("{0}\n{0}\n", two_lines.secret);
    let words = ["add", "acme", "--client-id", "id", "--secret-stdin", "--description", ""];
    let _ = home.command(words).stdin(text).run().ends_with(2);
    let too_long = two_lines.secret.repeat(300);
    let _ = home.command(words).stdin(too_long).run().ends_with(2);
    // A token where something else belongs.
    let fingerprint: Fingerprint = "0123456789abcdef".parse().unwrap();
    home.client()
        .invalidate_fingerprint(&name("piped"), fingerprint)
        .expect("not the current one: nothing happens");
}

/// A secret in all the wrong places of the socket's protocol.
fn babble(home: &Home, secret: &str) {
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(home.socket()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    };
    let framed = |body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&length.to_le_bytes()[..], &[1, 1, 7, 0], body].concat()
    };
    let text = [&[u8::try_from(secret.len()).unwrap()], secret.as_bytes()].concat();
    say(secret.as_bytes());
    say(&framed(secret.as_bytes()));
    for number in [0, 1, 3, 8, 9, 200] {
        say(&framed(&[&[number], &text[..]].concat()));
        say(&framed(&[&[number], &text[..], secret.as_bytes()].concat()));
    }
    // It fits a name's grammar, so it is one, and who asks for it is told that there is none of this name.
    let unknown: Result<CredentialName, _> = secret.parse();
    let refused = home.client().token(&unknown.expect("40 letters and digits are a name")).unwrap_err();
    assert!(refused.to_string().contains(secret), "it is told to whoever asked, and to nobody else");
}

/// Every fault that the sandbox has, and every oddity of an answer, with the secret wherever there is room for it.
fn fail_in_every_way(home: &Home, domain: &str, secret: &str) {
    let elsewhere = format!("https://{domain}.procurify.com/?secret={secret}");
    let text = || Some(RetryAfter::Text(secret.to_owned()));
    let faults = [
        Fault::Reset,
        Fault::TruncatedBody,
        Fault::oversized(false),
        Fault::oversized(true),
        Fault::redirect(&elsewhere.replace(|c: char| !c.is_ascii_graphic(), "")),
        Fault::Wrapper401,
        Fault::InvalidClient401,
        Fault::AccessDenied401,
        Fault::AccessDenied403,
        Fault::Throttled429 { retry_after: text(), ratelimit_reset_s: None },
        Fault::Throttled429 { retry_after: Some(RetryAfter::Seconds(60)), ratelimit_reset_s: Some(60) },
        Fault::BadGatewayHtml502,
        Fault::GatewayTimeoutHtml504,
        Fault::ServiceUnavailable503 { retry_after: text() },
        Fault::Html200,
        Fault::ErrorIn200,
        Fault::NotFound404,
        Fault::BadRequest400 { error: secret.to_owned() },
        Fault::Hang,
    ];
    let names: BTreeSet<&str> = faults.iter().map(Fault::name).collect();
    assert_eq!(names.len(), KINDS_OF_FAULTS, "a fault is not provoked: {names:?}");
    let odd = [
        Knobs { token: Token::ControlCharacters, ..Knobs::default() },
        Knobs { token: Token::Empty, ..Knobs::default() },
        Knobs { token: Token::Missing, ..Knobs::default() },
        Knobs { token_type: TokenType::Named(secret.to_owned()), ..Knobs::default() },
        Knobs { token_type: TokenType::Missing, ..Knobs::default() },
        Knobs { expires_in: ExpiresIn::Seconds(0), ..Knobs::default() },
        Knobs { scope: Scope::OtherDomain(secret.to_owned()), ..Knobs::default() },
        Knobs { scope: Scope::OtherDomain("globex".to_owned()), ..Knobs::default() },
        Knobs { token_quota: Some(0), ..Knobs::default() },
        Knobs { audience: secret.to_owned(), ..Knobs::default() },
    ];
    for knobs in faults.into_iter().map(Knobs::failing).chain(odd) {
        let asked = home.sandbox().ledger().tally(domain).token_requests;
        home.sandbox().set(domain, knobs.clone()).unwrap();
        while home.sandbox().ledger().tally(domain).token_requests == asked {
            fails(home, domain);
        }
        fails(home, domain);
    }
    // Not failures, but words of a stranger all the same.
    for knobs in [
        Knobs { expires_in: ExpiresIn::Text(secret.to_owned()), ..Knobs::default() },
        Knobs { scope: Scope::Text(secret.to_owned()), ..Knobs::default() },
    ] {
        home.sandbox().set(domain, knobs).unwrap();
        let _ = home.command(["refresh", domain, "--retry"]).run();
        let _ = home.command(["status", domain]).run().succeeds();
    }
    home.sandbox().clear(domain).unwrap();
    let _ = home.command(["refresh", domain, "--retry"]).run().succeeds();
}

/// Asks anew, which fails, and looks at what is said about it.
fn fails(home: &Home, name: &str) {
    let typed = home.command(["refresh", name, "--retry", "--deadline", "3s"]).run();
    assert_ne!(typed.code, Some(0), "this should have failed: {typed:?}");
    let _ = home.command(["status", name]).run().succeeds();
    let _ = home.command(["status", name, "--json"]).run().succeeds();
}

fn damage_the_vault(home: &Home) {
    let (vault, key) = (home.data_folder().join("vault"), home.config_folder().join("vault.key"));
    let (good_vault, good_key) = (fs::read(&vault).unwrap(), fs::read(&key).unwrap());
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let middle = good_vault.len() / 2;
    for (bytes, key_bytes, mode) in [
        (good_vault[..middle].to_vec(), good_key.clone(), 0o600),
        (flipped(&good_vault, 0), good_key.clone(), 0o600),
        (flipped(&good_vault, middle), good_key.clone(), 0o600),
        (flipped(&good_vault, good_vault.len() - 1), good_key.clone(), 0o600),
        (good_vault.clone(), flipped(&good_key, good_key.len() / 2), 0o600),
        (good_vault.clone(), b"not a key".to_vec(), 0o600),
        (good_vault.clone(), good_key.clone(), 0o644),
    ] {
        fs::write(&vault, bytes).unwrap();
        fs::write(&key, key_bytes).unwrap();
        fs::set_permissions(&vault, Permissions::from_mode(mode)).unwrap();
        if let Ok(daemon) = home.try_start_with(loud(home)) {
            for words in [&["status"][..], &["unlock"], &["get", "piped"], &["list"]] {
                let typed = home.command(words).run();
                assert!(words == ["status"] || typed.code != Some(0), "{words:?}: {typed:?}");
            }
            assert!(daemon.stop().success());
        }
    }
    fs::write(&vault, good_vault).unwrap();
    fs::write(&key, good_key).unwrap();
    fs::set_permissions(&vault, Permissions::from_mode(0o600)).unwrap();
}

fn misconfigure(home: &Home, canaries: &mut Canaries) {
    for wrong in ["no-such-key = 1", "request-timeout = \"0s\"", "[log]\nlevel = \"loud\"", "]["] {
        home.configure(wrong);
        assert!(home.try_start().is_err(), "{wrong}");
    }
    home.configure(LOUD);
    // A proxy's password comes in by the environment, where it may be seen; from there it goes nowhere.
    let password = Canary::new("proxy's password");
    let mut elsewhere = Canaries::default();
    elsewhere.plant(&password);
    for proxy in [format!("http://user:{}@127.0.0.1:1", password.secret), format!("://{}", password.secret)] {
        let mut command = loud(home);
        command.env("HTTPS_PROXY", proxy);
        if let Ok(daemon) = home.try_start_with(command) {
            fails(home, "piped");
            assert!(daemon.stop().success());
        }
    }
    canaries.plant(&password);
}

/// Runs a command whose job is to hand a token out, looks whether it did, and takes its stdout out of the search.
fn hands_out(home: &Home, canaries: &Canaries, run: impl FnOnce() -> Typed) {
    let before = kept(home);
    let typed = run().succeeds();
    assert!(
        !canaries.within(typed.stdout.as_bytes()).is_empty(),
        "no token was handed out, or none is known"
    );
    for file in
        kept(home).difference(&before).filter(|file| file.extension().is_some_and(|end| end == "stdout"))
    {
        fs::remove_file(file).unwrap();
    }
}

fn kept(home: &Home) -> BTreeSet<PathBuf> {
    fs::read_dir(home.path().join("typed")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Types at a terminal; what is seen there is kept in the home, to be searched.
fn at_a_terminal(home: &Home, words: &[&str], answers: &[(&str, &str)]) -> Option<i32> {
    let screen = typed_in(home, words, answers);
    fs::write(home.path().join(format!("typed/screen-{}", kept(home).len())), &screen.text).unwrap();
    screen.code
}

fn leaves_core(command: &mut Command) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command.current_dir(folder.path()).spawn().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::ABORT).unwrap();
    child.wait().unwrap().core_dumped()
}

fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("every process has a status");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("and a mask of signals");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("in hexadecimal");
    mask >> (signal.as_raw() - 1) & 1 == 1
}

fn sandbox(secrets: &[(&str, &Canary)]) -> Config {
    let domain = |(domain, canary): &(&str, &Canary)| DomainConfig {
        applications: vec![application(domain, canary)],
        ..DomainConfig::named(domain)
    };
    Config { domains: secrets.iter().map(domain).collect(), ..Config::of(&[]) }
}

fn application(domain: &str, canary: &Canary) -> Application {
    Application {
        client_id: "id".to_owned(),
        client_secret: canary.secret.clone(),
        ..Application::of(domain)
    }
}

/// A daemon that would say everything, if it were up to its environment.
fn loud(home: &Home) -> Command {
    let mut command = home.daemon_command();
    command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    command
}

const LOUD: &str = "request-timeout = \"2s\"\nconnect-timeout = \"2s\"\n[log]\nlevel = \"debug\"\n[budget]\nper-hour = 10000\nper-day = 10000";
/// How many variants `Fault` has.
const KINDS_OF_FAULTS: usize = 17;
