//! `procurify-tokend`: keeps Procurify client secrets sealed and their access tokens ready.
//!
//! The map of the house; `ARCHITECTURE.md` tells who may know whom.
//!
//! | room | what |
//! | --- | --- |
//! | [`cli`], [`config`] | words in, valid types out |
//! | [`startup`] | the only place where parts are joined |
//! | [`supervisor`] | what the service manager is told |
//! | [`clock`] | the only place that asks for the time |
//! | [`refresh`] | pure: when to ask for a token, and what to tell those who wait |
//! | [`driver`] | the one task that owns the Keeper and the vault and does what the Keeper says |
//! | [`lookup`] | the tokens of this moment, ready to be sent |
//! | [`vault`] | the precious part: the client secrets |
//! | [`cache`] | the disposable part: sealed tokens for the next start |
//! | [`issuer`] | token requests, and what came of them |
//! | [`checkup`] | what is amiss, and what to type about it |
//! | [`ipc`] | the socket and the conversations on it |
//! | [`access`] | who may do what |
//! | [`audit`] | who did what: records that nobody changes unnoticed |
//! | [`explain`] | every sentence that the daemon says to a person |
//! | [`guarded`] | memory for the few keys; the one home of `unsafe` |
//! | [`logging`], [`os`] | the log; what differs between systems |
//! | [`principal`] | users and groups as the system knows them |

pub mod access;
pub mod audit;
pub mod cache;
pub mod checkup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod driver;
pub mod explain;
pub mod guarded;
pub mod ipc;
pub mod issuer;
pub mod logging;
pub mod lookup;
pub mod os;
pub mod principal;
pub mod refresh;
pub mod startup;
pub mod supervisor;
pub mod vault;
