//! The arithmetic of the models, channels last: maps are (B, h, w, C), tokens (B, N, C).
//!
//! Every operation has a kernel, and a plain twin in candle's own operations that says what it means and that tests and
//! benches hold it against.

mod attention;
mod conv2d;
// Indices name the lane, row or point that a line is about.
#[allow(unsafe_code, clippy::needless_range_loop)]
mod cpu;
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
mod cuda;
pub mod layer;
mod linear;
mod maps;
mod norm;
mod products;
mod replay;
mod sum;

pub use attention::{attention, attention_plain};
pub use conv2d::{Conv2d, conv1x1, conv1x1s, conv3x3, conv3x3_plain, conv3x3_stride2};
pub use cpu::{Isa, keep_memory};
#[cfg(feature = "cuda")]
pub use cuda::cards;
pub use linear::{Geglu, Linear, Linears, Stack, geglu_plain, linear, linear_no_bias, linear_plain, linears_no_bias};
pub use maps::{concat, concat_plain, upsample_nearest, upsample_nearest_plain};
pub use norm::{GroupNorm, LayerNorm, group_norm, group_norm_plain, layer_norm, layer_norm_plain};
pub use products::Products;
pub use replay::Replay;
pub use sum::{weighted_sum, weighted_sum_plain};

/// Whether this processor multiplies bf16 faster than f32.
pub fn has_bf16() -> bool {
    cpu::isa() == cpu::Isa::Avx512Bf16
}
