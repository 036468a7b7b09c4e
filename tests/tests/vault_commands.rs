//! What opens a vault, and copies of it, as a person has them: `init`, `slot`, `rekey`, `backup`, `restore`, `export`,
//! `import`, and the way back to an older generation.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::Path;

use procurify_token_tests::{Home, Typed};

#[test]
fn a_recovery_code_opens_the_backup_on_another_machine() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    let made = home.command(["init", "--no-confirm"]).run().succeeds();
    let code = recovery_code(&made);
    enrol(&home, "acme");
    let slots = home.command(["slot", "list"]).run().succeeds();
    assert!(slots.stdout.contains("key file") && slots.stdout.contains("recovery code"), "{}", slots.stdout);
    let backup = home.path().join("backup.vault");
    let backup = backup.to_str().unwrap();
    let told = home.command(["backup", backup]).run().succeeds();
    assert!(told.stdout.contains("opened by: key file, recovery code"), "{}", told.stdout);
    assert_eq!(fs::read(backup).unwrap(), fs::read(home.data_folder().join("vault")).unwrap());
    home.command(["backup", backup]).run().fails_with(12).saying(&["left alone"]);
    home.command(["restore", backup]).run().fails_with(12).saying(&["nothing was changed"]);

    let other = Home::new(&["acme"]);
    let daemon = other.start();
    let cut = home.path().join("cut.vault");
    fs::write(&cut, "").unwrap();
    other.command(["restore", cut.to_str().unwrap()]).run().fails_with(2).saying(&["is empty"]);
    fs::write(&cut, &fs::read(backup).unwrap()[..100]).unwrap();
    let refused = other.command(["restore", cut.to_str().unwrap()]).run().fails_with(13);
    assert!(refused.saying(&["damaged or not all there"]).stderr.lines().count() == 1);
    let told = other.command(["restore", backup]).run().succeeds();
    assert!(told.stdout.contains("opened by: key file, recovery code"), "{}", told.stdout);
    other.command(["get", "acme"]).run().fails_with(4);
    other.command(["unlock"]).run().fails_with(13).saying(&[
        "key file",
        "is missing",
        "--recovery-code-stdin",
    ]);
    let mistyped =
        code.replacen(code.chars().next().unwrap(), if code.starts_with('7') { "8" } else { "7" }, 1);
    let unlock =
        |typed: &str| other.command(["unlock", "--recovery-code-stdin"]).stdin(format!("{typed}\n")).run();
    unlock(&mistyped).fails_with(2).saying(&["group 1", "mistyped"]);
    unlock(&code[6..]).fails_with(2).saying(&["this has 35"]);
    unlock(&code.to_lowercase()).succeeds();
    other.command(["get", "acme"]).run().succeeds();
    // From now on it opens by itself here, too. The old key file's slot stays, and is told apart by nothing but its failure.
    let removed = other.command(["slot", "list"]).run().succeeds();
    let id = id_of(&removed, "key file");
    let keys = format!("{code}\n");
    other.command(["slot", "remove", &id, "--keys-stdin"]).stdin(keys.as_str()).run().succeeds();
    other.command(["slot", "add", "key-file", "--key-stdin"]).stdin(keys.as_str()).run().succeeds();
    assert!(daemon.stop().success());
    let _daemon = other.start();
    other.command(["get", "acme"]).run().succeeds();
}

#[test]
fn slots_come_and_go_by_those_who_can_open_the_vault() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.command(["init", "--passphrase-stdin", "--no-recovery-code"]).stdin("first\n").run().succeeds();
    enrol(&home, "acme");
    // An open vault alone is not enough.
    home.command(["slot", "add", "key-file"]).run().fails_with(2).saying(&["nobody can be asked"]);
    let add =
        |key: &str| home.command(["slot", "add", "key-file", "--key-stdin"]).stdin(key.to_owned()).run();
    add("wrong\n").fails_with(4).saying(&["passphrase does not open"]);
    add("first\n").succeeds();
    add("first\n").fails_with(12).saying(&["has a slot for a key file already"]);
    // One that is lost is replaced, and the command says by what.
    let lost = id_of(&home.command(["slot", "list"]).run().succeeds(), "key file");
    fs::remove_file(home.config_folder().join("vault.key")).unwrap();
    add("first\n").succeeds().saying(&["It takes the place of slot", &lost, "procurify-token rekey"]);
    let second = ["slot", "add", "passphrase", "--passphrase-stdin", "--description", "Anna"];
    home.command(second).stdin("second\n").run().succeeds();
    let listed = home.command(["slot", "list"]).run().succeeds();
    assert!(listed.stdout.contains("Anna"), "{}", listed.stdout);
    home.command(["slot", "add", "command"]).run().fails_with(12).saying(&["[vault] command"]);
    home.command(["slot", "add", "credential"])
        .run()
        .fails_with(12)
        .saying(&["systemd hands no credential", "sudo procurify-token service install --system"]);

    let key_file = id_of(&listed, "key file");
    home.command(["slot", "remove", &key_file]).run().fails_with(2).saying(&["--keys-stdin"]);
    let remove = |id: &str, keys: &str| {
        home.command(["slot", "remove", id, "--keys-stdin"]).stdin(keys.to_owned()).run()
    };
    remove(&key_file, "first\n").fails_with(12).saying(&["is needed", "slot remove"]);
    remove("00000000", "first\nsecond\n").fails_with(12).saying(&["No key slot is named 00000000"]);
    let gone = remove(&key_file, "second\nfirst\n").succeeds();
    assert!(gone.stderr.contains("nothing opens the vault without a person any more"), "{}", gone.stderr);
    assert!(
        gone.stdout.contains("older generations") && gone.stdout.contains("are gone, too"),
        "{}",
        gone.stdout
    );
    assert!(daemon.stop().success());
    let _daemon = home.start();
    home.command(["get", "acme"]).run().fails_with(4);
    home.command(["unlock", "--passphrase-stdin"]).stdin("second\n").run().succeeds();
    // What was kept for a restart outlived the new key.
    assert_eq!(home.sandbox().ledger().tally("acme").issued, 1);
    home.command(["get", "acme"]).run().succeeds();
    assert_eq!(home.sandbox().ledger().tally("acme").issued, 1);
    let ids = home.command(["slot", "list", "--json"]).run().succeeds();
    let ids: serde_json::Value = serde_json::from_str(&ids.stdout).unwrap();
    let ids: Vec<&str> =
        ids["slots"].as_array().unwrap().iter().map(|slot| slot["id"].as_str().unwrap()).collect();
    let all = [&["slot", "remove"][..], &ids, &["--keys-stdin"]].concat();
    home.command(all).stdin("").run().fails_with(12).saying(&["without a key slot"]);
    home.command(["rekey", "--keys-stdin"]).stdin("first\nsecond\n").run().succeeds();
    home.command(["lock"]).run().succeeds();
    home.command(["unlock", "--passphrase-stdin"]).stdin("first\n").run().succeeds();
    home.command(["get", "acme"]).run().succeeds();
}

#[test]
fn a_command_opens_the_vault_at_each_start_and_callers_wait_for_it() {
    let home = Home::new(&["acme"]);
    let line = home.daemon_command().arg("--new-key").output().unwrap().stdout;
    let (key, gate) = (home.path().join("line"), home.path().join("gate"));
    fs::write(&key, &line).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
    let configure = |script: &str| {
        home.configure(&format!(
            "[vault]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\ncommand-timeout = \"60s\"\n"
        ));
    };
    configure(&format!("cat '{}'", key.display()));
    let daemon = home.start();
    home.command(["init", "--slot", "command", "--no-recovery-code"]).run().succeeds();
    enrol(&home, "acme");
    assert!(daemon.stop().success());

    configure(&format!("cat '{}' >/dev/null; cat '{}'", gate.display(), key.display()));
    let _daemon = home.start();
    let mut waiting = home.command(["get", "acme"]).spawn();
    home.command(["status"]).run().succeeds();
    fs::write(&gate, "open").unwrap();
    assert!(waiting.wait().unwrap().success());

    home.command(["lock"]).run().succeeds();
    fs::write(&key, "nothing of the kind").unwrap();
    let knock = std::thread::spawn(move || fs::write(gate, "open").unwrap());
    home.command(["unlock"]).run().fails_with(13).saying(&["/bin/sh gives no key", "--new-key"]);
    knock.join().unwrap();
}

#[test]
fn an_export_goes_into_a_pipe_only_and_is_imported_elsewhere() {
    let home = Home::new(&["acme", "globex"]);
    let _daemon = home.start();
    home.command(["init"]).run().succeeds();
    enrol(&home, "acme");
    enrol(&home, "globex");
    home.shell("procurify-token export > export.json").run().fails_with(2).saying(&["into a pipe only"]);
    assert_eq!(fs::read(home.path().join("export.json")).unwrap(), b"");
    let exported = home.shell("procurify-token export | cat > export.json").run().succeeds();
    assert!(exported.stderr.contains("2 credentials"), "{}", exported.stderr);
    let file = home.path().join("export.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("{\"format\":\"procurify-token export\",\"version\":1}\n"), "{text}");
    assert!(text.contains("sandbox-acme-secret") && text.lines().count() == 3, "{text}");

    let other = Home::new(&["acme", "globex"]);
    let _daemon = other.start();
    let file = file.to_str().unwrap();
    let imported = other.command(["import", file]).run().succeeds();
    assert!(imported.stdout.contains("2 credentials are stored durably"), "{}", imported.stdout);
    other.command(["get", "acme"]).run().succeeds();
    other.command(["get", "globex"]).run().succeeds();
    other
        .command(["import", file])
        .run()
        .fails_with(2)
        .saying(&["line 2: acme is enrolled already", "line 3"]);
    let csv = "name,client_id,client_secret\nacme/a,sandbox-acme,sandbox-acme-secret\nacme/b,sandbox-acme,\n";
    let import = |text: &str| other.command(["import", "-"]).stdin(text.to_owned()).run();
    import(csv).fails_with(2).saying(&["line 3: client_secret"]);
    other.command(["status", "acme/a"]).run().fails_with(5);
    import(&csv[..csv.len() - "acme/b,sandbox-acme,\n".len()]).succeeds();
    other.command(["get", "acme/a"]).run().succeeds();
    import("").fails_with(2);
    let device = other.command(["import", "/dev/null"]).run().fails_with(2);
    assert!(!device.stderr.contains("chmod"), "{}", device.stderr);
    let folder = other.command(["import", "/tmp"]).run().fails_with(2);
    assert!(!folder.stderr.contains("chmod"), "{}", folder.stderr);

    // Where the vault opens by a person only, an export takes that person.
    let third = Home::new(&["acme"]);
    let _daemon = third.start();
    third.command(["init", "--passphrase-stdin", "--no-recovery-code"]).stdin("words\n").run().succeeds();
    enrol(&third, "acme");
    third.shell("procurify-token export </dev/null | cat; test ${PIPESTATUS:-0} = 0").run().succeeds();
    third.shell("echo wrong | procurify-token export --key-stdin | cat >out; test ! -s out").run().succeeds();
    let exported = third.shell("echo words | procurify-token export --key-stdin | cat").run().succeeds();
    assert!(exported.stdout.contains("sandbox-acme-secret"));
}

#[test]
fn the_newest_generation_that_does_not_open_gives_way_to_the_one_before() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.command(["init"]).run().succeeds();
    enrol(&home, "acme");
    enrol(&home, "acme/second");
    home.command(["unlock", "--generation", "1"]).run().fails_with(12).saying(&["vault is open"]);
    assert!(daemon.stop().success());
    let vault = home.data_folder().join("vault");
    damage(&vault);
    let _daemon = home.start();
    home.command(["get", "acme"]).run().fails_with(4);
    home.command(["unlock"]).run().fails_with(13).saying(&["vault.1", "unlock --generation 1"]);
    home.command(["unlock", "--generation", "9"]).run().fails_with(13).saying(&["vault.9", "--generation 1"]);
    // One that is damaged, too, is not offered; nor is a vault that is away taken for none.
    let older = home.data_folder().join("vault.1");
    let good = fs::read(&older).unwrap();
    damage(&older);
    home.command(["unlock"]).run().fails_with(13).saying(&["unlock --generation 2"]);
    home.command(["unlock", "--generation", "1"]).run().fails_with(13).saying(&["unlock --generation 2"]);
    fs::rename(&vault, home.path().join("away")).unwrap();
    for words in [&["unlock"][..], &["get", "acme"], &["slot", "list"]] {
        home.command(words).run().fails_with(13).saying(&["no vault at", "unlock --generation 2"]);
    }
    home.command(["doctor"]).run().ends_with(15).showing(&["→ procurify-token unlock --generation 2"]);
    fs::rename(home.path().join("away"), &vault).unwrap();
    fs::write(&older, good).unwrap();
    home.command(["unlock", "--generation", "1"]).run().succeeds();
    home.command(["get", "acme"]).run().succeeds();
    home.command(["status", "acme/second"]).run().fails_with(5);
    let aside = fs::read_dir(home.data_folder()).unwrap().flatten();
    assert_eq!(aside.filter(|entry| entry.file_name().to_string_lossy().contains(".aside-")).count(), 1);
}

#[test]
fn a_wrong_passphrase_holds_up_nobody_else() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.command(["init", "--passphrase-stdin", "--no-recovery-code"]).stdin("right\n").run().succeeds();
    enrol(&home, "acme");
    home.command(["lock"]).run().succeeds();
    let unlock = |key: &str| {
        let mut unlock = home.command(["unlock", "--passphrase-stdin"]);
        unlock = unlock.stdin(format!("{key}\n"));
        unlock
    };
    let mut wrong: Vec<_> = (0..8).map(|_| unlock("wrong").spawn()).collect();
    unlock("right").run().succeeds();
    home.command(["get", "acme"]).run().succeeds();
    for wrong in &mut wrong {
        let code = wrong.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 4)), "wrong, or the vault was open already: {code:?}");
    }
}

#[test]
fn another_vault_in_its_place_gives_nobody_what_the_open_one_holds() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.command(["init", "--passphrase-stdin", "--no-recovery-code"]).stdin("ours\n").run().succeeds();
    enrol(&home, "acme");
    let other = Home::new(&[]);
    let _other = other.start();
    other.command(["init", "--passphrase-stdin", "--no-recovery-code"]).stdin("theirs\n").run().succeeds();
    // Any program of the same user could do this.
    let (vault, kept) = (home.data_folder().join("vault"), home.path().join("kept"));
    fs::rename(&vault, &kept).unwrap();
    fs::copy(other.data_folder().join("vault"), &vault).unwrap();
    home.shell("echo theirs | procurify-token export --key-stdin | cat >out; test ! -s out").run().succeeds();
    let typed = |words: &[&str]| home.command(words).stdin("theirs\n").run();
    let refused = typed(&["slot", "add", "recovery-code", "--no-confirm", "--key-stdin"]);
    refused.fails_with(4).saying(&["does not open"]);
    typed(&["rekey", "--keys-stdin"]).fails_with(12).saying(&["is needed"]);
    fs::rename(&kept, &vault).unwrap();
    home.command(["rekey", "--keys-stdin"]).stdin("ours\n").run().succeeds();
}

#[test]
fn a_command_that_hangs_keeps_nobody_from_looking_or_from_opening_the_vault_otherwise() {
    let home = Home::new(&[]);
    let (key, hangs) = (home.path().join("line"), home.path().join("hangs"));
    fs::write(&key, home.daemon_command().arg("--new-key").output().unwrap().stdout).unwrap();
    let script = format!("cat '{}'; if test -e '{}'; then sleep 600; fi", key.display(), hangs.display());
    home.configure(&format!(
        "[vault]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\ncommand-timeout = \"10m\"\n"
    ));
    let _daemon = home.start();
    home.command(["init", "--slot", "command", "--no-recovery-code"]).run().succeeds();
    home.command(["slot", "add", "passphrase", "--passphrase-stdin"]).stdin("words\n").run().succeeds();
    home.command(["lock"]).run().succeeds();
    fs::write(&hangs, "").unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| home.command(["unlock"]).spawn()).collect();
    home.command(["slot", "list"]).run().succeeds();
    home.command(["backup", home.path().join("copy").to_str().unwrap()]).run().succeeds();
    home.command(["doctor"]).run().succeeds();
    home.command(["unlock", "--passphrase-stdin"]).stdin("words\n").run().succeeds();
    for waiting in &mut waiting {
        waiting.kill().unwrap();
        waiting.wait().unwrap();
    }
}

fn enrol(home: &Home, name: &str) {
    let domain = name.split('/').next().unwrap();
    let id = format!("sandbox-{domain}");
    let words = ["add", name, "--client-id", &id, "--secret-stdin", "--description", ""];
    let _ = home.command(words).stdin(format!("sandbox-{domain}-secret")).run().succeeds();
}

fn recovery_code(made: &Typed) -> String {
    let line = made.stdout.lines().find_map(|line| line.strip_prefix("Recovery code: "));
    line.unwrap_or_else(|| panic!("{}", made.stdout)).to_owned()
}

fn id_of(listed: &Typed, kind: &str) -> String {
    let line = listed.stdout.lines().find(|line| line.contains(kind));
    line.unwrap_or_else(|| panic!("{}", listed.stdout)).split_whitespace().next().unwrap().to_owned()
}

fn damage(vault: &Path) {
    let mut bytes = fs::read(vault).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(vault, bytes).unwrap();
}
