//! The allocator's habits: a few numbers, and two calls that are not safe to the compiler.

#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(
        unsafe_code,
        reason = "the C library is told numbers and asked to tidy up, and nothing else is done"
    )
)]

/// Has large pieces of memory go back to the system as soon as they are freed. By itself glibc learns from the first of them, a
/// whole vault in memory, to take pieces of up to 32 MiB from its heap from then on, and the heap never shrinks below what was
/// kept meanwhile: some 30 MB with 100,000 credentials. And has small pieces joined again as soon as they are freed, and not all at
/// once whenever somebody wants a larger one: each new connection does.
pub fn set_habits() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        for (habit, number) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_MXFAST, 0)] {
            // SAFETY: the call takes two numbers. It is made before there is another thread, as mallopt(3) wants it.
            let is_set = unsafe { libc::mallopt(habit, number) };
            debug_assert_eq!(is_set, 1, "glibc takes any threshold below half a heap, and no fast bins");
        }
    }
}

/// Gives back to the system what the heap no longer holds.
#[cfg(target_os = "linux")]
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number, and locks what it looks at, as any call for memory does.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Above every frame and every record; below the vault and the cache of a large house.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 1 << 20;
