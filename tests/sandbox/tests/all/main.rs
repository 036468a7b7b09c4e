//! The sandbox driven over real sockets, one module for each thing it does.

#[cfg(test)]
mod api;
#[cfg(test)]
mod control;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod knobs;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod program;
#[cfg(test)]
mod support;
#[cfg(test)]
mod token;
