//! The loop that most of the time goes into, written once for all instruction sets.

/// One call of a kernel: some rows of A times one panel of B.
///
/// A and B are made of slots of 32 bits, each an f32 or, for the kernels whose name says so, two bf16.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    pub a: *const f32,
    /// Where each row of A begins; at most `MR`.
    pub rows: &'a [usize],
    /// What to add to that, tap by tap.
    pub taps: &'a [usize],
    /// Slots of A in a row and tap.
    pub depth: usize,
    /// Rows of `NV` vectors, as many as taps · depth.
    pub panel: *const f32,
    /// Where the products go: `MR` rows, `stride` apart.
    pub out: *mut f32,
    pub stride: usize,
}

/// Asks for so many numbers to be brought near, where the processor can be asked.
#[inline(always)]
pub fn prefetch(start: *const f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    // One line more: the first may begin anywhere in its own.
    for line in (0..count + 15).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and may point anywhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, count);
}

/// The products of a tile's rows and its panel, `MR` by `NV` vectors that stay in registers. Unsafe, as `kernel!` says.
macro_rules! products {
    (
        $tile:expr, $rows:ident, $vectors:ident, $vector:ty, lanes: $lanes:literal, zero: $zero:expr, load: $load:expr,
        splat: $splat:expr, multiply_add: $multiply_add:expr $(,)?
    ) => {{
        let tile: &Tile = $tile;
        let mut sums: [[$vector; $vectors]; $rows] = [[$zero; $vectors]; $rows];
        let mut b = tile.panel;
        let last = tile.rows.len() - 1;
        for &tap in tile.taps {
            let mut a = [tile.a; $rows];
            for r in 0..$rows {
                // SAFETY: the row and tap are A's. Rows that are not there are the last one again.
                a[r] = unsafe { tile.a.add(tile.rows[r.min(last)] + tap) };
            }
            for k in 0..tile.depth {
                let mut columns: [$vector; $vectors] = [$zero; $vectors];
                for v in 0..$vectors {
                    // SAFETY: the panel has this row.
                    columns[v] = unsafe { $load(b.add($lanes * v)) };
                }
                for r in 0..$rows {
                    // SAFETY: k is below depth.
                    let x = $splat(unsafe { *a[r].add(k) });
                    for v in 0..$vectors {
                        sums[r][v] = $multiply_add(x, columns[v], sums[r][v]);
                    }
                }
                // SAFETY: at most one past the panel's end.
                b = unsafe { b.add($lanes * $vectors) };
            }
        }
        sums
    }};
}
pub(super) use products;

/// Defines `kernel::<MR, NV>`: `MR` rows of A times a panel `NV` vectors wide.
macro_rules! kernel {
    (
        $(#[$attribute:meta])*
        $name:ident, $vector:ty, lanes: $lanes:literal, zero: $zero:expr, load: $load:expr, splat: $splat:expr,
        multiply_add: $multiply_add:expr, store: $store:expr $(,)?
    ) => {
        /// Rows · panel.
        ///
        /// # Safety
        /// The processor has the instructions that the name of this file says. The tile's pointers are good for all that
        /// its numbers say: for every row and tap `depth` slots of A, for the panel's rows, and for `MR` rows of output.
        $(#[$attribute])*
        pub unsafe fn $name<const MR: usize, const NV: usize>(tile: &Tile) {
            let sums = products! {
                tile, MR, NV, $vector, lanes: $lanes, zero: $zero, load: $load, splat: $splat,
                multiply_add: $multiply_add,
            };
            for r in 0..MR {
                for v in 0..NV {
                    // SAFETY: the output has MR rows.
                    unsafe { $store(tile.out.add(r * tile.stride + $lanes * v), sums[r][v]) };
                }
            }
        }
    };
}
pub(super) use kernel;
