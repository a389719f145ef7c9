//! Work spread over threads that write to different parts of one slice.

use super::memory::in_large_pages;
use rayon::prelude::*;
use std::marker::PhantomData;

/// A slice that several threads write to, each where no other does.
pub struct Shared<'a> {
    start: *mut f32,
    length: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: whoever asks a `Shared` for a part promises that it is theirs alone.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), borrow: PhantomData }
    }

    /// The place of the number at `offset`, of which `length` are there.
    pub fn at(&self, offset: usize, length: usize) -> *mut f32 {
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(fits, "a kernel writes {length} numbers at {offset} of {}", self.length);
        // SAFETY: within the slice, by the line above.
        unsafe { self.start.add(offset) }
    }

    /// The part from `offset` on, `length` long, to be written.
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

/// `length` numbers that `f` writes, of f32 or, an even number of them, of bf16, two to a slot; zeros first would cost as
/// much as many a kernel.
///
/// # Safety
/// N is one of these two. `f` writes all slots, and reads none that it has not written.
pub unsafe fn written<N>(length: usize, f: impl FnOnce(&Shared)) -> Vec<N> {
    let mut numbers: Vec<N> = Vec::with_capacity(length);
    if length > 0 {
        let start = numbers.as_mut_ptr().cast::<f32>();
        let slots = length * size_of::<N>() / size_of::<f32>();
        assert!(
            slots * size_of::<f32>() == length * size_of::<N>() && start.is_aligned(),
            "{length} numbers in no slots"
        );
        in_large_pages(start, slots);
        f(&Shared { start, length: slots, borrow: PhantomData });
    }
    // SAFETY: the capacity is there, the caller says that all is written, and every pattern of bits is a number.
    unsafe { numbers.set_len(length) };
    numbers
}
