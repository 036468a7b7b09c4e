//! How a daemon comes to run, and with which configuration; and the demo, which starts everything by itself.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use procurify_sandbox::{Fault, Knobs};
use procurify_token_tests::{Home, Invocation, PATIENCE, wait_for_end};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_first_command_starts_a_daemon_and_two_at_once_start_one() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    let token = home.command(["get", "acme"]).run().succeeds().stdout;
    assert!(daemon.stop().success());
    assert_eq!(home.processes(), Vec::<i32>::new());

    let get = || home.command(["get", "acme"]).env_remove("PROCURIFY_TOKEN_AUTOSTART");
    let mut children: Vec<_> = (0..4).map(|_| get().spawn()).collect();
    for child in &mut children {
        assert!(wait_for_end(i32::try_from(child.id()).unwrap(), PATIENCE));
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(home.processes().len(), 1, "one daemon");
    assert_eq!(get().run().succeeds().stdout, token, "and it has the sealed token");
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);

    home.command(["stop"]).run().succeeds().showing(&["has stopped"]);
    assert_eq!(home.processes(), Vec::<i32>::new());
}

#[test]
fn a_daemon_keeps_nothing_open_of_the_command_that_started_it() {
    let home = Home::new(&[]);
    home.command(["init"]).env_remove("PROCURIFY_TOKEN_AUTOSTART").run().succeeds();
    home.command(["stop"]).run().succeeds();
    // What a cron job does: a lock for the time of the job. The pipe at its end closes with the last writer.
    let job = "( flock -n 9 && exec 8>&1 && procurify-token list ) 9>\"$HOME/job.lock\" | cat; \
               flock -n \"$HOME/job.lock\" echo free";
    let typed = home.shell(job).env_remove("PROCURIFY_TOKEN_AUTOSTART").run();
    assert!(typed.succeeds().stdout.ends_with("free\n"));
    assert_eq!(home.processes().len(), 1, "the daemon runs on");
}

#[test]
fn a_log_that_has_grown_long_is_put_aside_at_the_next_start() {
    let home = Home::new(&[]);
    let list = || home.command(["list"]).env_remove("PROCURIFY_TOKEN_AUTOSTART").run().ends_with(4);
    list();
    home.command(["stop"]).run().succeeds();
    let (log, aside) = (home.state_folder().join("tokend.log"), home.state_folder().join("tokend.log.1"));
    let first = fs::read_to_string(&log).unwrap();
    list();
    home.command(["stop"]).run().succeeds();
    assert!(fs::read_to_string(&log).unwrap().starts_with(&first) && !aside.exists(), "a short one is kept");

    fs::write(&log, "once\n".repeat(300_000)).unwrap();
    list();
    assert!(fs::read_to_string(&aside).unwrap().starts_with("once\n"));
    assert!(fs::read_to_string(&log).unwrap().contains("ready"), "and a new one is begun");
}

#[test]
fn a_get_that_meets_a_leaving_daemon_has_its_token_and_the_next_one_starts_another() {
    let home = Home::new(&["acme", "globex"]);
    let daemon = home.start();
    home.enrol("acme");
    home.enrol("globex");
    let token = home.command(["get", "acme"]).run().succeeds().stdout;
    home.sandbox().set("globex", Knobs::failing(Fault::Hang)).unwrap();
    let mut refresh = home.command(["refresh", "globex", "--deadline", "1m"]).spawn();
    home.await_token_requests("globex", 2);
    daemon.signal(Signal::TERM);
    let get = || home.command(["get", "acme"]).env_remove("PROCURIFY_TOKEN_AUTOSTART").run();
    assert_eq!(get().succeeds().stdout, token);
    home.sandbox().set("globex", Knobs::default()).unwrap();
    daemon.wait();
    assert_eq!(get().succeeds().stdout, token);
    assert!(refresh.wait().unwrap().success(), "it was asked again of the next daemon");
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
}

#[test]
fn a_unit_file_or_a_named_socket_keeps_the_command_from_starting_one() {
    let home = Home::new(&[]);
    let list = || home.command(["list"]).env_remove("PROCURIFY_TOKEN_AUTOSTART");
    let named = home.path().join("run/elsewhere.sock");
    let typed = list().env("PROCURIFY_TOKEN_SOCKET", &named).run().fails_with(3);
    typed.saying(&[&format!("procurify-tokend --socket {}", named.display())]);

    let units = home.path().join("config/systemd/user");
    fs::create_dir_all(&units).unwrap();
    fs::write(units.join("procurify-tokend.service"), "").unwrap();
    list().run().fails_with(3).saying(&["in charge of it", "systemctl --user start procurify-tokend"]);
    assert_eq!(home.processes(), Vec::<i32>::new());
}

#[test]
fn a_daemon_that_cannot_start_says_why_through_the_command() {
    let home = Home::new(&[]);
    home.configure("[refresh]\nform = 0.5");
    let typed = home.command(["list"]).env_remove("PROCURIFY_TOKEN_AUTOSTART").run();
    typed.fails_with(3).saying(&["could not start", "unknown field `form`", "its log is"]);
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_line_and_column() {
    let home = Home::new(&[]);
    for (rest, said) in [
        ("\n[refresh]\nform = 0.5", &["line 5, column 1", "unknown field `form`", "config.toml"][..]),
        ("request-timeout = 30", &["line 3, column 19", "expected a string"]),
        ("request-timeout = \"a while\"", &["line 3, column 19", "write a duration such as"]),
        ("[refresh]\nfrom = 0.9\nto = 0.5", &["from must not be greater than to"]),
    ] {
        home.configure(rest);
        let refused = home.try_start().expect_err("a wrong configuration is refused");
        assert!(!refused.status.success());
        for part in said {
            assert!(refused.stderr.contains(part), "{part:?} is not in {}", refused.stderr);
        }
    }
}

#[test]
fn the_default_configuration_is_good_and_changes_nothing() {
    let home = Home::new(&[]);
    let printed = home.daemon_command().arg("--print-default-config").output().unwrap();
    let defaults = String::from_utf8(printed.stdout).unwrap();
    // The one file of the examples that has to be there.
    let all = defaults.replace("#= ", "");
    let ca = home.ca_file().display().to_string();
    assert!(all.contains(EXAMPLE_CA), "{all}");
    for text in [defaults, all.replace(EXAMPLE_CA, &ca)] {
        let file = home.path().join("defaults.toml");
        fs::write(&file, text).unwrap();
        let checked = home.daemon_command().args(["--check-config", "--config"]).arg(&file).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn a_configuration_is_called_good_only_where_a_daemon_would_start_with_it() {
    let home = Home::new(&[]);
    let check = || home.daemon_command().arg("--check-config").output().unwrap();
    let file = home.config_folder().join("config.toml");
    assert_eq!(String::from_utf8(check().stdout).unwrap(), format!("{} is good\n", file.display()));
    fs::write(&file, "[issuer]\nextra-ca = \"/nowhere/nothing.pem\"").unwrap();
    let checked = check();
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && told.contains("/nowhere/nothing.pem"), "{told}");
    fs::remove_file(&file).unwrap();
    let told = String::from_utf8(check().stdout).unwrap();
    assert_eq!(told, format!("there is no {}: the defaults are in force\n", file.display()));
}

#[test]
fn a_configuration_that_others_could_change_is_refused_at_a_start_and_at_a_reload() {
    let home = Home::new(&[]);
    let (folder, file) = (home.config_folder(), home.config_folder().join("config.toml"));
    let set_mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for (path, open, closed) in [(&folder, 0o777, 0o700), (&folder, 0o1777, 0o700), (&file, 0o666, 0o600)] {
        set_mode(path, open);
        let refused = home.try_start().expect_err("what others could change is refused");
        for part in [&format!("has mode {open:04o}"), &format!("chmod go-w '{}'", path.display())] {
            assert!(refused.stderr.contains(part), "{part:?} is not in {}", refused.stderr);
        }
        set_mode(path, closed);
    }
    let daemon = home.start();
    set_mode(&folder, 0o777);
    daemon.signal(Signal::HUP);
    until(|| home.log().contains("the configuration stays as it was"));
    until(|| home.command(["status"]).run().stdout.contains("chmod go-w"));
    home.command(["doctor"]).run().ends_with(15).showing(&["is not in force", "chmod go-w"]);
    set_mode(&folder, 0o700);
    daemon.signal(Signal::HUP);
    until(|| !home.command(["status"]).run().stdout.contains("is not in force"));
    assert!(daemon.stop().success());
}

#[test]
fn a_hangup_reads_the_configuration_again_and_a_bad_one_changes_nothing() {
    let home = Home::new(&["acme"]);
    let trusting = fs::read_to_string(home.config_folder().join("config.toml")).unwrap();
    fs::write(home.config_folder().join("config.toml"), "").unwrap();
    let daemon = home.start();
    home.enrol("acme");
    home.command(["get", "acme"]).run().fails_with(8).saying(&["not trusted", "extra-ca"]);

    // Anywhere else than beside the configuration, the daemon's own sandbox keeps it from what was not named at the start.
    let elsewhere = home.ca_file().display().to_string();
    let ca = home.config_folder().join("ca.pem").display().to_string();
    fs::copy(home.ca_file(), &ca).unwrap();
    fs::write(home.config_folder().join("config.toml"), &trusting).unwrap();
    daemon.signal(Signal::HUP);
    until(|| home.log().contains("restart the daemon: its sandbox was closed before"));
    fs::write(home.config_folder().join("config.toml"), trusting.replace(&elsewhere, &ca)).unwrap();
    daemon.signal(Signal::HUP);
    until(|| home.command(["status", "--json"]).run().succeeds().json()["daemon"]["extra_ca"] == ca.as_str());
    home.command(["refresh", "acme", "--retry"]).run().succeeds();

    home.command(["doctor"]).run().succeeds();
    fs::write(home.config_folder().join("config.toml"), "nonsense").unwrap();
    daemon.signal(Signal::HUP);
    until(|| home.command(["status"]).run().succeeds().stdout.contains("is not in force"));
    home.command(["doctor"]).run().ends_with(15).showing(&["is not in force", "line 1", "--check-config"]);
    home.command(["refresh", "acme"]).run().succeeds();
    assert!(daemon.stop().success());
}

#[test]
fn the_demo_shows_everything_and_leaves_nothing() {
    let home = Home::new(&[]);
    let before = everything_below(&home);
    let typed = demo(&home).run().succeeds();
    typed.showing(&[
        "$ procurify-token init",
        "$ procurify-token get acme",
        "$ procurify-token api acme /api/v3/vendors/",
        "kill -9",
        "2 tokens issued before the crash, 2 after it; the tokens are the same",
        "the folder are gone",
    ]);
    assert_eq!(everything_below(&home), before);
    assert_eq!(home.processes(), Vec::<i32>::new());
    assert_nobody_lives_in(&home.temporary_folder());
}

#[test]
fn an_interrupted_demo_leaves_nothing_either() {
    let home = Home::new(&[]);
    let before = everything_below(&home);
    let mut command = home.shell("exec procurify-token demo").into_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The daemon runs by now, with two credentials.
    assert!(lines.any(|line| line.unwrap().starts_with("3. ")), "the demo goes that far");
    let pid = i32::try_from(child.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    assert!(wait_for_end(pid, PATIENCE));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(everything_below(&home), before);
    assert_nobody_lives_in(&home.temporary_folder());
}

fn demo(home: &Home) -> Invocation {
    home.command(["demo"]).env_remove("PROCURIFY_TOKEN_AUTOSTART").env_remove("HTTPS_PROXY")
}

/// Every file and folder below the home, but for what the testkit keeps of what was typed.
fn everything_below(home: &Home) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![home.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            if entry.ends_with("typed") {
                continue;
            }
            found.push(entry.display().to_string());
            if entry.is_dir() {
                folders.push(entry);
            }
        }
    }
    found.sort();
    found
}

/// The demo's programs have homes of their own, below the folder for temporary files.
fn assert_nobody_lives_in(folder: &Path) {
    let folder = folder.display().to_string();
    for process in fs::read_dir("/proc").expect("Linux").flatten().map(|entry| entry.path()) {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let lives_there = environment.split('\0').any(|entry| entry.starts_with(&format!("HOME={folder}")));
        assert!(!lives_there, "{} is still there", process.display());
    }
}

/// Asks until it is so.
#[track_caller]
fn until(condition: impl Fn() -> bool) {
    // Nobody ever sends anything: a daemon that has much to do gets the machine meanwhile.
    let (_nobody, nothing) = mpsc::channel::<()>();
    let is_so = |_| condition() || nothing.recv_timeout(Duration::from_millis(1)).is_ok();
    assert!((0..PATIENCE.as_millis()).any(is_so), "it never came about");
}

const EXAMPLE_CA: &str = "/etc/ssl/company-ca.pem";
