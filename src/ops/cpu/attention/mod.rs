//! Attention without the N×M matrix (Dao et al. 2022, arXiv 2205.14135): a block of queries meets the keys block by block.

mod block;
mod seen;

use super::isa::isa;
use super::operand::{Made, Operand};
use super::parallel::{Shared, for_each};
use crate::ops::Compute;
use block::Block;
use rayon::prelude::*;
use seen::Seen;

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

/// softmax(q·kᵀ / √D)·v — q: (B, N, H·D), k, v: (B, M, H·D) → (B, N, H·D), made for the same products.
pub fn attention(wanted: Compute, q: Operand, k: Operand, v: Operand, shape: Shape) -> Made {
    let Shape { b, n, m, h, d } = shape;
    let compute = wanted.possible(isa(), d);
    let [q, k, v] = [q, k, v].map(|x| x.slots(compute));
    let (head, row_of_all) = (compute.slots(d), compute.slots(h * d));
    // Where a row of `rows` begins, of the ith head of all images.
    let at = |row: usize, rows: usize, i: usize| (i / h * rows + row) * row_of_all + i % h * head;
    let see = |i: usize, first: usize| {
        let rows: Vec<usize> = (first..m.min(first + KEYS)).map(|row| at(row, m, i)).collect();
        Seen::new(compute, d, &k, &v, &rows)
    };
    let heads: Vec<Vec<Seen>> =
        (0..b * h).into_par_iter().map(|i| (0..m).step_by(KEYS).map(|first| see(i, first)).collect()).collect();
    let blocks = n.div_ceil(QUERIES);
    let attend = |out: &Shared| {
        for_each(b * h * blocks, |task| {
            let (i, first) = (task / blocks, task % blocks * QUERIES);
            let rows: Vec<usize> = (first..n.min(first + QUERIES)).map(|row| at(row, n, i)).collect();
            let mut block = Block::new(&heads[i], &q, &rows);
            heads[i].iter().for_each(|seen| block.attend(seen));
            // SAFETY: each head of each query is one task's alone.
            rows.iter().enumerate().for_each(|(row, &place)| block.finish(row, unsafe { out.part(place, head) }));
        });
    };
    // SAFETY: every head of every query is some task's.
    unsafe { Made::new(compute, b * n * h * d, attend) }
}
