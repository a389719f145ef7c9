//! Maps made of others: larger, or of more channels.

use super::cpu;
#[cfg(feature = "cuda")]
use super::cuda;
use candle_core::{D, Result, Tensor, bail};

/// Every pixel four times, then cut to (height, width): (B, h, w, C) → (B, height, width, C), where
/// `height` is 2h or 2h - 1 and `width` 2w or 2w - 1.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    if height.div_ceil(2) != h || width.div_ceil(2) != w {
        bail!("{:?} does not double to {height}×{width}", x.dims());
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return cuda::upsample_nearest(x, height, width);
    }
    let pixel = |i: usize| {
        let (line, column) = (i / width, i % width);
        (line / height * h + line % height / 2) * w + column / 2
    };
    let y = cpu::numbers(x, |x| Ok(cpu::rows(b * height * width, c, |i| [&x[pixel(i) * c..][..c], &[]])))?;
    cpu::tensor(cpu::Made::F32(y), (b, height, width, c))
}

/// `upsample_nearest` in candle's own operations.
pub fn upsample_nearest_plain(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let x = x.reshape((b, h, 1, w, 1, c))?.broadcast_as((b, h, 2, w, 2, c))?;
    let x = x.contiguous()?.reshape((b, 2 * h, 2 * w, c))?;
    x.narrow(1, 0, height)?.narrow(2, 0, width)?.contiguous()
}

/// Maps with the channels of both — x: (R·B, h, w, C_x), skip: (B, h, w, C_skip), again and again → (R·B, h, w,
/// C_x + C_skip).
pub fn concat(x: &Tensor, skip: &Tensor) -> Result<Tensor> {
    let ((b, h, w, c_x), (b_skip, h_skip, w_skip, c_skip)) = (x.dims4()?, skip.dims4()?);
    if (h, w) != (h_skip, w_skip) || b_skip == 0 || b % b_skip != 0 {
        bail!("{:?} and {:?} do not go together", x.dims(), skip.dims());
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return cuda::concat(x, skip);
    }
    let (pixels, pixels_skip, c) = (b * h * w, b_skip * h * w, c_x + c_skip);
    let copy = |x: &[f32], skip: &[f32]| {
        cpu::rows(pixels, c, |i| [&x[i * c_x..][..c_x], &skip[i % pixels_skip * c_skip..][..c_skip]])
    };
    let y = cpu::numbers(x, |x| cpu::numbers(skip, |skip| Ok(copy(x, skip))))?;
    cpu::tensor(cpu::Made::F32(y), (b, h, w, c))
}

/// `concat` in candle's own operations.
pub fn concat_plain(x: &Tensor, skip: &Tensor) -> Result<Tensor> {
    let skip = Tensor::cat(&vec![skip; x.dim(0)? / skip.dim(0)?], 0)?; // (R·B, h, w, C_skip)
    Tensor::cat(&[x, &skip], D::Minus1)
}
