//! Kernels for NVIDIA GPUs, written in CUDA C++ (`kernels/`) and compiled when the program is built.
//!
//! In half precision all maps are f16, channels last, and sums are f32; otherwise everything is f32.

mod attention;
mod backend;
pub mod gpu;
mod graph;
mod maps;
mod norm;
mod product;
mod way;

pub use backend::Cuda;
