//! Activation functions of whole tensors.

use super::math::{self, for_each_isa};
use super::parallel::from_chunks;

/// The number of elements in a task.
const CHUNK: usize = 1 << 14;

/// x · sigmoid(1.702 · x) of each element.
pub fn quick_gelu(x: &[f32]) -> Vec<f32> {
    from_chunks(x.len(), CHUNK, |i, y| quick_gelu_into(&x[i * CHUNK..][..y.len()], y))
}

for_each_isa! {
    fn quick_gelu_into(x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = math::quick_gelu::<FMA>(*x));
    }
}
