//! C = A·B, where B is packed weights and the rows of A may lie anywhere.

use super::bf16::{pair, store_pairs};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::isa::Isa;
use super::kernel::{Tile, prefetch};
use super::math::{self, for_each_isa};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::operand::{Made, Operand};
use super::packed::{Packed, Panel};
use super::parallel::{Shared, for_each};
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::ops::Compute;

/// Rows of A, made of B's slots: row r of tap t begins at slot `rows[r] + taps[t]`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub numbers: &'a [f32],
    pub rows: &'a [usize],
    pub taps: &'a [usize],
}

impl<'a> Rows<'a> {
    /// These times a panel of B, to rows of `out`, `stride` apart.
    pub fn tile(self, b: &Packed, panel: Panel, out: *mut f32, stride: usize) -> Tile<'a> {
        let (a, depth) = (self.numbers.as_ptr(), b.slots() / self.taps.len());
        Tile { a, rows: self.rows, taps: self.taps, depth, panel: b.panel(panel).as_ptr(), out, stride }
    }
}

/// What happens to a product before it is stored.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to each row: N numbers.
    pub bias: Option<&'a [f32]>,
    /// Added to each number: as large as C.
    pub residual: Option<&'a [f32]>,
    /// Then applied.
    pub act: Act,
    /// What C is made of: numbers for such products.
    pub made_for: Compute,
}

impl Epilogue<'_> {
    fn is_none(&self) -> bool {
        self.bias.is_none() && self.residual.is_none() && self.act == Act::None && self.made_for == Compute::F32
    }

    /// Asks for what a row of a panel will be added to, and for where it will be stored.
    fn fetch(&self, row: usize, column: usize, width: usize, n: usize, out: &Shared) {
        if self.act == Act::None {
            let (offset, width) = (row * n + column, width.min(n - column));
            let slots = self.made_for.slots(width);
            prefetch(out.at(self.made_for.slots(offset), slots), slots);
            self.residual.iter().for_each(|residual| prefetch(residual[offset..].as_ptr(), width));
        }
    }
}

/// Activations that a product can end in.
#[derive(Clone, Copy, PartialEq, Default)]
pub enum Act {
    /// None.
    #[default]
    None,
    /// value · gelu(gate), with a bias: B's panels hold a vector of values, then one of gates, and C is half as wide as B.
    Geglu,
}

/// Bytes of B that stay in the second-level cache while the rows of A go by.
const CACHED: usize = 640 << 10;

/// Rows of A to a task.
const TASK_ROWS: usize = 96;

/// Where the rows of A are: row r of tap t begins at number `rows[r] + taps[t]`, and B's K is all taps after one another.
///
/// One tap is a matrix product; nine are a 3×3 convolution without a copy of its input for each tap.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    pub rows: &'a [usize],
    pub taps: &'a [usize],
}

/// epilogue(A·B): (rows, N), or (rows, N / 2) with `Act::Geglu`; of bf16, an even number in each row.
pub fn gemm(a: Operand, places: Places, b: &Packed, epilogue: Epilogue) -> Made {
    let Places { rows, taps } = places;
    let depth = b.k / taps.len();
    let last = rows.iter().max().unwrap_or(&0) + taps.iter().max().unwrap_or(&0) + depth;
    assert!(last <= a.len() && b.k == depth * taps.len(), "A does not fit B");
    let are_whole = b.n.is_multiple_of(2 * b.isa.lanes());
    assert!(epilogue.act == Act::None || epilogue.bias.is_some() && are_whole, "GEGLU without a bias or whole vectors");
    assert!(b.compute == Compute::F32 || rows.iter().chain(taps).all(|offset| offset % 2 == 0), "pairs are split");
    let length = rows.len() * if epilogue.act == Act::Geglu { b.n / 2 } else { b.n };
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == b.n), "the bias does not fit B");
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == length), "the residual does not fit");
    let to_slots = |offsets: &[usize]| offsets.iter().map(|&offset| b.compute.slots(offset)).collect::<Vec<_>>();
    let (rows, taps) = (to_slots(rows), to_slots(taps));
    let a = Rows { numbers: &a.slots(b.compute), rows: &rows, taps: &taps };
    // SAFETY: `multiply` writes every row of every panel.
    unsafe { Made::new(epilogue.made_for, length, |out| multiply(a, b, epilogue, out)) }
}

/// The same, slots into `out`.
fn multiply(a: Rows, b: &Packed, epilogue: Epilogue, out: &Shared) {
    let panels = b.panels();
    let most = (CACHED / (8 * b.isa.lanes() * b.slots())).clamp(1, panels.len());
    let groups = panels.len().div_ceil(most);
    let group = panels.len().div_ceil(groups);
    let task_rows = a.rows.len().div_ceil(rayon::current_num_threads()).clamp(1, TASK_ROWS).next_multiple_of(12);
    let chunks = a.rows.len().div_ceil(task_rows);
    for_each(groups * chunks, |task| {
        let (chunk, panels) = (task % chunks, panels.chunks(group).nth(task / chunks).unwrap_or_default());
        let first = chunk * task_rows;
        let rows = &a.rows[first..a.rows.len().min(first + task_rows)];
        for &panel in panels {
            // SAFETY: `gemm` checked that A holds every row and tap.
            unsafe { strip(Rows { rows, ..a }, b, panel, epilogue, first, out) };
        }
    });
}

/// Some rows of A, made of B's slots, times one panel: a few rows at a time, finished and stored from row `first` on.
///
/// # Safety
/// A holds every row and tap, and no other thread writes to these rows of this panel.
pub unsafe fn strip(a: Rows, b: &Packed, panel: Panel, epilogue: Epilogue, first: usize, out: &Shared) {
    let (kernel, at_once) = kernel(b, panel.vectors);
    let width = panel.vectors * b.isa.lanes();
    let is_final = epilogue.is_none() && panel.column + width <= b.n;
    let mut products = [0.; MOST_PRODUCTS];
    for (i, rows) in a.rows.chunks(at_once).enumerate() {
        let row = first + i * at_once;
        let mut tile = Rows { rows, ..a }.tile(b, panel, products.as_mut_ptr(), width);
        if is_final && rows.len() == at_once {
            (tile.out, tile.stride) = (out.at(row * b.n + panel.column, (at_once - 1) * b.n + width), b.n);
            // SAFETY: the caller's word on A and the rows; the panel has all of K; `at` checked that there is room.
            unsafe { kernel(&tile) };
            continue;
        }
        // What the tile is finished with comes while the kernel works.
        for row in row..row + rows.len() {
            epilogue.fetch(row, panel.column, width, b.n, out);
        }
        // SAFETY: as above; `products` has room for the largest tile.
        unsafe { kernel(&tile) };
        finish(&products[..rows.len() * width], width, panel.column, b.n, epilogue, row, out);
    }
}

/// Numbers in the largest tile of any kernel.
pub const MOST_PRODUCTS: usize = 12 * 2 * 16;

/// A kernel, and how many rows of A it takes at a time.
///
/// # Safety
/// To call it, as the kernels say: the tile's pointers are good, and its output has room for that many rows.
pub type Kernel = (unsafe fn(&Tile), usize);

/// The kernel for this matrix, packed for instructions that the processor has, and a panel so many vectors wide.
pub fn kernel(b: &Packed, vectors: usize) -> Kernel {
    match (b.isa, b.compute, vectors) {
        #[cfg(target_arch = "x86_64")]
        (_, Compute::Half, 1) => (avx512::kernel_bf16::<12, 1>, 12),
        #[cfg(target_arch = "x86_64")]
        (_, Compute::Half, 2) => (avx512::kernel_bf16::<12, 2>, 12),
        #[cfg(target_arch = "x86_64")]
        (_, Compute::Half, _) => (avx512::kernel_bf16::<8, 3>, 8),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, _, 1) => (avx512::kernel::<12, 1>, 12),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, _, 2) => (avx512::kernel::<12, 2>, 12),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, _, _) => (avx512::kernel::<8, 3>, 8),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _, 1) => (avx2::kernel::<6, 1>, 6),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _, 2) => (avx2::kernel::<6, 2>, 6),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _, _) => (avx2::kernel::<4, 3>, 4),
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon, _, 1) => (neon::kernel::<6, 1>, 6),
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
    /// Bias, residual and activation, and the results to their place.
    fn finish(products: &[f32], width: usize, column: usize, n: usize, epilogue: Epilogue, row: usize, out: &Shared) {
        let Epilogue { bias, residual, act, made_for } = epilogue;
        let bias = bias.map(|bias| &bias[column..]);
        let columns = width.min(n - column);
        for (row, products) in (row..).zip(products.chunks_exact(width)) {
            let (offset, columns) = match act {
                Act::None => (row * n + column, columns),
                Act::Geglu => (row * (n / 2) + column / 2, columns / 2),
            };
            // SAFETY: every row and panel is one task's alone.
            let out = unsafe { out.part(made_for.slots(offset), made_for.slots(columns)) };
            let residual = residual.map(|residual| &residual[offset..]);
            let step = if act == Act::Geglu { columns } else { width };
            match (act, step % WIDE) {
                (Act::None, 0) => add::<BF16, WIDE>(products, bias, residual, columns, made_for, out),
                (Act::None, _) => add::<BF16, NARROW>(products, bias, residual, columns, made_for, out),
                (Act::Geglu, 0) => geglu::<FMA, BF16, WIDE>(products, bias.unwrap_or(&[]), made_for, out),
                (Act::Geglu, _) => geglu::<FMA, BF16, NARROW>(products, bias.unwrap_or(&[]), made_for, out),
            }
        }
    }
}

/// Numbers finished at a time: vectors are as wide.
const WIDE: usize = 16;
const NARROW: usize = 8;

/// y = products + bias + residual.
#[inline(always)]
fn add<const BF16: bool, const STEP: usize>(
    products: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    columns: usize,
    made_for: Compute,
    out: &mut [f32],
) {
    let steps = columns / STEP;
    for i in 0..steps {
        // Numbers by lane, and never arrays as a whole: the compiler would copy these in pieces, and then wait for them.
        let mut y = [0.; STEP];
        for x in [Some(products), bias, residual].into_iter().flatten() {
            let x: &[f32; STEP] = x[i * STEP..].first_chunk().expect("as long as the output");
            for lane in 0..STEP {
                y[lane] += x[lane];
            }
        }
        store::<BF16, STEP>(&y, made_for, out, i);
    }
    let y = |i: usize| products[i] + bias.map_or(0., |bias| bias[i]) + residual.map_or(0., |residual| residual[i]);
    for i in steps * STEP..columns {
        match made_for {
            Compute::F32 => out[i] = y(i),
            Compute::Half if i % 2 == 0 => out[i / 2] = pair(y(i), y(i + 1)),
            Compute::Half => (),
        }
    }
}

/// y = value · gelu(gate), vectors of both by turns.
#[inline(always)]
fn geglu<const FMA: bool, const BF16: bool, const STEP: usize>(
    products: &[f32],
    bias: &[f32],
    made_for: Compute,
    out: &mut [f32],
) {
    let (products, bias) = (products.as_chunks::<STEP>().0, bias.as_chunks::<STEP>().0);
    for (i, (products, bias)) in products.chunks_exact(2).zip(bias.chunks_exact(2)).enumerate() {
        let mut y = [0.; STEP];
        for lane in 0..STEP {
            let (value, gate) = (products[0][lane] + bias[0][lane], products[1][lane] + bias[1][lane]);
            y[lane] = value
                * match made_for {
                    Compute::F32 => math::gelu::<FMA>(gate),
                    Compute::Half => math::gelu_rough::<FMA>(gate),
                };
        }
        store::<BF16, STEP>(&y, made_for, out, i);
    }
}

/// The `i`th step of a row of slots.
#[inline(always)]
fn store<const BF16: bool, const STEP: usize>(y: &[f32; STEP], made_for: Compute, out: &mut [f32], i: usize) {
    match made_for {
        Compute::F32 => out[i * STEP..][..STEP].copy_from_slice(y),
        // SAFETY: `BF16` comes from `for_each_isa`.
        Compute::Half => unsafe { store_pairs::<BF16>(y, &mut out[i * STEP / 2..][..STEP / 2]) },
    }
}
