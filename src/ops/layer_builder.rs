//! The source of a network's layers.

use super::backend::{self, Packer};
use super::{Compute, Packing};
use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::{Init, VarBuilder};

/// Builds the layers of a network from named weights. It is to layers what candle's [`VarBuilder`] is to tensors.
#[derive(Clone)]
pub struct LayerBuilder<'a> {
    vb: VarBuilder<'a>,
    compute: Compute,
    packer: &'a dyn Packer,
    /// If true, the layers' maps are large.
    large_maps: bool,
}

impl<'a> LayerBuilder<'a> {
    /// Builds layers from the weights below `vb`, packed for its device. `compute`: the arithmetic of their products.
    ///
    /// # Errors
    /// If there are no kernels for the device.
    pub fn new(vb: VarBuilder<'a>, compute: Compute, packing: Packing) -> Result<Self> {
        let packer = backend::packer(vb.device(), packing)?;
        Ok(Self::with_packer(vb, compute, packer))
    }

    pub(super) fn with_packer(vb: VarBuilder<'a>, compute: Compute, packer: &'a dyn Packer) -> Self {
        Self { vb, compute, packer, large_maps: false }
    }

    /// Returns the builder of the layers below `name`.
    pub fn pp(&self, name: impl ToString) -> Self {
        Self { vb: self.vb.pp(name), ..*self }
    }

    /// Returns the builder of the same layers for networks whose maps are mostly of 32×32 pixels or more, and are not cropped once
    /// they are upsampled. Convolutions then take less time, and more memory.
    pub fn for_large_maps(&self) -> Self {
        Self { large_maps: true, ..self.clone() }
    }

    pub(super) fn has_large_maps(&self) -> bool {
        self.large_maps
    }

    /// The arithmetic of the layers' products.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// The device of the layers.
    pub fn device(&self) -> &Device {
        self.vb.device()
    }

    pub(super) fn packer(&self) -> &'a dyn Packer {
        self.packer
    }

    /// Reads a tensor as f32.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn get(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor> {
        self.vb.get_with_hints_dtype(shape, name, Init::default(), DType::F32)
    }

    /// Reads `weight`, the largest tensor of a layer. It is f16 if the checkpoint stores it as f16 or 8-bit numbers and the layer is
    /// on a CPU, and f32 if not.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn weight(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.vb.get_with_hints_dtype(shape, "weight", Init::default(), self.vb.dtype())
    }
}
