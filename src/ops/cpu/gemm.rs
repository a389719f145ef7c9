//! Matrix products C = A·B, where B is packed and the rows of A may be anywhere in memory.

use super::bf16::{pair, store_pairs};
use super::caches::caches;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::isa::Isa;
use super::kernel::{Tile, prefetch};
use super::math::{self, for_each_isa};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::operand::{Operand, Output};
use super::packed::{Format, Packed, Panel};
use super::parallel::{DisjointSlice, for_each};
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::ops::Compute;

/// The matrix A in slots of B's type. Row r has one part for each tap t, which begins at slot `rows[r] + taps[t]`.
#[derive(Clone, Copy)]
pub struct MatrixA<'a> {
    pub slots: &'a [f32],
    pub rows: &'a [usize],
    pub taps: &'a [usize],
}

impl<'a> MatrixA<'a> {
    /// Returns the kernel call that multiplies these rows, of `depth` slots for each tap, by the slots of a panel, to rows of
    /// `out` that are `stride` apart.
    pub fn tile(self, depth: usize, panel: &[f32], out: *mut f32, stride: usize) -> Tile<'a> {
        let Self { slots, rows, taps } = self;
        Tile { a: slots.as_ptr(), rows, taps, depth, panel: panel.as_ptr(), out, stride, adds: false }
    }
}

/// The operations applied to a product before it is stored.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to each row: (N).
    pub bias: Option<&'a [f32]>,
    /// Added to the product: as large as C. Ignored by `Act::Geglu`.
    pub residual: Option<&'a [f32]>,
    /// The activation, applied to the sum.
    pub act: Act,
    /// The type of C.
    pub output: Compute,
}

impl Epilogue<'_> {
    fn is_none(&self) -> bool {
        self.bias.is_none() && self.residual.is_none() && self.act == Act::None && self.output == Compute::F32
    }

    /// Prefetches the residual and the output of a row of a panel.
    fn prefetch(&self, row: usize, column: usize, width: usize, n: usize, out: &DisjointSlice) {
        if self.act == Act::None {
            let (offset, width) = (row * n + column, width.min(n - column));
            let slots = self.output.slots(width);
            prefetch(out.ptr(self.output.slots(offset), slots), slots);
            self.residual.iter().for_each(|residual| prefetch(residual[offset..].as_ptr(), width));
        }
    }
}

/// The activation of a product.
#[derive(Clone, Copy, PartialEq, Default)]
pub enum Act {
    /// No activation.
    #[default]
    None,
    /// value · gelu(gate). B's panels alternate vectors of values and gates; C is half as wide as B. Requires a bias.
    Geglu,
}

/// The largest number of rows of A in a task.
const TASK_ROWS: usize = 96;

/// The size in bytes from which larger groups of panels are no faster.
const MAX_GROUP: usize = 640 << 10;

/// The largest number of rows of A in a task that converts its panels, so that the conversion takes little of its time.
const TASK_ROWS_CONVERTED: usize = 192;

/// The offsets of A's rows, in elements. Row r has one part for each tap t, which begins at `rows[r] + taps[t]`; B's K
/// dimension is the concatenation of the taps.
///
/// One tap is a plain matrix product; nine are a 3×3 convolution that needs no copy of its input for each tap.
#[derive(Clone, Copy)]
pub struct RowOffsets<'a> {
    pub rows: &'a [usize],
    pub taps: &'a [usize],
}

/// epilogue(A·B): (rows, N), or (rows, N / 2) with `Act::Geglu`. A bf16 output needs an even number of columns.
///
/// # Panics
/// If the sizes of A, B and the epilogue do not fit.
pub fn gemm(a: Operand, offsets: RowOffsets, b: &Packed, epilogue: Epilogue) -> Output {
    let RowOffsets { rows, taps } = offsets;
    let depth = b.k / taps.len();
    let last = rows.iter().max().unwrap_or(&0) + taps.iter().max().unwrap_or(&0) + depth;
    assert!(last <= a.len() && b.k == depth * taps.len(), "A does not fit B");
    let are_whole = b.n.is_multiple_of(2 * b.isa.lanes());
    assert!(epilogue.act == Act::None || epilogue.bias.is_some() && are_whole, "GEGLU without a bias or whole vectors");
    assert!(b.compute() == Compute::F32 || rows.iter().chain(taps).all(|offset| offset % 2 == 0), "pairs are split");
    let length = rows.len() * if epilogue.act == Act::Geglu { b.n / 2 } else { b.n };
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == b.n), "the bias does not fit B");
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == length), "the residual does not fit");
    let to_slots = |offsets: &[usize]| offsets.iter().map(|&offset| b.compute().slots(offset)).collect::<Vec<_>>();
    let (rows, taps) = (to_slots(rows), to_slots(taps));
    let a = MatrixA { slots: &a.slots(b.compute()), rows: &rows, taps: &taps };
    // SAFETY: `multiply` writes every row of every panel.
    unsafe { Output::new(epilogue.output, length, |out| multiply(a, b, epilogue, out)) }
}

/// Writes epilogue(A·B) to `out`. Tasks are chunks of rows times groups of panels that fit in the L2 cache.
fn multiply(a: MatrixA, b: &Packed, epilogue: Epilogue, out: &DisjointSlice) {
    let panels = b.panels();
    // Most of the panels stay in the L2 cache while A's rows are streamed.
    let max_panels = ((caches().l2 * 5 / 4).min(MAX_GROUP) / (8 * b.isa.lanes() * b.k_slots())).clamp(1, panels.len());
    let threads = rayon::current_num_threads();
    // Few rows are not divided if each task would convert all panels again.
    let (rows, max_rows) = match b.format {
        Format::F16 => (a.rows.len(), TASK_ROWS_CONVERTED),
        _ => (a.rows.len().div_ceil(threads), TASK_ROWS),
    };
    let task_rows = rows.clamp(1, max_rows).next_multiple_of(12);
    let chunks = a.rows.len().div_ceil(task_rows);
    let groups = panels.len().div_ceil(max_panels).max(threads.div_ceil(chunks.max(1))).min(panels.len());
    let group = panels.len().div_ceil(groups);
    for_each(groups * chunks, |task| {
        let (chunk, panels) = (task % chunks, panels.chunks(group).nth(task / chunks).unwrap_or_default());
        let first = chunk * task_rows;
        let rows = &a.rows[first..a.rows.len().min(first + task_rows)];
        for &panel in panels {
            // SAFETY: `gemm` checked that A has every row and tap; each task has rows and panels of its own.
            unsafe { strip(MatrixA { rows, ..a }, b, panel, epilogue, first, out) };
        }
    });
}

/// Multiplies a strip of A's rows by one panel, tile by tile, and stores the results from row `first` of C on.
///
/// # Safety
/// A must have every row and tap, and no other thread may write to these rows of this panel.
pub unsafe fn strip(a: MatrixA, b: &Packed, panel: Panel, epilogue: Epilogue, first: usize, out: &DisjointSlice) {
    // SAFETY: guaranteed by the caller; the slots are those of the panel.
    b.with_panel(panel, |slots| unsafe { multiply_panel(a, b, panel, slots, epilogue, first, out) });
}

/// Multiplies a strip of A's rows by `slots`, the slots of a panel, for [`strip`].
///
/// # Safety
/// A must have every row and tap, `slots` all of K, and no other thread may write to these rows of this panel.
unsafe fn multiply_panel(
    a: MatrixA,
    b: &Packed,
    panel: Panel,
    slots: &[f32],
    epilogue: Epilogue,
    first: usize,
    out: &DisjointSlice,
) {
    let (kernel, mr) = kernel(b, panel.vectors, a.rows.len());
    let (width, depth) = (panel.vectors * b.isa.lanes(), b.k_slots() / a.taps.len());
    let store_directly = epilogue.is_none() && panel.column + width <= b.n;
    let mut products = [0.; MAX_TILE];
    for (i, rows) in a.rows.chunks(mr).enumerate() {
        let row = first + i * mr;
        let mut tile = MatrixA { rows, ..a }.tile(depth, slots, products.as_mut_ptr(), width);
        // The epilogue's memory is fetched while the kernel computes.
        for row in row..row + rows.len() {
            epilogue.prefetch(row, panel.column, width, b.n, out);
        }
        if store_directly && rows.len() == mr {
            (tile.out, tile.stride) = (out.ptr(row * b.n + panel.column, (mr - 1) * b.n + width), b.n);
            // SAFETY: the caller guarantees A and the rows; the panel has all of K; `ptr` checked that there is room.
            unsafe { kernel(&tile) };
            continue;
        }
        // SAFETY: as above; `products` has room for the largest tile.
        unsafe { kernel(&tile) };
        apply_epilogue(&products[..rows.len() * width], width, panel.column, b.n, epilogue, row, out);
    }
}

/// The number of elements in the largest tile of any kernel.
pub const MAX_TILE: usize = 12 * 2 * 16;

/// A kernel and MR, the number of rows in its tile.
///
/// # Safety
/// The tile's pointers must be valid, and its output must have room for MR rows.
pub type Kernel = (unsafe fn(&Tile), usize);

/// Returns the kernel for `b`, which must be packed for an instruction set that the CPU has, for panels of `vectors`
/// vectors and `rows` rows of A.
pub fn kernel(b: &Packed, vectors: usize, rows: usize) -> Kernel {
    // A lower tile loads B more often, but a tile with missing rows computes them in vain.
    let is_better = |low: usize, high: usize| 21 * rows.next_multiple_of(low) < 20 * rows.next_multiple_of(high);
    match (b.isa, b.compute(), vectors) {
        #[cfg(target_arch = "x86_64")]
        (_, Compute::Half, 1) => (avx512::kernel_bf16::<12, 1>, 12),
        #[cfg(target_arch = "x86_64")]
        (_, Compute::Half, 2) if is_better(8, 12) => (avx512::kernel_bf16::<8, 2>, 8),
        #[cfg(target_arch = "x86_64")]
        (_, Compute::Half, 2) => (avx512::kernel_bf16::<12, 2>, 12),
        #[cfg(target_arch = "x86_64")]
        (_, Compute::Half, _) => (avx512::kernel_bf16::<8, 3>, 8),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, _, 1) => (avx512::kernel::<12, 1>, 12),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, _, 2) if is_better(8, 12) => (avx512::kernel::<8, 2>, 8),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, _, 2) => (avx512::kernel::<12, 2>, 12),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, _, _) => (avx512::kernel::<8, 3>, 8),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _, 1) => (avx2::kernel::<12, 1>, 12),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _, 2) if is_better(4, 6) => (avx2::kernel::<4, 2>, 4),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _, 2) => (avx2::kernel::<6, 2>, 6),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _, _) => (avx2::kernel::<4, 3>, 4),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, _, 1) => (neon::kernel::<6, 1>, 6),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, _, 2) if is_better(4, 6) => (neon::kernel::<4, 2>, 4),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, _, 2) => (neon::kernel::<6, 2>, 6),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, _, _) => (neon::kernel::<4, 3>, 4),
        (_, _, 1) => (portable::kernel::<4, 1>, 4),
        (_, _, 2) => (portable::kernel::<4, 2>, 4),
        _ => (portable::kernel::<4, 3>, 4),
    }
}

for_each_isa! {
    /// Applies the epilogue to a tile `width` columns wide, and stores it at (`row`, `column`) of C.
    fn apply_epilogue(
        products: &[f32],
        width: usize,
        column: usize,
        n: usize,
        epilogue: Epilogue,
        row: usize,
        out: &DisjointSlice,
    ) {
        let Epilogue { bias, residual, act, output } = epilogue;
        let bias = bias.map(|bias| &bias[column..]);
        let columns = width.min(n - column);
        for (row, products) in (row..).zip(products.chunks_exact(width)) {
            let (offset, columns) = match act {
                Act::None => (row * n + column, columns),
                Act::Geglu => (row * (n / 2) + column / 2, columns / 2),
            };
            // SAFETY: each row of each panel belongs to one task.
            let out = unsafe { out.slice_mut(output.slots(offset), output.slots(columns)) };
            let residual = residual.map(|residual| &residual[offset..]);
            let step = if act == Act::Geglu { columns } else { width };
            match (act, step % WIDE) {
                (Act::None, 0) => add::<BF16, WIDE>(products, bias, residual, columns, output, out),
                (Act::None, _) => add::<BF16, NARROW>(products, bias, residual, columns, output, out),
                (Act::Geglu, 0) => geglu::<FMA, BF16, WIDE>(products, bias.unwrap_or(&[]), output, out),
                (Act::Geglu, _) => geglu::<FMA, BF16, NARROW>(products, bias.unwrap_or(&[]), output, out),
            }
        }
    }
}

/// The number of elements stored at a time: as many as in a vector.
const WIDE: usize = 16;
const NARROW: usize = 8;

/// y = products + bias + residual.
#[inline(always)]
fn add<const BF16: bool, const STEP: usize>(
    products: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    columns: usize,
    output: Compute,
    out: &mut [f32],
) {
    let steps = columns / STEP;
    for i in 0..steps {
        // Lane by lane: whole arrays would be copied in smaller pieces, and loading them again as a vector would stall.
        let mut y = [0.; STEP];
        for x in [Some(products), bias, residual].into_iter().flatten() {
            let x: &[f32; STEP] = x[i * STEP..].first_chunk().expect("as long as the output");
            for lane in 0..STEP {
                y[lane] += x[lane];
            }
        }
        store::<BF16, STEP>(&y, output, out, i);
    }
    let y = |i: usize| products[i] + bias.map_or(0., |bias| bias[i]) + residual.map_or(0., |residual| residual[i]);
    for i in steps * STEP..columns {
        match output {
            Compute::F32 => out[i] = y(i),
            Compute::Half if i % 2 == 0 => out[i / 2] = pair(y(i), y(i + 1)),
            Compute::Half => (),
        }
    }
}

/// y = value · gelu(gate), from alternating vectors of values and gates.
#[inline(always)]
fn geglu<const FMA: bool, const BF16: bool, const STEP: usize>(
    products: &[f32],
    bias: &[f32],
    output: Compute,
    out: &mut [f32],
) {
    let (products, bias) = (products.as_chunks::<STEP>().0, bias.as_chunks::<STEP>().0);
    for (i, (products, bias)) in products.chunks_exact(2).zip(bias.chunks_exact(2)).enumerate() {
        let mut y = [0.; STEP];
        for lane in 0..STEP {
            let (value, gate) = (products[0][lane] + bias[0][lane], products[1][lane] + bias[1][lane]);
            y[lane] = value
                * match output {
                    Compute::F32 => math::gelu::<FMA>(gate),
                    Compute::Half => math::gelu_bf16::<FMA>(gate),
                };
        }
        store::<BF16, STEP>(&y, output, out, i);
    }
}

/// Stores `y` as the `i`th vector of a row.
#[inline(always)]
fn store<const BF16: bool, const STEP: usize>(y: &[f32; STEP], output: Compute, out: &mut [f32], i: usize) {
    match output {
        Compute::F32 => out[i * STEP..][..STEP].copy_from_slice(y),
        // SAFETY: `BF16` comes from `for_each_isa`.
        Compute::Half => unsafe { store_pairs::<BF16>(y, &mut out[i * STEP / 2..][..STEP / 2]) },
    }
}
