//! Memory for the few keys: a page of its own for each, kept from swap, from core files, from child processes, and, where it
//! is asked for, from everything that reads other processes' memory.
//!
//! | kind | what keeps it |
//! | --- | --- |
//! | secret | `memfd_secret(2)`: not even the kernel's own means read it, and a debugger as root gets nothing. It stops hibernation |
//! | locked | `mlock(2)`, `MADV_DONTDUMP`, on Windows `VirtualLock`: never swapped, in no core file. Root can read it |
//! | none | the operating system refused; the key is still wiped when it goes |
//!
//! `page.rs` has the only `unsafe` code: asking for a page, giving it back, and looking at it. What the bytes mean is not
//! known here, nor who should have which kind; that more than keys is kept so is not intended, for locked memory is scarce.

#[cfg(unix)]
mod page;
#[cfg(windows)]
#[path = "guarded/page_windows.rs"]
mod page;

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use zeroize::Zeroize;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Locked memory.
    Locked,
    /// Secret memory; locked memory where the kernel has none.
    Secret,
}

/// What was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Nothing.
    None,
    /// Locked memory.
    Locked,
    /// Secret memory.
    Secret,
}

/// Asks for a kind from now on. Only the first call counts: keys that are there do not move.
pub fn prefer(kind: Kind) {
    let _ = PREFERRED.set(kind);
}

/// The weakest protection that a key of this process has got so far.
pub fn achieved() -> Protection {
    match WEAKEST.load(Ordering::Relaxed) {
        0 => Protection::None,
        1 => Protection::Locked,
        _ => Protection::Secret,
    }
}

/// The 32 bytes of a key.
pub struct GuardedKey {
    home: Home,
}

impl GuardedKey {
    /// Lets `fill` write the key straight into its home.
    ///
    /// # Errors
    /// What `fill` says; the home is wiped and given back then.
    pub fn try_fill<E>(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>) -> Result<Self, E> {
        let (home, protection) = Home::new(PREFERRED.get().copied().unwrap_or(Kind::Locked));
        WEAKEST.fetch_min(protection as u8, Ordering::Relaxed);
        let mut key = Self { home };
        fill(key.home.bytes_mut())?;
        Ok(key)
    }

    /// The key.
    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        self.home.bytes()
    }
}

impl fmt::Debug for GuardedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardedKey([REDACTED])")
    }
}

impl Drop for GuardedKey {
    fn drop(&mut self) {
        self.home.bytes_mut().zeroize();
    }
}

enum Home {
    Page(page::Page),
    /// Where there is no page to be had.
    Boxed(Box<[u8; KEY_LEN]>),
}

impl Home {
    fn new(kind: Kind) -> (Self, Protection) {
        if let Some((page, protection)) = page::Page::new(kind) {
            return (Self::Page(page), protection);
        }
        (Self::Boxed(Box::new([0; KEY_LEN])), Protection::None)
    }

    fn bytes(&self) -> &[u8; KEY_LEN] {
        match self {
            Self::Page(page) => page.bytes(),
            Self::Boxed(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8; KEY_LEN] {
        match self {
            Self::Page(page) => page.bytes_mut(),
            Self::Boxed(bytes) => bytes,
        }
    }
}

/// How long a key is.
pub const KEY_LEN: usize = 32;
static PREFERRED: OnceLock<Kind> = OnceLock::new();
static WEAKEST: AtomicU8 = AtomicU8::new(Protection::Secret as u8);

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// What the kernel says of the mapping at an address.
    fn flags_at(address: usize) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_there = false;
        for line in smaps.lines() {
            let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                is_there = (from..to).contains(&address);
            }
            if is_there && line.starts_with("VmFlags:") {
                return line.to_owned();
            }
        }
        panic!("nothing is mapped there");
    }

    #[test]
    fn a_key_lies_in_a_page_that_is_neither_swapped_nor_dumped_nor_inherited() {
        let key = GuardedKey::try_fill(|bytes| {
            bytes.fill(7);
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(key.bytes(), &[7; KEY_LEN]);
        let flags = flags_at(key.bytes().as_ptr() as usize);
        for flag in ["lo", "dc", "dd"] {
            assert!(flags.split_whitespace().any(|found| found == flag), "{flag} is not among {flags}");
        }
        assert!(achieved() >= Protection::Locked);
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn secret_memory_is_not_to_be_read_from_outside() {
        let Some((mut page, _)) =
            page::Page::new(Kind::Secret).filter(|(_, protection)| *protection == Protection::Secret)
        else {
            return say_skipped("secret memory, which this kernel does not have");
        };
        page.bytes_mut().fill(9);
        let address = page.bytes().as_ptr() as u64;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut read = [0; KEY_LEN];
        let outcome = std::os::unix::fs::FileExt::read_at(&memory, &mut read, address);
        assert!(outcome.is_err() && read == [0; KEY_LEN], "{outcome:?}");
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let mut links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        assert!(!links.any(|link| link.to_string_lossy().contains("secretmem")));
    }

    #[test]
    fn a_key_that_cannot_be_had_leaves_nothing() {
        let refused = GuardedKey::try_fill(|bytes| {
            bytes.fill(1);
            Err::<(), _>("no")
        });
        assert_eq!(refused.unwrap_err(), "no");
    }

    #[expect(clippy::print_stderr, reason = "what is skipped is skipped aloud")]
    fn say_skipped(what: &str) {
        eprintln!("SKIPPED: {what}");
    }
}
