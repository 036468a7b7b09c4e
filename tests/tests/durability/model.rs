//! What a vault may look like after a kill, and the dice that decide when it comes.

use procurify_token_tests::protocol::CredentialStatus;

/// A small generator of numbers (`SplitMix64`), whose seed is printed: `PROCURIFY_TEST_SEED` throws the same again.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    #[expect(clippy::print_stderr, reason = "a failure is looked into with the same seed")]
    pub(crate) fn thrown() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let given = std::env::var("PROCURIFY_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        eprintln!("PROCURIFY_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number from 0 to below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The client ids of the one credential that is rotated all the time, as numbers of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trio {
    pub(crate) current: u32,
    pub(crate) previous: Option<u32>,
    pub(crate) staged: Option<u32>,
}

/// What may be in the vault of the rotated credential: one state, or two while it is not known whether the last change
/// was made.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    possible: Vec<Option<Trio>>,
}

impl Pairs {
    pub(crate) const NAME: &str = "acme/rotating";

    pub(crate) fn client_id(application: u32) -> String {
        format!("rotating-{application:04}")
    }

    /// The state so far; `None` before it is enrolled.
    pub(crate) fn now(&self) -> Option<Trio> {
        assert!(self.possible.len() <= 1, "a restart came between");
        self.possible.first().copied().flatten()
    }

    /// A change was sent that leads to this.
    pub(crate) fn perhaps(&mut self, after: Trio) {
        self.possible = vec![self.now(), Some(after)];
    }

    /// It was answered "done".
    pub(crate) fn surely(&mut self) {
        self.possible.drain(..self.possible.len().saturating_sub(1));
    }

    /// After a restart: what is there is one of the states that are possible.
    pub(crate) fn compare(&mut self, found: Option<&CredentialStatus>, kill: usize) {
        let fits = |state: &Option<Trio>| match (state, found) {
            (None, None) => true,
            (Some(trio), Some(status)) => {
                status.client_id.as_str() == Self::client_id(trio.current)
                    && status.staged == trio.staged.is_some()
                    && status.previous == trio.previous.is_some()
            }
            _ => false,
        };
        if self.possible.is_empty() {
            self.possible.push(None);
        }
        let fitting: Vec<_> = self.possible.iter().copied().filter(fits).collect();
        assert!(!fitting.is_empty(), "after kill {kill}, {found:#?} is none of {:?}", self.possible);
        self.possible = vec![fitting[0]];
    }
}
