//! What the daemon, the command and the client crate ask of Windows that the standard library does not: who somebody is, who may
//! touch a thing, a named pipe with time limits, memory that is not swapped, and a few facts about processes.
//!
//! Each file is one need, and all that Windows is asked without safety is here; whoever uses this crate has no `unsafe` code of
//! its own for it. What an identity is worth is not judged here. On other systems the crate is empty.
//!
//! | file | what |
//! | --- | --- |
//! | `sid.rs` | who somebody is |
//! | `token.rs` | as whom this process runs, and who is at the other end of a pipe |
//! | `security.rs` | whose a thing is and who may do what with it; files and folders for their owner alone |
//! | `way.rs` | who could exchange what a path names |
//! | `pipe.rs` | a connection to a named pipe, and one with time limits |
//! | `process.rs` | whether a process runs, its end, and what it leaves to others |
//! | `memory.rs` | a page that is not swapped |

#![cfg(windows)]

mod memory;
mod pipe;
mod process;
mod security;
mod sid;
mod text;
mod token;
mod way;

pub use memory::Page;
pub use pipe::{Stream, connect, pipe_is_closed};
pub use process::{
    free_space, is_pipe, is_running, keep_handles_from_children, keep_memory_from_reports, kill,
};
pub use security::{Grants, Make, PIPE_ACCESS, Security, closing, make_folder, make_private, private};
pub use sid::Sid;
pub use token::{Identity, identity_of_client, own_identity};
pub use way::{Changeable, changeable_by_others};
