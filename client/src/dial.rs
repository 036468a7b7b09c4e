//! Connecting, as each system does it. The two files export the same names; whether who opened may be believed is not
//! known here.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
