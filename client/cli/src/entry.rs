//! How the process begins, on Linux with glibc: without what Rust's runtime does before `main` to tell an overflown stack from another
//! crash. It reads the whole map of the memory for that, which is a good part of the time of a `get`.
//!
//! What else the runtime does is done here as well: stdin, stdout and stderr are open, and a pipe that nobody reads is an error and
//! not a signal.

#![expect(unsafe_code, reason = "the C library calls this by name, and is told of one signal")]

use std::ffi::{c_char, c_int};
use std::panic::catch_unwind;

/// Called by the C library. The arguments are not read here: `std::env::args` has them from the C library too.
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _words: *const *const c_char) -> c_int {
    open_standard_streams();
    // SAFETY: no handler of ours is named, and there is no other thread yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let code = catch_unwind(super::run).unwrap_or(PANICKED);
    // Flushes what was printed, as the end of any program of Rust does.
    std::process::exit(code)
}

/// Where one of them is closed, what is opened next would take its place, and what is printed would go there.
fn open_standard_streams() {
    for number in 0..3 {
        // SAFETY: whether the number is that of an open file is just what is asked.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            // SAFETY: the path is a string of C. The lowest free number is taken, which is this one.
            if unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } == -1 {
                std::process::abort();
            }
        }
    }
}

const PANICKED: c_int = 101;
