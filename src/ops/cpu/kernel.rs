//! The GEMM micro-kernel, where most time is spent, written once for all instruction sets.

/// A call of a kernel: the product of at most `MR` rows of A and one panel of B.
///
/// A and B consist of 32-bit slots, each of which holds one f32 or, for the bf16 kernels, two bf16.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    /// The first slot of A.
    pub a: *const f32,
    /// The offset of each row in A, in slots; at least one row.
    pub rows: &'a [usize],
    /// The offset of each tap from the start of a row, in slots.
    pub taps: &'a [usize],
    /// The number of slots in a tap of a row.
    pub depth: usize,
    /// The panel: taps · depth rows of `NV` vectors.
    pub panel: *const f32,
    /// The output: `MR` rows, `stride` slots apart.
    pub out: *mut f32,
    pub stride: usize,
    /// If true, the products are added to the output instead of replacing it.
    pub adds: bool,
}

/// Prefetches `count` f32 into the L1 cache, on CPUs with an instruction for it.
#[inline(always)]
pub fn prefetch(start: *const f32, count: usize) {
    prefetch_lines::<false>(start, count);
}

/// Prefetches `count` f32 that are used once into the L1 cache, past the others, on CPUs with an instruction for it.
#[inline(always)]
pub fn prefetch_once(start: *const f32, count: usize) {
    prefetch_lines::<true>(start, count);
}

#[inline(always)]
fn prefetch_lines<const ONCE: bool>(start: *const f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    // Tensors are aligned to lines, and most rows too; of others, the last line may be missed.
    for line in (0..count).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_NTA, _MM_HINT_T0, _mm_prefetch};
        let line = start.wrapping_add(line).cast();
        // SAFETY: a prefetch is a hint, for which every address is allowed.
        unsafe { if ONCE { _mm_prefetch::<_MM_HINT_NTA>(line) } else { _mm_prefetch::<_MM_HINT_T0>(line) } };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, count);
}

/// Computes the products of a tile, `MR` × `NV` vectors kept in registers. The tile must be valid, as for `kernel!`.
///
/// `first_steps` may add the products of the first steps of K to the sums, and returns their number.
macro_rules! products {
    (
        $tile:expr, $rows:ident, $vectors:ident, $vector:ty, lanes: $lanes:literal, zero: $zero:expr, load: $load:expr,
        splat: $splat:expr, multiply_add: $multiply_add:expr, first_steps: $first_steps:expr $(,)?
    ) => {{
        let tile: &Tile = $tile;
        let mut sums: [[$vector; $vectors]; $rows] = [[$zero; $vectors]; $rows];
        let mut b = tile.panel;
        let last = tile.rows[tile.rows.len() - 1];
        for &tap in tile.taps {
            let mut a = [tile.a; $rows];
            for r in 0..$rows {
                // SAFETY: A has this row and tap. Missing rows of the tile repeat the last one.
                a[r] = unsafe { tile.a.add(tile.rows.get(r).unwrap_or(&last) + tap) };
            }
            // SAFETY: every row of A and the panel have `depth` steps.
            let done = unsafe { $first_steps(&a, b, tile.depth, &mut sums) };
            // SAFETY: at most one past the end of the panel.
            b = unsafe { b.add($lanes * $vectors * done) };
            for k in done..tile.depth {
                let mut columns: [$vector; $vectors] = [$zero; $vectors];
                for v in 0..$vectors {
                    // SAFETY: the panel has this row.
                    columns[v] = unsafe { $load(b.add($lanes * v)) };
                }
                for r in 0..$rows {
                    // SAFETY: `k` is below `depth`.
                    let x = $splat(unsafe { *a[r].add(k) });
                    for v in 0..$vectors {
                        sums[r][v] = $multiply_add(x, columns[v], sums[r][v]);
                    }
                }
                // SAFETY: at most one past the end of the panel.
                b = unsafe { b.add($lanes * $vectors) };
            }
        }
        sums
    }};
}
pub(super) use products;

/// The `first_steps` of instruction sets for which the loop of `products!` is fast enough.
///
/// # Safety
/// Always safe.
#[inline(always)]
pub unsafe fn no_steps<V, const MR: usize, const NV: usize>(
    _: &[*const f32; MR],
    _: *const f32,
    _: usize,
    _: &mut [[V; NV]; MR],
) -> usize {
    0
}

/// Defines `kernel::<MR, NV>`, which multiplies `MR` rows of A by a panel of `NV` vectors.
macro_rules! kernel {
    (
        $(#[$attribute:meta])*
        $name:ident, $vector:ty, lanes: $lanes:literal, zero: $zero:expr, load: $load:expr, splat: $splat:expr,
        multiply_add: $multiply_add:expr, add: $add:expr, store: $store:expr, first_steps: $first_steps:expr $(,)?
    ) => {
        /// Writes the products of a tile's rows and its panel to the tile's output, or adds them to it.
        ///
        /// # Safety
        /// The CPU must have the instruction set of this file. The tile's pointers must be valid for `depth` slots of
        /// every row and tap of A, for all rows of the panel, and for `MR` rows of output, which must be initialised if `adds`.
        $(#[$attribute])*
        pub unsafe fn $name<const MR: usize, const NV: usize>(tile: &Tile) {
            let mut sums = products! {
                tile, MR, NV, $vector, lanes: $lanes, zero: $zero, load: $load, splat: $splat,
                multiply_add: $multiply_add, first_steps: $first_steps,
            };
            if tile.adds {
                for r in 0..MR {
                    for v in 0..NV {
                        // SAFETY: the output has MR rows.
                        sums[r][v] = $add(unsafe { $load(tile.out.add(r * tile.stride + $lanes * v)) }, sums[r][v]);
                    }
                }
            }
            for r in 0..MR {
                for v in 0..NV {
                    // SAFETY: as above.
                    unsafe { $store(tile.out.add(r * tile.stride + $lanes * v), sums[r][v]) };
                }
            }
        }
    };
}
pub(super) use kernel;
