//! The testkit of the whole-program tests: the real programs, in a private home, against a sandbox Procurify.
//!
//! ```no_run
//! use procurify_token_tests::Home;
//!
//! let home = Home::new(&["acme"]);
//! let daemon = home.start();
//! home.enrol("acme");
//! let token = home.command(["get", "acme"]).run().succeeds().stdout;
//! daemon.kill9();
//! let _daemon = home.start();
//! assert_eq!(home.command(["get", "acme"]).run().succeeds().stdout, token);
//! assert_eq!(home.sandbox().ledger().issued("acme"), 1);
//! ```
//!
//! | room | what |
//! | --- | --- |
//! | `home` | one user's folders and sandbox, and what is done in them |
//! | `daemon` | a daemon that runs |
//! | `typed` | a command line that is typed, and what comes of it |
//! | `terminal` | a person at a terminal |
//! | `credentials` | what is enrolled |
//! | `gate` | holds the network up until the test lets it go |
//! | `processes` | where the programs are; waiting for processes, and clearing them away |
//!
//! Nothing here sleeps: tests wait for the ledger, for the end of a process, for a line to be read, for the gate.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a testkit fails a test")]

mod credentials;
mod daemon;
mod gate;
mod home;
mod processes;
mod terminal;
mod typed;

pub use credentials::{credential, credential_of, name, text_of};
pub use daemon::{Daemon, DidNotStart};
pub use gate::Gate;
pub use home::Home;
pub use processes::{PATIENCE, has_time_namespaces, program, wait_for_end};
pub use terminal::{Screen, Terminal};
pub use typed::{Answer, Invocation, Typed};

pub use procurify_sandbox as sandbox;
pub use procurify_token_client as client;
pub use procurify_token_protocol as protocol;

/// Says, where nobody can overlook it, that a test did not run on this machine. `.ci/run` counts these lines.
#[expect(clippy::print_stderr, reason = "a test that is skipped in silence looks like one that passed")]
pub fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    // Straight to the descriptor: the harness captures `eprintln!` of a test that passes.
    if writeln!(std::io::stderr(), "SKIPPED: {test}: {why}").is_err() {
        eprintln!("SKIPPED: {test}: {why}");
    }
}

/// The same for a test that wants something which `.ci/run` installs: there it has to run.
///
/// # Panics
/// Where every test has to run: `CI=true` or `PROCURIFY_TESTS_REQUIRE_ALL=1`.
pub fn skipped_unless_required(test: &str, why: &str) {
    let is_set = |variable: &str, to: &str| std::env::var_os(variable).is_some_and(|value| value == to);
    let must_run = is_set("CI", "true") || is_set("PROCURIFY_TESTS_REQUIRE_ALL", "1");
    assert!(!must_run, "{test} has to run here, but {why}");
    skipped(test, why);
}
