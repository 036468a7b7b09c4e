//! When to ask Procurify for a token, and what to tell those who wait: the heart of the daemon, and pure.
//!
//! Events go in, actions come out ([`Keeper`]). There is no I/O here, no task, no clock, no randomness and no log: every
//! event brings its own [`Now`], and the driver does what the actions say. The room knows tokens and failures from the
//! protocol crate and nothing else of the house.
//!
//! # A slot's life
//! Each credential has a slot with two independent axes. It *holds* a token or none. And it is *doing* one thing:
//!
//! ```text
//!            due, or somebody waits        a place, the rate, the budget
//!  Resting ───────────────────────▶ Queued ────────────────────────────▶ Out ──▶ issued ──▶ Resting
//!                                     ▲  └─▶ budget spent ─▶ BackingOff   ├───▶ rejected ─▶ Barred ────┐
//!                                     │                                   └───▶ failed ───▶ BackingOff │
//!                                     └──────── time has passed, or a person asks ─────────────────────┘
//! ```
//!
//! What is held is handed out in every one of these states until it expires. A ticket carries a generation; an answer
//! to a ticket that is no longer the one that is out changes nothing.
//!
//! | file | what |
//! | --- | --- |
//! | `keeper.rs` | the machine: slots, waiters, places |
//! | `slot.rs` | one credential: how each outcome changes it |
//! | `lanes.rs`, `shares.rs` | who is next: domains take turns, and four kinds of requests |
//! | `pace.rs`, `budget.rs` | how many requests in a second, how many tokens in an hour and a day |
//! | `waiting.rs`, `timing.rs` | those who wait; the arithmetic of time |

mod budget;
mod keeper;
mod lanes;
mod pace;
mod shares;
mod slot;
mod timing;
mod waiting;

pub use keeper::{Action, Keeper, Ticket, View};
pub use slot::{Held, History, Setback};
pub use timing::{Moment, Now, Policy, Terms};
pub use waiting::{Refused, Wait, Waiter};
