//! Online softmax of a block of queries over blocks of keys and values.

use super::QUERIES;
use super::kv_block::{KvBlock, max_norm};
use crate::ops::Compute;
#[cfg(target_arch = "x86_64")]
use crate::ops::cpu::avx512;
use crate::ops::cpu::bf16::write_pairs;
use crate::ops::cpu::gemm::{MatrixA, kernel};
use crate::ops::cpu::isa::isa;
use crate::ops::cpu::kernel::Tile;
use crate::ops::cpu::math::{EXP2_F32, exp2, exp2_scaled, for_each_isa};
use crate::ops::cpu::packed::Packed;

/// If the magnitudes of all scaled scores are below this bound, exp2 of a score cannot overflow or underflow f32, nor
/// can the sum over all keys, nor that sum times values up to 2²⁰; the running maximum is then skipped.
const MAX_UNSHIFTED: f32 = 90.;

/// The scaled score of keys that a query does not attend to, which gives them next to no weight.
const PADDING: f32 = -126.;

/// A block of queries of one head, with the state of its online softmax.
pub struct QueryBlock<'a> {
    queries: &'a [f32],   // slots of all heads
    rows: &'a [usize],    // the offset of each query
    compute: Compute,     // of both products
    scale: f32,           // log2(e) / √D: exp(score / √D) = exp2(scale · score)
    unshifted: bool,      // whether the running maximum is skipped
    scores: Vec<f32>,     // (QUERIES, stride), empty if weights are computed without storing them
    weights: Vec<f32>,    // (QUERIES, stride / 2) bf16 pairs: exp2 of the scores, empty with f32
    stride: usize,        // keys of a block, rounded up to whole vectors
    acc: Vec<f32>,        // (QUERIES, width): Σ weight · value
    width: usize,         // D, rounded up to whole vectors
    max: Vec<f32>,        // the largest scaled score of each query
    sums: Vec<[f32; 16]>, // Σ 2^(score − max), or Σ 2^score if unshifted, as 16 partial sums
}

impl<'a> QueryBlock<'a> {
    /// `blocks`: all keys and values of the head, of which no block is larger than the first.
    pub fn new(blocks: &[KvBlock], queries: &'a [f32], rows: &'a [usize]) -> Self {
        let lanes = isa().lanes();
        let KvBlock { keys, values, .. } = &blocks[0];
        let compute = keys.compute();
        let (stride, width) = (keys.n.next_multiple_of(lanes), values.n.next_multiple_of(lanes));
        let scale = std::f32::consts::LOG2_E / (keys.k as f32).sqrt();
        let is_half = compute == Compute::Half;
        // The Cauchy–Schwarz inequality bounds every score.
        let bound = || {
            let max_key = blocks.iter().map(|kv| kv.max_norm).fold(0., f32::max);
            max_norm(queries, rows, keys.k_slots(), compute) * max_key
        };
        let unshifted = scale * bound() < MAX_UNSHIFTED;
        Self {
            queries,
            rows,
            compute,
            scale,
            unshifted,
            scores: vec![0.; if unshifted && is_half { 0 } else { QUERIES * stride }],
            weights: vec![0.; if is_half { QUERIES * stride / 2 } else { 0 }],
            stride,
            acc: vec![0.; QUERIES * width],
            width,
            max: vec![f32::NEG_INFINITY; rows.len()],
            sums: vec![[0.; 16]; QUERIES],
        }
    }

    /// Adds the weighted values of one block to the accumulator. `seen`: the number of its keys that the query of a row
    /// attends to, which come first; with bf16, all.
    pub fn attend(&mut self, kv: &KvBlock, seen: impl Fn(usize) -> usize) {
        match (self.unshifted, self.compute) {
            (true, Compute::Half) => self.exp_scores_half(kv),
            (true, Compute::F32) => self.exp_scores(&kv.keys, seen),
            (false, _) => self.softmax_step(&kv.keys, seen),
        }
        self.accumulate(&kv.values);
    }

    /// Computes the weights of a block with the running maximum.
    fn softmax_step(&mut self, keys: &Packed, seen: impl Fn(usize) -> usize) {
        self.score(keys);
        for row in 0..self.rows.len() {
            let scores = &mut self.scores[row * self.stride..][..self.stride];
            scores[seen(row)..].fill(f32::NEG_INFINITY);
            let acc = &mut self.acc[row * self.width..][..self.width];
            softmax_step(scores, self.scale, &mut self.max[row], &mut self.sums[row], acc);
            if self.compute == Compute::Half {
                write_pairs(scores, &mut self.weights[row * (self.stride / 2)..][..self.stride / 2]);
            }
        }
    }

    /// scores = 2^(scale · queries · keys).
    fn exp_scores(&mut self, keys: &Packed, seen: impl Fn(usize) -> usize) {
        self.score(keys);
        for (row, sums) in self.sums[..self.rows.len()].iter_mut().enumerate() {
            let scores = &mut self.scores[row * self.stride..][..self.stride];
            scores[seen(row)..].fill(PADDING / self.scale);
            exp_scores(scores, self.scale, sums);
        }
    }

    /// weights = 2^(scale · queries · keys), in bf16, without storing the scores.
    fn exp_scores_half(&mut self, KvBlock { keys, n_keys, .. }: &KvBlock) {
        #[cfg(target_arch = "x86_64")]
        for panel in keys.panels() {
            assert_eq!(panel.vectors, 2, "keys are padded to pairs of vectors");
            let slots = keys.slots(panel);
            let panel_keys = n_keys.saturating_sub(panel.column).min(32);
            for (i, rows) in self.rows.chunks(12).enumerate() {
                let offset = 12 * i * (self.stride / 2) + panel.column / 2;
                assert!(offset + 11 * (self.stride / 2) + 16 <= self.weights.len());
                let queries = MatrixA { slots: self.queries, rows, taps: &[0] };
                let tile = queries.tile(keys.k_slots(), slots, self.weights[offset..].as_mut_ptr(), self.stride / 2);
                let sums = self.sums[12 * i..].first_chunk_mut().expect("a multiple of 12 queries");
                // SAFETY: keys are bf16 only on CPUs with AVX-512 BF16; `queries` has all rows, the panel two vectors
                // for all of D, and `weights` room for the tile, as asserted; no scaled score exceeds `MAX_UNSHIFTED`.
                unsafe { avx512::exp_scores_bf16::<12>(&tile, self.scale, panel_keys, sums) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("products of bf16: {n_keys} keys of {}", keys.k);
    }

    /// scores = queries · keys.
    fn score(&mut self, keys: &Packed) {
        for panel in keys.panels() {
            let (kernel, mr) = kernel(keys, panel.vectors, self.rows.len());
            let width = panel.vectors * keys.isa.lanes();
            let slots = keys.slots(panel);
            for (i, rows) in self.rows.chunks(mr).enumerate() {
                let offset = i * mr * self.stride + panel.column;
                assert!(offset + (mr - 1) * self.stride + width <= self.scores.len());
                let queries = MatrixA { slots: self.queries, rows, taps: &[0] };
                let tile = queries.tile(keys.k_slots(), slots, self.scores[offset..].as_mut_ptr(), self.stride);
                // SAFETY: `queries` has all rows, the panel all of D, and `scores` room for the tile, as asserted.
                unsafe { kernel(&tile) };
            }
        }
    }

    /// acc += weights · values. With f32, the weights have replaced the scores.
    fn accumulate(&mut self, values: &Packed) {
        let (weights, stride) = match values.compute() {
            Compute::F32 => (&self.scores, self.stride),
            Compute::Half => (&self.weights, self.stride / 2),
        };
        let rows: Vec<usize> = (0..self.rows.len()).map(|row| row * stride).collect();
        for panel in values.panels() {
            let (kernel, mr) = kernel(values, panel.vectors, rows.len());
            let width = panel.vectors * values.isa.lanes();
            let slots = values.slots(panel);
            for (i, rows) in rows.chunks(mr).enumerate() {
                let weights = MatrixA { slots: weights, rows, taps: &[0] };
                let offset = i * mr * self.width + panel.column;
                assert!(offset + (mr - 1) * self.width + width <= self.acc.len());
                let tile = weights.tile(values.k_slots(), slots, self.acc[offset..].as_mut_ptr(), self.width);
                // SAFETY: `weights` has all rows, the panel a row for each key, and `acc` room for the tile, as asserted.
                unsafe { kernel(&Tile { adds: true, ..tile }) };
            }
        }
    }

    /// Writes acc / Σ weight of one query to `out`, in slots of the type that the products use.
    pub fn write_output(&mut self, row: usize, out: &mut [f32]) {
        let inverse = 1. / self.sums[row].iter().sum::<f32>();
        let acc = &mut self.acc[row * self.width..][..self.width];
        acc.iter_mut().for_each(|x| *x *= inverse);
        match self.compute {
            Compute::F32 => out.copy_from_slice(&acc[..out.len()]),
            Compute::Half => write_pairs(&acc[..2 * out.len()], out),
        }
    }
}

for_each_isa! {
    /// Replaces the scores of one query by weights 2^(scale · score − max), adds these to `sums`, and rescales `sums`
    /// and `acc` if the maximum has grown.
    fn softmax_step(
        scores: &mut [f32],
        scale: f32,
        max: &mut f32,
        sums: &mut [f32; 16],
        acc: &mut [f32],
    ) {
        let old_max = *max;
        scores.iter_mut().for_each(|x| *x *= scale);
        let new_max = max_of(scores, old_max);
        if new_max > old_max {
            let shrink = exp2::<FMA, _>(old_max - new_max, EXP2_F32);
            sums.iter_mut().chain(acc).for_each(|x| *x *= shrink);
            *max = new_max;
        }
        weigh(scores, sums, |x| exp2::<FMA, _>(x - new_max, EXP2_F32));
    }
}

for_each_isa! {
    /// Replaces scores by weights 2^(scale · score), and adds these to `sums`.
    fn exp_scores(scores: &mut [f32], scale: f32, sums: &mut [f32; 16]) {
        weigh(scores, sums, |x| exp2_scaled::<FMA, _>(x, scale, EXP2_F32));
    }
}

/// The largest of `scores` and `old_max`. NaN is ignored.
#[inline(always)]
fn max_of(scores: &[f32], old_max: f32) -> f32 {
    let mut lanes = [old_max; 16];
    let (vectors, rest) = scores.as_chunks::<16>();
    for vector in vectors {
        for (max, &x) in lanes.iter_mut().zip(vector) {
            *max = if x > *max { x } else { *max };
        }
    }
    lanes.iter().chain(rest).fold(old_max, |max, &x| if x > max { x } else { max })
}

/// Replaces scores by their weights, and adds these to `sums`.
#[inline(always)]
fn weigh(scores: &mut [f32], sums: &mut [f32; 16], weight: impl Fn(f32) -> f32) {
    let (vectors, rest) = scores.as_chunks_mut::<16>();
    for vector in vectors {
        for (sum, x) in sums.iter_mut().zip(vector) {
            *x = weight(*x);
            *sum += *x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *x = weight(*x);
        *sum += *x;
    }
}
