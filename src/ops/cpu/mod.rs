//! CPU kernels. Code that needs intrinsics is in one file per instruction set, with `portable` as the counterpart in
//! plain Rust; everything else is written once over short arrays and compiled for each instruction set.

mod activation;
mod add_products;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backend;
mod bf16;
mod caches;
mod conv;
mod copy;
mod f16;
mod gemm;
mod isa;
mod kernel;
mod math;
mod memory;
#[cfg(target_arch = "aarch64")]
mod neon;
mod norm;
mod operand;
mod packed;
mod parallel;
mod portable;
mod tensor;
mod weight;
mod winograd;

use activation::quick_gelu;
use attention::{AttentionShape, attention};
use conv::{ConvEpilogue, MapShape};
use copy::copy_rows;
use gemm::{Act, Epilogue, RowOffsets, gemm};
use norm::{Norm, group_norm, layer_norm};
use operand::Output;
use tensor::{to_tensor, with_f32, with_operand};
use weight::with_weight;

pub use add_products::{Product, add_products};
pub use backend::Cpu;
pub use conv::{Conv3x3, ConvLayer, UpsampledConv3x3};
pub use f16::f16_to_f32;
pub use isa::{Isa, isa};
pub use math::all_finite;
pub use memory::keep_memory;
pub use packed::{Format, Packed};
pub use parallel::from_chunks;
