//! Tiled decoding and encoding, for images that are too large for the memory.
//!
//! Tiles overlap and are blended. As group norms see one tile at a time, the result is similar to that of
//! [`Decoder::forward`] or [`Encoder::forward`], not equal.

use super::{Decoder, Encoder};
use candle_core::{Device, Result, Tensor};
use std::ops::Range;

/// The side of a tile, in latents.
pub const SIDE: usize = 64;

/// The minimum overlap of neighbouring tiles, in latents.
const OVERLAP: usize = 16;

impl Decoder {
    /// Decodes tile by tile, and blends the tiles on the host. `latents`: (B, h, w, 4) → (B, 8h, 8w, 3).
    pub fn forward_in_tiles(&self, latents: &Tensor) -> Result<Tensor> {
        in_tiles(latents, 1, |tile| self.forward(tile))
    }
}

impl Encoder {
    /// Encodes tile by tile, and blends the tiles on the host. `pixels`: (B, 8h, 8w, 3) → (B, h, w, 4), where 8 is `factor`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward_in_tiles(&self, pixels: &Tensor, factor: usize) -> Result<Tensor> {
        in_tiles(pixels, factor, |tile| self.forward(tile))
    }
}

/// Applies `f` to tiles of a map (B, h, w, C), and blends the results. `factor`: the elements of the map per latent along a
/// side.
fn in_tiles(map: &Tensor, factor: usize, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (_, h, w, _) = map.dims4()?;
    let mut rows = vec![];
    for y in tile_ranges(h / factor) {
        let mut row = vec![];
        for x in tile_ranges(w / factor) {
            let tile = map.narrow(1, factor * y.start, factor * y.len())?;
            let tile = tile.narrow(2, factor * x.start, factor * x.len())?.contiguous()?;
            row.push((x, f(&tile)?.to_device(&Device::Cpu)?));
        }
        rows.push((y, blend(row, 2)?));
    }
    blend(rows, 1)
}

/// Divides `length` latents into equal ranges that overlap by at least `OVERLAP`.
fn tile_ranges(length: usize) -> Vec<Range<usize>> {
    let side = SIDE.min(length);
    let count = if length > side { (length - OVERLAP).div_ceil(side - OVERLAP) } else { 1 };
    let start = |i: usize| if count > 1 { i * (length - side) / (count - 1) } else { 0 };
    (0..count).map(|i| start(i)..start(i) + side).collect()
}

/// Joins tiles along dimension `dim`, with linear blending where they overlap. The ranges are in latents.
fn blend(tiles: Vec<(Range<usize>, Tensor)>, dim: usize) -> Result<Tensor> {
    let mut tiles = tiles.into_iter();
    let Some((mut done, mut all)) = tiles.next() else { candle_core::bail!("there are no tiles") };
    for (range, next) in tiles {
        let scale = next.dim(dim)? / range.len();
        let (start, shared) = (range.start * scale, (done.end - range.start) * scale);
        let weights = (0..shared).map(|i| (i as f32 + 0.5) / shared as f32);
        let mut shape = [1; 4];
        shape[dim] = shared;
        let weights = Tensor::from_iter(weights, &Device::Cpu)?.reshape(&shape)?;
        let (before, after) = (all.narrow(dim, start, shared)?, next.narrow(dim, 0, shared)?);
        let blended = (&before + (after - &before)?.broadcast_mul(&weights)?)?;
        let rest = next.narrow(dim, shared, next.dim(dim)? - shared)?;
        all = Tensor::cat(&[&all.narrow(dim, 0, start)?, &blended, &rest], dim)?;
        done = done.start..range.end;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_everything_and_overlap() {
        for length in [1, 8, 63, 64, 65, 80, 112, 113, 128, 256, 1000] {
            let tiles = tile_ranges(length);
            assert_eq!((tiles[0].start, tiles.last().unwrap().end), (0, length), "{length}");
            assert!(tiles.iter().all(|tile| tile.len() == SIDE.min(length)), "{length}: {tiles:?}");
            assert!(tiles.windows(2).all(|two| two[1].start + OVERLAP <= two[0].end), "{length}: {tiles:?}");
            assert!(tiles.windows(2).all(|two| two[1].start > two[0].start), "{length}: {tiles:?}");
        }
    }

    #[test]
    fn tiles_of_pixels_become_latents_in_their_places() -> Result<()> {
        let pixels = Tensor::rand(-1f32, 1., (1, 2 * 70, 2 * 101, 3), &Device::Cpu)?;
        let halved = |x: &Tensor| {
            let (_, h, w, _) = x.dims4()?;
            x.reshape((1, h / 2, 2, w / 2, 2, 3))?.mean((2, 4))
        };
        let (tiled, whole) = (in_tiles(&pixels, 2, halved)?, halved(&pixels)?);
        let error = (tiled - whole)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(error < 1e-6, "{error}");
        Ok(())
    }

    #[test]
    fn tiles_of_one_image_blend_to_that_image() -> Result<()> {
        let whole = Tensor::arange(0f32, 300., &Device::Cpu)?.reshape((1, 1, 100, 3))?;
        let tiles = [0..40, 20..60, 60..100].map(|range| {
            let tile = whole.narrow(2, range.start, range.len()).unwrap();
            (range, tile)
        });
        let all = blend(tiles.to_vec(), 2)?;
        assert_eq!(all.flatten_all()?.to_vec1::<f32>()?, whole.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
