//! A page of memory from Windows, which has no secret memory.

use super::{KEY_LEN, Kind, Protection};

/// A page that is nobody else's, zeroed when it comes.
pub(super) struct Page(procurify_token_windows::Page);

impl Page {
    /// `None` where Windows has none to give.
    pub(super) fn new(_: Kind) -> Option<(Self, Protection)> {
        let page = procurify_token_windows::Page::new()?;
        let protection = if page.is_locked() { Protection::Locked } else { Protection::None };
        Some((Self(page), protection))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        self.0.bytes().first_chunk().expect("a page is longer than a key")
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; KEY_LEN] {
        self.0.bytes_mut().first_chunk_mut().expect("a page is longer than a key")
    }
}
