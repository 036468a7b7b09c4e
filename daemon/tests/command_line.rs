//! The daemon's command line, as far as it does not serve anybody.

use std::fs;

use assert_cmd::Command;

fn daemon(home: &tempfile::TempDir) -> Command {
    let mut command = Command::cargo_bin("procurify-tokend").expect("cargo builds it for this test");
    command.env_clear().env("HOME", home.path());
    command
}

#[test]
fn the_default_configuration_is_printed_and_is_good() {
    let home = tempfile::tempdir().unwrap();
    let printed = daemon(&home).arg("--print-default-config").assert().success().get_output().stdout.clone();
    let file = home.path().join("config.toml");
    fs::write(&file, printed).unwrap();
    let checked = daemon(&home).arg("--check-config").arg("--config").arg(&file).assert().success();
    assert_eq!(
        String::from_utf8_lossy(&checked.get_output().stdout),
        format!("{} is good\n", file.display())
    );
}

#[test]
fn a_bad_configuration_is_refused_with_its_place_and_nothing_is_made() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    fs::write(&file, "[issuer]\nretry = 3\n").unwrap();
    let refused = daemon(&home).arg("--config").arg(&file).assert().code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    for part in ["config.toml", "line 2, column 1", "retry"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn without_a_home_it_says_what_to_set() {
    let mut command = Command::cargo_bin("procurify-tokend").expect("cargo builds it for this test");
    // The user's entry in the system's list would be a home as well.
    let refused = command.env_clear().env("HOME", "relative").arg("--check-config").assert();
    let output = refused.get_output();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("set HOME"), "{said}");
}
