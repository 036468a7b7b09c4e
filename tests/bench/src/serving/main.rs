//! How fast the daemon serves and the command starts, each beside a floor that is measured in the same run.
//!
//! Whatever is compared takes turns: a round of one, a round of the other. Where cores are named, the server runs on core 0
//! and whoever asks on core 1, or both on core 1. Nothing is asserted: this prints one table and says what was missed.
//!
//! | file | what |
//! | --- | --- |
//! | `ours.rs` | the product: homes, daemons, the command |
//! | `floor.rs` | the least that a server and a client can do, in C and on tokio |
//! | `peers.rs` | redis, git's cache, ssh-agent |
//! | `load.rs` | requests over a Unix socket |
//! | `rows.rs` | what is measured |
//! | `soak.rs` | a crowd, and who waits beside it |
//! | `table.rs` | what is printed |

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod floor;
mod load;
mod ours;
mod peers;
mod rows;
mod soak;
mod table;

use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut wanted = Wanted { idle: Duration::from_secs(60), only: None };
    let mut rest = &words[..];
    loop {
        rest = match rest {
            [] => break,
            ["--idle-seconds", seconds, rest @ ..] => {
                wanted.idle = Duration::from_secs(seconds.parse().expect("a number of seconds"));
                rest
            }
            ["--only", part, rest @ ..] => {
                wanted.only = Some((*part).to_owned());
                rest
            }
            // This program again, as the bare server on tokio.
            ["--echo", socket, request, answer] => {
                return floor::echo(socket, request.parse().expect("bytes"), answer.parse().expect("bytes"));
            }
            // For a profiler: a daemon with ten tokens, until stdin ends.
            ["--hold"] => return rows::hold(),
            ["--soak", minutes] => {
                let minutes: f64 = minutes.parse().expect("a number of minutes");
                return soak::soak(Duration::from_secs_f64(minutes * 60.0));
            }
            _ => {
                eprintln!(
                    "usage: serving [--idle-seconds N] [--only process|requests|client|idle|start|scale] [--soak MINUTES] [--hold]"
                );
                std::process::exit(2);
            }
        };
    }
    println!("{}", table::HEAD);
    rows::measure(&wanted);
}

/// What is asked for.
struct Wanted {
    /// How long an idle daemon is watched for.
    idle: Duration,
    /// One group of rows alone.
    only: Option<String>,
}

impl Wanted {
    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}
