//! Attention without the N×M matrix (Dao et al. 2022, arXiv 2205.14135): a block of queries meets the keys block by block.

use super::bf16::{pair, pairs};
use super::gemm::{MOST_PRODUCTS, kernel};
use super::isa::isa;
use super::kernel::Tile;
use super::math::{EXACT, ROUGH, exp2, for_each_isa};
use super::packed::{Packed, Products};
use super::parallel::{Shared, for_each, written};
use rayon::prelude::*;

/// Queries to a task; every kernel's rows divide it.
const QUERIES: usize = 96;

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
    let (isa, c) = (isa(), h * d);
    // For each head of each image, block by block, (keys as a (D, KEYS) matrix, values as (KEYS, D)).
    let pack = |i: usize, first: usize| {
        let count = KEYS.min(m - first);
        let offset = (i / h * m + first) * c + i % h * d;
        let (k, v) = (&k[offset..], &v[offset..]);
        let keys = Packed::new(isa, wanted, 1, d, count, |row, column| k[column * c + row]);
        let are_pairs = wanted.possible(isa, count) == Products::Bf16;
        let place = |row| if are_pairs { paired(row, count) } else { row };
        (keys, Packed::new(isa, wanted, 1, count, d, |row, column| v[place(row) * c + column]))
    };
    let heads: Vec<Vec<(Packed, Packed)>> =
        (0..b * h).into_par_iter().map(|i| (0..m).step_by(KEYS).map(|first| pack(i, first)).collect()).collect();
    let blocks = n.div_ceil(QUERIES);
    let attend = |out: &Shared| {
        for_each(b * h * blocks, |task| {
            let (i, first) = (task / blocks, task % blocks * QUERIES);
            let rows = QUERIES.min(n - first);
            let offset = (i / h * n + first) * c + i % h * d;
            let queries: Vec<&[f32]> = (0..rows).map(|row| &q[offset + row * c..][..d]).collect();
            let mut block = Block::new(&heads[i][0], &queries);
            heads[i].iter().for_each(|(keys, values)| block.attend(keys, values));
            for row in 0..rows {
                // SAFETY: each head of each query is one task's alone.
                block.finish(row, unsafe { out.part(offset + row * c, d) });
            }
        });
    };
    // SAFETY: every head of every query is some task's.
    unsafe { written(q.len(), attend) }
}

/// Keys whose weights are made at once; of them, each is in a slot with the one half as many later.
const GROUP: usize = 32;

/// The key that is in this place where `count` of them share slots two by two: in a whole group, the first half of it with
/// the second, for whole vectors to meet; neighbours in what is left.
fn paired(place: usize, count: usize) -> usize {
    let within = place % GROUP;
    let group = place - within;
    if group + GROUP > count { place } else { group + within / 2 + GROUP / 2 * (within % 2) }
}

/// Some queries, and what they have gathered so far.
struct Block {
    rows: Vec<usize>,   // where each query begins
    queries: Vec<f32>,  // (rows, D) in the keys' slots, scaled
    scores: Vec<f32>,   // (QUERIES, stride)
    pairs: Vec<f32>,    // (QUERIES, stride / 2): their weights in bf16, if the values are
    stride: usize,      // keys of a block, rounded up to whole vectors
    gathered: Vec<f32>, // (QUERIES, width)
    width: usize,       // D, rounded up to whole vectors
    largest: Vec<f32>,  // of each query's scores
    weight: Vec<f32>,   // Σ 2^(score − largest)
}

impl Block {
    /// The block of keys and values is the first, than which none is larger.
    fn new((keys, values): &(Packed, Packed), queries: &[&[f32]]) -> Self {
        let lanes = isa().lanes();
        let (stride, width) = (keys.n.next_multiple_of(lanes), values.n.next_multiple_of(lanes));
        // Weights are powers of two.
        let scale = std::f32::consts::LOG2_E / (keys.k as f32).sqrt();
        let mut scaled = Vec::with_capacity(queries.len() * keys.k);
        queries.iter().for_each(|query| scaled.extend(query.iter().map(|x| x * scale)));
        let slots = if values.products == Products::Bf16 { QUERIES * stride / 2 } else { 0 };
        Self {
            rows: (0..queries.len()).map(|row| row * keys.slots()).collect(),
            queries: if keys.products == Products::Bf16 { pairs(&scaled) } else { scaled },
            scores: vec![0.; QUERIES * stride],
            pairs: vec![0.; slots],
            stride,
            gathered: vec![0.; QUERIES * width],
            width,
            largest: vec![f32::NEG_INFINITY; queries.len()],
            weight: vec![0.; queries.len()],
        }
    }

    /// Looks at one block of keys and gathers its values.
    fn attend(&mut self, keys: &Packed, values: &Packed) {
        self.score(keys);
        for row in 0..self.rows.len() {
            let scores = &mut self.scores[row * self.stride..][..keys.n];
            let slots = match values.products {
                Products::F32 => &mut [][..],
                Products::Bf16 => &mut self.pairs[row * (self.stride / 2)..][..keys.n / 2],
            };
            let gathered = &mut self.gathered[row * self.width..][..self.width];
            softmax_step(scores, slots, &mut self.largest[row], &mut self.weight[row], gathered);
        }
        self.gather(values);
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
        let inverse = 1. / self.weight[row];
        out.iter_mut().zip(&self.gathered[row * self.width..]).for_each(|(y, x)| *y = x * inverse);
    }
}

for_each_isa! {
    /// Scores to weights 2^(score − largest), in their place or, where there are any, in slots of bf16; what was gathered
    /// under a smaller `largest` is scaled down.
    fn softmax_step(scores: &mut [f32], slots: &mut [f32], largest: &mut f32, weight: &mut f32, gathered: &mut [f32]) {
        let before = *largest;
        let now = largest_of(scores, before);
        let sum = if slots.is_empty() { weights::<FMA>(scores, now) } else { weight_pairs::<FMA>(scores, slots, now) };
        if now > before {
            let shrink = exp2::<FMA, _>(before - now, EXACT);
            *weight *= shrink;
            gathered.iter_mut().for_each(|x| *x *= shrink);
            *largest = now;
        }
        *weight += sum;
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

/// Scores to weights in their place; their sum.
#[inline(always)]
fn weights<const FMA: bool>(scores: &mut [f32], largest: f32) -> f32 {
    let mut sums = [0f32; 16];
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
    sums.iter().sum()
}

/// Scores to weights in slots of two, as `paired` has them; their sum.
#[inline(always)]
fn weight_pairs<const FMA: bool>(scores: &[f32], slots: &mut [f32], largest: f32) -> f32 {
    const HALF: usize = GROUP / 2;
    let mut sums = [0f32; HALF];
    let (groups, rest) = scores.as_chunks::<GROUP>();
    let (vectors, slots_left) = slots.as_chunks_mut::<HALF>();
    let weigh = |x: f32| exp2::<FMA, _>(x - largest, ROUGH);
    for (group, vector) in groups.iter().zip(vectors) {
        for lane in 0..HALF {
            let (low, high) = (weigh(group[lane]), weigh(group[lane + HALF]));
            sums[lane] += low + high;
            vector[lane] = pair(low, high);
        }
    }
    for ((slot, &[low, high]), sum) in slots_left.iter_mut().zip(rest.as_chunks().0).zip(&mut sums) {
        let (low, high) = (weigh(low), weigh(high));
        *sum += low + high;
        *slot = pair(low, high);
    }
    sums.iter().sum()
}
