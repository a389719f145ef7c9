//! Memory that is kept.

/// Freed memory stays with the program: the next activation takes the place of the last, and no page is faulted in twice.
///
/// Fresh pages come at some 2 GB/s, a tenth of what memory does.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: these set numbers inside malloc, which takes any; what it refuses it ignores.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Asks that memory which nobody has touched yet comes in large pages, of which there are fewer to be faulted in; where
/// there is little of it, nothing is asked.
pub fn in_large_pages(start: *const f32, numbers: usize) {
    #[cfg(target_os = "linux")]
    {
        const LEAST: usize = 4 << 20;
        const PAGE: usize = 4096;
        let first = start.addr().next_multiple_of(PAGE);
        let length = (start.addr() + 4 * numbers).saturating_sub(first);
        if 4 * numbers >= LEAST {
            // SAFETY: advice on pages that are ours, which changes nothing in them; it may be refused.
            unsafe { libc::madvise(start.with_addr(first).cast_mut().cast(), length, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, numbers);
}
