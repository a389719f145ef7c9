//! f32 to bf16, two to a slot.

#[cfg(target_arch = "x86_64")]
use super::avx512;
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
        // SAFETY: `BF16` comes from `for_each_isa`.
        unsafe { store_pairs::<BF16>(x, slots) };
    }
}

/// The same.
///
/// # Safety
/// `BF16` is true only where there are instructions for it.
#[inline(always)]
pub unsafe fn store_pairs<const BF16: bool>(x: &[f32], slots: &mut [f32]) {
    let (vectors, rest) = x.as_chunks::<32>();
    let (wide, slots) = slots.split_at_mut(16 * vectors.len());
    for (slots, x) in wide.as_chunks_mut().0.iter_mut().zip(vectors) {
        // SAFETY: the caller's word.
        *slots = unsafe { pair_vector::<BF16>(x) };
    }
    let (halves, rest) = rest.as_chunks::<16>();
    let (narrow, slots) = slots.split_at_mut(8 * halves.len());
    for (slots, x) in narrow.as_chunks_mut().0.iter_mut().zip(halves) {
        // SAFETY: the caller's word.
        *slots = unsafe { pair_half::<BF16>(x) };
    }
    for (slot, &[low, high]) in slots.iter_mut().zip(rest.as_chunks().0) {
        *slot = pair(low, high);
    }
}

/// The numbers of all slots.
pub fn singles(slots: &[f32]) -> Vec<f32> {
    slots.iter().flat_map(|&slot| halves(slot)).collect()
}

/// The two numbers of a slot.
#[inline(always)]
pub fn halves(slot: f32) -> [f32; 2] {
    [slot.to_bits() << 16, slot.to_bits() & 0xffff_0000].map(f32::from_bits)
}

/// The slot of two numbers that are bf16 already.
#[inline(always)]
pub fn join(low: f32, high: f32) -> f32 {
    f32::from_bits(low.to_bits() >> 16 | high.to_bits())
}

/// 32 numbers in 16 slots.
///
/// # Safety
/// As above.
#[inline(always)]
pub unsafe fn pair_vector<const BF16: bool>(x: &[f32; 32]) -> [f32; 16] {
    #[cfg(target_arch = "x86_64")]
    if BF16 {
        // SAFETY: the caller's word.
        return unsafe { avx512::pair_vector(x) };
    }
    std::array::from_fn(|i| pair(x[2 * i], x[2 * i + 1]))
}

/// 16 numbers in 8 slots.
///
/// # Safety
/// As above.
#[inline(always)]
unsafe fn pair_half<const BF16: bool>(x: &[f32; 16]) -> [f32; 8] {
    #[cfg(target_arch = "x86_64")]
    if BF16 {
        // SAFETY: the caller's word.
        return unsafe { avx512::pair_half(x) };
    }
    std::array::from_fn(|i| pair(x[2 * i], x[2 * i + 1]))
}

/// One slot.
#[inline(always)]
pub fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(upper_half(low) >> 16 | upper_half(high) & 0xffff_0000)
}

/// The bits of x rounded to bf16, to the nearest and to even; what is below them is left there. NaN stays NaN.
#[inline(always)]
fn upper_half(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() { bits | 0x40_0000 } else { bits + (0x7fff + (bits >> 16 & 1)) }
}
