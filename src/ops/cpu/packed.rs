//! Weights in the order the GEMM kernels read them.

use super::isa::Isa;
use super::parallel::{Shared, for_each};

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
        let lanes = isa.lanes();
        let mut packed = Self { isa, k, n, numbers: vec![0.; k * n.next_multiple_of(lanes)] };
        let panels = packed.panels();
        let shared = Shared::new(&mut packed.numbers);
        for_each(panels.len(), |i| {
            let Panel { column, vectors } = panels[i];
            let width = vectors * lanes;
            // SAFETY: panels do not overlap.
            let panel = unsafe { shared.part(column * k, width * k) };
            for (row, numbers) in panel.chunks_exact_mut(width).enumerate() {
                for (number, column) in numbers.iter_mut().zip(column..n) {
                    *number = at(row, column);
                }
            }
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
