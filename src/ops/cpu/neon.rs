//! NEON, which every 64-bit ARM CPU has: vectors of 8, in two registers each.

use super::kernel::{Tile, kernel, no_steps, products};
use std::arch::aarch64::*;
use std::convert::identity;

/// Two registers. `float32x4x2_t` is not used, as it must be in consecutive registers, which takes extra moves.
type Vector = [float32x4_t; 2];

kernel! {
    #[target_feature(enable = "neon")]
    kernel, Vector, lanes: 8, zero: [vdupq_n_f32(0.); 2], load: load, splat: identity, multiply_add: multiply_add,
    add: add, store: store, first_steps: no_steps,
}

/// # Safety
/// `from` must be valid for reading 8 f32.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: guaranteed by the caller.
    unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
}

/// # Safety
/// `to` must be valid for writing 8 f32.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(to: *mut f32, x: Vector) {
    // SAFETY: guaranteed by the caller.
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

#[inline]
#[target_feature(enable = "neon")]
fn add(a: Vector, b: Vector) -> Vector {
    [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])]
}
