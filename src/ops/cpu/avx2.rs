//! AVX2 and FMA: vectors of 8.

use super::gemm::Tile;
use std::arch::x86_64::*;

/// Rows · panel for panels 1, 2 or 3 vectors wide.
///
/// # Safety
/// The processor has AVX2 and FMA. The tile's pointers are good for all that its numbers say: for every row and tap `depth`
/// numbers of A, as many rows of the panel as taps · depth, and `MR` rows of the output.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn kernel<const MR: usize, const NV: usize>(tile: &Tile) {
    let mut sums = [[_mm256_setzero_ps(); NV]; MR];
    let mut b = tile.panel;
    let last = tile.rows.len() - 1;
    for &tap in tile.taps {
        let mut a = [tile.a; MR];
        for r in 0..MR {
            // SAFETY: the row and tap are A's. Rows that are not there are the last one again.
            a[r] = unsafe { tile.a.add(tile.rows[r.min(last)] + tap) };
        }
        for k in 0..tile.depth {
            let mut columns = [_mm256_setzero_ps(); NV];
            for v in 0..NV {
                // SAFETY: the panel has this row.
                columns[v] = unsafe { _mm256_loadu_ps(b.add(8 * v)) };
            }
            for r in 0..MR {
                // SAFETY: k is below depth.
                let x = _mm256_set1_ps(unsafe { *a[r].add(k) });
                for v in 0..NV {
                    sums[r][v] = _mm256_fmadd_ps(x, columns[v], sums[r][v]);
                }
            }
            // SAFETY: at most one past the panel's end.
            b = unsafe { b.add(8 * NV) };
        }
    }
    for r in 0..MR {
        for v in 0..NV {
            // SAFETY: the output has MR rows.
            unsafe { _mm256_storeu_ps(tile.out.add(r * tile.stride + 8 * v), sums[r][v]) };
        }
    }
}
