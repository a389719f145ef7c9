//! The gated activation of the transformer's feed-forward layer (Shazeer 2020, arXiv 2002.05202).

use candle_core::{D, Result, Tensor};

/// value · gelu(gate), where x: (…, 2C) is value and gate side by side → (…, C).
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let halves = x.chunk(2, D::Minus1)?;
    // The exact GELU: torch's default, and not candle's `gelu`.
    &halves[0] * halves[1].contiguous()?.gelu_erf()?
}
