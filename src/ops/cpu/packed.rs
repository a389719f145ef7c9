//! Matrices in the order in which the GEMM kernels read them.

use super::bf16;
use super::f16;
use super::isa::{Isa, isa};
use super::memory::zeros;
use super::parallel::{DisjointSlice, for_each};
use super::weight::Weight;
use crate::ops::{Compute, Packing};
use std::array;
use std::cell::RefCell;
use std::ops::Range;

/// The type in which the elements of a packed matrix are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// f32.
    F32,
    /// bf16, for products of bf16. A slot holds two neighbouring rows.
    Bf16,
    /// f16, for products of f32: panels are converted to f32 before they are used.
    F16,
}

impl Format {
    /// Returns the format of weights for `isa`. `run`: the number of consecutive elements of a row of A.
    pub fn of(wanted: Compute, isa: Isa, run: usize) -> Self {
        match (wanted, wanted.supported(isa, run)) {
            (Compute::F32, _) => Self::F32,
            (_, Compute::Half) => Self::Bf16,
            // The instructions are there, but bf16 do not come in pairs; there are few of these layers.
            _ if isa == Isa::Avx512Bf16 => Self::F32,
            _ => Self::F16,
        }
    }

    /// Returns the format of the weights of linear layers for `isa`. `is_f16`: whether they are f16 already, which is then
    /// their most compact format without loss. `run`: as for [`Self::of`].
    pub fn of_linear(wanted: Compute, packing: Packing, is_f16: bool, isa: Isa, run: usize) -> Self {
        match (wanted, packing) {
            (Compute::F32, Packing::Compact) if is_f16 => Self::F16,
            _ => Self::of(wanted, isa, run),
        }
    }

    /// Returns the compact format of weights for products in f32. `is_f16`: whether they are f16 already.
    pub fn of_f32_products(wanted: Compute, is_f16: bool) -> Self {
        match wanted {
            Compute::F32 if !is_f16 => Self::F32,
            _ => Self::F16,
        }
    }

    /// The type of the products.
    pub fn compute(self) -> Compute {
        match self {
            Self::F32 | Self::F16 => Compute::F32,
            Self::Bf16 => Compute::Half,
        }
    }

    /// The size of an element in bytes.
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

impl From<Compute> for Format {
    /// Returns the format of operands that are not weights.
    fn from(compute: Compute) -> Self {
        match compute {
            Compute::F32 => Self::F32,
            Compute::Half => Self::Bf16,
        }
    }
}

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

/// The number of channels of a column that are packed before those of the next, so that a weight is read in long runs, and
/// from memory only once for all taps.
const BLOCK: usize = 64;

/// The most taps of a weight.
const MAX_TAPS: usize = 9;

/// A matrix (K, N) divided into panels of columns, each stored row by row.
///
/// Panels are two vectors wide, except that a single vector left at the end is part of the last panel. Columns beyond N
/// are zero.
pub struct Packed {
    pub(super) isa: Isa,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) format: Format,
    data: Vec<f32>, // slots of one f32, of two bf16 from neighbouring rows, or of two f16 from neighbouring columns
    scales: Vec<f32>, // with f16, the factor of each panel
}

/// A panel of a packed matrix.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Panel {
    /// The first column.
    pub column: usize,
    /// The width in vectors.
    pub vectors: usize,
}

impl Panel {
    /// The slots of a matrix with `k` rows that store the panel.
    fn stored(self, isa: Isa, format: Format, k: usize) -> Range<usize> {
        let slots = |columns: usize| columns * k * format.bytes() / 4;
        slots(self.column)..slots(self.column + self.vectors * isa.lanes())
    }
}

impl Packed {
    /// Packs `weight` (N, C, TAPS), the layout of torch's layers, as a matrix (TAPS·C, N).
    ///
    /// # Panics
    /// If `format` is bf16, and `isa` lacks instructions for it or C is odd.
    pub fn from_weight<const TAPS: usize>(isa: Isa, format: Format, weight: Weight, c: usize) -> Self {
        assert!(format != Format::Bf16 || c.is_multiple_of(2), "bf16 do not come in pairs");
        let n = weight.len() / (TAPS * c);
        let [packed] = Self::several(isa, format, TAPS * c, n, |panel, [slots]| {
            let (width, compute) = (panel.vectors * isa.lanes(), format.compute());
            let mut buffer = [0.; BLOCK * MAX_TAPS];
            for first in (0..c).step_by(BLOCK) {
                let channels = BLOCK.min(c - first);
                let at = |tap: usize| compute.slots(tap * c + first) * width;
                for (lane, column) in (panel.column..n.min(panel.column + width)).enumerate() {
                    let kernels = weight.read((column * c + first) * TAPS, channels * TAPS, &mut buffer);
                    let kernels = kernels.as_chunks::<TAPS>().0;
                    for tap in 0..TAPS {
                        let rows = slots[at(tap)..][..compute.slots(channels) * width].chunks_exact_mut(width);
                        match compute {
                            Compute::F32 => rows.zip(kernels).for_each(|(row, kernel)| row[lane] = kernel[tap]),
                            Compute::Half => rows.zip(kernels.as_chunks().0).for_each(|(row, [low, high])| {
                                row[lane] = bf16::pair(low[tap], high[tap]);
                            }),
                        }
                    }
                }
            }
        });
        packed
    }

    /// Packs several matrices of one size at once. `fill` writes a panel of each, in slots of one f32 or two bf16, which are
    /// zero before. With f16, only those beyond the last column are, and it must write all others.
    ///
    /// # Panics
    /// If `format` is bf16 and `isa` lacks instructions for it.
    pub fn several<const N: usize>(
        isa: Isa,
        format: Format,
        k: usize,
        n: usize,
        fill: impl Fn(Panel, [&mut [f32]; N]) + Sync,
    ) -> [Self; N] {
        assert!(format != Format::Bf16 || isa == Isa::Avx512Bf16, "bf16 without instructions for it");
        let vectors = n.div_ceil(isa.lanes());
        let panels = panels(vectors, isa.lanes());
        let scales = if format == Format::F16 { panels.len() } else { 0 };
        let mut packed: [Self; N] = array::from_fn(|_| {
            let data = zeros(vectors * isa.lanes() * k * format.bytes() / 4);
            Self { isa, k, n, format, data, scales: vec![0.; scales] }
        });
        let shared = packed
            .each_mut()
            .map(|packed| (DisjointSlice::new(&mut packed.data), DisjointSlice::new(&mut packed.scales)));
        for_each(panels.len(), |i| {
            let panel = panels[i];
            let Range { start, end } = panel.stored(isa, format, k);
            // SAFETY: panels do not overlap, and each belongs to one task.
            let stored = shared.each_ref().map(|(data, _)| unsafe { data.slice_mut(start, end - start) });
            if format != Format::F16 {
                return fill(panel, stored);
            }
            let length = 2 * (end - start);
            with_scratch(N * length, |wide| {
                if panel.column + panel.vectors * isa.lanes() > n {
                    wide.fill(0.);
                }
                let mut parts = wide.chunks_exact_mut(length);
                fill(panel, array::from_fn(|_| parts.next().expect("as many parts as matrices")));
                for ((wide, stored), (_, scales)) in wide.chunks_exact(length).zip(stored).zip(&shared) {
                    // SAFETY: each panel has a factor of its own.
                    unsafe { scales.slice_mut(i, 1) }.fill(f16::narrow(wide, stored));
                }
            });
        });
        packed
    }

    /// The size in bytes of a matrix (`k`, `n`) packed for this CPU.
    pub fn bytes(format: Format, k: usize, n: usize) -> f64 {
        format.bytes() as f64 * k as f64 * n.next_multiple_of(isa().lanes()) as f64
    }

    /// The type of the products.
    pub(super) fn compute(&self) -> Compute {
        self.format.compute()
    }

    /// The number of slots of a column, in the operand that the kernels read.
    pub(super) fn k_slots(&self) -> usize {
        self.compute().slots(self.k)
    }

    pub(super) fn panels(&self) -> Vec<Panel> {
        panels(self.n.div_ceil(self.isa.lanes()), self.isa.lanes())
    }

    /// The slots of a panel of a matrix that is not in f16: rows of `vectors` vectors.
    pub(super) fn slots(&self, panel: Panel) -> &[f32] {
        debug_assert!(self.format != Format::F16, "f16 must be converted");
        &self.data[panel.stored(self.isa, self.format, self.k)]
    }

    /// Reads rows of a panel from `row` on, as f32. The products must be in f32.
    pub(super) fn read(&self, panel: Panel, row: usize, out: &mut [f32]) {
        let stored = &self.data[panel.stored(self.isa, self.format, self.k)];
        let start = row * panel.vectors * self.isa.lanes();
        match self.format {
            Format::F32 => out.copy_from_slice(&stored[start..][..out.len()]),
            Format::F16 => {
                let scale = self.scales[panel.column / (2 * self.isa.lanes())];
                f16::widen(&stored[start / 2..][..out.len() / 2], scale, out);
            }
            Format::Bf16 => unreachable!("products are in bf16"),
        }
    }

    /// Calls `f` with the slots of a panel as the kernels read them: rows of `vectors` vectors.
    pub(super) fn with_panel<T>(&self, panel: Panel, f: impl FnOnce(&[f32]) -> T) -> T {
        if self.format != Format::F16 {
            return f(self.slots(panel));
        }
        with_scratch(self.k * panel.vectors * self.isa.lanes(), |wide| {
            self.read(panel, 0, wide);
            f(wide)
        })
    }
}

/// Calls `f` with `length` slots of this thread's scratch memory, which stays in its cache. They may hold anything.
fn with_scratch<T>(length: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(vec![]) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            scratch.resize(length, 0.);
        }
        f(&mut scratch[..length])
    })
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
    use crate::ops::conv2d::ConvOptions;
    use crate::ops::cpu::{Conv3x3, ConvLayer};
    use half::f16;

    /// The element at (`row`, `column`) of a packed matrix whose panels are read by `read`.
    fn element(packed: &Packed, row: usize, column: usize) -> f32 {
        let panels = packed.panels();
        let panel = *panels.iter().rev().find(|panel| panel.column <= column).unwrap();
        let (width, lane) = (panel.vectors * packed.isa.lanes(), column - panel.column);
        packed.with_panel(panel, |slots| match packed.compute() {
            Compute::F32 => slots[row * width + lane],
            Compute::Half => bf16::split(slots[row / 2 * width + lane])[row % 2],
        })
    }

    fn check_elements<const TAPS: usize>(isa: Isa, format: Format, c: usize, n: usize) {
        // Integers of few bits, which every format represents.
        let weight: Vec<f32> = (0..n * c * TAPS).map(|i| (i % 199) as f32 - 99.).collect();
        let halves: Vec<f16> = weight.iter().map(|&x| f16::from_f32(x)).collect();
        for stored in [Weight::F32(&weight), Weight::F16(&halves)] {
            check_packed::<TAPS>(&Packed::from_weight::<TAPS>(isa, format, stored, c), &weight, c, n);
        }
    }

    fn check_packed<const TAPS: usize>(packed: &Packed, weight: &[f32], c: usize, n: usize) {
        let padded = n.next_multiple_of(packed.isa.lanes());
        for (row, column) in (0..TAPS * c).flat_map(|row| (0..padded).map(move |column| (row, column))) {
            let (tap, channel) = (row / c, row % c);
            let expected = if column < n { weight[(column * c + channel) * TAPS + tap] } else { 0. };
            assert_eq!(
                element(packed, row, column),
                expected,
                "{:?}, ({row}, {column}) of ({TAPS}·{c}, {n})",
                packed.format
            );
        }
    }

    #[test]
    fn packed_weights_have_every_element_in_its_place_and_zeros_beyond() {
        // No kernels run, so that bf16 can be packed on any CPU.
        for (isa, format) in [(isa(), Format::F32), (isa(), Format::F16), (Isa::Avx512Bf16, Format::Bf16)] {
            for (c, n) in [(2, 3), (64, 16), (130, 100), (66, 40)] {
                check_elements::<1>(isa, format, c, n);
                check_elements::<9>(isa, format, c, n);
            }
        }
    }

    #[test]
    fn the_size_of_packed_weights_follows_from_their_shape() {
        for compute in [Compute::F32, Compute::Half] {
            for (k, n) in [(64, 320), (5, 3), (30, 100)] {
                let format = Format::of(compute, isa(), k);
                let packed = Packed::from_weight::<1>(isa(), format, vec![0.; k * n][..].into(), k);
                assert_eq!(Packed::bytes(format, k, n), 4. * packed.data.len() as f64);
            }
            let shapes = [(4, 32, 1), (64, 48, 1), (32, 1280, 1), (320, 330, 1), (320, 328, 1), (32, 64, 2)];
            for ((c_in, c_out, stride), packing) in
                shapes.into_iter().flat_map(|shape| [Packing::Fast, Packing::Compact].map(|packing| (shape, packing)))
            {
                let weight = vec![f16::ZERO; 9 * c_in * c_out];
                let options = ConvOptions { large_maps: c_in.max(c_out) < 64, ..stride.into() };
                let layer = ConvLayer { compute, packing, is_f16: true, c_in, c_out, options };
                let slots = match Conv3x3::new(layer, Weight::F16(&weight)) {
                    Conv3x3::Direct { weight, .. } => weight.data.len(),
                    Conv3x3::Winograd(winograd) => winograd.points().iter().map(|point| point.data.len()).sum(),
                    Conv3x3::Compact(compact) => compact.taps().data.len(),
                };
                assert_eq!(Conv3x3::bytes(layer), 4. * slots as f64);
            }
        }
    }
}
