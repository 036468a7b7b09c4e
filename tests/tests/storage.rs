//! The vault and those who would spoil it: a second daemon, a thief of the data folder, a full disk, a disk that may
//! not be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use procurify_token_tests::{Home, skipped};

#[test]
fn a_second_daemon_is_refused_and_told_who_is_there() {
    let home = Home::new(&["acme"]);
    let first = home.start();
    home.enrol("acme");
    let mut second = home.daemon_command();
    second.arg("--socket").arg(home.path().join("run/second.sock"));
    let refused = home.try_start_with(second).expect_err("one vault, one daemon");
    assert!(!refused.status.success());
    assert!(refused.stderr.contains(&first.pid().to_string()), "{}", refused.stderr);
    home.command(["get", "acme"]).run().succeeds();

    first.kill9();
    let _third = home.start();
    home.command(["get", "acme"]).run().succeeds();
}

#[test]
fn a_copied_data_folder_opens_nothing() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.enrol("acme");
    home.command(["get", "acme"]).run().succeeds();
    assert!(daemon.stop().success());

    let thief = Home::new(&["acme"]);
    copy(&home.data_folder(), &thief.data_folder());
    copy(&home.state_folder(), &thief.state_folder());
    let daemon = thief.start();
    thief.command(["get", "acme"]).run().fails_with(4).saying(&["procurify-token unlock"]);
    thief.command(["list"]).run().fails_with(4);
    thief.command(["unlock"]).run().fails_with(13).saying(&["key file", "is missing"]);
    thief.command(["init"]).run().fails_with(12).saying(&["nothing was changed"]);
    assert!(daemon.stop().success());

    // Nor does another vault's key.
    fs::rename(thief.data_folder(), thief.path().join("stolen")).unwrap();
    let daemon = thief.start();
    thief.command(["init"]).run().succeeds();
    assert!(daemon.stop().success());
    fs::remove_dir_all(thief.data_folder()).unwrap();
    fs::rename(thief.path().join("stolen"), thief.data_folder()).unwrap();
    let _daemon = thief.start();
    thief.command(["get", "acme"]).run().fails_with(4);
    thief.command(["unlock"]).run().fails_with(4).saying(&["key file does not open"]);
    assert_eq!(thief.sandbox().ledger().tally("acme").token_requests, 0);
}

#[test]
fn on_a_full_disk_nothing_is_called_stored_and_nothing_is_lost() {
    let home = Home::new(&["acme"]);
    let Some(disk) = SmallDisk::mount(&home.path().join("disk"), "256k") else {
        return skipped(
            "on_a_full_disk_nothing_is_called_stored_and_nothing_is_lost",
            "no tmpfs may be mounted",
        );
    };
    home.configure(&format!("[vault]\npath = \"{}\"", disk.0.join("vaults/vault").display()));
    let daemon = home.start();
    enrol(&home, "acme").succeeds();
    let filler = disk.0.join("filler");
    // Fails when there is no room left, which is what it is for.
    let _ = fs::write(&filler, vec![0; 512 * 1024]);

    enrol(&home, "acme/second").fails_with(13).saying(&["not stored", "nothing was changed"]);
    home.command(["list"]).run().succeeds();
    home.command(["status", "acme/second"]).run().fails_with(5);
    home.command(["get", "acme"]).run().succeeds();
    daemon.kill9();
    let _daemon = home.start();
    home.command(["get", "acme"]).run().succeeds();
    home.command(["status", "acme/second"]).run().fails_with(5);

    fs::remove_file(filler).unwrap();
    enrol(&home, "acme/second").succeeds();
    home.command(["get", "acme/second"]).run().succeeds();
}

#[test]
fn where_nothing_may_be_written_nothing_is_called_stored() {
    let home = Home::new(&["acme"]);
    let Some(disk) = SmallDisk::mount(&home.path().join("disk"), "256k") else {
        return skipped("where_nothing_may_be_written_nothing_is_called_stored", "no tmpfs may be mounted");
    };
    home.configure(&format!("[vault]\npath = \"{}\"", disk.0.join("vaults/vault").display()));
    let _daemon = home.start();
    enrol(&home, "acme").succeeds();
    let read_only = disk.covered_read_only();
    enrol(&home, "acme/second").fails_with(13).saying(&["not stored", "nothing was changed"]);
    home.command(["remove", "acme", "--yes"]).run().fails_with(13).saying(&["not stored"]);
    home.command(["get", "acme"]).run().succeeds();
    drop(read_only);
    enrol(&home, "acme/second").succeeds();
    home.command(["remove", "acme", "--yes"]).run().succeeds();
    home.command(["get", "acme"]).run().fails_with(5);
}

fn enrol(home: &Home, name: &str) -> procurify_token_tests::Typed {
    let words = ["add", name, "--client-id", "sandbox-acme", "--secret-stdin", "--no-try"];
    home.command(words).stdin("sandbox-acme-secret").run()
}

/// A tmpfs of a given size; unmounted on drop. Only root may have one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir(at).expect("a place to mount it");
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self(at.to_owned()))
    }

    /// The same disk once more in its own place, but not to be written through; as it was again on drop. Mounting the
    /// disk itself anew is not possible while the daemon has its lock file open there.
    fn covered_read_only(&self) -> Self {
        let mount = |options: &[&str]| {
            let mut mount = Command::new("mount");
            mount.args(options).arg(&self.0).status().is_ok_and(|status| status.success())
        };
        assert!(mount(&["--bind", &self.0.display().to_string()]));
        let cover = Self(self.0.clone());
        assert!(mount(&["-o", "remount,bind,ro"]));
        cover
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon may still have its lock file there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp can be run");
    assert!(copied.success());
}
