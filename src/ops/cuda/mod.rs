//! Kernels for NVIDIA GPUs, written in CUDA C++ (`kernels/`) and compiled when the program is built.
//!
//! Maps are channels last. In half precision they are f16, and products are accumulated in f32; otherwise everything is
//! f32.

mod abi;
mod attention;
mod backend;
mod gemm;
mod gemm_config;
pub mod gpu;
mod graph;
mod maps;
mod norm;

pub use backend::Cuda;
