//! Descriptions of layers, from which their tensors, memory and work are computed without loading weights.

use super::Compute;
use super::cpu::{self, Conv3x3, Packed};

pub use super::cpu::Cost;

/// The operation of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// A 3×3 convolution with padding 1.
    Conv3x3 {
        /// Channels in.
        c_in: usize,
        /// Channels out.
        c_out: usize,
        /// 1 or 2.
        stride: usize,
    },
    /// A 1×1 convolution.
    Conv1x1 {
        /// Channels in.
        c_in: usize,
        /// Channels out.
        c_out: usize,
    },
    /// A linear layer.
    Linear {
        /// Channels in.
        c_in: usize,
        /// Channels out.
        c_out: usize,
        /// Whether it has a bias.
        bias: bool,
    },
    /// Group or layer normalisation.
    Norm {
        /// Channels.
        c: usize,
    },
    /// An embedding table.
    Table {
        /// Rows.
        n: usize,
        /// Channels.
        c: usize,
    },
    /// Attention of queries to keys and values, without weights.
    Attention {
        /// Keys per image.
        m: usize,
        /// Channels, of all heads.
        c: usize,
    },
}

/// A layer with its place in the network and the size of its output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    /// The prefix of its tensors' names.
    pub name: String,
    /// Its operation.
    pub op: Op,
    /// The number of pixels or tokens of its output, in the whole batch.
    pub rows: usize,
    /// Whether it runs once per batch instead of in each pass.
    pub once: bool,
}

impl Layer {
    /// Creates a layer that runs in each pass.
    pub fn new(name: impl Into<String>, op: Op, rows: usize) -> Self {
        Self { name: name.into(), op, rows, once: false }
    }

    /// Returns the layer with `parent` put before its name.
    pub fn below(self, parent: &str) -> Self {
        Self { name: format!("{parent}.{}", self.name), ..self }
    }

    /// The names and shapes of its tensors.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (weight, bias) = match self.op {
            Op::Conv3x3 { c_in, c_out, .. } => (vec![c_out, c_in, 3, 3], Some(c_out)),
            Op::Conv1x1 { c_in, c_out } => (vec![c_out, c_in, 1, 1], Some(c_out)),
            Op::Linear { c_in, c_out, bias } => (vec![c_out, c_in], bias.then_some(c_out)),
            Op::Norm { c } => (vec![c], Some(c)),
            Op::Table { n, c } => (vec![n, c], None),
            Op::Attention { .. } => return vec![],
        };
        let named = |what: &str, shape| (format!("{}.{what}", self.name), shape);
        [Some(named("weight", weight)), bias.map(|c| named("bias", vec![c]))].into_iter().flatten().collect()
    }

    /// The memory of its weights, and its work in one pass with arithmetic `compute`.
    pub fn cost(&self, compute: Compute) -> Cost {
        let rows = self.rows as f64;
        match self.op {
            Op::Conv3x3 { c_in, c_out, stride } => Conv3x3::cost(compute, c_in, c_out, stride).times(rows),
            Op::Conv1x1 { c_in, c_out } | Op::Linear { c_in, c_out, .. } => {
                Packed::cost(cpu::isa(), compute, 1, c_in, c_out).times(rows)
            }
            Op::Norm { c } => Cost { bytes: 8. * c as f64, ..Cost::default() },
            Op::Table { n, c } => Cost { bytes: 4. * n as f64 * c as f64, ..Cost::default() },
            // q·kᵀ, then weights · v.
            Op::Attention { m, c } => {
                let multiplications = 2. * rows * m as f64 * c as f64;
                match compute {
                    Compute::F32 => Cost { in_f32: multiplications, ..Cost::default() },
                    Compute::Half => Cost { in_bf16: multiplications, ..Cost::default() },
                }
            }
        }
    }

    /// The number of elements that it reads and writes, without its weights.
    pub fn traffic(&self) -> f64 {
        self.rows as f64
            * match self.op {
                Op::Conv3x3 { c_in, c_out, stride } => (c_in * stride * stride) as f64 + c_out as f64,
                Op::Conv1x1 { c_in, c_out } | Op::Linear { c_in, c_out, .. } => c_in as f64 + c_out as f64,
                // Attention reads queries and writes as much; keys and values come from the cache.
                Op::Norm { c } | Op::Attention { c, .. } => 2. * c as f64,
                Op::Table { c, .. } => c as f64,
            }
    }
}
