//! Weights in the order the GEMM kernels read them.

use super::isa::Isa;
use super::parallel::{Shared, for_each};
use std::array;

/// A matrix (K, N) cut into panels of columns; in a panel, row follows row.
///
/// Panels are two vectors wide; a single vector at the end joins the panel before it. Columns beyond N are zeros.
pub struct Packed {
    pub(super) isa: Isa,
    pub(super) k: usize,
    pub(super) n: usize,
    numbers: Vec<f32>,
}

/// One panel: its first column, and how many vectors wide it is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Panel {
    pub column: usize,
    pub vectors: usize,
}

impl Packed {
    /// From `at(k, n)`.
    pub fn new(isa: Isa, k: usize, n: usize, at: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let [packed] = Self::several(isa, k, n, |panel, [numbers]| {
            let width = panel.vectors * isa.lanes();
            for (row, numbers) in numbers.chunks_exact_mut(width).enumerate() {
                for (number, column) in numbers.iter_mut().zip(panel.column..n) {
                    *number = at(row, column);
                }
            }
        });
        packed
    }

    /// Several of the same size at once: `fill` writes one panel of each, over zeros.
    pub fn several<const N: usize>(
        isa: Isa,
        k: usize,
        n: usize,
        fill: impl Fn(Panel, [&mut [f32]; N]) + Sync,
    ) -> [Self; N] {
        let vectors = n.div_ceil(isa.lanes());
        let mut packed: [Self; N] =
            array::from_fn(|_| Self { isa, k, n, numbers: vec![0.; k * vectors * isa.lanes()] });
        let shared = packed.each_mut().map(|packed| Shared::new(&mut packed.numbers));
        let panels = panels(vectors, isa.lanes());
        for_each(panels.len(), |i| {
            let panel = panels[i];
            let (offset, length) = (panel.column * k, panel.vectors * isa.lanes() * k);
            // SAFETY: panels do not overlap.
            fill(panel, shared.each_ref().map(|numbers| unsafe { numbers.part(offset, length) }));
        });
        packed
    }

    /// From a weight (N, K), as torch's linear layers keep it.
    pub fn from_rows(isa: Isa, weight: &[f32], k: usize) -> Self {
        Self::new(isa, k, weight.len() / k, |row, column| weight[column * k + row])
    }

    pub(super) fn panels(&self) -> Vec<Panel> {
        panels(self.n.div_ceil(self.isa.lanes()), self.isa.lanes())
    }

    /// A panel's numbers: K rows of `vectors` vectors.
    pub(super) fn panel(&self, panel: Panel) -> &[f32] {
        &self.numbers[panel.column * self.k..][..panel.vectors * self.isa.lanes() * self.k]
    }
}

/// Panels of a matrix so many vectors wide.
pub fn panels(vectors: usize, lanes: usize) -> Vec<Panel> {
    let mut panels = vec![];
    let mut vector = 0;
    while vector < vectors {
        let left = vectors - vector;
        let wide = if left == 1 || left == 3 { left } else { 2 };
        panels.push(Panel { column: vector * lanes, vectors: wide });
        vector += wide;
    }
    panels
}
