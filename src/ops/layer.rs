//! Layers without their weights: what each reads from a checkpoint, what it keeps of that, and what it has to do.

use super::Compute;
use super::cpu::{self, Conv3x3, Packed};

pub use super::cpu::Cost;

/// What a layer does.
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
        /// Whether it adds one.
        bias: bool,
    },
    /// Group or layer normalisation.
    Norm {
        /// Channels.
        c: usize,
    },
    /// A table, from which rows are taken.
    Table {
        /// Rows it has.
        n: usize,
        /// Channels.
        c: usize,
    },
    /// Every row looks at others; this has no weights.
    Attention {
        /// At how many.
        m: usize,
        /// Channels.
        c: usize,
    },
}

/// A layer at work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    /// What its tensors' names begin with.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Pixels or tokens that it makes, of the whole batch.
    pub rows: usize,
    /// Whether it works once a batch, and not in each pass.
    pub once: bool,
}

impl Layer {
    /// One that works in each pass.
    pub fn new(name: impl Into<String>, op: Op, rows: usize) -> Self {
        Self { name: name.into(), op, rows, once: false }
    }

    /// The same, its name below another.
    pub fn below(self, parent: &str) -> Self {
        Self { name: format!("{parent}.{}", self.name), ..self }
    }

    /// What it reads: names and shapes.
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

    /// What it keeps and does where the network multiplies like this.
    pub fn cost(&self, compute: Compute) -> Cost {
        let rows = self.rows as f64;
        match self.op {
            Op::Conv3x3 { c_in, c_out, stride } => Conv3x3::cost(compute, c_in, c_out, stride).times(rows),
            Op::Conv1x1 { c_in, c_out } | Op::Linear { c_in, c_out, .. } => {
                Packed::cost(cpu::isa(), compute, 1, c_in, c_out).times(rows)
            }
            Op::Norm { c } => Cost { bytes: 8. * c as f64, ..Cost::default() },
            Op::Table { n, c } => Cost { bytes: 4. * n as f64 * c as f64, ..Cost::default() },
            // Queries times keys, then weights times values.
            Op::Attention { m, c } => {
                let multiplications = 2. * rows * m as f64 * c as f64;
                match compute {
                    Compute::F32 => Cost { in_f32: multiplications, ..Cost::default() },
                    Compute::Half => Cost { in_bf16: multiplications, ..Cost::default() },
                }
            }
        }
    }

    /// Numbers that it reads and writes, its weights aside.
    pub fn traffic(&self) -> f64 {
        self.rows as f64
            * match self.op {
                Op::Conv3x3 { c_in, c_out, stride } => (c_in * stride * stride) as f64 + c_out as f64,
                Op::Conv1x1 { c_in, c_out } | Op::Linear { c_in, c_out, .. } => c_in as f64 + c_out as f64,
                // Of attention, queries and as much for what they see: keys and values are read from the cache.
                Op::Norm { c } | Op::Attention { c, .. } => 2. * c as f64,
                Op::Table { c, .. } => c as f64,
            }
    }
}
