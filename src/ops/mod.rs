//! The building blocks of the networks, channels last: maps are (B, h, w, C), tokens (B, N, C).
//!
//! `backend` declares what a kind of device provides and chooses between `cpu` and `cuda`; `plain` defines every
//! operation in candle's own operations.

mod activation;
mod attention;
mod backend;
mod compute;
mod conv2d;
// Index loops are clearer than iterators where an index names a lane, row or point.
#[allow(unsafe_code, clippy::needless_range_loop)]
mod cpu;
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
mod cuda;
mod graph;
mod layer_builder;
mod linear;
mod maps;
mod norm;
mod outline;
mod packing;
pub mod plain;
mod sum;

pub use activation::quick_gelu;
pub use attention::{attention, causal_attention};
pub use backend::gpu;
pub use compute::Compute;
pub use conv2d::{Conv2d, ConvOptions, UpsampledConv2d};
pub use conv2d::{
    conv1x1, conv1x1s, conv3x3, conv3x3_relu, conv3x3_stride2, conv3x3_upsampled, conv3x3_upsampled_no_bias,
};
pub use cpu::{Isa, Product, add_products, all_finite, f16_to_f32, from_chunks, isa, keep_memory};
pub use graph::Graph;
pub use layer_builder::LayerBuilder;
pub use linear::{
    Geglu, Linear, Projections, StackedLinears, geglu, linear, linear_no_bias, projections, projections_no_bias,
};
pub use maps::concat;
pub use norm::{GroupNorm, LayerNorm, group_norm, layer_norm};
pub use outline::{Needs, Outline};
pub use packing::Packing;
pub use sum::{MAX_TERMS, weighted_sum};

/// Whether the CPU multiplies bf16 faster than f32.
pub fn has_bf16() -> bool {
    cpu::isa() == cpu::Isa::Avx512Bf16
}
