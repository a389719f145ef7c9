//! Scaled dot-product attention.

use super::gpu::{Gpu, Grid, LANES, VECTOR, address, contiguous_as, launch, suffix, uninit};
use super::product::dtype_of;
use crate::ops::{Compute, plain};
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Result, Tensor};
use std::f32::consts::LOG2_E;

/// `Attention` of kernels/attention.cu.
#[repr(C)]
struct Parameters {
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

// SAFETY: the kernels' struct has the same fields in the same order, all of them plain numbers.
unsafe impl DeviceRepr for Parameters {}

/// A kernel for heads up to a width.
struct Kernel {
    d: usize,
    name: &'static str,
    /// Queries to a block.
    queries: usize,
}

/// On tensor cores.
const F16: [Kernel; 6] = [
    Kernel { d: 16, name: "attention_f16_16", queries: 64 },
    Kernel { d: 40, name: "attention_f16_40", queries: 128 },
    Kernel { d: 64, name: "attention_f16_64", queries: 128 },
    Kernel { d: 80, name: "attention_f16_80", queries: 128 },
    Kernel { d: 80, name: "attention_f16_80_short", queries: 64 },
    Kernel { d: 160, name: "attention_f16_160", queries: 64 },
];

/// Keys that are in shared memory at once, with their values, twice.
const KEYS: usize = 64;

/// In f32, of any numbers: widths, and how many columns of y a lane has for them.
const ANY: [(usize, &str); 3] = [(64, "2"), (160, "5"), (512, "16")];

/// Queries to a block of these.
const ANY_QUERIES: usize = 16;

/// Warps of a block.
const WARPS: usize = 4;

/// q: (B, N, H·D), k, v: (B, M, H·D) → (B, N, H·D). Rows may lie apart, as parts of longer ones do.
pub fn attention(compute: Compute, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, c) = q.dims3()?;
    let (m, d, dtype) = (k.dim(1)?, c / heads, dtype_of(compute));
    let Some((_, columns)) = ANY.iter().find(|(width, _)| d <= *width) else {
        let [q, k, v] = [q, k, v].map(|x| contiguous_as(x, DType::F32));
        return plain::attention(&q?, &k?, &v?, heads)?.to_dtype(dtype);
    };
    let ((q, q_row), (k, k_row), (v, v_row)) = (rows(q, dtype)?, rows(k, dtype)?, rows(v, dtype)?);
    let device = q.device().as_cuda_device()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { uninit(device, dtype, (b, n, c))? };
    let parameters = Parameters {
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
    let is_aligned = [parameters.q, parameters.k, parameters.v].iter().all(|address| address % 16 == 0)
        && [d, q_row, k_row, v_row].iter().all(|count| count % VECTOR == 0);
    // Of two for the same heads, the first is quicker where it has work for the whole card, twice over.
    let enough = 2 * Gpu::of(device)?.multiprocessors;
    let fits = |kernel: &&Kernel| d <= kernel.d && dtype == DType::F16 && is_aligned;
    let fast = F16.iter().find(fits).map(|first| {
        let short = F16.iter().find(|other| other.d == first.d && other.queries < first.queries);
        short.filter(|_| n.div_ceil(first.queries) * heads * b < enough).unwrap_or(first)
    });
    let (name, queries, shared) = match fast {
        Some(kernel) => {
            let pitch = kernel.d.next_multiple_of(16) + VECTOR;
            (kernel.name.to_string(), kernel.queries, 2 * 2 * KEYS * pitch * 2)
        }
        None => {
            // Keys, queries, and the weights of the keys, in fours.
            let fours = d.div_ceil(4);
            let shared = (LANES * (fours | 1) + ANY_QUERIES * fours + WARPS * LANES) * 4 * 4;
            (format!("attention_any_{}_{columns}", suffix(dtype)), ANY_QUERIES, shared)
        }
    };
    let grid = Grid { blocks: [n.div_ceil(queries), heads, b], threads: [WARPS * LANES, 1], shared };
    // SAFETY: the addresses are those of tensors of these shapes.
    unsafe { launch(device, &name, grid, &parameters)? };
    Ok(y)
}

/// x: (B, N, C) as this type, and how far apart its rows begin.
fn rows(x: &Tensor, dtype: DType) -> Result<(Tensor, usize)> {
    let x = x.to_dtype(dtype)?;
    let (_, n, c) = x.dims3()?;
    match *x.stride() {
        [next, row, 1] if row >= c && next == n * row => Ok((x, row)),
        _ => Ok((x.contiguous()?, c)),
    }
}
