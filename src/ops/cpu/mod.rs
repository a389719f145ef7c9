//! Kernels for processors. One file per instruction set holds what needs intrinsics, `portable` the same in plain
//! Rust; all else is written once over short arrays and compiled for each set.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backend;
mod bf16;
mod conv;
mod copy;
mod cost;
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
mod winograd;

pub use backend::Cpu;
pub use conv::Conv3x3;
pub use cost::Cost;
pub use isa::{Isa, isa};
pub use memory::keep_memory;
pub use packed::Packed;

use attention::{Shape, attention};
use conv::Map;
use copy::rows;
use gemm::{Act, Epilogue, Places, gemm};
use norm::{Norm, group_norm, layer_norm};
use operand::Made;
use tensor::{numbers, operand, tensor};
