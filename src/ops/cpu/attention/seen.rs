//! What queries look at, packed.

use crate::ops::Compute;
use crate::ops::cpu::bf16::{halves, join};
use crate::ops::cpu::isa::isa;
use crate::ops::cpu::math::for_each_isa;
use crate::ops::cpu::packed::Packed;

/// A block of keys and their values, of one head.
pub struct Seen {
    pub keys: Packed,   // (D, keys)
    pub values: Packed, // (keys, D)
    pub count: usize,   // of keys; the matrices have more where whole panels of pairs need them
    pub longest: f32,   // of the keys: its length
}

impl Seen {
    /// From the rows of k and v that begin at these slots; each has d numbers.
    pub fn new(compute: Compute, d: usize, k: &[f32], v: &[f32], rows: &[usize]) -> Self {
        let (isa, count) = (isa(), rows.len());
        let [key, value] = [k, v].map(|x| move |i: usize| &x[rows[i]..][..compute.slots(d)]);
        let padded = match compute {
            Compute::F32 => count,
            Compute::Half => count.next_multiple_of(2 * isa.lanes()),
        };
        let [keys] = Packed::several(isa, compute, d, padded, |panel, [slots]| {
            let width = panel.vectors * isa.lanes();
            for (lane, i) in (panel.column..count.min(panel.column + width)).enumerate() {
                for (row, x) in slots.chunks_exact_mut(width).zip(key(i)) {
                    row[lane] = *x;
                }
            }
        });
        let [values] = Packed::several(isa, compute, padded, d, |panel, [slots]| {
            let width = panel.vectors * isa.lanes();
            let columns = panel.column..d.min(panel.column + width);
            let rows = slots.chunks_exact_mut(width);
            match compute {
                Compute::F32 => (0..count).zip(rows).for_each(|(i, row)| {
                    row[..columns.len()].copy_from_slice(&value(i)[columns.clone()]);
                }),
                Compute::Half => (0..count).step_by(2).zip(rows).for_each(|(i, row)| {
                    let columns = columns.start / 2..columns.end / 2;
                    // An odd key at the end shares its slots with itself, of which one has no weight.
                    weave(&value(i)[columns.clone()], &value((i + 1).min(count - 1))[columns], row);
                }),
            }
        });
        let longest = longest(k, rows, compute.slots(d), compute);
        Self { keys, values, count, longest }
    }
}

/// Numbers of two rows of bf16, in slots each of one of the first and one of the second.
#[inline(always)]
fn weave(first: &[f32], second: &[f32], slots: &mut [f32]) {
    for ((first, second), slots) in first.iter().zip(second).zip(slots.as_chunks_mut().0) {
        let ([a, b], [c, d]) = (halves(*first), halves(*second));
        *slots = [join(a, c), join(b, d)];
    }
}

for_each_isa! {
    /// The length of the longest of the rows that begin at these slots.
    pub fn longest(x: &[f32], rows: &[usize], slots: usize, compute: Compute) -> f32 {
        let mut most = 0f32;
        for &row in rows {
            most = most.max(square(&x[row..][..slots], compute));
        }
        most.sqrt()
    }
}

/// The sum of squares of a row of slots.
#[inline(always)]
fn square(row: &[f32], compute: Compute) -> f32 {
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
            let [low, high] = halves(slot);
            low * low + high * high
        }
    }
}
