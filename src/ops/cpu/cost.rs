//! The cost of a layer, computed from its shape.

/// The memory of a layer's weights, and the work of applying it.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Cost {
    /// The size of the packed weights in bytes.
    pub bytes: f64,
    /// The number of f32 multiply-adds.
    pub in_f32: f64,
    /// The number of bf16 multiply-adds.
    pub in_bf16: f64,
}

impl Cost {
    /// Returns the cost of applying the same weights `n` times.
    pub fn times(self, n: f64) -> Self {
        Self { in_f32: n * self.in_f32, in_bf16: n * self.in_bf16, ..self }
    }
}
