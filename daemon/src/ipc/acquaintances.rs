//! Processes that were here a moment ago, so that the next connection of one is known for its without the kernel making a
//! descriptor for it.
//!
//! Nobody is allowed anything by it: it only tells the audit records whether two connections are of one process. A few are held on to;
//! who comes when there is no room is looked at each time.

use std::sync::{Mutex, PoisonError};

use crate::os::Process;

/// A few processes, each with what tells it from a later one with its number.
#[derive(Debug, Default)]
pub struct Acquaintances(Mutex<Vec<(Process, u64)>>);

impl Acquaintances {
    /// What tells this process from others; 0 where nothing does. One that is alive and was here before has had its number ever since,
    /// so the number is enough to know it by.
    pub(super) fn id(&self, pid: Option<i32>, look: impl FnOnce() -> Option<Process>) -> u64 {
        let Some(pid) = pid else { return 0 };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known.iter().position(|(process, _)| process.pid() == pid) {
            if known[place].0.is_alive() {
                return known[place].1;
            }
            known.swap_remove(place);
        }
        let Some(process) = look() else { return 0 };
        let id = process.id();
        if known.len() == MOST {
            known.retain(|(process, _)| process.is_alive());
        }
        if id != 0 && known.len() < MOST {
            known.push((process, id));
        }
        id
    }
}

/// Each takes a descriptor.
const MOST: usize = 32;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_process_is_looked_at_once_and_one_that_has_ended_is_nobody() {
        let (one, _other) = UnixStream::pair().unwrap();
        let pid = i32::try_from(std::process::id()).ok();
        let known = Acquaintances::default();
        let id = known.id(pid, || Process::of_peer(&one, pid));
        assert_eq!(known.id(pid, || panic!("it is known")), id);
        assert_eq!(known.id(None, || panic!("it has no number")), 0);
        assert_eq!(known.id(Some(1), || None), 0);
        assert_eq!(known.0.lock().unwrap().len(), usize::from(id != 0));
    }
}
