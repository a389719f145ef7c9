//! The interface of a kind of device, and the only place that chooses between devices.

use super::conv2d::ConvOptions;
use super::cpu::Cpu;
#[cfg(feature = "cuda")]
use super::cuda;
use super::{Compute, Packing};
use candle_core::{DType, Device, Result, Tensor, bail};

#[cfg(feature = "cuda")]
pub use cuda::gpu;
#[cfg(not(feature = "cuda"))]
#[path = "no_cuda.rs"]
pub mod gpu;

/// Converts the weights of layers to the form that the kernels of a device read.
///
/// Callers in `ops` have checked all shapes. Each layer is defined by the function of the same name in
/// [`plain`](super::plain).
pub(super) trait Packer: Sync {
    /// Packs linear layers that share their input as a single one, which computes the channels of the first, then those
    /// of the second, and so on.
    fn linear(&self, layers: &[LinearWeights]) -> Result<Box<dyn MatMul>>;

    /// Packs linear layers that share their input and whose outputs are operands of further products, such as
    /// queries, keys and values.
    fn projections(&self, layers: &[LinearWeights]) -> Result<Box<dyn Projections>>;

    /// Packs a linear layer followed by GEGLU. `weight`: (2C_out, C_in), `bias`: (2C_out), values before gates.
    fn geglu(&self, compute: Compute, weight: &Tensor, bias: &Tensor) -> Result<Box<dyn MatMul>>;

    /// Packs a 3×3 convolution with padding 1. `weight`: (C_out, C_in, 3, 3), `bias`: (C_out).
    fn conv3x3(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        options: ConvOptions,
    ) -> Result<Box<dyn MatMul>>;

    /// Packs a 3×3 convolution of a map that is upsampled first. `weight`: (C_out, C_in, 3, 3), `bias`: (C_out), `large_maps`:
    /// whether maps are large, and of even sizes once they are upsampled.
    fn conv3x3_upsampled(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        large_maps: bool,
    ) -> Result<Box<dyn UpsampledConv>>;

    /// Prepares a group norm with 32 groups for input to products in `compute`. `weight`, `bias`: (C).
    fn group_norm(&self, compute: Compute, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Box<dyn GroupNorm>>;

    /// Prepares a layer norm for input to products in `compute`. `weight`, `bias`: (C).
    fn layer_norm(&self, compute: Compute, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Box<dyn LayerNorm>>;
}

/// The kernels of one kind of device.
///
/// Callers in `ops` have checked all shapes. Each operation is defined by the function of the same name in
/// [`plain`](super::plain).
pub(super) trait Backend: Packer {
    /// softmax(q·kᵀ / √D)·v. `q`: (B, N, H·D); `k`, `v`: (B, M, H·D) → (B, N, H·D).
    fn attention(&self, compute: Compute, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor>;

    /// Attention of each token to itself and those before it, in f32. `q`, `k`, `v`: (B, N, H·D) → (B, N, H·D).
    fn causal_attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor>;

    /// x · sigmoid(1.702 · x) of each element, in f32.
    fn quick_gelu(&self, x: &Tensor) -> Result<Tensor>;

    /// Concatenates channels. `x`: (R·B, h, w, C_x), `skip`: (B, h, w, C_skip) → (R·B, h, w, C_x + C_skip).
    fn concat(&self, x: &Tensor, skip: &Tensor) -> Result<Tensor>;

    /// Σ weight · x in f64, rounded once to f32. `terms`: 1 to `MAX_TERMS` tensors of one shape.
    fn weighted_sum(&self, terms: &[(&Tensor, f64)]) -> Result<Tensor>;

    /// A cache of captured work; on devices that capture nothing it does the work each time.
    fn graph(&self) -> Box<dyn Capture>;
}

/// A packed weight: y = x·W + bias.
pub(super) trait MatMul: Send + Sync {
    /// Multiplies `x` and adds `addends`.
    fn apply(&self, x: &Tensor, addends: Addends) -> Result<Tensor>;
}

/// A packed 3×3 convolution of upsampled maps.
pub(super) trait UpsampledConv: Send + Sync {
    /// `x`: (B, ⌈height/2⌉, ⌈width/2⌉, C_in) → (B, `height`, `width`, C_out).
    fn apply(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor>;
}

/// Packed linear layers of one input.
pub(super) trait Projections: Send + Sync {
    /// `x`: (…, C_in) → (…, C_out) of each layer, in the type that products take.
    fn apply(&self, x: &Tensor) -> Result<Vec<Tensor>>;
}

/// A group norm on its device.
pub(super) trait GroupNorm: Send + Sync {
    /// `x`: (B, h, w, C) → the same shape. `silu`: whether to apply SiLU.
    fn apply(&self, x: &Tensor, silu: bool) -> Result<Tensor>;
}

/// A layer norm on its device.
pub(super) trait LayerNorm: Send + Sync {
    /// `x`: (…, C) → the same shape.
    fn apply(&self, x: &Tensor) -> Result<Tensor>;
}

/// Work that may be captured once and replayed.
pub(super) trait Capture: Send + Sync {
    /// Returns `work(inputs)`. `work` depends on nothing but `inputs`, `number` and tensors that never change.
    fn run(
        &self,
        inputs: &[&Tensor],
        number: Option<f64>,
        work: &dyn Fn(&[&Tensor]) -> Result<Tensor>,
    ) -> Result<Tensor>;
}

/// Tensors added to a product besides its bias.
#[derive(Clone, Copy, Default)]
pub(super) struct Addends<'a> {
    /// Added to every row: (1, C_out).
    pub shift: Option<&'a Tensor>,
    /// Added to the product: as large as the product.
    pub residual: Option<&'a Tensor>,
}

/// The tensors of a linear layer before packing.
pub(super) struct LinearWeights {
    pub compute: Compute,
    pub weight: Tensor,       // (C_out, C_in), of f32 or f16
    pub bias: Option<Tensor>, // (C_out)
}

impl LinearWeights {
    /// Stacks the rows of at least one layer; either all layers have a bias or none has.
    pub fn stack(layers: &[Self]) -> Result<Self> {
        // A LoRA may have changed some of the layers, whose weights are then f32.
        let are_f16 = layers.iter().all(|layer| layer.weight.dtype() == DType::F16);
        let dtype = if are_f16 { DType::F16 } else { DType::F32 };
        let weights = layers.iter().map(|layer| layer.weight.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
        let weight = Tensor::cat(&weights, 0)?; // (ΣC_out, C_in)
        let biases: Option<Vec<&Tensor>> = layers.iter().map(|layer| layer.bias.as_ref()).collect();
        let bias = biases.map(|biases| Tensor::cat(&biases, 0)).transpose()?; // (ΣC_out)
        Ok(Self { compute: layers[0].compute, weight, bias })
    }
}

/// Returns the packer for `device` that stores weights as `packing` says.
///
/// # Errors
/// If there are no kernels for this kind of device.
pub(super) fn packer(device: &Device, packing: Packing) -> Result<&'static dyn Packer> {
    match (device, packing) {
        (Device::Cpu, Packing::Compact) => Ok(&Cpu { packing: Packing::Compact }),
        _ => Ok(of(device)?),
    }
}

/// Returns the kernels for `device`.
///
/// # Errors
/// If there are none for this kind of device.
pub(super) fn of(device: &Device) -> Result<&'static dyn Backend> {
    match device {
        Device::Cpu => Ok(&Cpu { packing: Packing::Fast }),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => Ok(&cuda::Cuda),
        device => bail!("there are no kernels for {device:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_which_some_were_changed_are_stacked_as_f32() -> Result<()> {
        let layer = |dtype: DType, number: f32| -> Result<LinearWeights> {
            let weight = Tensor::full(number, (1, 2), &Device::Cpu)?.to_dtype(dtype)?;
            Ok(LinearWeights { compute: Compute::F32, weight, bias: None })
        };
        let stacked = LinearWeights::stack(&[layer(DType::F16, 0.5)?, layer(DType::F32, 0.1)?])?;
        assert_eq!(stacked.weight.to_vec2::<f32>()?, [[0.5, 0.5], [0.1, 0.1]]);
        let stacked = LinearWeights::stack(&[layer(DType::F16, 0.5)?, layer(DType::F16, 0.25)?])?;
        assert_eq!(stacked.weight.dtype(), DType::F16);
        Ok(())
    }
}
