//! Blocks of keys and values, packed for the GEMM kernels.

use crate::ops::Compute;
use crate::ops::cpu::bf16::{join, split};
use crate::ops::cpu::isa::isa;
use crate::ops::cpu::math::for_each_isa;
use crate::ops::cpu::packed::Packed;

/// A block of keys and values of one head.
pub struct KvBlock {
    pub keys: Packed,   // (D, keys)
    pub values: Packed, // (keys, D)
    pub n_keys: usize,  // without padding; with bf16 the matrices are padded to whole panels
    pub max_norm: f32,  // the largest Euclidean norm of a key
}

impl KvBlock {
    /// Packs the rows of `k` and `v` that begin at the slots `rows` and have `d` elements each.
    pub fn new(compute: Compute, d: usize, k: &[f32], v: &[f32], rows: &[usize]) -> Self {
        let (isa, n_keys) = (isa(), rows.len());
        let [key, value] = [k, v].map(|x| move |i: usize| &x[rows[i]..][..compute.slots(d)]);
        let padded = match compute {
            Compute::F32 => n_keys,
            Compute::Half => n_keys.next_multiple_of(2 * isa.lanes()),
        };
        let [keys] = Packed::several(isa, compute.into(), d, padded, |panel, [slots]| {
            let width = panel.vectors * isa.lanes();
            for (lane, i) in (panel.column..n_keys.min(panel.column + width)).enumerate() {
                for (row, x) in slots.chunks_exact_mut(width).zip(key(i)) {
                    row[lane] = *x;
                }
            }
        });
        let [values] = Packed::several(isa, compute.into(), padded, d, |panel, [slots]| {
            let width = panel.vectors * isa.lanes();
            let columns = panel.column..d.min(panel.column + width);
            let rows = slots.chunks_exact_mut(width);
            match compute {
                Compute::F32 => (0..n_keys).zip(rows).for_each(|(i, row)| {
                    row[..columns.len()].copy_from_slice(&value(i)[columns.clone()]);
                }),
                Compute::Half => (0..n_keys).step_by(2).zip(rows).for_each(|(i, row)| {
                    let columns = columns.start / 2..columns.end / 2;
                    // The last of an odd number of keys is paired with itself; the padding has no weight.
                    interleave(&value(i)[columns.clone()], &value((i + 1).min(n_keys - 1))[columns], row);
                }),
            }
        });
        let max_norm = max_norm(k, rows, compute.slots(d), compute);
        Self { keys, values, n_keys, max_norm }
    }
}

/// Interleaves two rows of bf16: each slot holds an element of `first` and one of `second`.
#[inline(always)]
fn interleave(first: &[f32], second: &[f32], slots: &mut [f32]) {
    for ((first, second), slots) in first.iter().zip(second).zip(slots.as_chunks_mut().0) {
        let ([a, b], [c, d]) = (split(*first), split(*second));
        *slots = [join(a, c), join(b, d)];
    }
}

for_each_isa! {
    /// The largest Euclidean norm of the rows of `slots` slots that begin at `rows`; infinite if there is a NaN.
    pub fn max_norm(x: &[f32], rows: &[usize], slots: usize, compute: Compute) -> f32 {
        let mut max = 0f32;
        for &row in rows {
            let sum = sum_of_squares(&x[row..][..slots], compute);
            max = max.max(if sum.is_nan() { f32::INFINITY } else { sum });
        }
        max.sqrt()
    }
}

/// The sum of squares of a row of slots.
#[inline(always)]
fn sum_of_squares(row: &[f32], compute: Compute) -> f32 {
    let mut sums = [0f32; 4];
    let (vectors, rest) = row.as_chunks::<4>();
    for vector in vectors {
        for lane in 0..4 {
            sums[lane] += square_of_slot(vector[lane], compute);
        }
    }
    rest.iter().fold(sums.iter().sum(), |sum, &slot| sum + square_of_slot(slot, compute))
}

#[inline(always)]
fn square_of_slot(slot: f32, compute: Compute) -> f32 {
    match compute {
        Compute::F32 => slot * slot,
        Compute::Half => {
            let [low, high] = split(slot);
            low * low + high * high
        }
    }
}
