//! Every operation in candle's own operations: the definitions that tests and benches compare the kernels with.

use super::activation::QUICK_GELU;
use super::norm::{GROUPS, LAYER_NORM_EPS};
use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

/// x·Wᵀ + b. `weight`: (C_out, C_in), `bias`: (C_out).
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.broadcast_matmul(&weight.t()?)?;
    bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
}

/// W + Σ A·B. `w`: (m, n), `products`: A (m, r) and B (r, n).
pub fn add_products(w: &Tensor, products: &[(&Tensor, &Tensor)]) -> Result<Tensor> {
    products.iter().try_fold(w.clone(), |sum, (left, right)| sum + left.matmul(right)?)
}

/// value · gelu(gate). `weight`: (2C_out, C_in), `bias`: (2C_out), values before gates.
pub fn geglu(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let halves = linear(x, weight, Some(bias))?.chunk(2, D::Minus1)?;
    // torch's default is the exact GELU; candle's `gelu` is the tanh approximation.
    &halves[0] * halves[1].contiguous()?.gelu_erf()?
}

/// The 3×3 convolution with padding 1. `x`: (B, h, w, C_in), `weight`: (C_out, C_in, 3, 3), `bias`: (C_out).
pub fn conv3x3(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    let x = x.permute((0, 3, 1, 2))?.contiguous()?; // (B, C_in, h, w)
    let y = x.conv2d(weight, 1, stride, 1, 1)?; // (B, C_out, h, w)
    y.permute((0, 2, 3, 1))?.contiguous()?.broadcast_add(bias)
}

/// The 3×3 convolution of `x` (B, h, w, C_in), upsampled to (B, `height`, `width`, C_in).
pub fn conv3x3_upsampled(x: &Tensor, weight: &Tensor, bias: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    conv3x3(&upsample_nearest(x, height, width)?, weight, bias, 1)
}

/// Group normalisation in f64, as sums of a group may be too long for f32. `x`: (B, h, w, C), `weight`, `bias`: (C).
pub fn group_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let dtype = x.dtype();
    let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.to_dtype(DType::F64));
    let groups = x?.reshape((b, h * w, GROUPS, c / GROUPS))?;
    let size = (h * w * c / GROUPS) as f64;
    let mean = (groups.sum_keepdim((1, 3))? / size)?; // (B, 1, G, 1)
    let centred = groups.broadcast_sub(&mean)?;
    let variance = (centred.sqr()?.sum_keepdim((1, 3))? / size)?;
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normal.reshape((b, h, w, c))?.broadcast_mul(&weight?)?.broadcast_add(&bias?)?.to_dtype(dtype)
}

/// Layer normalisation. `x`: (…, C), `weight`, `bias`: (C).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + LAYER_NORM_EPS)?.sqrt()?)?;
    normal.broadcast_mul(weight)?.broadcast_add(bias)
}

/// softmax(q·kᵀ / √D)·v, with the whole N×M matrix. `q`: (B, N, H·D); `k`, `v`: (B, M, H·D).
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    masked_attention(q, k, v, heads, None)
}

/// Attention of each token to itself and those before it. `q`, `k`, `v`: (B, N, H·D).
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let n = q.dim(1)?;
    let mask = (0..n * n).map(|i| if i % n > i / n { f32::NEG_INFINITY } else { 0. });
    let mask = Tensor::from_iter(mask, q.device())?.reshape((n, n))?;
    masked_attention(q, k, v, heads, Some(&mask))
}

/// Attention with `mask` (N, M) added to the scores.
fn masked_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    let (b, n, c) = q.dims3()?;
    let (q, k, v) = (split_heads(q, heads)?, split_heads(k, heads)?, split_heads(v, heads)?);
    let scores = (q.matmul(&k.t()?)? * ((c / heads) as f64).powf(-0.5))?; // (B, H, N, M)
    let scores = mask.map_or(Ok(scores.clone()), |mask| scores.broadcast_add(mask))?;
    let y = softmax_last_dim(&scores)?.matmul(&v)?; // (B, H, N, D)
    y.transpose(D::Minus2, 1)?.reshape((b, n, c))
}

/// x · sigmoid(1.702 · x) of each element.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    (x * QUICK_GELU)?.silu()? / QUICK_GELU
}

/// (B, N, H·D) → (B, H, N, D).
fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, c) = x.dims3()?;
    x.reshape((b, n, heads, c / heads))?.transpose(1, 2)?.contiguous()
}

/// Nearest-neighbour doubling, cropped to (`height`, `width`). `x`: (B, h, w, C).
fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let x = x.reshape((b, h, 1, w, 1, c))?.broadcast_as((b, h, 2, w, 2, c))?;
    let x = x.contiguous()?.reshape((b, 2 * h, 2 * w, c))?;
    x.narrow(1, 0, height)?.narrow(2, 0, width)?.contiguous()
}

/// Concatenates channels, repeating `skip` for each of the R parts of `x`.
pub fn concat(x: &Tensor, skip: &Tensor) -> Result<Tensor> {
    let skip = Tensor::cat(&vec![skip; x.dim(0)? / skip.dim(0)?], 0)?; // (R·B, h, w, C_skip)
    Tensor::cat(&[x, &skip], D::Minus1)
}

/// Σ weight · x in f64, rounded once to f32.
pub fn weighted_sum(terms: &[(&Tensor, f64)]) -> Result<Tensor> {
    let mut sum = terms[0].0.to_dtype(DType::F64)?.zeros_like()?;
    for (x, weight) in terms {
        sum = (sum + (x.to_dtype(DType::F64)? * *weight)?)?;
    }
    sum.to_dtype(DType::F32)
}
