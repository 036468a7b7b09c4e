//! From one version to another and back: what a daemon says of a vault that a later version has written.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::Path;

use procurify_token_tests::Home;
use ring::digest;

#[test]
fn a_vault_of_a_later_version_is_left_alone_and_the_way_on_is_told() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    assert!(daemon.stop().success());
    let vault = home.data_folder().join("vault");
    let ours = fs::read(&vault).unwrap();
    of_a_later_version(&vault);
    let theirs = fs::read(&vault).unwrap();

    let daemon = home.start();
    let version = concat!("procurify-tokend ", env!("CARGO_PKG_VERSION"));
    let told = [
        "was written by a newer version",
        "format is 3",
        version,
        "formats up to 2",
        "Install the newer version again",
    ];
    // To enrol took two writes, so there is a generation before this one.
    home.command(["unlock"])
        .run()
        .fails_with(13)
        .saying(&told)
        .saying(&["procurify-token unlock --generation 1"]);
    home.command(["get", "acme"]).run().fails_with(4);
    home.command(["init"]).run().fails_with(12).saying(&["nothing was changed"]);
    home.command(["doctor"]).run().ends_with(15).showing(&["→ install the newer procurify-token again"]);
    assert!(daemon.stop().success());
    assert_eq!(fs::read(&vault).unwrap(), theirs);
    assert!(home.log().contains("Install the newer version again"), "{}", home.log());

    // The newer version is installed again.
    fs::write(&vault, ours).unwrap();
    let _daemon = home.start();
    home.command(["get", "acme"]).run().succeeds();
}

#[test]
fn a_backup_of_a_later_version_takes_no_vaults_place() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    let backup = home.path().join("backup.vault");
    home.command(["backup", backup.to_str().unwrap()]).run().succeeds();
    assert!(daemon.stop().success());
    of_a_later_version(&backup);

    let other = Home::new(&["acme"]);
    let _daemon = other.start();
    let refused = other.command(["restore", backup.to_str().unwrap()]).run().fails_with(13);
    let refused =
        refused.saying(&["The backup was written by a newer version", "format is 3", "Nothing was put"]);
    assert!(!refused.stderr.contains("unlock --generation"), "{}", refused.stderr);
    assert!(!other.data_folder().join("vault").exists());
}

/// Magic, format, length and checksum stay where they are in every later format.
fn of_a_later_version(vault: &Path) {
    let mut bytes = fs::read(vault).unwrap();
    bytes[8..10].copy_from_slice(&3_u16.to_le_bytes());
    let summed = bytes.len() - digest::SHA256_OUTPUT_LEN;
    let sum = digest::digest(&digest::SHA256, &bytes[..summed]);
    bytes[summed..].copy_from_slice(sum.as_ref());
    fs::write(vault, bytes).unwrap();
}
