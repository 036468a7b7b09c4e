//! How many callers are served at once: in sum, of one user, and of those to whom no rule could allow anything.
//!
//! One user's flood leaves places for everybody else, and strangers can take no more than a few from each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::principal::Principal;

/// The places of a daemon, on all of its sockets together.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_strangers: usize,
    of_user: HashMap<Option<Principal>, usize>,
}

/// One place; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    user: Option<Principal>,
    standing: Standing,
}

/// What a caller is to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Some rule might allow it something.
    Known,
    /// None does.
    Stranger,
}

impl Places {
    /// So many, of which one user may have three quarters.
    pub fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// A place for a caller of this user, if there is one for it.
    pub fn take(self: &Arc<Self>, user: Option<Principal>, standing: Standing) -> Option<Place> {
        let mut taken = self.taken();
        let of_user = taken.of_user.get(&user).copied().unwrap_or(0);
        let is_free = taken.all < self.most
            && of_user < self.most - self.most / 4
            && (standing == Standing::Known || taken.of_strangers < MOST_STRANGERS);
        if !is_free {
            return None;
        }
        taken.all += 1;
        taken.of_strangers += usize::from(standing == Standing::Stranger);
        taken.of_user.insert(user.clone(), of_user + 1);
        Some(Place { places: Arc::clone(self), user, standing })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        taken.of_strangers -= usize::from(self.standing == Standing::Stranger);
        match taken.of_user.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.of_user.remove(&self.user)),
        }
    }
}

/// A stranger needs a place no longer than to be refused.
const MOST_STRANGERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_places_for_the_others_and_a_place_comes_back() {
        let places = Arc::new(Places::new(16));
        let mut first: Vec<_> =
            std::iter::from_fn(|| places.take(Some(Principal::numbered(1)), Standing::Known)).collect();
        assert_eq!(first.len(), 12);
        let second: Vec<_> =
            std::iter::from_fn(|| places.take(Some(Principal::numbered(2)), Standing::Known)).collect();
        assert_eq!(second.len(), 4);
        assert!(places.take(Some(Principal::numbered(3)), Standing::Known).is_none());
        first.pop();
        assert!(places.take(Some(Principal::numbered(3)), Standing::Known).is_some());
        drop((first, second));
        assert!(places.taken().of_user.is_empty() && places.taken().all == 0);
    }

    #[test]
    fn strangers_share_a_few() {
        let places = Arc::new(Places::new(64));
        let strangers: Vec<_> = (100..200)
            .filter_map(|uid| places.take(Some(Principal::numbered(uid)), Standing::Stranger))
            .collect();
        assert_eq!(strangers.len(), MOST_STRANGERS);
        assert!(places.take(None, Standing::Stranger).is_none());
        assert!(places.take(Some(Principal::numbered(1)), Standing::Known).is_some());
    }
}
