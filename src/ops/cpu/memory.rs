//! The settings of the memory allocator, aligned memory, and huge pages.

use std::ops::{Deref, DerefMut};

/// Keeps freed memory in the process, so that each activation reuses the pages of an earlier one instead of faulting
/// in new ones.
///
/// The kernel hands out fresh pages at about 2 GB/s, a tenth of the memory's bandwidth.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: these set parameters of malloc, which accepts any value and ignores those it does not support.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Numbers that begin at a cache line, so that no vector of them is in two lines.
pub struct Aligned {
    memory: Vec<f32>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// Returns zeros, in huge pages if there are many. Memory that the process has not used before is not touched.
    pub fn zeros(length: usize) -> Self {
        const LINE: usize = 16; // f32
        let memory = vec![0.; length + LINE - 1];
        advise_huge_pages(memory.as_ptr(), memory.len());
        let start = (memory.as_ptr().addr() / size_of::<f32>()).wrapping_neg() % LINE;
        Self { memory, start, length }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[self.start..][..self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..][..self.length]
    }
}

/// Advises the system to back `count` f32 from `start` with huge pages, which take fewer page faults. Does nothing for
/// fewer than 4 MiB. The memory should not have been touched yet.
pub fn advise_huge_pages(start: *const f32, count: usize) {
    #[cfg(target_os = "linux")]
    {
        const MIN_BYTES: usize = 4 << 20;
        const PAGE: usize = 4096;
        let first = start.addr().next_multiple_of(PAGE);
        let length = (start.addr() + 4 * count).saturating_sub(first);
        if 4 * count >= MIN_BYTES {
            // SAFETY: this is advice on our own pages, which does not change their contents and may be refused.
            unsafe { libc::madvise(start.with_addr(first).cast_mut().cast(), length, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, count);
}
