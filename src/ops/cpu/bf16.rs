//! Conversions between f32 and bf16, of which a 32-bit slot holds two, the first in its low half.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::math::for_each_isa;
use super::parallel::{DisjointSlice, for_each, from_uninit};

/// The number of slots in a task.
const CHUNK: usize = 1 << 16;

/// Rounds f32 to bf16 on all threads. The last of an odd number of elements is dropped.
pub fn pairs(x: &[f32]) -> Vec<f32> {
    let count = x.len() / 2;
    let convert = |out: &DisjointSlice| {
        for_each(count.div_ceil(CHUNK), |i| {
            let first = i * CHUNK;
            let length = CHUNK.min(count - first);
            // SAFETY: chunks do not overlap.
            write_pairs(&x[2 * first..][..2 * length], unsafe { out.slice_mut(first, length) });
        });
    };
    // SAFETY: the chunks cover all slots.
    unsafe { from_uninit(count, convert) }
}

for_each_isa! {
    /// Rounds f32 to bf16 into `slots`.
    pub fn write_pairs(x: &[f32], slots: &mut [f32]) {
        // SAFETY: `BF16` comes from `for_each_isa`.
        unsafe { store_pairs::<BF16>(x, slots) };
    }
}

/// Rounds f32 to bf16 into `slots`, for callers that are compiled for each instruction set.
///
/// # Safety
/// If `BF16` is true, the CPU must have AVX-512 BF16.
#[inline(always)]
pub unsafe fn store_pairs<const BF16: bool>(x: &[f32], slots: &mut [f32]) {
    let (vectors, rest) = x.as_chunks::<32>();
    let (wide, slots) = slots.split_at_mut(16 * vectors.len());
    for (slots, x) in wide.as_chunks_mut().0.iter_mut().zip(vectors) {
        // SAFETY: the caller guarantees the instructions.
        *slots = unsafe { pair_vector::<BF16>(x) };
    }
    let (halves, rest) = rest.as_chunks::<16>();
    let (narrow, slots) = slots.split_at_mut(8 * halves.len());
    for (slots, x) in narrow.as_chunks_mut().0.iter_mut().zip(halves) {
        // SAFETY: the caller guarantees the instructions.
        *slots = unsafe { pair_half::<BF16>(x) };
    }
    for (slot, &[low, high]) in slots.iter_mut().zip(rest.as_chunks().0) {
        *slot = pair(low, high);
    }
}

/// Converts all bf16 in `slots` to f32.
pub fn to_f32(slots: &[f32]) -> Vec<f32> {
    slots.iter().flat_map(|&slot| split(slot)).collect()
}

/// Converts the two bf16 of a slot to f32.
#[inline(always)]
pub fn split(slot: f32) -> [f32; 2] {
    [slot.to_bits() << 16, slot.to_bits() & 0xffff_0000].map(f32::from_bits)
}

/// Joins two f32 that are exact in bf16 to a slot.
#[inline(always)]
pub fn join(low: f32, high: f32) -> f32 {
    f32::from_bits(low.to_bits() >> 16 | high.to_bits())
}

/// Rounds 32 f32 to bf16, in 16 slots.
///
/// # Safety
/// If `BF16` is true, the CPU must have AVX-512 BF16.
#[inline(always)]
pub unsafe fn pair_vector<const BF16: bool>(x: &[f32; 32]) -> [f32; 16] {
    #[cfg(target_arch = "x86_64")]
    if BF16 {
        // SAFETY: the caller guarantees the instructions.
        return unsafe { avx512::pair_vector(x) };
    }
    std::array::from_fn(|i| pair(x[2 * i], x[2 * i + 1]))
}

/// Rounds 16 f32 to bf16, in 8 slots.
///
/// # Safety
/// If `BF16` is true, the CPU must have AVX-512 BF16.
#[inline(always)]
unsafe fn pair_half<const BF16: bool>(x: &[f32; 16]) -> [f32; 8] {
    #[cfg(target_arch = "x86_64")]
    if BF16 {
        // SAFETY: the caller guarantees the instructions.
        return unsafe { avx512::pair_half(x) };
    }
    std::array::from_fn(|i| pair(x[2 * i], x[2 * i + 1]))
}

/// Rounds two f32 to bf16, in a slot.
#[inline(always)]
pub fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(upper_half(low) >> 16 | upper_half(high) & 0xffff_0000)
}

/// Rounds `x` to bf16 in the upper half of the result, to nearest, ties to even. The lower half is undefined. NaN stays
/// NaN.
#[inline(always)]
fn upper_half(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() { bits | 0x40_0000 } else { bits + (0x7fff + (bits >> 16 & 1)) }
}
