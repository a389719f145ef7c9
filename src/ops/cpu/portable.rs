//! Plain Rust, for every processor, and what the others are held against: vectors of 8.

use super::kernel::{Tile, kernel, products};

type Vector = [f32; 8];

kernel! {
    kernel, Vector, lanes: 8, zero: [0.; 8], load: load, splat: splat, multiply_add: multiply_add, store: store,
}

/// # Safety
/// There are 8 numbers at `from`.
#[inline(always)]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's word.
    unsafe { *from.cast() }
}

/// # Safety
/// There is room for 8 numbers at `to`.
#[inline(always)]
unsafe fn store(to: *mut f32, x: Vector) {
    // SAFETY: the caller's word.
    unsafe { *to.cast() = x }
}

#[inline(always)]
fn splat(x: f32) -> Vector {
    [x; 8]
}

#[inline(always)]
fn multiply_add(a: Vector, b: Vector, mut sum: Vector) -> Vector {
    for lane in 0..8 {
        sum[lane] += a[lane] * b[lane];
    }
    sum
}
