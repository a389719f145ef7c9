//! Scaled dot-product attention without the whole N×M matrix.

use super::{Compute, backend};
use candle_core::{Result, Tensor, bail};

/// softmax(q·kᵀ / √D)·v. `q`: (B, N, H·D); `k`, `v`: (B, M, H·D) → (B, N, H·D), in the type that products in
/// `compute` take.
///
/// # Errors
/// If the shapes do not fit, or the device fails.
pub fn attention(compute: Compute, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    check_shapes(q, k, v, heads)?;
    backend::of(q.device())?.attention(compute, q, k, v, heads)
}

/// Attention of each token to itself and those before it, in f32. `q`, `k`, `v`: (B, N, H·D) → (B, N, H·D).
///
/// # Errors
/// If the shapes do not fit, or the device fails.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    check_shapes(q, k, v, heads)?;
    if k.dims() != q.dims() {
        bail!("causal attention of {:?} to {:?}", q.dims(), k.dims());
    }
    backend::of(q.device())?.causal_attention(q, k, v, heads)
}

/// Checks that the shapes of queries, keys and values fit together.
fn check_shapes(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<()> {
    let (b, _, c) = q.dims3()?;
    let m = k.dim(1)?;
    if k.dims() != [b, m, c] || v.dims() != [b, m, c] || m == 0 || c % heads != 0 {
        bail!("attention of {:?} to {:?} and {:?} in {heads} heads", q.dims(), k.dims(), v.dims());
    }
    Ok(())
}
