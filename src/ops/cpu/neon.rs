//! NEON, which every 64-bit ARM processor has: vectors of 8, in two registers each.

use super::kernel::{Tile, kernel, products};
use std::arch::aarch64::*;
use std::convert::identity;

/// Not the type that ARM has for two: its registers must be neighbours, and the compiler would move them about for that.
type Vector = [float32x4_t; 2];

kernel! {
    #[target_feature(enable = "neon")]
    kernel, Vector, lanes: 8, zero: [vdupq_n_f32(0.); 2], load: load, splat: identity, multiply_add: multiply_add,
    store: store,
}

/// # Safety
/// There are 8 numbers at `from`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's word.
    unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
}

/// # Safety
/// There is room for 8 numbers at `to`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(to: *mut f32, x: Vector) {
    // SAFETY: the caller's word.
    unsafe {
        vst1q_f32(to, x[0]);
        vst1q_f32(to.add(4), x[1]);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply_add(a: f32, b: Vector, sum: Vector) -> Vector {
    [vfmaq_n_f32(sum[0], b[0], a), vfmaq_n_f32(sum[1], b[1], a)]
}
