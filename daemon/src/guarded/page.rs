//! A page of memory from the operating system: the only `unsafe` code of the daemon.

#![expect(unsafe_code, reason = "a page of memory is asked for and given back here, and nowhere else")]

use std::ptr::{NonNull, null_mut};

use rustix::mm::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};

use super::{KEY_LEN, Kind, Protection};

/// A page that is nobody else's, zeroed when it comes.
pub(super) struct Page {
    start: NonNull<[u8; KEY_LEN]>,
    length: usize,
}

// SAFETY: the page belongs to this value alone, wherever that goes.
unsafe impl Send for Page {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Page {}

impl Page {
    /// `None` where the operating system has none to give.
    pub(super) fn new(kind: Kind) -> Option<(Self, Protection)> {
        if kind == Kind::Secret
            && let Some(page) = Self::secret()
        {
            return Some((page, Protection::Secret));
        }
        let length = rustix::param::page_size();
        // SAFETY: the kernel chooses an address at which nothing is.
        let start = unsafe {
            mmap_anonymous(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let page = Self { start: NonNull::new(start.ok()?.cast())?, length };
        // SAFETY: the page is mapped, and all of it is ours.
        let is_locked = unsafe { mlock(page.start.as_ptr().cast(), length) }.is_ok();
        let is_dumped = !page.keep_out_of_dumps_and_children();
        let protection = if is_locked && !is_dumped { Protection::Locked } else { Protection::None };
        Some((page, protection))
    }

    #[cfg(target_os = "linux")]
    fn secret() -> Option<Self> {
        use libc::{O_CLOEXEC, SYS_memfd_secret, syscall};
        use std::os::fd::{FromRawFd, OwnedFd};
        // SAFETY: the call takes flags by value and gives a descriptor or an error.
        let made = unsafe { syscall(SYS_memfd_secret, O_CLOEXEC) };
        let descriptor = i32::try_from(made).ok().filter(|descriptor| *descriptor >= 0)?;
        // SAFETY: the kernel has just made it for us.
        let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let length = rustix::param::page_size();
        rustix::fs::ftruncate(&file, length as u64).ok()?;
        // SAFETY: the kernel chooses an address at which nothing is. The descriptor is closed after this, so no child
        // process and nobody who looks into /proc ever has it; the mapping stays.
        let start = unsafe {
            rustix::mm::mmap(
                null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        let page = Self { start: NonNull::new(start.ok()?.cast())?, length };
        // It is in no core file as it is.
        page.keep_out_of_dumps_and_children();
        Some(page)
    }

    #[cfg(not(target_os = "linux"))]
    fn secret() -> Option<Self> {
        None
    }

    #[cfg(target_os = "linux")]
    fn keep_out_of_dumps_and_children(&self) -> bool {
        use rustix::mm::{Advice, madvise};
        let advise = |advice| {
            // SAFETY: the page is mapped, and neither advice changes what is in it for this process.
            unsafe { madvise(self.start.as_ptr().cast(), self.length, advice) }.is_ok()
        };
        let is_kept_from_children = advise(Advice::LinuxDontFork);
        advise(Advice::LinuxDontDump) && is_kept_from_children
    }

    #[cfg(not(target_os = "linux"))]
    fn keep_out_of_dumps_and_children(&self) -> bool {
        // There are no core files of this process (see `os`), and a child becomes another program at once.
        true
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        // SAFETY: the page is mapped, longer than a key, aligned, initialised by the kernel, and borrowed with `self`.
        unsafe { self.start.as_ref() }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; KEY_LEN] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { self.start.as_mut() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: it was mapped by us with this length, and nothing borrows from it any more. A failure leaves a page behind
        // that was wiped.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
