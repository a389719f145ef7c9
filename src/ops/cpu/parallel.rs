//! Work spread over threads that write to different parts of one slice.

use rayon::prelude::*;
use std::marker::PhantomData;

/// A slice that several threads write to, each where no other does.
pub struct Shared<'a> {
    start: *mut f32,
    length: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Shared` only gives out raw pointers; who writes through them keeps to parts of their own.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), borrow: PhantomData }
    }

    /// The place of the number at `offset`, of which `length` may be written.
    pub fn at(&self, offset: usize, length: usize) -> *mut f32 {
        assert!(offset + length <= self.length, "a kernel writes {offset} + {length} of {}", self.length);
        // SAFETY: within the slice, by the line above.
        unsafe { self.start.add(offset) }
    }

    /// The part from `offset` on, `length` long, as a slice.
    ///
    /// # Safety
    /// No other thread may touch this part meanwhile.
    pub unsafe fn part(&self, offset: usize, length: usize) -> &'a mut [f32] {
        // SAFETY: within the slice, and the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset, length), length) }
    }
}

/// Calls `f` with every number below `n`, on all threads.
pub fn for_each(n: usize, f: impl Fn(usize) + Sync) {
    if n == 1 {
        return f(0);
    }
    (0..n).into_par_iter().for_each(&f);
}

/// Numbers about to be written, all of them.
#[allow(clippy::uninit_vec)]
pub fn unwritten(length: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(length);
    // SAFETY: the capacity is there, any bits are an f32, and every kernel writes all of its output before it is read.
    unsafe { numbers.set_len(length) };
    numbers
}
