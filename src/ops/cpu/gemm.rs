//! C = A·B, where B is packed weights and the rows of A may lie anywhere.

use super::bf16;
use super::isa::Isa;
use super::kernel::{Tile, prefetch};
use super::math::{self, for_each_isa};
use super::packed::{Packed, Panel, Products};
use super::parallel::{Shared, for_each, written};
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Where the rows of A are: row r of tap t begins at `rows[r] + taps[t]`, and B's K is all taps after one another.
///
/// One tap is a matrix product; nine are a 3×3 convolution without a copy of its input for each tap.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub numbers: &'a [f32],
    pub rows: &'a [usize],
    pub taps: &'a [usize],
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
}

impl Epilogue<'_> {
    fn is_none(&self) -> bool {
        self.bias.is_none() && self.residual.is_none() && self.act == Act::None
    }

    /// Asks for what a row of a panel will be added to, and for where it will be stored.
    fn fetch(&self, row: usize, column: usize, width: usize, n: usize, out: &Shared) {
        if self.act == Act::None {
            let (offset, width) = (row * n + column, width.min(n - column));
            prefetch(out.at(offset, width), width);
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

/// epilogue(A·B): (rows, N), or (rows, N / 2) with `Act::Geglu`.
pub fn gemm(a: Rows, b: &Packed, epilogue: Epilogue) -> Vec<f32> {
    let depth = b.k / a.taps.len();
    let last = a.rows.iter().max().unwrap_or(&0) + a.taps.iter().max().unwrap_or(&0) + depth;
    assert!(last <= a.numbers.len() && b.k == depth * a.taps.len(), "A does not fit B");
    assert!(
        b.products == Products::F32 || a.rows.iter().chain(a.taps).all(|offset| offset % 2 == 0),
        "pairs are split"
    );
    let length = a.rows.len() * if epilogue.act == Act::Geglu { b.n / 2 } else { b.n };
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == b.n), "the bias does not fit B");
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == length), "the residual does not fit");
    if b.products == Products::Bf16 {
        let half = |offsets: &[usize]| offsets.iter().map(|offset| offset / 2).collect::<Vec<_>>();
        let (slots, rows, taps) = (bf16::pairs(a.numbers), half(a.rows), half(a.taps));
        let a = Rows { numbers: &slots, rows: &rows, taps: &taps };
        // SAFETY: `multiply` writes every row of every panel.
        return unsafe { written(length, |out| multiply(a, b, epilogue, out)) };
    }
    // SAFETY: as above.
    unsafe { written(length, |out| multiply(a, b, epilogue, out)) }
}

/// The same for an A that is made of B's slots.
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
        let mut tile = Tile {
            a: a.numbers.as_ptr(),
            rows,
            taps: a.taps,
            depth: b.slots() / a.taps.len(),
            panel: b.panel(panel).as_ptr(),
            out: products.as_mut_ptr(),
            stride: width,
        };
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
    match (b.isa, b.products, vectors) {
        #[cfg(target_arch = "x86_64")]
        (_, Products::Bf16, 1) => (avx512::kernel_bf16::<12, 1>, 12),
        #[cfg(target_arch = "x86_64")]
        (_, Products::Bf16, 2) => (avx512::kernel_bf16::<12, 2>, 12),
        #[cfg(target_arch = "x86_64")]
        (_, Products::Bf16, _) => (avx512::kernel_bf16::<8, 3>, 8),
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
        (_, _, 1) => (portable::kernel::<4, 1>, 4),
        (_, _, 2) => (portable::kernel::<4, 2>, 4),
        _ => (portable::kernel::<4, 3>, 4),
    }
}

for_each_isa! {
    /// Bias, residual and activation, and the results to their place.
    fn finish(products: &[f32], width: usize, column: usize, n: usize, epilogue: Epilogue, row: usize, out: &Shared) {
        let columns = width.min(n - column);
        for (row, products) in (row..).zip(products.chunks_exact(width)) {
            let (offset, columns) = match epilogue.act {
                Act::None => (row * n + column, columns),
                Act::Geglu => (row * (n / 2) + column / 2, columns / 2),
            };
            // SAFETY: every row and panel is one task's alone.
            let out = unsafe { out.part(offset, columns) };
            let bias = epilogue.bias.map(|bias| &bias[column..]);
            match epilogue.act {
                Act::None => {
                    let residual = epilogue.residual.map(|residual| &residual[offset..]);
                    match width % WIDE {
                        0 => finish_row::<WIDE>(products, bias, residual, out),
                        _ => finish_row::<NARROW>(products, bias, residual, out),
                    }
                }
                Act::Geglu => match columns % WIDE {
                    0 => finish_geglu::<FMA, WIDE>(products, bias.unwrap_or(&[]), out),
                    _ => finish_geglu::<FMA, NARROW>(products, bias.unwrap_or(&[]), out),
                },
            }
        }
    }
}

/// Numbers finished at a time: every panel is a multiple of it wide.
const NARROW: usize = 8;

/// The same where vectors are that wide.
const WIDE: usize = 16;

#[inline(always)]
fn finish_row<const STEP: usize>(products: &[f32], bias: Option<&[f32]>, residual: Option<&[f32]>, out: &mut [f32]) {
    let width = out.len();
    let (steps, rest) = out.as_chunks_mut::<STEP>();
    for (i, y) in steps.iter_mut().enumerate() {
        *y = step(products, i);
        for addend in [bias, residual].into_iter().flatten() {
            let addend = step::<STEP>(addend, i);
            (0..STEP).for_each(|lane| y[lane] += addend[lane]);
        }
    }
    for (i, y) in (width - rest.len()..).zip(rest) {
        *y = products[i] + bias.map_or(0., |bias| bias[i]) + residual.map_or(0., |residual| residual[i]);
    }
}

#[inline(always)]
fn finish_geglu<const FMA: bool, const STEP: usize>(products: &[f32], bias: &[f32], out: &mut [f32]) {
    let (values, gates) = products.split_at(out.len());
    let (value_bias, gate_bias) = bias.split_at(out.len());
    for (i, y) in out.as_chunks_mut::<STEP>().0.iter_mut().enumerate() {
        let [value, gate, value_bias, gate_bias] = [values, gates, value_bias, gate_bias].map(|x| step::<STEP>(x, i));
        for lane in 0..STEP {
            y[lane] = (value[lane] + value_bias[lane]) * math::gelu::<FMA>(gate[lane] + gate_bias[lane]);
        }
    }
}

/// The `i`th step of a row.
#[inline(always)]
fn step<const STEP: usize>(x: &[f32], i: usize) -> [f32; STEP] {
    *x[i * STEP..].first_chunk().expect("a row as long as the output")
}
