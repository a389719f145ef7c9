//! Changing the size of a map.

use super::cpu;
use candle_core::{Result, Tensor};

/// Every pixel four times, then cut to (height, width): (B, h, w, C) → (B, height, width, C), where
/// `height` is 2h or 2h - 1 and `width` 2w or 2w - 1.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let y = cpu::numbers(x, |x| {
        let mut y = Vec::with_capacity(b * height * width * c);
        for line in (0..b * height).map(|i| (i / height * h + i % height / 2) * w) {
            (0..width).for_each(|column| y.extend_from_slice(&x[(line + column / 2) * c..][..c]));
        }
        Ok(y)
    })?;
    cpu::tensor(y, (b, height, width, c))
}

/// The same in candle's own operations.
pub fn upsample_nearest_plain(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let x = x.reshape((b, h, 1, w, 1, c))?.broadcast_as((b, h, 2, w, 2, c))?;
    let x = x.contiguous()?.reshape((b, 2 * h, 2 * w, c))?;
    x.narrow(1, 0, height)?.narrow(2, 0, width)?.contiguous()
}
