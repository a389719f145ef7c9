//! y = x·Wᵀ + b over the last dimension.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// A linear layer, its weight transposed once, at load.
pub struct Linear {
    weight: Tensor, // (C_in, C_out)
    bias: Option<Tensor>,
}

/// Reads `weight` (C_out, C_in) and `bias` (C_out).
pub fn linear(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Linear> {
    let bias = vb.get(c_out, "bias")?;
    Ok(Linear { bias: Some(bias), ..linear_no_bias(c_in, c_out, vb)? })
}

/// Reads `weight` (C_out, C_in).
pub fn linear_no_bias(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Linear> {
    Linear::new(&vb.get((c_out, c_in), "weight")?, None)
}

impl Linear {
    /// weight: (C_out, C_in), bias: (C_out).
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self { weight: weight.t()?.contiguous()?, bias })
    }

    /// x: (…, C_in) → (…, C_out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (c_in, c_out) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        *shape.last_mut().expect("a tensor of at least one dimension") = c_out;
        // One matrix product, however many leading dimensions there are.
        let y = x.reshape(((), c_in))?.matmul(&self.weight)?; // (B·N, C_out)
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        y.reshape(shape)
    }
}
