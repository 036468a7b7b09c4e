//! How many callers are served at once: in sum, of one user, and of those to whom no rule could allow anything.
//!
//! One user's flood leaves places for everybody else, and strangers can take no more than a few from each other. Nor does it take the
//! time: where others are served too, those of a crowd take turns.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

use crate::driver::Handle;
use crate::principal::Principal;

/// The places of a daemon, on all of its sockets together.
#[derive(Debug)]
pub struct Places {
    most: usize,
    /// How many users have any.
    users: AtomicUsize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_strangers: usize,
    of_user: HashMap<Option<Principal>, Arc<User>>,
}

#[derive(Debug)]
struct User {
    connections: AtomicUsize,
    turns: Semaphore,
    /// Room for requests that the driver has yet to answer.
    room: Arc<Semaphore>,
}

/// One place; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    whose: Option<Principal>,
    user: Arc<User>,
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
        Self { most, users: AtomicUsize::new(0), taken: Mutex::default() }
    }

    /// A place for a caller of this user, if there is one for it.
    pub fn take(self: &Arc<Self>, whose: Option<Principal>, standing: Standing) -> Option<Place> {
        let mut taken = self.taken();
        let of_user = taken.of_user.get(&whose).map_or(0, |user| user.connections.load(Ordering::Relaxed));
        let is_free = taken.all < self.most
            && of_user < self.most - self.most / 4
            && (standing == Standing::Known || taken.of_strangers < MOST_STRANGERS);
        if !is_free {
            return None;
        }
        taken.all += 1;
        taken.of_strangers += usize::from(standing == Standing::Stranger);
        let user = taken.of_user.entry(whose.clone()).or_insert_with(|| {
            self.users.fetch_add(1, Ordering::Relaxed);
            Arc::new(User {
                connections: AtomicUsize::new(0),
                turns: Semaphore::new(AT_A_TURN),
                room: Arc::new(Semaphore::new(MOST_UNDER_WAY)),
            })
        });
        user.connections.fetch_add(1, Ordering::Relaxed);
        Some(Place { places: Arc::clone(self), whose, user: Arc::clone(user), standing })
    }

    /// Whether more than one user is served.
    pub fn are_shared(&self) -> bool {
        self.users.load(Ordering::Relaxed) > 1
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Room for one more request that waits for the driver, where this user has some left: half of what there is for everybody.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.user.room).try_acquire_owned().ok()
    }

    /// Waits, where others are served too and this user has a crowd here, until it is this one's turn: so many of the crowd's, then
    /// whatever has arrived meanwhile from anybody. Nothing is held on to after that, so that who is slow holds up nobody.
    pub(super) async fn turn(&self) {
        if self.places.are_shared() && self.user.connections.load(Ordering::Relaxed) > FEW {
            let turn = self.user.turns.acquire().await;
            yield_now().await;
            drop(turn);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        taken.of_strangers -= usize::from(self.standing == Standing::Stranger);
        if self.user.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            taken.of_user.remove(&self.whose);
            self.places.users.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// With so many connections a user is no crowd.
const FEW: usize = 4;
const AT_A_TURN: usize = 4;
const MOST_UNDER_WAY: usize = Handle::MOST_COMMANDS / 2;
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

    #[tokio::test]
    async fn a_crowd_takes_turns_where_others_are_served_and_only_there() {
        use futures_util::FutureExt as _;
        let places = Arc::new(Places::new(64));
        let crowd: Vec<_> = (0..10)
            .map(|_| Arc::new(places.take(Some(Principal::numbered(1)), Standing::Known).unwrap()))
            .collect();
        assert!(crowd.iter().all(|place| place.turn().now_or_never().is_some()), "nobody else is here");
        let other = places.take(Some(Principal::numbered(2)), Standing::Known).unwrap();
        assert!(other.turn().now_or_never().is_some(), "one is no crowd");
        let served = Arc::new(AtomicUsize::new(0));
        let count = || served.load(Ordering::Relaxed);
        for place in &crowd {
            let (place, served) = (Arc::clone(place), Arc::clone(&served));
            tokio::spawn(async move {
                place.turn().await;
                served.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut seen = vec![0];
        while count() < crowd.len() {
            yield_now().await;
            seen.push(count());
        }
        assert!(seen.windows(2).all(|pair| pair[1] - pair[0] <= AT_A_TURN), "{seen:?}");
    }
}
