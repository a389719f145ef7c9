//! AVX-512: vectors of 16.

use super::gemm::Tile;
use std::arch::x86_64::*;

/// Rows · panel for panels 1, 2 or 3 vectors wide.
///
/// # Safety
/// The processor has AVX-512 F. The tile's pointers are good for all that its numbers say: for every row and tap `depth`
/// numbers of A, as many rows of the panel as taps · depth, and `MR` rows of the output.
#[target_feature(enable = "avx512f")]
pub unsafe fn kernel<const MR: usize, const NV: usize>(tile: &Tile) {
    let mut sums = [[_mm512_setzero_ps(); NV]; MR];
    let mut b = tile.panel;
    let last = tile.rows.len() - 1;
    for &tap in tile.taps {
        let mut a = [tile.a; MR];
        for r in 0..MR {
            // SAFETY: the row and tap are A's. Rows that are not there are the last one again.
            a[r] = unsafe { tile.a.add(tile.rows[r.min(last)] + tap) };
        }
        for k in 0..tile.depth {
            let mut columns = [_mm512_setzero_ps(); NV];
            for v in 0..NV {
                // SAFETY: the panel has this row.
                columns[v] = unsafe { _mm512_loadu_ps(b.add(16 * v)) };
            }
            for r in 0..MR {
                // SAFETY: k is below depth.
                let x = _mm512_set1_ps(unsafe { *a[r].add(k) });
                for v in 0..NV {
                    sums[r][v] = _mm512_fmadd_ps(x, columns[v], sums[r][v]);
                }
            }
            // SAFETY: at most one past the panel's end.
            b = unsafe { b.add(16 * NV) };
        }
    }
    for r in 0..MR {
        for v in 0..NV {
            // SAFETY: the output has MR rows.
            unsafe { _mm512_storeu_ps(tile.out.add(r * tile.stride + 16 * v), sums[r][v]) };
        }
    }
}
