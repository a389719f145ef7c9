//! Rows put together from others.

use super::parallel::{Shared, for_each, written};

/// Rows to a task.
const CHUNK: usize = 64;

/// `count` rows, each made of two slices, which together are `width` numbers long.
pub fn rows<'a>(count: usize, width: usize, row: impl Fn(usize) -> [&'a [f32]; 2] + Sync) -> Vec<f32> {
    let copy = |out: &Shared| {
        for_each(count.div_ceil(CHUNK), |chunk| {
            for i in chunk * CHUNK..count.min((chunk + 1) * CHUNK) {
                let [first, second] = row(i);
                assert_eq!(first.len() + second.len(), width, "a row of another length");
                // SAFETY: every row is one task's alone.
                let (left, right) = unsafe { out.part(i * width, width) }.split_at_mut(first.len());
                left.copy_from_slice(first);
                right.copy_from_slice(second);
            }
        });
    };
    // SAFETY: every row is copied as a whole.
    unsafe { written(count * width, copy) }
}
