//! `doctor`, as whoever is called at night has it: what is wrong, what to type, and nothing changed by looking.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use procurify_sandbox::Knobs;
use procurify_token_tests::{Home, credential, program, skipped};
use serde_json::Value;

#[test]
fn a_healthy_house_needs_no_mending() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.command(["init", "--no-confirm"]).run().succeeds();
    home.enrol("acme");
    home.command(["get", "acme"]).run().succeeds();
    // Nothing waits to be written after this.
    home.command(["audit", "verify"]).run().succeeds();
    let before = everything_below(home.path());
    let told = home.command(["doctor"]).run().succeeds();
    let parts = [
        "Nothing needs mending.",
        "owner and mode are as they should be",
        "opened by: key file, recovery code",
    ];
    let told = told.showing(&parts);
    let _ = told.showing(&["acme.procurify.com: answers through the proxy", "1 enrolled, 1 of them"]);
    assert_eq!(everything_below(home.path()), before, "looking has changed something");
    assert_eq!(home.sandbox().ledger().issued("acme"), 1, "no token is asked for");
}

#[test]
fn what_others_could_read_or_exchange_is_named_with_the_command_that_closes_it() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    let key_file = home.config_folder().join("vault.key");
    set_mode(&key_file, 0o640);
    set_mode(&home.state_folder(), 0o770);
    let told = home.command(["doctor"]).run().ends_with(15);
    let told = told.saying(&["2 problems to mend"]);
    let _ = told.showing(&[
        "has mode 0640: group",
        &format!("chmod 600 '{}'", key_file.display()),
        &format!("chmod 700 '{}'", home.state_folder().display()),
        "has one key slot only",
        "procurify-token slot add recovery-code",
    ]);
}

#[test]
fn somebody_elses_file_in_the_vaults_place_is_told_where_no_daemon_can_start() {
    if !rustix::process::geteuid().is_root() {
        return skipped("doctor", "only root can give a file away");
    }
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    assert!(daemon.stop().success());
    let vault = home.data_folder().join("vault");
    chown(&vault, Some(65534), None).unwrap();
    home.configure("[nonsense]");
    let before = everything_below(home.path());
    let told = home.command(["doctor"]).run().ends_with(15);
    let _ = told.showing(&[
        "no procurify-tokend answers",
        "nonsense",
        "--check-config",
        "belongs to user 65534 and must belong to user 0",
        &format!("sudo chown 0 '{}'", vault.display()),
    ]);
    assert_eq!(everything_below(home.path()), before, "looking has changed something");
}

#[test]
fn root_is_told_of_the_systems_places_where_the_systems_service_does_not_come_up() {
    let test = "root_is_told_of_the_systems_places";
    let may_mount = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/etc"]).output();
    if !may_mount.is_ok_and(|output| output.status.success()) {
        return skipped(test, "only root can put other folders in the system's place, for itself");
    }
    let home = tempfile::tempdir().unwrap();
    let programs = program("procurify-token").parent().unwrap().display().to_string();
    let doctor = |more: &str| {
        let script = format!("{MACHINE}\n{more}\nPATH=\"$HOME:{programs}:$PATH\" procurify-token doctor");
        let mut command = Command::new("unshare");
        command.args(["-m", "/bin/sh", "-ec", &script]).env_clear();
        command.env("HOME", home.path()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, told) = doctor("");
    let parts = ["does not come up: activating (auto-restart)", "none yet at /var/lib/procurify-token/vault"];
    assert!(code == Some(15) && parts.iter().all(|part| told.contains(part)), "{told}");
    assert!(told.contains("1 problem to mend"), "what is the service's is as it should be: {told}");
    for (bad, part) in [
        ("echo nonsense >/etc/procurify-token/config.toml", "/etc/procurify-token/config.toml, line 1"),
        (
            ": >/etc/procurify-token/config.toml; chmod 0 /etc/procurify-token/config.toml",
            "cannot read it: chmod a+rX",
        ),
        ("chmod 777 /etc/procurify-token", "sudo chmod go-w '/etc/procurify-token'"),
        (
            "chown 0 /var/lib/procurify-token/tokens.redb",
            "sudo chown 997 '/var/lib/procurify-token/tokens.redb'",
        ),
    ] {
        let (code, told) = doctor(bad);
        assert!(code == Some(15) && told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn a_socket_in_a_folder_that_others_may_write_in_is_the_first_thing_told() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    let folder = home.socket().parent().unwrap().to_owned();
    set_mode(&folder, 0o777);
    let told = home.command(["doctor"]).run().ends_with(15);
    let _ = told.showing(&["is not trusted", "chmod go-w"]);
}

#[test]
fn each_credential_in_trouble_says_what_to_do_and_shows_no_secret() {
    let home = Home::new(&["acme", "globex"]);
    let _daemon = home.start();
    home.enrol("acme");
    let mut wrong = credential("globex");
    wrong.client_secret =
        procurify_token_tests::protocol::ClientSecret::new(&"canary-secret".into()).unwrap();
    home.add(wrong);
    home.command(["get", "globex"]).run().fails_with(7);
    let token = home.command(["get", "acme"]).run().succeeds().line().to_owned();
    let told = home.command(["doctor"]).run().ends_with(15);
    let told =
        told.showing(&["globex: Procurify rejects", "procurify-token rotate globex", "2 enrolled, 1 of"]);
    for output in [&told.stdout, &told.stderr] {
        assert!(!output.contains("canary-secret") && !output.contains(&token));
    }
    let json = home.command(["doctor", "--json"]).run().ends_with(15).json();
    assert_eq!((&json["version"], &json["problems"]), (&1.into(), &1.into()));
    let problem = found(&json, "problem");
    assert_eq!((&problem["area"], &problem["subject"]), (&"credentials".into(), &"globex".into()));
}

#[test]
fn the_way_to_procurify_is_walked_without_a_credential() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    home.command(["get", "acme"]).run().succeeds();
    home.sandbox().set("acme", Knobs { date_skew_s: 600, ..Knobs::default() }).unwrap();
    let json = home.command(["doctor", "--json"]).run().succeeds().json();
    let clock =
        json["findings"].as_array().unwrap().iter().find(|finding| finding["area"] == "clock").unwrap();
    assert!(clock["found"].as_str().unwrap().contains("behind a server's"), "{clock}");
    assert_eq!(clock["mend"], "timedatectl set-ntp true");
}

#[test]
fn a_server_that_nobody_vouches_for_and_one_that_is_not_there_are_told_apart() {
    let home = Home::new(&["acme"]);
    fs::write(home.config_folder().join("config.toml"), "").unwrap();
    let daemon = home.start();
    home.enrol("acme");
    home.command(["get", "acme"]).run().fails_with(8);
    let told = home.command(["doctor"]).run().ends_with(15);
    let _ = told.showing(&["its certificate is not trusted", "extra-ca"]);
    assert!(daemon.stop().success());

    let home = home.behind("http://127.0.0.1:9");
    let _daemon = home.start();
    let told = home.command(["doctor"]).run().ends_with(15);
    let _ = told.showing(&["cannot be reached through the proxy http://127.0.0.1:9", "HTTPS_PROXY"]);
}

#[test]
fn a_locked_vault_is_looked_at_as_far_as_that_goes() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    home.command(["lock"]).run().succeeds();
    let told = home.command(["doctor"]).run().succeeds();
    let _ = told.showing(&["the vault is locked", "procurify-token unlock", "opened by: key file"]);
}

#[test]
fn a_key_file_that_opens_nothing_is_a_problem_and_nothing_is_advised_that_loses_a_secret() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    home.command(["init", "--no-recovery-code"]).run().succeeds();
    home.command(["lock"]).run().succeeds();
    let key_file = home.config_folder().join("vault.key");
    fs::rename(&key_file, home.path().join("kept")).unwrap();
    fs::write(&key_file, home.daemon_command().arg("--new-key").output().unwrap().stdout).unwrap();
    set_mode(&key_file, 0o600);
    home.command(["doctor"]).run().ends_with(15).showing(&["The key file does not open", "from your backup"]);
    fs::write(&key_file, "nothing of the kind").unwrap();
    home.command(["doctor"]).run().ends_with(15).showing(&["is not a key file"]);
    fs::rename(home.path().join("kept"), &key_file).unwrap();
    let aside = home.data_folder().join("vault.aside-00000001");
    fs::write(&aside, "").unwrap();
    set_mode(&aside, 0o600);
    let told = home.command(["doctor"]).run().succeeds();
    assert!(told.stdout.contains("vault.aside-00000001") && !told.stdout.contains("rm "), "{}", told.stdout);
}

#[test]
fn however_much_there_is_to_tell_an_answer_comes() {
    let home = Home::new(&[]);
    let _daemon = home.start();
    home.command(["init"]).run().succeeds();
    for number in 0..3000 {
        fs::write(home.data_folder().join(format!("vault.aside-{number:08x}")), "").unwrap();
    }
    let json = home.command(["doctor", "--json"]).run().ends_with(15).json();
    let answers = |finding: &Value| finding["found"].as_str().unwrap().contains("answers (pid");
    assert!(json["findings"].as_array().unwrap().iter().any(answers), "the daemon itself has answered");
    assert!(json.to_string().contains("more findings do not fit"));
}

/// What the system's package leaves, with a service that is started again and again; seen by one process alone.
const MACHINE: &str = r#"
for folder in /etc /var/lib /run; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
mkdir -p /etc/systemd/system /etc/procurify-token /run/procurify-token
chmod 755 /etc/procurify-token
: >/etc/systemd/system/procurify-tokend.service
install -d -m 700 -o 997 /var/lib/procurify-token
install -m 600 -o 997 /dev/null /var/lib/procurify-token/tokens.redb
printf '#!/bin/sh\necho ActiveState=activating; echo SubState=auto-restart\n' >"$HOME/systemctl"
chmod 755 "$HOME/systemctl"
"#;

fn found<'a>(report: &'a Value, severity: &str) -> &'a Value {
    report["findings"].as_array().unwrap().iter().find(|finding| finding["severity"] == severity).unwrap()
}

/// Every file and folder with its mode, size and time of change. What a typed command writes its output to is left out.
fn everything_below(home: &Path) -> BTreeMap<PathBuf, (u32, u64, i64)> {
    let (mut seen, mut folders) = (BTreeMap::new(), vec![home.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            if path.ends_with("typed") {
                continue;
            }
            seen.insert(path.clone(), (metadata.mode(), metadata.len(), metadata.ctime_nsec()));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    seen
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
