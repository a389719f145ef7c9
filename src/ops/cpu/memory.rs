//! The memory allocator, its settings, and huge pages.

use std::alloc::{GlobalAlloc, Layout, System};

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

/// The size of a cache line in bytes.
const LINE: usize = 64;

#[global_allocator]
static ALLOCATOR: LineAllocator = LineAllocator;

/// The system's allocator, except that large blocks begin at a cache line, so that no vector of a tensor is in two lines.
///
/// It takes a larger block from the system and returns a part of it. If the system's malloc aligned blocks, a freed one would
/// be too small for the next of the same size, and a picture would take 0.4 GB more.
struct LineAllocator;

impl LineAllocator {
    /// Allocates a block for `layout`. `method`: the method of the system's allocator to use, `alloc` or `alloc_zeroed`.
    ///
    /// # Safety
    /// The size of `layout` must not be zero.
    unsafe fn allocate(layout: Layout, method: unsafe fn(&System, Layout) -> *mut u8) -> *mut u8 {
        let Some(larger) = larger(layout) else {
            // SAFETY: guaranteed by the caller.
            return unsafe { method(&System, layout) };
        };
        // SAFETY: the size is not zero.
        let block = unsafe { method(&System, larger) };
        if block.is_null() {
            return block;
        }
        let offset = LINE - block.addr() % LINE;
        // SAFETY: `offset` is at most a line, by which the block is larger than `layout`, and at least the alignment of the
        // block, which is the size of the number written before the start.
        unsafe {
            let start = block.add(offset);
            start.cast::<usize>().sub(1).write(offset);
            start
        }
    }
}

// SAFETY: blocks are as large and aligned as asked for, do not overlap, and are freed as they were allocated.
unsafe impl GlobalAlloc for LineAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: guaranteed by the caller.
        unsafe { Self::allocate(layout, System::alloc) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: guaranteed by the caller.
        unsafe { Self::allocate(layout, System::alloc_zeroed) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block was allocated for this layout, and `allocate` wrote the offset before it if it was a larger one.
        unsafe {
            match larger(layout) {
                Some(larger) => System.dealloc(block.sub(*block.cast::<usize>().sub(1)), larger),
                None => System.dealloc(block, layout),
            }
        }
    }
}

/// Returns the layout of the system's block for a large `layout`, which has room for the alignment; `None` for small ones.
fn larger(layout: Layout) -> Option<Layout> {
    const LARGE: usize = 4096;
    let is_large = layout.size() >= LARGE && layout.align() <= LINE;
    let larger = || Layout::from_size_align(layout.size().checked_add(LINE)?, size_of::<usize>()).ok();
    is_large.then(larger).flatten()
}

/// Returns zeros, in huge pages if there are many. Memory that the process has not used before is not touched.
pub fn zeros(length: usize) -> Vec<f32> {
    let zeros = vec![0.; length];
    advise_huge_pages(zeros.as_ptr(), length);
    zeros
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

#[cfg(test)]
mod tests {
    #[test]
    fn large_vectors_begin_at_a_cache_line_and_keep_their_elements() {
        for length in [1024, 1025, 100_003] {
            let (zeros, ones) = (vec![0f32; length], vec![1f32; length]);
            let mut grown = vec![];
            (0..length).for_each(|i| grown.push(i as f32));
            for vector in [&zeros, &ones, &grown] {
                assert_eq!(vector.as_ptr().addr() % 64, 0, "{length} elements");
            }
            assert!(zeros.iter().all(|&x| x == 0.) && ones.iter().all(|&x| x == 1.));
            assert!(grown.iter().enumerate().all(|(i, &x)| x == i as f32));
        }
    }
}
