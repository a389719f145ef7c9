//! What queries see of the keys, block by block.

use super::QUERIES;
use super::seen::{Seen, longest};
use crate::ops::Compute;
#[cfg(target_arch = "x86_64")]
use crate::ops::cpu::avx512;
use crate::ops::cpu::bf16::pair_up;
use crate::ops::cpu::gemm::{MOST_PRODUCTS, Rows, kernel};
use crate::ops::cpu::isa::isa;
use crate::ops::cpu::math::{EXACT, exp2, for_each_isa};
use crate::ops::cpu::packed::Packed;

/// Scores below this become powers of two as they are, whatever the largest of them is: no power is then too large or too
/// small for f32, nor is a sum of as many as there can be, nor that times values up to 2²⁰.
const TAME: f32 = 90.;

/// Some queries, and what they have gathered so far.
pub struct Block<'a> {
    queries: &'a [f32],     // slots, those of other heads among them
    rows: &'a [usize],      // where each query begins
    compute: Compute,       // of queries and keys, and of weights and values
    scale: f32,             // of scores, for their weights to be powers of two
    are_tame: bool,         // no score can be far from 0
    scores: Vec<f32>,       // (QUERIES, stride), unless they are tame
    pairs: Vec<f32>,        // (QUERIES, stride / 2): their weights, if these are of bf16
    stride: usize,          // keys of a block, rounded up to whole vectors
    gathered: Vec<f32>,     // (QUERIES, width)
    width: usize,           // D, rounded up to whole vectors
    largest: Vec<f32>,      // of each query's scaled scores
    weight: Vec<[f32; 16]>, // Σ 2^(score − largest), or Σ 2^score of tame ones, in sixteen parts
}

impl<'a> Block<'a> {
    /// The first block of what is seen is not smaller than any other.
    pub fn new(seen: &[Seen], queries: &'a [f32], rows: &'a [usize]) -> Self {
        let lanes = isa().lanes();
        let Seen { keys, values, .. } = &seen[0];
        let compute = keys.compute;
        let (stride, width) = (keys.n.next_multiple_of(lanes), values.n.next_multiple_of(lanes));
        let scale = std::f32::consts::LOG2_E / (keys.k as f32).sqrt();
        let are_pairs = compute == Compute::Half;
        // Cauchy and Schwarz: no score is larger than this.
        let bound = || {
            let longest_seen = seen.iter().map(|seen| seen.longest).fold(0., f32::max);
            longest(queries, rows, keys.slots(), compute) * longest_seen
        };
        let are_tame = are_pairs && scale * bound() < TAME;
        Self {
            queries,
            rows,
            compute,
            scale,
            are_tame,
            scores: vec![0.; if are_tame { 0 } else { QUERIES * stride }],
            pairs: vec![0.; if are_pairs { QUERIES * stride / 2 } else { 0 }],
            stride,
            gathered: vec![0.; QUERIES * width],
            width,
            largest: vec![f32::NEG_INFINITY; rows.len()],
            weight: vec![[0.; 16]; QUERIES],
        }
    }

    /// Looks at one block of keys and gathers its values.
    pub fn attend(&mut self, seen: &Seen) {
        if self.are_tame {
            self.weigh(seen);
        } else {
            self.score(&seen.keys);
            for row in 0..self.rows.len() {
                let scores = &mut self.scores[row * self.stride..][..self.stride];
                // What fills up the last vector has next to no weight, and its values are zeros.
                scores[seen.count..].fill(f32::NEG_INFINITY);
                let gathered = &mut self.gathered[row * self.width..][..self.width];
                softmax_step(scores, self.scale, &mut self.largest[row], &mut self.weight[row], gathered);
                if self.compute == Compute::Half {
                    pair_up(scores, &mut self.pairs[row * (self.stride / 2)..][..self.stride / 2]);
                }
            }
        }
        self.gather(&seen.values);
    }

    /// pairs = 2^(scale · queries · keys), never stored as scores.
    fn weigh(&mut self, Seen { keys, count, .. }: &Seen) {
        #[cfg(target_arch = "x86_64")]
        for panel in keys.panels() {
            assert_eq!(panel.vectors, 2, "keys in pairs of vectors");
            let keys_here = count.saturating_sub(panel.column).min(32);
            for (i, rows) in self.rows.chunks(12).enumerate() {
                let offset = 12 * i * (self.stride / 2) + panel.column / 2;
                assert!(offset + 11 * (self.stride / 2) + 16 <= self.pairs.len());
                let queries = Rows { numbers: self.queries, rows, taps: &[0] };
                let tile = queries.tile(keys, panel, self.pairs[offset..].as_mut_ptr(), self.stride / 2);
                let sums = self.weight[12 * i..].first_chunk_mut().expect("a multiple of 12 queries");
                // SAFETY: keys are bf16 only where there are instructions for it; the queries have all rows, the panel two
                // vectors for all of D, and the pairs room for the tile, as asserted; no score is larger than `TAME`.
                unsafe { avx512::weigh_bf16::<12>(&tile, self.scale, keys_here, sums) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("products of bf16: {count} keys of {}", keys.k);
    }

    /// scores = queries · keys.
    fn score(&mut self, keys: &Packed) {
        for panel in keys.panels() {
            let (kernel, at_once) = kernel(keys, panel.vectors);
            let width = panel.vectors * keys.isa.lanes();
            for (i, rows) in self.rows.chunks(at_once).enumerate() {
                let offset = i * at_once * self.stride + panel.column;
                assert!(offset + (at_once - 1) * self.stride + width <= self.scores.len());
                let queries = Rows { numbers: self.queries, rows, taps: &[0] };
                let tile = queries.tile(keys, panel, self.scores[offset..].as_mut_ptr(), self.stride);
                // SAFETY: the queries have all rows, the panel all of D, and the scores room for the tile, as asserted.
                unsafe { kernel(&tile) };
            }
        }
    }

    /// gathered += scores · values.
    fn gather(&mut self, values: &Packed) {
        let (scores, stride) = match values.compute {
            Compute::F32 => (&self.scores, self.stride),
            Compute::Half => (&self.pairs, self.stride / 2),
        };
        let rows: Vec<usize> = (0..self.rows.len()).map(|row| row * stride).collect();
        let mut products = [0.; MOST_PRODUCTS];
        for panel in values.panels() {
            let (kernel, at_once) = kernel(values, panel.vectors);
            let width = panel.vectors * values.isa.lanes();
            for (i, rows) in rows.chunks(at_once).enumerate() {
                let scores = Rows { numbers: scores, rows, taps: &[0] };
                let tile = scores.tile(values, panel, products.as_mut_ptr(), width);
                // SAFETY: the scores have all rows, the panel a row for each key, `products` room for the tile.
                unsafe { kernel(&tile) };
                for (row, products) in products.chunks_exact(width).take(rows.len()).enumerate() {
                    let gathered = &mut self.gathered[(i * at_once + row) * self.width + panel.column..][..width];
                    gathered.iter_mut().zip(products).for_each(|(sum, x)| *sum += x);
                }
            }
        }
    }

    /// What a query has gathered, in slots for the same products.
    pub fn finish(&mut self, row: usize, out: &mut [f32]) {
        let inverse = 1. / self.weight[row].iter().sum::<f32>();
        let gathered = &mut self.gathered[row * self.width..][..self.width];
        gathered.iter_mut().for_each(|x| *x *= inverse);
        match self.compute {
            Compute::F32 => out.copy_from_slice(&gathered[..out.len()]),
            Compute::Half => pair_up(&gathered[..2 * out.len()], out),
        }
    }
}

for_each_isa! {
    /// Scores to weights 2^(scale · score − largest), in their place; what was gathered under a smaller `largest` is scaled
    /// down.
    fn softmax_step(
        scores: &mut [f32],
        scale: f32,
        largest: &mut f32,
        weight: &mut [f32; 16],
        gathered: &mut [f32],
    ) {
        let before = *largest;
        scores.iter_mut().for_each(|x| *x *= scale);
        let now = largest_of(scores, before);
        if now > before {
            let shrink = exp2::<FMA, _>(before - now, EXACT);
            weight.iter_mut().chain(gathered).for_each(|x| *x *= shrink);
            *largest = now;
        }
        to_weights::<FMA>(scores, now, weight);
    }
}

/// The largest of the scores, and of those before.
#[inline(always)]
fn largest_of(scores: &[f32], before: f32) -> f32 {
    let mut most = [before; 16];
    let (vectors, rest) = scores.as_chunks::<16>();
    for vector in vectors {
        for (most, &x) in most.iter_mut().zip(vector) {
            *most = if x > *most { x } else { *most };
        }
    }
    most.iter().chain(rest).fold(before, |most, &x| if x > most { x } else { most })
}

/// Scores to weights in their place; they are added to `sums`.
#[inline(always)]
fn to_weights<const FMA: bool>(scores: &mut [f32], largest: f32, sums: &mut [f32; 16]) {
    let (vectors, rest) = scores.as_chunks_mut::<16>();
    for vector in vectors {
        for (sum, x) in sums.iter_mut().zip(vector) {
            *x = exp2::<FMA, _>(*x - largest, EXACT);
            *sum += *x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *x = exp2::<FMA, _>(*x - largest, EXACT);
        *sum += *x;
    }
}
