//! f32 to bf16, two to a slot.

use super::math::for_each_isa;
use super::parallel::{Shared, for_each, written};

/// Numbers to a task.
const CHUNK: usize = 1 << 16;

/// Every two numbers as one slot, the first in its low half. An odd one at the end is dropped.
pub fn pairs(x: &[f32]) -> Vec<f32> {
    let count = x.len() / 2;
    let convert = |out: &Shared| {
        for_each(count.div_ceil(CHUNK), |i| {
            let first = i * CHUNK;
            let length = CHUNK.min(count - first);
            // SAFETY: chunks do not overlap.
            pair_up(&x[2 * first..][..2 * length], unsafe { out.part(first, length) });
        });
    };
    // SAFETY: the chunks cover all slots.
    unsafe { written(count, convert) }
}

for_each_isa! {
    /// The same for a slice that is at hand.
    pub fn pair_up(x: &[f32], slots: &mut [f32]) {
        for (slot, &[low, high]) in slots.iter_mut().zip(x.as_chunks().0) {
            *slot = pair(low, high);
        }
    }
}

/// One slot.
#[inline(always)]
pub fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(upper_half(low) >> 16 | upper_half(high) & 0xffff_0000)
}

/// The bits of x rounded to bf16, to the nearest and to even; what is below them is left there.
#[inline(always)]
fn upper_half(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1))
}
