//! What the networks multiply.

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;

/// How products are made; they are summed in f32 either way.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Products {
    /// Of f32.
    #[default]
    F32,
    /// Of bf16 on processors that have instructions for it, where the numbers come in pairs, elsewhere on processors of
    /// f32; of f16 on cards.
    Half,
}

impl Products {
    /// What a network that is built with this dtype multiplies: its weights come as f32 either way.
    pub fn of(vb: VarBuilder) -> (Self, VarBuilder) {
        let products = if vb.dtype() == DType::F32 { Self::F32 } else { Self::Half };
        (products, vb.to_dtype(DType::F32))
    }
}

/// A product's weight on the device that multiplies it.
pub(super) trait Product: Send + Sync {
    /// x times the weight, and what is added to that; the shapes fit. operand: what comes out is multiplied next.
    fn apply(&self, x: &Tensor, added: Added, operand: bool) -> Result<Tensor>;
}

/// What is added to a product, other than its bias.
#[derive(Clone, Copy, Default)]
pub(super) struct Added<'a> {
    /// (1, C_out), to each row.
    pub shift: Option<&'a Tensor>,
    /// As large as the product.
    pub residual: Option<&'a Tensor>,
}

/// The sentence for a device that no kernels are for.
pub(super) fn no_kernels<T>(device: &Device) -> Result<T> {
    bail!("there are no kernels for {device:?}")
}
