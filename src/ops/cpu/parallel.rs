//! Parallel writes to disjoint parts of one slice.

use super::memory::advise_huge_pages;
use rayon::prelude::*;
use std::marker::PhantomData;

/// A mutable slice of f32 slots that several threads share, each writing to parts of its own.
pub struct DisjointSlice<'a> {
    start: *mut f32,
    length: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: callers of the methods guarantee that no two threads use the same part.
unsafe impl Send for DisjointSlice<'_> {}
// SAFETY: as above.
unsafe impl Sync for DisjointSlice<'_> {}

impl<'a> DisjointSlice<'a> {
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), borrow: PhantomData }
    }

    /// Returns a pointer to `length` slots at `offset`.
    ///
    /// # Panics
    /// If they are not within the slice.
    pub fn ptr(&self, offset: usize, length: usize) -> *mut f32 {
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(fits, "a kernel writes {length} slots at {offset} of {}", self.length);
        // SAFETY: within the slice, by the assertion above.
        unsafe { self.start.add(offset) }
    }

    /// Returns the `length` slots at `offset`.
    ///
    /// # Safety
    /// Nothing else may access these slots while the returned slice is in use.
    ///
    /// # Panics
    /// If they are not within the slice.
    pub unsafe fn slice_mut(&self, offset: usize, length: usize) -> &'a mut [f32] {
        // SAFETY: `ptr` checks the bounds, and the caller guarantees exclusive access.
        unsafe { std::slice::from_raw_parts_mut(self.ptr(offset, length), length) }
    }
}

/// Calls `f` with every index below `n`, on all threads of the pool.
pub fn for_each(n: usize, f: impl Fn(usize) + Sync) {
    if n == 1 {
        return f(0);
    }
    (0..n).into_par_iter().for_each(&f);
}

/// Returns a vector of `length` numbers. `f` writes them in chunks of `chunk`, the last of which may be shorter, and is
/// called with each chunk's index, on all threads; with a single chunk, on this thread.
///
/// A thread zeroes its chunks before `f` writes them. Zeroing the whole vector would take longer, on one thread.
pub fn from_chunks(length: usize, chunk: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let write = |out: &DisjointSlice| {
        for_each(length.div_ceil(chunk), |i| {
            // SAFETY: chunks do not overlap, and each belongs to one task.
            let chunk = unsafe { out.slice_mut(i * chunk, chunk.min(length - i * chunk)) };
            chunk.fill(0.);
            f(i, chunk);
        });
    };
    // SAFETY: the chunks cover the whole vector, and are zeroed before `f` reads them.
    unsafe { from_uninit(length, write) }
}

/// Returns a vector of `length` elements that `f` writes, without zeroing it first, which would take as long as some
/// kernels do. Elements are f32, one to a slot, or an even number of bf16, two to a slot.
///
/// # Safety
/// `T` must be f32 or bf16. `f` must write every slot, and must not read a slot before writing it.
pub unsafe fn from_uninit<T>(length: usize, f: impl FnOnce(&DisjointSlice)) -> Vec<T> {
    let mut elements: Vec<T> = Vec::with_capacity(length);
    if length > 0 {
        let start = elements.as_mut_ptr().cast::<f32>();
        let slots = length * size_of::<T>() / size_of::<f32>();
        assert!(
            slots * size_of::<f32>() == length * size_of::<T>() && start.is_aligned(),
            "{length} elements are not whole slots"
        );
        advise_huge_pages(start, slots);
        f(&DisjointSlice { start, length: slots, borrow: PhantomData });
    }
    // SAFETY: the capacity suffices, the caller guarantees that `f` wrote every slot, and every bit pattern is valid.
    unsafe { elements.set_len(length) };
    elements
}
