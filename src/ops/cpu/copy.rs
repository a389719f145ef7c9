//! Copies of rows, for upsampling and concatenation.

use super::parallel::{DisjointSlice, for_each, from_uninit};

/// The number of rows in a task.
const CHUNK: usize = 64;

/// Returns `count` rows of `width` elements, row `i` being the concatenation of the two slices `row(i)`.
pub fn copy_rows<'a>(count: usize, width: usize, row: impl Fn(usize) -> [&'a [f32]; 2] + Sync) -> Vec<f32> {
    let copy = |out: &DisjointSlice| {
        for_each(count.div_ceil(CHUNK), |chunk| {
            for i in chunk * CHUNK..count.min((chunk + 1) * CHUNK) {
                let [first, second] = row(i);
                assert_eq!(first.len() + second.len(), width, "rows differ in length");
                // SAFETY: each row belongs to one task.
                let (left, right) = unsafe { out.slice_mut(i * width, width) }.split_at_mut(first.len());
                left.copy_from_slice(first);
                right.copy_from_slice(second);
            }
        });
    };
    // SAFETY: every row is copied completely.
    unsafe { from_uninit(count * width, copy) }
}
