//! The socket: binding it, and one conversation with each caller.
//!
//! This room knows frames, the access rules, the table of ready tokens and the driver's handle. It never sees the
//! vault, a client secret in use, or the network.

mod acquaintances;
mod bells;
mod binding;
mod listener;
mod places;
mod service;
mod session;
mod witness;

pub use acquaintances::Acquaintances;
pub use binding::{BindError, Door, Inherited};
pub use listener::{Listener, serve};
pub use places::Places;
pub use service::Service;
#[cfg(fuzzing)]
pub use session::fuzzing;
pub use session::{Caller, Origin, converse};
