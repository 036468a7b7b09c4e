//! The program's own pages, after a start.
//!
//! Most of a daemon's memory is its program, as far as that was ever run; and most of what was run is the start. What is not needed
//! again goes back to the system here, once the start is over. What is needed is mapped in again out of the system's cache of files,
//! as at the first time. Only Linux tells where the pages are.

#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "pages are given back that nothing has written to and that are read in again"
    )
)]

use std::fs::File;

/// Where this program's pages are told of.
#[derive(Debug)]
pub struct OwnPages {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing is told elsewhere"))]
    maps: Option<File>,
}

impl OwnPages {
    /// Opens what tells, which has to be done before the sandbox is closed.
    pub fn find() -> Self {
        Self { maps: if cfg!(target_os = "linux") { File::open("/proc/self/maps").ok() } else { None } }
    }

    /// Gives back the pages of the program's code, and of the heap what is free.
    #[cfg(target_os = "linux")]
    pub fn give_back(self) {
        use std::io::Read as _;

        use rustix::mm::{Advice, madvise};

        super::heap::give_back();
        let mut maps = String::new();
        let is_read = self.maps.is_some_and(|mut file| file.read_to_string(&mut maps).is_ok());
        let own = Self::give_back as *const () as usize;
        if is_read && let Some(code) = code_around(own, &maps) {
            let first = std::ptr::with_exposed_provenance_mut(code.start);
            // SAFETY: these are pages of a file, mapped for reading and running alone, so none differs from the file; whoever runs
            // or reads one of them next, this function for one, has it mapped in again, as the kernel promises for such a mapping
            // (madvise(2), MADV_DONTNEED).
            let _ = unsafe { madvise(first, code.len(), Advice::LinuxDontNeed) };
        }
    }

    /// Does nothing here.
    #[cfg(not(target_os = "linux"))]
    pub fn give_back(self) {}
}

/// The mapping around an address, if it is one of a file that is run and never written to (`proc_pid_maps(5)`).
#[cfg(target_os = "linux")]
fn code_around(address: usize, maps: &str) -> Option<std::ops::Range<usize>> {
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (first, end) = fields.next()?.split_once('-')?;
        let hexadecimal = |number| usize::from_str_radix(number, 16).ok();
        let range = hexadecimal(first)?..hexadecimal(end)?;
        let is_code = fields.next() == Some("r-xp") && fields.nth(2).is_some_and(|inode| inode != "0");
        (range.contains(&address) && is_code).then_some(range)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_s_unwritten_code_is_given_back() {
        let maps = "\
55d000-55e000 r--p 00000000 fe:00 1234                       /usr/bin/procurify-tokend
55e000-560000 r-xp 00001000 fe:00 1234                       /usr/bin/procurify-tokend
560000-561000 rwxp 00003000 fe:00 1234                       /usr/bin/procurify-tokend
561000-562000 r-xp 00000000 00:00 0                          [vdso]
";
        assert_eq!(code_around(0x55_e000, maps), Some(0x55_e000..0x56_0000));
        assert_eq!(code_around(0x55_ffff, maps), Some(0x55_e000..0x56_0000));
        for elsewhere in [0x55_d000, 0x56_0000, 0x56_1000, 0x57_0000] {
            assert_eq!(code_around(elsewhere, maps), None, "{elsewhere:x}");
        }
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        // Of the mapping around this code, so much is in memory (`Rss`).
        let in_memory = || {
            let own = OwnPages::give_back as *const () as usize;
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mapping = maps.lines().skip_while(|line| code_around(own, line).is_none());
            let amount = mapping.skip(1).find_map(|line| line.strip_prefix("Rss:")).unwrap();
            amount.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        // Other tests, which run meanwhile, may call for as many again.
        let is_less = (0..20).any(|_| {
            let before = in_memory();
            OwnPages::find().give_back();
            in_memory() < before
        });
        assert!(is_less, "{} kB are in memory", in_memory());
    }
}
