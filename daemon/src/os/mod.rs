//! What differs between systems: whose the process is, what must not be seen of it, and folders for one user alone.
//!
//! `unix.rs` and `windows.rs` export the same names, but for what only one of them needs.

#[cfg(unix)]
mod accounts;
#[cfg(target_os = "linux")]
mod groups;
mod heap;
mod peer;
pub mod sandbox;
#[cfg(unix)]
mod settings;
mod settled;
mod signals;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use accounts::{Account, account, group};
pub use heap::set_habits;
#[cfg(unix)]
pub use peer::identify;
pub use peer::{Identity, Onlooker, Process, Seen};
#[cfg(unix)]
pub use settings::judge_settings;
pub use settled::OwnPages;
#[cfg(windows)]
pub use signals::ask_to_stop;
pub use signals::{Signals, Told};
#[cfg(unix)]
pub use unix::{
    close_standard_output, closed_to_others, effective_user, forbid_core_dumps, is_socket,
    make_private_folder, may_look_into_others, raise_descriptor_limit, restrict_file_modes,
    stderr_is_journal, verify_socket_mode,
};
#[cfg(windows)]
pub use windows::{
    Account, account, close_standard_output, closed_to_others, effective_user, forbid_core_dumps, group,
    identify, judge_way, make_private_folder, make_system_folder, may_look_into_others,
    raise_descriptor_limit, restrict_file_modes, stderr_is_journal,
};
