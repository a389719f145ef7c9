//! Scaled dot-product attention without the whole N×M matrix.

use super::Products;
use super::cpu::{self, Shape};
#[cfg(feature = "cuda")]
use super::cuda;
use candle_core::{D, Result, Tensor, bail};
use candle_nn::ops::softmax_last_dim;

/// softmax(q·kᵀ / √D)·v — q: (B, N, H·D), k, v: (B, M, H·D) → (B, N, H·D), an operand of the same products.
pub fn attention(products: Products, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, c) = q.dims3()?;
    let m = k.dim(1)?;
    if k.dims() != [b, m, c] || v.dims() != [b, m, c] || m == 0 || c % heads != 0 {
        bail!("attention of {:?} to {:?} and {:?} in {heads} heads", q.dims(), k.dims(), v.dims());
    }
    #[cfg(feature = "cuda")]
    if q.device().is_cuda() {
        return cuda::attention(products, q, k, v, heads);
    }
    let shape = Shape { b, n, m, h: heads, d: c / heads };
    let y =
        cpu::operand(q, |q| cpu::operand(k, |k| cpu::operand(v, |v| Ok(cpu::attention(products, q, k, v, shape)))))?;
    cpu::tensor(y, (b, n, c))
}

/// The same in candle's own operations, with the whole N×M matrix.
pub fn attention_plain(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, c) = q.dims3()?;
    let (q, k, v) = (split_heads(q, heads)?, split_heads(k, heads)?, split_heads(v, heads)?);
    let scores = (q.matmul(&k.t()?)? * ((c / heads) as f64).powf(-0.5))?; // (B, H, N, M)
    let y = softmax_last_dim(&scores)?.matmul(&v)?; // (B, H, N, D)
    y.transpose(D::Minus2, 1)?.reshape((b, n, c))
}

/// (B, N, H·D) → (B, H, N, D).
fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, c) = x.dims3()?;
    x.reshape((b, n, heads, c / heads))?.transpose(1, 2)?.contiguous()
}
