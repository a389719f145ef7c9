//! Attention without the whole N×M matrix (Dao et al. 2022, arXiv 2205.14135): a block of queries at a time, over one
//! block of keys after another, with an online softmax.

mod kv_block;
mod query_block;

use super::isa::isa;
use super::operand::{Operand, Output};
use super::parallel::{DisjointSlice, for_each};
use crate::ops::Compute;
use kv_block::KvBlock;
use query_block::QueryBlock;
use rayon::prelude::*;

/// The number of queries in a task, a multiple of every kernel's rows.
const QUERIES: usize = 192;

/// The number of keys in a block, whose scores fit in the L2 cache.
const KEYS: usize = 256;

/// The sizes of one call: B images, N queries, M keys, H heads of D channels; and which keys a query attends to.
#[derive(Clone, Copy)]
pub struct AttentionShape {
    pub b: usize,
    pub n: usize,
    pub m: usize,
    pub h: usize,
    pub d: usize,
    /// Whether query i attends to the keys 0..=i only; then N = M, and the products are in f32.
    pub causal: bool,
}

/// softmax(q·kᵀ / √D)·v. `q`: (B, N, H·D); `k`, `v`: (B, M, H·D) → (B, N, H·D), in the type that the products use.
pub fn attention(wanted: Compute, q: Operand, k: Operand, v: Operand, shape: AttentionShape) -> Output {
    let AttentionShape { b, n, m, h, d, causal } = shape;
    let compute = wanted.supported(isa(), d);
    assert!(
        !causal || (compute == Compute::F32 && n == m),
        "causal attention in {compute:?} of {n} queries to {m} keys"
    );
    let [q, k, v] = [q, k, v].map(|x| x.slots(compute));
    let (head_slots, row_slots) = (compute.slots(d), compute.slots(h * d));
    // The offset of head i (of all images) in row `row` of its image's `rows`.
    let offset = |row: usize, rows: usize, i: usize| (i / h * rows + row) * row_slots + i % h * head_slots;
    let kv_block = |i: usize, first: usize| {
        let rows: Vec<usize> = (first..m.min(first + KEYS)).map(|row| offset(row, m, i)).collect();
        KvBlock::new(compute, d, &k, &v, &rows)
    };
    let heads: Vec<Vec<KvBlock>> =
        (0..b * h).into_par_iter().map(|i| (0..m).step_by(KEYS).map(|first| kv_block(i, first)).collect()).collect();
    let blocks = n.div_ceil(QUERIES);
    let attend = |out: &DisjointSlice| {
        for_each(b * h * blocks, |task| {
            let (i, first) = (task / blocks, task % blocks * QUERIES);
            let rows: Vec<usize> = (first..n.min(first + QUERIES)).map(|row| offset(row, n, i)).collect();
            let mut queries = QueryBlock::new(&heads[i], &q, &rows);
            for (block, kv) in heads[i].iter().enumerate() {
                queries.attend(kv, |row| match causal {
                    true => (first + row + 1).saturating_sub(block * KEYS).min(kv.n_keys),
                    false => kv.n_keys,
                });
            }
            for (row, &offset) in rows.iter().enumerate() {
                // SAFETY: each head of each query belongs to one task.
                queries.write_output(row, unsafe { out.slice_mut(offset, head_slots) });
            }
        });
    };
    // SAFETY: the tasks cover every head of every query.
    unsafe { Output::new(compute, b * n * h * d, attend) }
}
