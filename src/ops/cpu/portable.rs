//! Plain Rust, for every processor, and what the others are held against: vectors of 8.

use super::gemm::Tile;

/// Rows · panel for panels 1, 2 or 3 vectors wide.
///
/// # Safety
/// The tile's pointers are good for all that its numbers say: for every row and tap `depth` numbers of A, as many rows of
/// the panel as taps · depth, and `MR` rows of the output.
pub unsafe fn kernel<const MR: usize, const NV: usize>(tile: &Tile) {
    let mut sums = [[[0f32; 8]; NV]; MR];
    let last = tile.rows.len() - 1;
    for (i, &tap) in tile.taps.iter().enumerate() {
        for k in 0..tile.depth {
            // SAFETY: the panel has this row.
            let columns = unsafe { *tile.panel.add((i * tile.depth + k) * 8 * NV).cast::<[[f32; 8]; NV]>() };
            for r in 0..MR {
                // SAFETY: the row and tap are A's. Rows that are not there are the last one again.
                let x = unsafe { *tile.a.add(tile.rows[r.min(last)] + tap + k) };
                for v in 0..NV {
                    for lane in 0..8 {
                        sums[r][v][lane] += x * columns[v][lane];
                    }
                }
            }
        }
    }
    for r in 0..MR {
        // SAFETY: the output has MR rows.
        unsafe { *tile.out.add(r * tile.stride).cast::<[[f32; 8]; NV]>() = sums[r] };
    }
}
