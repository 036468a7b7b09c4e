//! A vault and its backup are opened by a program that shares no code with the daemon: `tests/vectors/open_vault.py`, written
//! from the documented format alone. Whoever has the file and what opens it can get the secrets back without us.
//!
//! It takes the Python that `PROCURIFY_TESTS_PYTHON` names, else `python3`, with what `tests/vectors/requirements.txt` names.
//! `.ci/run` installs that.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use procurify_sandbox::Application;
use procurify_token_tests::{Home, skipped_unless_required};
use serde_json::{Value, json};

#[test]
fn a_vault_and_its_backup_open_with_every_kind_of_slot_and_hold_the_same_secrets() {
    let Some(reader) = Reader::find("a vault opened by another program") else { return };
    let home = Home::new(&["acme", "globex"]);
    let credentials = home.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let new_line = |path: &Path| {
        fs::write(path, home.daemon_command().arg("--new-key").output().unwrap().stdout).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (printed, handed_over) = (home.path().join("printed"), credentials.join("procurify-token.vault-key"));
    new_line(&printed);
    new_line(&handed_over);
    home.configure(&format!("[vault]\ncommand = [\"/bin/cat\", \"{}\"]", printed.display()));
    let mut daemon = home.daemon_command();
    daemon.env("CREDENTIALS_DIRECTORY", &credentials);
    let daemon = home.try_start_with(daemon).unwrap();

    let made = home.command(["init", "--no-confirm"]).run().succeeds();
    let code = made.stdout.lines().find_map(|line| line.strip_prefix("Recovery code: "));
    let code = code.unwrap_or_else(|| panic!("{}", made.stdout)).to_owned();
    let words = ["slot", "add", "passphrase", "--passphrase-stdin", "--description", "Jörg & Anna"];
    home.command(words).stdin(format!("{PASSPHRASE}\n")).run().succeeds();
    home.command(["slot", "add", "command"]).run().succeeds();
    home.command(["slot", "add", "credential"]).run().succeeds();

    enrol(&home, "acme", "nightly report");
    enrol(&home, "globex", "");
    enrol(&home, "acme/b", &"ö".repeat(200));
    let rotate = ["rotate", "acme", "--client-id", "second", "--secret-stdin"];
    let second = Application {
        client_id: "second".into(),
        client_secret: "second-secret".into(),
        ..Application::of("acme")
    };
    home.sandbox().put_client("acme", second).unwrap();
    home.command(rotate).stdin("second-secret").run().succeeds();
    let rotate = ["rotate", "acme", "--client-id", "third", "--secret-stdin"];
    home.command(rotate).stdin("third-secret").run().ends_with(7);
    let backup = home.path().join("backup.vault");
    home.command(["backup", backup.to_str().unwrap()]).run().succeeds();
    assert!(daemon.stop().success());

    let vault = home.data_folder().join("vault");
    let key_file = home.config_folder().join("vault.key");
    for file in [&vault, &backup] {
        for (kind, how, from, typed) in [
            ("key file", "key-file", Some(&key_file), ""),
            ("command", "key-file", Some(&printed), ""),
            ("systemd credential", "key-file", Some(&handed_over), ""),
            ("passphrase", "passphrase", None, PASSPHRASE),
            ("recovery code", "recovery-code", None, &code),
        ] {
            let read = reader.opens(file, how, from.map(PathBuf::as_path), typed);
            let by = read["slots"].as_array().unwrap().iter().find(|slot| slot["id"] == read["opened_by"]);
            assert_eq!(by.unwrap()["kind"], kind);
            let description = if kind == "passphrase" { "Jörg & Anna" } else { "" };
            assert_eq!(by.unwrap()["description"], description);
            assert_eq!(read["format"], 2);
            assert_eq!(
                secrets(&read),
                json!([
                    ["acme", "nightly report", "second-secret", "third-secret", "sandbox-acme-secret"],
                    ["acme/b", "ö".repeat(200), "sandbox-acme-secret", null, null],
                    ["globex", "", "sandbox-globex-secret", null, null],
                ]),
                "{kind}"
            );
            assert_eq!(read["credentials"][0]["in_use"]["client_id"], "second", "{kind}");
        }
        for (how, typed) in [("passphrase", "another"), ("recovery-code", NO_CODE), ("key-file", NO_KEY)] {
            let refused = reader.run(file, how, None, typed);
            let told = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && told.contains("does not open it"), "{how}: {told}");
            assert!(refused.stdout.is_empty(), "{how}");
        }
    }
    // A bit that is another is noticed, wherever it is.
    let whole = fs::read(&backup).unwrap();
    for at in [0, 9, 12, 30, whole.len() / 2, whole.len() - 1] {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        fs::write(&backup, bent).unwrap();
        let refused = reader.run(&backup, "key-file", Some(&key_file), "");
        assert!(!refused.status.success() && refused.stdout.is_empty(), "byte {at}");
    }
}

#[test]
fn the_vaults_of_every_format_open_in_another_program() {
    let Some(reader) = Reader::find("vaults of every format opened by another program") else { return };
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/vault");
    for (format, vault, how, key, typed) in [
        (1, "v1_key_file.vault", "key-file", Some("v1.key"), ""),
        (1, "v1_passphrase.vault", "passphrase", None, VECTOR_PASSPHRASE),
        (2, "v2.vault", "key-file", Some("v2.key"), ""),
        (2, "v2.vault", "passphrase", None, VECTOR_PASSPHRASE),
        (2, "v2.vault", "recovery-code", None, VECTOR_CODE),
    ] {
        let key = key.map(|key| vectors.join(key));
        let read = reader.opens(&vectors.join(vault), how, key.as_deref(), typed);
        assert_eq!((&read["format"], &read["next_version"]), (&json!(format), &json!(5)), "{vault}");
        assert_eq!(
            secrets(&read),
            json!([
                ["acme", "Größe 1", "second-secret", "third-secret", "first-secret"],
                ["acme/reporting", "Größe 1", "other", null, null],
            ]),
            "{vault} by {how}"
        );
    }
}

/// The other program.
struct Reader {
    python: OsString,
    program: PathBuf,
}

impl Reader {
    /// `None`, said loudly, where it cannot run; a failure where everything has to run.
    fn find(test: &str) -> Option<Self> {
        let python = env::var_os("PROCURIFY_TESTS_PYTHON").unwrap_or_else(|| "python3".into());
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
        let probe = "import sys, argon2, cryptography; sys.exit(sys.version_info < (3, 11))";
        let probed = Command::new(&python).args(["-c", probe]).stderr(Stdio::null()).status();
        if probed.is_ok_and(|status| status.success()) {
            return Some(Self { python, program: vectors.join("open_vault.py") });
        }
        let why = format!(
            "{} is no Python 3.11 with cryptography and argon2-cffi; to run it: python3 -m venv VENV && VENV/bin/pip install -r {} \
             and PROCURIFY_TESTS_PYTHON=$PWD/VENV/bin/python",
            python.display(),
            vectors.join("requirements.txt").display()
        );
        skipped_unless_required(test, &why);
        None
    }

    fn run(&self, vault: &Path, how: &str, key_file: Option<&Path>, typed: &str) -> Output {
        // -B: it leaves nothing beside the sources.
        let mut command = Command::new(&self.python);
        command.arg("-B").arg(&self.program).arg(vault).arg(how).args(key_file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may have ended without reading it.
        let _ = child.stdin.take().unwrap().write_all(format!("{typed}\n").as_bytes());
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn opens(&self, vault: &Path, how: &str, key_file: Option<&Path>, typed: &str) -> Value {
        let output = self.run(vault, how, key_file, typed);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} is not opened by {how}: {told}", vault.display());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Of each credential: name, description, and the secrets in use, staged and previous.
fn secrets(read: &Value) -> Value {
    let of = |credential: &Value| {
        let secret = |pair: &str| &credential[pair]["client_secret"];
        json!([
            credential["name"],
            credential["description"],
            secret("in_use"),
            secret("staged"),
            secret("previous")
        ])
    };
    read["credentials"].as_array().unwrap().iter().map(of).collect()
}

fn enrol(home: &Home, name: &str, description: &str) {
    let domain = name.split('/').next().unwrap();
    let id = format!("sandbox-{domain}");
    let words = ["add", name, "--client-id", &id, "--secret-stdin", "--description", description];
    let _ = home.command(words).stdin(format!("sandbox-{domain}-secret")).run().succeeds();
}

// Spaces at both ends, and an umlaut in two code points: it is taken as it is.
const PASSPHRASE: &str = " pa\u{308}sse mit Wörtern ";
const VECTOR_PASSPHRASE: &str = "correct horse battery staple";
const VECTOR_CODE: &str = "006H9-M9SMZ-85750-PT3N5-GA7SS-SADPS-RF8DF-VTQQ7";
/// Well made, and of another vault.
const NO_CODE: &str = VECTOR_CODE;
const NO_KEY: &str = "PROCURIFY-TOKEN-KEY-1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
