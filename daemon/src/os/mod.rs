//! What differs between systems: whose the process is, what must not be seen of it, and folders for one user alone.
//!
//! Only Unix is built and tested so far. A second file with the same names is all that another system needs.

mod accounts;
#[cfg(target_os = "linux")]
mod groups;
mod heap;
mod peer;
pub mod sandbox;
mod unix;

pub use accounts::{Account, account, group};
pub use heap::set_habits;
pub use peer::{Identity, Onlooker, Process, Seen, identify};
pub use unix::{
    close_standard_output, closed_to_others, effective_user, forbid_core_dumps, is_socket,
    make_private_folder, may_look_into_others, raise_descriptor_limit, restrict_file_modes,
    stderr_is_journal, verify_socket_mode,
};
