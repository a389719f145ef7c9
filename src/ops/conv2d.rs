//! Convolutions over maps (B, h, w, C): 1×1, and 3×3 with padding 1.

use super::Linear;
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// A 3×3 convolution with padding 1.
pub struct Conv2d {
    weight: Tensor, // (C_out, C_in, 3, 3)
    bias: Tensor,   // (C_out)
    stride: usize,
}

/// Reads `weight` (C_out, C_in, 3, 3) and `bias` (C_out).
pub fn conv3x3(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Conv2d> {
    Conv2d::new(vb.get((c_out, c_in, 3, 3), "weight")?, vb.get(c_out, "bias")?, 1)
}

/// The same with stride 2: (B, h, w, C) → (B, ⌈h/2⌉, ⌈w/2⌉, C).
pub fn conv3x3_stride2(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Conv2d> {
    Conv2d::new(vb.get((c_out, c_in, 3, 3), "weight")?, vb.get(c_out, "bias")?, 2)
}

/// A 1×1 convolution, which on channels-last maps is a linear layer. Reads `weight` (C_out, C_in, 1, 1) and `bias` (C_out).
pub fn conv1x1(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Linear> {
    let weight = vb.get((c_out, c_in, 1, 1), "weight")?.reshape((c_out, c_in))?;
    Linear::new(&weight, Some(vb.get(c_out, "bias")?))
}

impl Conv2d {
    /// weight: (C_out, C_in, 3, 3), bias: (C_out).
    pub fn new(weight: Tensor, bias: Tensor, stride: usize) -> Result<Self> {
        weight.dims4()?;
        Ok(Self { weight, bias, stride })
    }

    /// x: (B, h, w, C_in) → (B, ⌈h/stride⌉, ⌈w/stride⌉, C_out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv3x3_plain(x, &self.weight, self.stride)?.broadcast_add(&self.bias)
    }
}

/// The 3×3 convolution in candle's own operations: the definition.
fn conv3x3_plain(x: &Tensor, weight: &Tensor, stride: usize) -> Result<Tensor> {
    let x = x.permute((0, 3, 1, 2))?.contiguous()?; // (B, C_in, h, w)
    let y = x.conv2d(weight, 1, stride, 1, 1)?; // (B, C_out, h, w)
    y.permute((0, 2, 3, 1))?.contiguous()
}
