//! Weights in the order the GEMM kernels read them.

use super::bf16;
use super::cost::Cost;
use super::isa::Isa;
use super::memory::in_large_pages;
use super::parallel::{Shared, for_each};
use crate::ops::Compute;
use std::array;

impl Compute {
    /// What a processor can make where these are wanted and `run` numbers follow each other.
    pub fn possible(self, isa: Isa, run: usize) -> Self {
        if isa == Isa::Avx512Bf16 && run.is_multiple_of(2) { self } else { Self::F32 }
    }

    /// Slots that K numbers take.
    pub(super) fn slots(self, k: usize) -> usize {
        match self {
            Self::F32 => k,
            Self::Half => k / 2,
        }
    }
}

/// A matrix (K, N) cut into panels of columns; in a panel, row follows row.
///
/// Panels are two vectors wide; a single vector at the end joins the panel before it. Columns beyond N are zeros.
pub struct Packed {
    pub(super) isa: Isa,
    pub(super) compute: Compute,
    pub(super) k: usize,
    pub(super) n: usize,
    numbers: Vec<f32>, // slots: f32 each, or two bf16 of neighbouring rows
}

/// One panel: its first column, and how many vectors wide it is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Panel {
    pub column: usize,
    pub vectors: usize,
}

impl Packed {
    /// From `at(k, n)`, where `taps` rows of A make up K.
    pub fn new(
        isa: Isa,
        wanted: Compute,
        taps: usize,
        k: usize,
        n: usize,
        at: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let compute = wanted.possible(isa, k / taps);
        let [packed] = Self::several(isa, compute, k, n, |panel, [slots]| {
            let width = panel.vectors * isa.lanes();
            for (row, slots) in slots.chunks_exact_mut(width).enumerate() {
                for (slot, column) in slots.iter_mut().zip(panel.column..n) {
                    *slot = match compute {
                        Compute::F32 => at(row, column),
                        Compute::Half => bf16::pair(at(2 * row, column), at(2 * row + 1, column)),
                    };
                }
            }
        });
        packed
    }

    /// Several of the same size at once: `fill` writes one panel of each, over zeros.
    pub fn several<const N: usize>(
        isa: Isa,
        compute: Compute,
        k: usize,
        n: usize,
        fill: impl Fn(Panel, [&mut [f32]; N]) + Sync,
    ) -> [Self; N] {
        assert!(compute == Compute::F32 || isa == Isa::Avx512Bf16, "{compute:?} without instructions for it");
        let vectors = n.div_ceil(isa.lanes());
        let new = |numbers| Self { isa, compute, k, n, numbers };
        let slots = new(vec![]).slots();
        let zeros = || {
            let length = slots * vectors * isa.lanes();
            let mut numbers = Vec::with_capacity(length);
            in_large_pages(numbers.as_ptr(), length);
            numbers.resize(length, 0.);
            numbers
        };
        let mut packed: [Self; N] = array::from_fn(|_| new(zeros()));
        let shared = packed.each_mut().map(|packed| Shared::new(&mut packed.numbers));
        let panels = panels(vectors, isa.lanes());
        for_each(panels.len(), |i| {
            let panel = panels[i];
            let (offset, length) = (panel.column * slots, panel.vectors * isa.lanes() * slots);
            // SAFETY: panels do not overlap.
            fill(panel, shared.each_ref().map(|numbers| unsafe { numbers.part(offset, length) }));
        });
        packed
    }

    /// From a weight (N, K), as torch's linear layers keep it.
    pub fn from_rows(isa: Isa, wanted: Compute, weight: &[f32], k: usize) -> Self {
        Self::new(isa, wanted, 1, k, weight.len() / k, |row, column| weight[column * k + row])
    }

    /// What a matrix of this size comes to, without its numbers; for one row of A.
    pub fn cost(isa: Isa, wanted: Compute, taps: usize, k: usize, n: usize) -> Cost {
        let compute = wanted.possible(isa, k / taps);
        let columns = n.div_ceil(isa.lanes()) as f64 * isa.lanes() as f64;
        let bytes = 4. * compute.slots(k) as f64 * columns;
        let multiplications = k as f64 * n as f64;
        match compute {
            Compute::F32 => Cost { bytes, in_f32: multiplications, in_bf16: 0. },
            Compute::Half => Cost { bytes, in_f32: 0., in_bf16: multiplications },
        }
    }

    /// Slots that K takes.
    pub(super) fn slots(&self) -> usize {
        self.compute.slots(self.k)
    }

    pub(super) fn panels(&self) -> Vec<Panel> {
        panels(self.n.div_ceil(self.isa.lanes()), self.isa.lanes())
    }

    /// A panel's slots: rows of `vectors` vectors.
    pub(super) fn panel(&self, panel: Panel) -> &[f32] {
        &self.numbers[panel.column * self.slots()..][..panel.vectors * self.isa.lanes() * self.slots()]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::{Conv3x3, isa};

    #[test]
    fn weights_take_the_memory_that_is_foretold() {
        for compute in [Compute::F32, Compute::Half] {
            for (k, n) in [(64, 320), (5, 3), (30, 100)] {
                let packed = Packed::new(isa(), compute, 1, k, n, |_, _| 0.);
                assert_eq!(Packed::cost(isa(), compute, 1, k, n).bytes, 4. * packed.numbers.len() as f64);
            }
            for (c_in, c_out, stride) in [(4, 32, 1), (64, 48, 1), (32, 1280, 1), (320, 330, 1), (32, 64, 2)] {
                let kept = match Conv3x3::new(compute, &vec![0.; 9 * c_in * c_out], c_in, stride) {
                    Conv3x3::Direct { weight, .. } => weight.numbers.len(),
                    Conv3x3::Winograd(winograd) => winograd.points().iter().map(|point| point.numbers.len()).sum(),
                };
                assert_eq!(Conv3x3::cost(compute, c_in, c_out, stride).bytes, 4. * kept as f64);
            }
        }
    }
}
