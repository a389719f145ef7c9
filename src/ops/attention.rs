//! Scaled dot-product attention without the whole N×M matrix.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

/// How many scores are held at a time: 64 MiB of f32.
const SCORES: usize = 16 << 20;

/// softmax(q·kᵀ / √D)·v — q: (B, N, H·D), k, v: (B, M, H·D) → (B, N, H·D).
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (q, k, v) = (split_heads(q, heads)?, split_heads(k, heads)?, split_heads(v, heads)?);
    let (b, h, n, d) = q.dims4()?;
    let m = k.dim(2)?;
    let q = (q * (d as f64).powf(-0.5))?; // (B, H, N, D)
    let k = k.t()?; // (B, H, D, M)
    let rows = (SCORES / (h * m)).clamp(1, n);
    let images = (0..b).map(|i| attend(&q.get(i)?, &k.get(i)?, &v.get(i)?, rows)).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&images, 0)?.transpose(1, 2)?.reshape((b, n, h * d))
}

/// One image, `rows` queries at a time — q: (H, N, D), k: (H, D, M), v: (H, M, D) → (H, N, D).
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, rows: usize) -> Result<Tensor> {
    let n = q.dim(1)?;
    let parts = (0..n)
        .step_by(rows)
        .map(|start| {
            let q = q.narrow(1, start, rows.min(n - start))?;
            softmax_last_dim(&q.matmul(k)?)?.matmul(v)
        })
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts, D::Minus2)
}

/// (B, N, H·D) → (B, H, N, D).
fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, c) = x.dims3()?;
    x.reshape((b, n, heads, c / heads))?.transpose(1, 2)?.contiguous()
}
