//! Matrices in the order in which the GEMM kernels read them.

use super::bf16;
use super::isa::{Isa, isa};
use super::memory::Aligned;
use super::parallel::{DisjointSlice, for_each};
use crate::ops::Compute;
use std::array;

impl Compute {
    /// Returns the type that `isa` supports for this one: bf16 needs an even number of consecutive elements, `run`.
    pub fn supported(self, isa: Isa, run: usize) -> Self {
        if isa == Isa::Avx512Bf16 && run.is_multiple_of(2) { self } else { Self::F32 }
    }

    /// The number of slots of `k` elements.
    pub(super) fn slots(self, k: usize) -> usize {
        match self {
            Self::F32 => k,
            Self::Half => k / 2,
        }
    }
}

/// The number of slots of a column that are packed before those of the next, so that weights stored column by column are
/// read in long runs.
const BLOCK: usize = 64;

/// A matrix (K, N) divided into panels of columns, each stored row by row.
///
/// Panels are two vectors wide, except that a single vector left at the end is part of the last panel. Columns beyond N
/// are zero.
pub struct Packed {
    pub(super) isa: Isa,
    pub(super) compute: Compute,
    pub(super) k: usize,
    pub(super) n: usize,
    data: Aligned, // slots of one f32, or of two bf16 from neighbouring rows
}

/// A panel of a packed matrix.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Panel {
    /// The first column.
    pub column: usize,
    /// The width in vectors.
    pub vectors: usize,
}

impl Packed {
    /// Packs the matrix with the elements `at(k, n)`. `taps`: the number of equal parts that a row of A consists of.
    pub fn new(
        isa: Isa,
        wanted: Compute,
        taps: usize,
        k: usize,
        n: usize,
        at: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let compute = wanted.supported(isa, k / taps);
        let [packed] = Self::several(isa, compute, k, n, |panel, [slots]| {
            let width = panel.vectors * isa.lanes();
            for (block, slots) in slots.chunks_mut(BLOCK * width).enumerate() {
                for (lane, column) in (panel.column..n.min(panel.column + width)).enumerate() {
                    for (slot, row) in slots.iter_mut().skip(lane).step_by(width).zip(block * BLOCK..) {
                        *slot = match compute {
                            Compute::F32 => at(row, column),
                            Compute::Half => bf16::pair(at(2 * row, column), at(2 * row + 1, column)),
                        };
                    }
                }
            }
        });
        packed
    }

    /// Packs several matrices of one size at once. `fill` writes a panel of each, which is zero before.
    ///
    /// # Panics
    /// If `compute` is bf16 and `isa` lacks instructions for it.
    pub fn several<const N: usize>(
        isa: Isa,
        compute: Compute,
        k: usize,
        n: usize,
        fill: impl Fn(Panel, [&mut [f32]; N]) + Sync,
    ) -> [Self; N] {
        assert!(compute == Compute::F32 || isa == Isa::Avx512Bf16, "{compute:?} without instructions for it");
        let vectors = n.div_ceil(isa.lanes());
        let slots = compute.slots(k);
        let new = || Self { isa, compute, k, n, data: Aligned::zeros(slots * vectors * isa.lanes()) };
        let mut packed: [Self; N] = array::from_fn(|_| new());
        let shared = packed.each_mut().map(|packed| DisjointSlice::new(&mut packed.data));
        let panels = panels(vectors, isa.lanes());
        for_each(panels.len(), |i| {
            let panel = panels[i];
            let (offset, length) = (panel.column * slots, panel.vectors * isa.lanes() * slots);
            // SAFETY: panels do not overlap, and each belongs to one task.
            fill(panel, shared.each_ref().map(|data| unsafe { data.slice_mut(offset, length) }));
        });
        packed
    }

    /// Packs the transpose of `weight` (N, K), the layout of torch's linear layers.
    pub fn from_rows(isa: Isa, wanted: Compute, weight: &[f32], k: usize) -> Self {
        Self::new(isa, wanted, 1, k, weight.len() / k, |row, column| weight[column * k + row])
    }

    /// The size in bytes of a matrix (`k`, `n`) packed by [`Self::new`] for this CPU.
    pub fn bytes(wanted: Compute, taps: usize, k: usize, n: usize) -> f64 {
        let slots = wanted.supported(isa(), k / taps).slots(k);
        4. * slots as f64 * n.next_multiple_of(isa().lanes()) as f64
    }

    /// The number of slots of a column.
    pub(super) fn k_slots(&self) -> usize {
        self.compute.slots(self.k)
    }

    pub(super) fn panels(&self) -> Vec<Panel> {
        panels(self.n.div_ceil(self.isa.lanes()), self.isa.lanes())
    }

    /// The slots of a panel: rows of `vectors` vectors.
    pub(super) fn panel(&self, panel: Panel) -> &[f32] {
        &self.data[panel.column * self.k_slots()..][..panel.vectors * self.isa.lanes() * self.k_slots()]
    }
}

/// Divides a matrix of `vectors` vectors of `lanes` columns into panels.
pub(super) fn panels(vectors: usize, lanes: usize) -> Vec<Panel> {
    let mut panels = vec![];
    let mut vector = 0;
    while vector < vectors {
        let left = vectors - vector;
        let width = if left == 1 || left == 3 { left } else { 2 };
        panels.push(Panel { column: vector * lanes, vectors: width });
        vector += width;
    }
    panels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::Conv3x3;

    #[test]
    fn the_size_of_packed_weights_follows_from_their_shape() {
        for compute in [Compute::F32, Compute::Half] {
            for (k, n) in [(64, 320), (5, 3), (30, 100)] {
                let packed = Packed::new(isa(), compute, 1, k, n, |_, _| 0.);
                assert_eq!(Packed::bytes(compute, 1, k, n), 4. * packed.data.len() as f64);
            }
            for (c_in, c_out, stride) in [(4, 32, 1), (64, 48, 1), (32, 1280, 1), (320, 330, 1), (32, 64, 2)] {
                let slots = match Conv3x3::new(compute, &vec![0.; 9 * c_in * c_out], c_in, stride) {
                    Conv3x3::Direct { weight, .. } => weight.data.len(),
                    Conv3x3::Winograd(winograd) => winograd.points().iter().map(|point| point.data.len()).sum(),
                };
                assert_eq!(Conv3x3::bytes(compute, c_in, c_out, stride), 4. * slots as f64);
            }
        }
    }
}
