//! Scaled dot-product attention without the whole N×M matrix.

use super::{Compute, backend};
use candle_core::{Result, Tensor, bail};

/// softmax(q·kᵀ / √D)·v. `q`: (B, N, H·D); `k`, `v`: (B, M, H·D) → (B, N, H·D), in the type that products in
/// `compute` take.
///
/// # Errors
/// If the shapes do not fit, or the device fails.
pub fn attention(compute: Compute, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, _, c) = q.dims3()?;
    let m = k.dim(1)?;
    if k.dims() != [b, m, c] || v.dims() != [b, m, c] || m == 0 || c % heads != 0 {
        bail!("attention of {:?} to {:?} and {:?} in {heads} heads", q.dims(), k.dims(), v.dims());
    }
    backend::of(q.device())?.attention(compute, q, k, v, heads)
}
