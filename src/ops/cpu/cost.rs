//! What a kernel costs, told from its shape.

/// Memory for good, and work.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Cost {
    /// Of weights, as they are kept.
    pub bytes: f64,
    /// Multiplications of f32, each with an addition.
    pub in_f32: f64,
    /// Multiplications of bf16, each with an addition.
    pub in_bf16: f64,
}

impl Cost {
    /// The same weights, so many times the work.
    pub fn times(self, n: f64) -> Self {
        Self { in_f32: n * self.in_f32, in_bf16: n * self.in_bf16, ..self }
    }
}
