//! Latents decoded piece by piece, where memory does not suffice for the whole.
//!
//! Pieces overlap, and fade into each other. Each is normalised by itself: the picture is near the whole one's, not equal.

use super::Decoder;
use candle_core::{Device, Result, Tensor};
use std::ops::Range;

/// Latents along the side of a piece.
const SIDE: usize = 64;

/// Latents that neighbours share at least.
const OVERLAP: usize = 16;

impl Decoder {
    /// `forward` in pieces, the picture being put together on the host: latents (B, h, w, 4) → (B, 8h, 8w, 3).
    pub fn forward_in_tiles(&self, latents: &Tensor) -> Result<Tensor> {
        let (_, h, w, _) = latents.dims4()?;
        let mut rows = vec![];
        for y in pieces(h) {
            let mut row = vec![];
            for x in pieces(w) {
                let piece = latents.narrow(1, y.start, y.len())?.narrow(2, x.start, x.len())?.contiguous()?;
                row.push((x, self.forward(&piece)?.to_device(&Device::Cpu)?)); // (B, 8h', 8w', 3)
            }
            rows.push((y, faded(row, 2)?));
        }
        faded(rows, 1)
    }
}

/// Pieces of `length` latents, all alike, that share `OVERLAP` or more.
fn pieces(length: usize) -> Vec<Range<usize>> {
    let side = SIDE.min(length);
    let count = if length > side { (length - OVERLAP).div_ceil(side - OVERLAP) } else { 1 };
    let start = |i: usize| if count > 1 { i * (length - side) / (count - 1) } else { 0 };
    (0..count).map(|i| start(i)..start(i) + side).collect()
}

/// Pictures of pieces along this dimension, put together: where two overlap, one goes over into the other in a line.
fn faded(pieces: Vec<(Range<usize>, Tensor)>, dim: usize) -> Result<Tensor> {
    let mut pieces = pieces.into_iter();
    let Some((mut done, mut all)) = pieces.next() else { candle_core::bail!("there are no pieces") };
    for (range, next) in pieces {
        let scale = next.dim(dim)? / range.len();
        let (kept, shared) = (range.start * scale, (done.end - range.start) * scale);
        let weights = (0..shared).map(|i| (i as f32 + 0.5) / shared as f32);
        let mut shape = [1; 4];
        shape[dim] = shared;
        let weights = Tensor::from_iter(weights, &Device::Cpu)?.reshape(&shape)?;
        let (before, after) = (all.narrow(dim, kept, shared)?, next.narrow(dim, 0, shared)?);
        let between = (&before + (after - &before)?.broadcast_mul(&weights)?)?;
        let rest = next.narrow(dim, shared, next.dim(dim)? - shared)?;
        all = Tensor::cat(&[&all.narrow(dim, 0, kept)?, &between, &rest], dim)?;
        done = done.start..range.end;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_and_overlap() {
        for length in [1, 8, 63, 64, 65, 80, 112, 113, 128, 256, 1000] {
            let pieces = pieces(length);
            assert_eq!((pieces[0].start, pieces.last().unwrap().end), (0, length), "{length}");
            assert!(pieces.iter().all(|piece| piece.len() == SIDE.min(length)), "{length}: {pieces:?}");
            assert!(pieces.windows(2).all(|two| two[1].start + OVERLAP <= two[0].end), "{length}: {pieces:?}");
            assert!(pieces.windows(2).all(|two| two[1].start > two[0].start), "{length}: {pieces:?}");
        }
    }

    #[test]
    fn what_pieces_agree_on_is_what_comes_out() -> Result<()> {
        let whole = Tensor::arange(0f32, 300., &Device::Cpu)?.reshape((1, 1, 100, 3))?;
        let pieces = [0..40, 20..60, 60..100].map(|range| {
            let piece = whole.narrow(2, range.start, range.len()).unwrap();
            (range, piece)
        });
        let all = faded(pieces.to_vec(), 2)?;
        assert_eq!(all.flatten_all()?.to_vec1::<f32>()?, whole.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
