//! A daemon that is restarted again and again costs no caller an error, where a service manager keeps its socket: whoever
//! connects meanwhile waits in it, and whoever was cut off asks once more.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs::{self, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use procurify_token_tests::client::blocking::Client;
use procurify_token_tests::{Daemon, Home, name};
use rustix::io::{FdFlags, fcntl_setfd};

#[test]
fn a_hundred_restarts_under_load_cost_nobody_an_error() {
    let home = Home::new(&["acme"]);
    let socket = kept_socket(&home);
    let first = handed_over(&home, &socket);
    home.enrol("acme");
    let token = home.client().token(&name("acme")).unwrap().fingerprint();
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let get = |client: &mut Client| {
        assert_eq!(client.token(&name("acme")).unwrap().fingerprint(), token);
        asked.fetch_add(1, Ordering::Relaxed);
    };
    let is_over = || over.load(Ordering::Relaxed);
    let daemon = thread::scope(|scope| {
        let mut daemon = first;
        // One stays connected, one connects anew each time, and one is the command.
        let callers = [
            scope.spawn(|| {
                let mut client = home.client();
                while !is_over() {
                    get(&mut client);
                }
            }),
            scope.spawn(|| {
                while !is_over() {
                    get(&mut Client::connect(&home.options()).unwrap());
                }
            }),
            scope.spawn(|| {
                while !is_over() {
                    let _ = home.command(["get", "acme"]).run().succeeds();
                }
            }),
        ];
        let someone_failed = || callers.iter().any(thread::ScopedJoinHandle::is_finished);
        for restart in 0..RESTARTS {
            // Every other one is a crash.
            if restart % 2 == 0 {
                assert!(daemon.stop().success());
            } else {
                daemon.kill9();
            }
            daemon = handed_over(&home, &socket);
            let before = asked.load(Ordering::Relaxed);
            while asked.load(Ordering::Relaxed) < before + 10 && !someone_failed() {
                thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
        daemon
    });
    assert_eq!(home.sandbox().ledger().tally("acme").token_requests, 1, "a restart asks for no token");
    assert!(daemon.stop().success());
    assert!(home.socket().exists(), "the socket is the service manager's");
}

/// The socket as a service manager would make it.
fn kept_socket(home: &Home) -> UnixListener {
    let folder = home.socket().parent().unwrap().to_owned();
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o711)).unwrap();
    let socket = UnixListener::bind(home.socket()).unwrap();
    fcntl_setfd(&socket, FdFlags::empty()).unwrap();
    socket
}

/// A daemon to which it is handed over: as descriptor 3, with the daemon's own number in the environment (`sd_listen_fds(3)`).
fn handed_over(home: &Home, socket: &UnixListener) -> Daemon {
    let daemon = home.daemon_command();
    let mut command = Command::new("/bin/bash");
    let script = format!("exec 3<&{}; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"", socket.as_raw_fd());
    command.args(["-c", &script]).arg(daemon.get_program()).env_clear().current_dir(home.path());
    command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    home.try_start_with(command).expect("the daemon starts with a socket that it was given")
}

const RESTARTS: usize = 100;
