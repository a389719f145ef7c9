//! W + Σ A·B, for matrices A and B of low rank: the weights of a layer with LoRAs.

use super::gemm::{MAX_TILE, MatrixA, kernel};
use super::isa::{Isa, isa};
use super::kernel::{Tile, prefetch};
use super::math::{all_finite, largest};
use super::packed::{Format, Packed, Panel, panels};
use super::parallel::{DisjointSlice, for_each, from_uninit};
use std::ops::Range;

/// The rows and the panels of a block, which stays in the L2 cache together with the parts of B that it needs.
const BLOCK: (usize, usize) = (48, 64);

/// A product of factors A (m, r) and B (r, n).
pub struct Product {
    /// A, row by row.
    pub left: Vec<f32>,
    /// B, row by row.
    pub right: Vec<f32>,
}

impl Product {
    /// Returns whether the elements of A·B are so small that no sum of a few products and a finite number overflows. `m`:
    /// the number of rows of A.
    fn is_bounded(&self, m: usize) -> bool {
        const LIMIT: f32 = 1e28; // adding this to f32::MAX gives f32::MAX
        let Self { left, right } = self;
        let bound = (left.len() / m) as f32 * largest(left) * largest(right);
        all_finite(left) && all_finite(right) && bound < LIMIT
    }
}

/// Returns W + Σ A·B (m, n), or `None` if the products may make a number in it infinite or NaN.
///
/// `read` writes the elements of W from an index on. It is called for one part of a row after another, to which all
/// products are added before they leave the cache.
///
/// # Panics
/// If the factors do not fit (m, n) and each other.
pub fn add_products(
    (m, n): (usize, usize),
    read: impl Fn(usize, &mut [f32]) + Sync,
    products: &[Product],
) -> Option<Vec<f32>> {
    let isa = isa();
    if !products.iter().all(|product| product.is_bounded(m)) {
        return None;
    }
    let pack = |Product { left, right }: &Product| {
        let rank = left.len() / m;
        assert!(left.len() == m * rank && right.len() == rank * n, "the factors do not fit {m}×{n}");
        let [packed] = Packed::several(isa, Format::F32, rank, n, |panel, [slots]| {
            let width = panel.vectors * isa.lanes();
            let columns = panel.column..n.min(panel.column + width);
            for (slots, row) in slots.chunks_exact_mut(width).zip(right.chunks_exact(n)) {
                slots[..columns.len()].copy_from_slice(&row[columns.clone()]);
            }
        });
        packed
    };
    let packed: Vec<Packed> = products.iter().map(pack).collect();
    let panels = panels(n.div_ceil(isa.lanes()), isa.lanes());
    let rows = m.div_ceil(rayon::current_num_threads()).clamp(1, BLOCK.0).next_multiple_of(12);
    let (down, across) = (m.div_ceil(rows), panels.len().div_ceil(BLOCK.1));
    let add = |out: &DisjointSlice| {
        for_each(down * across, |task| {
            let first = task % down * rows;
            let panels = panels.chunks(BLOCK.1).nth(task / down).unwrap_or_default();
            let block = Block { rows: first..m.min(first + rows), panels, isa, n, out };
            // SAFETY: blocks do not overlap, and each belongs to one task.
            unsafe {
                block.for_each_row(|index, row| read(index, row));
                for (Product { left, .. }, right) in products.iter().zip(&packed) {
                    block.add(left, right);
                }
            }
        });
    };
    // SAFETY: every row of every block is written before it is read.
    Some(unsafe { from_uninit(m * n, add) })
}

/// A block of a matrix `out` (m, `n`).
struct Block<'a> {
    rows: Range<usize>,
    panels: &'a [Panel],
    isa: Isa,
    n: usize,
    out: &'a DisjointSlice<'a>,
}

impl Block<'_> {
    /// Calls `f` with each of its rows, and the index in the matrix of the row's first element.
    ///
    /// # Safety
    /// Nothing else may access the block meanwhile.
    unsafe fn for_each_row(&self, f: impl Fn(usize, &mut [f32])) {
        let (Some(first), Some(last)) = (self.panels.first(), self.panels.last()) else { return };
        let end = self.n.min(last.column + last.vectors * self.isa.lanes());
        for row in self.rows.clone() {
            let index = row * self.n + first.column;
            // SAFETY: guaranteed by the caller.
            f(index, unsafe { self.out.slice_mut(index, end - first.column) });
        }
    }

    /// Adds the block's part of left·right. `left`: (m, r), `right`: (r, n).
    ///
    /// # Safety
    /// Nothing else may access the block meanwhile, and `left` must have all rows.
    unsafe fn add(&self, left: &[f32], right: &Packed) {
        let rows: Vec<usize> = self.rows.clone().map(|row| row * right.k).collect();
        let mut buffer = [0.; MAX_TILE];
        for &panel in self.panels {
            let (kernel, mr) = kernel(right, panel.vectors, rows.len());
            let width = panel.vectors * self.isa.lanes();
            let slots = right.slots(panel);
            for (i, rows) in rows.chunks(mr).enumerate() {
                let a = MatrixA { slots: left, rows, taps: &[0] };
                let start = (self.rows.start + i * mr) * self.n + panel.column;
                let tile = a.tile(right.k, slots, buffer.as_mut_ptr(), width);
                if rows.len() == mr && panel.column + width <= self.n {
                    let out = self.out.ptr(start, (mr - 1) * self.n + width);
                    // The sums are fetched while the kernel computes what is added to them.
                    (0..mr).for_each(|row| prefetch(out.wrapping_add(row * self.n), width));
                    // SAFETY: `left` has these rows, the panel all of K, and `ptr` checked that there is room.
                    unsafe { kernel(&Tile { out, stride: self.n, adds: true, ..tile }) };
                    continue;
                }
                // SAFETY: as above; `buffer` has room for the largest tile.
                unsafe { kernel(&tile) };
                for (row, products) in buffer.chunks_exact(width).take(rows.len()).enumerate() {
                    // SAFETY: guaranteed by the caller.
                    let sums = unsafe { self.out.slice_mut(start + row * self.n, width.min(self.n - panel.column)) };
                    sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
                }
            }
        }
    }
}
