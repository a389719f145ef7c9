//! Plain Rust for every CPU, and the reference for the other instruction sets: vectors of 8.

use super::kernel::{Tile, kernel, no_steps, products};

type Vector = [f32; 8];

kernel! {
    kernel, Vector, lanes: 8, zero: [0.; 8], load: load, splat: splat, multiply_add: multiply_add, add: add,
    store: store, first_steps: no_steps,
}

/// # Safety
/// `from` must be valid for reading 8 f32.
#[inline(always)]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: guaranteed by the caller.
    unsafe { *from.cast() }
}

/// # Safety
/// `to` must be valid for writing 8 f32.
#[inline(always)]
unsafe fn store(to: *mut f32, x: Vector) {
    // SAFETY: guaranteed by the caller.
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

#[inline(always)]
fn add(mut a: Vector, b: Vector) -> Vector {
    for lane in 0..8 {
        a[lane] += b[lane];
    }
    a
}
