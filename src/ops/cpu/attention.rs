//! Attention without the N×M matrix (Dao et al. 2022, arXiv 2205.14135): a block of queries meets the keys block by block.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::bf16::{pair_up, pairs};
use super::gemm::{MOST_PRODUCTS, kernel};
use super::isa::isa;
use super::kernel::Tile;
use super::math::{EXACT, exp2, for_each_isa};
use super::packed::{Packed, Products};
use super::parallel::{Shared, for_each, written};
use rayon::prelude::*;

/// Queries to a task; every kernel's rows divide it.
const QUERIES: usize = 192;

/// Keys at a time: scores of one block stay in the second-level cache.
const KEYS: usize = 256;

/// The sizes of one call: B images, N queries, M keys, H heads, D numbers a head.
#[derive(Clone, Copy)]
pub struct Shape {
    pub b: usize,
    pub n: usize,
    pub m: usize,
    pub h: usize,
    pub d: usize,
}

/// softmax(q·kᵀ / √D)·v — q: (B, N, H·D), k, v: (B, M, H·D) → (B, N, H·D).
pub fn attention(wanted: Products, q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> Vec<f32> {
    let Shape { b, n, m, h, d } = shape;
    let c = h * d;
    let at = |x: usize, rows: usize, i: usize, first: usize| (i / h * rows + first) * c + i % h * d + x * c;
    let heads: Vec<Vec<Seen>> = (0..b * h)
        .into_par_iter()
        .map(|i| {
            let seen = |first| {
                Seen::new(wanted, &k[at(0, m, i, first)..], &v[at(0, m, i, first)..], c, d, KEYS.min(m - first))
            };
            (0..m).step_by(KEYS).map(seen).collect()
        })
        .collect();
    let blocks = n.div_ceil(QUERIES);
    let attend = |out: &Shared| {
        for_each(b * h * blocks, |task| {
            let (i, first) = (task / blocks, task % blocks * QUERIES);
            let rows = QUERIES.min(n - first);
            let queries: Vec<&[f32]> = (0..rows).map(|row| &q[at(row, n, i, first)..][..d]).collect();
            let mut block = Block::new(&heads[i], &queries);
            heads[i].iter().for_each(|seen| block.attend(seen));
            for row in 0..rows {
                // SAFETY: each head of each query is one task's alone.
                block.finish(row, unsafe { out.part(at(row, n, i, first), d) });
            }
        });
    };
    // SAFETY: every head of every query is some task's.
    unsafe { written(q.len(), attend) }
}

/// A block of keys and their values, of one head.
struct Seen {
    keys: Packed,   // (D, count)
    values: Packed, // (count, D)
    count: usize,   // of keys; the matrices have more where whole panels need them
    longest: f32,   // of the keys: its length
}

impl Seen {
    /// From rows that are `c` apart, of which the first `d` numbers are ours.
    fn new(wanted: Products, k: &[f32], v: &[f32], c: usize, d: usize, count: usize) -> Self {
        let isa = isa();
        // Only where both products can be of bf16 they are.
        let products = wanted.possible(isa, d);
        let padded = if products == Products::Bf16 { count.next_multiple_of(2 * isa.lanes()) } else { count };
        let at = |x: &[f32], row: usize, column: usize| if row < count { x[row * c + column] } else { 0. };
        let length = |row: usize| k[row * c..][..d].iter().map(|x| x * x).sum::<f32>();
        Self {
            keys: Packed::new(isa, products, 1, d, padded, |row, column| at(k, column, row)),
            values: Packed::new(isa, products, 1, padded, d, |row, column| at(v, row, column)),
            count,
            longest: (0..count).map(length).fold(0., f32::max).sqrt(),
        }
    }
}

/// Scores that are powers of two at once, whatever the largest of them is: far from where f32 ends, even when as many as
/// can be are added up and multiplied by values.
const TAME: f32 = 90.;

/// Some queries, and what they have gathered so far.
struct Block {
    rows: Vec<usize>,       // where each query begins
    queries: Vec<f32>,      // (rows, D) in the keys' slots, scaled
    are_tame: bool,         // no score can be far from 0
    scores: Vec<f32>,       // (QUERIES, stride), unless they are tame
    pairs: Vec<f32>,        // (QUERIES, stride / 2): their weights in bf16, if the values are
    stride: usize,          // keys of a block, rounded up to whole panels
    gathered: Vec<f32>,     // (QUERIES, width)
    width: usize,           // D, rounded up to whole vectors
    largest: Vec<f32>,      // of each query's scores
    weight: Vec<[f32; 16]>, // Σ 2^(score − largest), in sixteen parts
}

impl Block {
    /// The first block of what is seen is not smaller than any other.
    fn new(seen: &[Seen], queries: &[&[f32]]) -> Self {
        let lanes = isa().lanes();
        let Seen { keys, values, .. } = &seen[0];
        let (stride, width) = (keys.n.next_multiple_of(lanes), values.n.next_multiple_of(lanes));
        // Weights are powers of two.
        let scale = std::f32::consts::LOG2_E / (keys.k as f32).sqrt();
        let mut scaled = Vec::with_capacity(queries.len() * keys.k);
        queries.iter().for_each(|query| scaled.extend(query.iter().map(|x| x * scale)));
        let of_bf16 = keys.products == Products::Bf16;
        // Cauchy and Schwarz: no score is larger than this.
        let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
        let bound = scaled.chunks(keys.k).map(length).fold(0., f32::max).sqrt()
            * seen.iter().map(|seen| seen.longest).fold(0., f32::max);
        let are_tame = of_bf16 && bound < TAME;
        Self {
            rows: (0..queries.len()).map(|row| row * keys.slots()).collect(),
            queries: if of_bf16 { pairs(&scaled) } else { scaled },
            are_tame,
            scores: vec![0.; if are_tame { 0 } else { QUERIES * stride }],
            pairs: vec![0.; if of_bf16 { QUERIES * stride / 2 } else { 0 }],
            stride,
            gathered: vec![0.; QUERIES * width],
            width,
            largest: vec![f32::NEG_INFINITY; queries.len()],
            weight: vec![[0.; 16]; QUERIES],
        }
    }

    /// Looks at one block of keys and gathers its values.
    fn attend(&mut self, seen: &Seen) {
        if self.are_tame {
            self.weigh(seen);
        } else {
            self.score(&seen.keys);
            for row in 0..self.rows.len() {
                let scores = &mut self.scores[row * self.stride..][..self.stride];
                // What fills up the last panel has no weight.
                scores[seen.count..].fill(f32::NEG_INFINITY);
                let slots = match self.pairs.is_empty() {
                    true => &mut [][..],
                    false => &mut self.pairs[row * (self.stride / 2)..][..self.stride / 2],
                };
                let gathered = &mut self.gathered[row * self.width..][..self.width];
                softmax_step(scores, slots, &mut self.largest[row], &mut self.weight[row], gathered);
            }
        }
        self.gather(&seen.values);
    }

    /// pairs = 2^(queries · keys), never stored as scores.
    fn weigh(&mut self, Seen { keys, count, .. }: &Seen) {
        #[cfg(target_arch = "x86_64")]
        for panel in keys.panels() {
            let keys_here = count.saturating_sub(panel.column).min(32);
            for (i, rows) in self.rows.chunks(12).enumerate() {
                let offset = 12 * i * (self.stride / 2) + panel.column / 2;
                assert!(offset + 11 * (self.stride / 2) + 16 <= self.pairs.len());
                let tile = Tile {
                    a: self.queries.as_ptr(),
                    rows,
                    taps: &[0],
                    depth: keys.slots(),
                    panel: keys.panel(panel).as_ptr(),
                    out: self.pairs[offset..].as_mut_ptr(),
                    stride: self.stride / 2,
                };
                let sums = self.weight[12 * i..].first_chunk_mut().expect("a multiple of 12 queries");
                // SAFETY: keys are bf16 only where there are instructions for it; the queries have all rows, the panel all
                // of D, and the pairs room for the tile, as asserted; no score is larger than `TAME`.
                unsafe { avx512::weigh_bf16::<12>(&tile, keys_here, sums) };
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
                let tile = Tile {
                    a: self.queries.as_ptr(),
                    rows,
                    taps: &[0],
                    depth: keys.slots(),
                    panel: keys.panel(panel).as_ptr(),
                    out: self.scores[offset..].as_mut_ptr(),
                    stride: self.stride,
                };
                // SAFETY: the queries have all rows, the panel all of D, and the scores room for the tile, as asserted.
                unsafe { kernel(&tile) };
            }
        }
    }

    /// gathered += scores · values.
    fn gather(&mut self, values: &Packed) {
        let (scores, stride) = match values.products {
            Products::F32 => (&self.scores, self.stride),
            Products::Bf16 => (&self.pairs, self.stride / 2),
        };
        let rows: Vec<usize> = (0..self.rows.len()).map(|row| row * stride).collect();
        let mut products = [0.; MOST_PRODUCTS];
        for panel in values.panels() {
            let (kernel, at_once) = kernel(values, panel.vectors);
            let width = panel.vectors * values.isa.lanes();
            for (i, rows) in rows.chunks(at_once).enumerate() {
                let tile = Tile {
                    a: scores.as_ptr(),
                    rows,
                    taps: &[0],
                    depth: values.slots(),
                    panel: values.panel(panel).as_ptr(),
                    out: products.as_mut_ptr(),
                    stride: width,
                };
                // SAFETY: the scores have all rows, the panel a row for each key, `products` room for the tile.
                unsafe { kernel(&tile) };
                for (row, products) in products.chunks_exact(width).take(rows.len()).enumerate() {
                    let gathered = &mut self.gathered[(i * at_once + row) * self.width + panel.column..][..width];
                    gathered.iter_mut().zip(products).for_each(|(sum, x)| *sum += x);
                }
            }
        }
    }

    fn finish(&self, row: usize, out: &mut [f32]) {
        let inverse = 1. / self.weight[row].iter().sum::<f32>();
        out.iter_mut().zip(&self.gathered[row * self.width..]).for_each(|(y, x)| *y = x * inverse);
    }
}

for_each_isa! {
    /// Scores to weights 2^(score − largest), in their place or, where there are any, in slots of bf16; what was gathered
    /// under a smaller `largest` is scaled down.
    fn softmax_step(
        scores: &mut [f32],
        slots: &mut [f32],
        largest: &mut f32,
        weight: &mut [f32; 16],
        gathered: &mut [f32],
    ) {
        let before = *largest;
        let now = largest_of(scores, before);
        if now > before {
            let shrink = exp2::<FMA, _>(before - now, EXACT);
            weight.iter_mut().chain(gathered).for_each(|x| *x *= shrink);
            *largest = now;
        }
        weigh::<FMA>(scores, now, weight);
        if !slots.is_empty() {
            pair_up(scores, slots);
        }
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
fn weigh<const FMA: bool>(scores: &mut [f32], largest: f32, sums: &mut [f32; 16]) {
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
