//! The arithmetic of matrix products.

use candle_core::DType;

/// The type of the numbers that matrix products multiply. Sums are accumulated in f32 either way.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Compute {
    /// f32.
    #[default]
    F32,
    /// Half precision: f16 on GPUs; bf16 on CPUs that have instructions for it, for products with an even inner
    /// dimension. On other CPUs, products are computed in f32 with weights that are stored in f16.
    Half,
}

impl Compute {
    /// Returns the arithmetic for networks that compute in `dtype`, f32 or a half precision.
    pub fn of(dtype: DType) -> Self {
        if dtype == DType::F32 { Self::F32 } else { Self::Half }
    }
}
