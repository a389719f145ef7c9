//! Kernels for NVIDIA cards, written in CUDA C++ (`kernels`) and compiled when the program is built.
//!
//! In half precision maps are f16 from the first layer to the last, channels last, and sums f32; else everything is f32.

mod attention;
mod card;
mod graph;
mod maps;
mod norm;
mod product;
mod way;

pub use attention::attention;
pub use graph::Graphs;
pub use maps::{concat, upsample_nearest, weighted_sum};
pub use norm::{Affine, GroupNorm, LayerNorm};
pub use product::{GEGLU_RUN, Product};

/// Cards as a whole.
pub mod cards {
    pub use super::card::{count, memory, open, out_of_memory, release_memory};
}
