//! Scaled dot-product attention.

use super::abi::{
    ATTENTION_ANY_COLUMNS, ATTENTION_ANY_QUERIES, ATTENTION_F16_TILES, ATTENTION_KEYS, ATTENTION_PARAMS_SIZE,
    ATTENTION_WARPS, LANES, VECTOR,
};
use super::gemm::dtype_of;
use super::gpu::{Gpu, Grid, address, contiguous_as, kernel_params, launch, suffix, uninit};
use crate::ops::{Compute, plain};
use candle_core::{DType, Result, Tensor};
use std::f32::consts::LOG2_E;

/// `AttentionParams` of kernels/attention.cu.
#[repr(C)]
struct AttentionParams {
    q: u64,
    k: u64,
    v: u64,
    y: u64,
    n: i32,
    m: i32,
    heads: i32,
    d: i32,
    q_row: i32,
    k_row: i32,
    v_row: i32,
    scale: f32,
}

kernel_params!(AttentionParams, ATTENTION_PARAMS_SIZE);

/// A kernel and what its launch depends on.
struct Kernel {
    name: String,
    /// Queries of a block.
    queries: usize,
    /// Dynamic shared memory of a block in bytes.
    shared: usize,
}

impl Kernel {
    /// Returns the fastest tensor-core kernel for heads of width `d`. `blocks`: the blocks of a launch by the queries of
    /// each, `enough`: the blocks that keep the GPU busy.
    fn f16(d: usize, blocks: impl Fn(usize) -> usize, enough: usize) -> Option<Self> {
        let (name, width, queries) = *ATTENTION_F16_TILES.iter().find(|(_, width, _)| d <= *width)?;
        // The first kernel for a width is faster per query, a shorter one spreads little work over more blocks.
        let short = ATTENTION_F16_TILES.iter().find(|(_, other, fewer)| *other == width && *fewer < queries);
        let (name, _, queries) = *short.filter(|_| blocks(queries) < enough).unwrap_or(&(name, width, queries));
        let pitch = width.next_multiple_of(16) + VECTOR;
        // Two stages of keys and values.
        let shared = 2 * 2 * ATTENTION_KEYS * pitch * DType::F16.size_in_bytes();
        Some(Self { name: name.into(), queries, shared })
    }

    /// Returns the kernel without alignment requirements for heads of width `d`, if that is not too wide.
    fn any(d: usize, dtype: DType) -> Option<Self> {
        let (columns,) = *ATTENTION_ANY_COLUMNS.iter().find(|(columns,)| d <= LANES * columns)?;
        let fours = d.div_ceil(4);
        // Keys or values, queries, and weights.
        let floats = (LANES * (fours | 1) + ATTENTION_ANY_QUERIES * fours + ATTENTION_WARPS * LANES) * 4;
        Some(Self {
            name: format!("attention_any_{}_{columns}", suffix(dtype)),
            queries: ATTENTION_ANY_QUERIES,
            shared: floats * DType::F32.size_in_bytes(),
        })
    }
}

/// softmax(q·kᵀ / √D)·v. `q`: (B, N, H·D); `k`, `v`: (B, M, H·D) → (B, N, H·D). Rows may be slices of longer ones.
pub fn attention(compute: Compute, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, c) = q.dims3()?;
    let (m, d, dtype) = (k.dim(1)?, c / heads, dtype_of(compute));
    let Some(any) = Kernel::any(d, dtype) else {
        let [q, k, v] = [q, k, v].map(|x| contiguous_as(x, DType::F32));
        return plain::attention(&q?, &k?, &v?, heads)?.to_dtype(dtype);
    };
    let ((q, q_row), (k, k_row), (v, v_row)) = (rows(q, dtype)?, rows(k, dtype)?, rows(v, dtype)?);
    let device = q.device().as_cuda_device()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, dtype, (b, n, c))? };
    let params = AttentionParams {
        q: address(&q)?,
        k: address(&k)?,
        v: address(&v)?,
        y: address(&y)?,
        n: n as i32,
        m: m as i32,
        heads: heads as i32,
        d: d as i32,
        q_row: q_row as i32,
        k_row: k_row as i32,
        v_row: v_row as i32,
        scale: LOG2_E / (d as f32).sqrt(),
    };
    let is_aligned = [params.q, params.k, params.v].iter().all(|address| address % 16 == 0)
        && [d, q_row, k_row, v_row].iter().all(|count| count % VECTOR == 0);
    let enough = 2 * Gpu::of(device)?.multiprocessors;
    let blocks = |queries| n.div_ceil(queries) * heads * b;
    let fast = if dtype == DType::F16 && is_aligned { Kernel::f16(d, blocks, enough) } else { None };
    let Kernel { name, queries, shared } = fast.unwrap_or(any);
    let grid = Grid { blocks: [n.div_ceil(queries), heads, b], threads: [ATTENTION_WARPS * LANES, 1], shared };
    // SAFETY: the addresses are those of tensors of these shapes.
    unsafe { launch(device, &name, grid, &params)? };
    Ok(y)
}

/// Returns `x`: (B, N, C) converted to `dtype`, with contiguous channels, and the distance between its rows in elements.
fn rows(x: &Tensor, dtype: DType) -> Result<(Tensor, usize)> {
    let x = x.to_dtype(dtype)?;
    let (_, n, c) = x.dims3()?;
    match *x.stride() {
        [next, row, 1] if row >= c && next == n * row => Ok((x, row)),
        _ => Ok((x.contiguous()?, c)),
    }
}
