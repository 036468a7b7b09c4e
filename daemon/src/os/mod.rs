//! What differs between systems: whose the process is, what must not be seen of it, and folders for one user alone.
//!
//! Only Unix is built and tested so far. A second file with the same names is all that another system needs.

mod heap;
pub mod sandbox;
mod unix;

pub use heap::return_freed_memory;
pub use unix::{
    close_standard_output, effective_user, forbid_core_dumps, is_socket, make_private_folder,
    restrict_file_modes, stderr_is_journal, verify_socket_mode,
};
