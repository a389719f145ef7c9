//! Networks without weights, to find out what a network reads, holds and computes.

use super::backend::{Addends, GroupNorm, LayerNorm, LinearWeights, MatMul, Packer, Projections, UpsampledConv};
use super::conv2d::ConvOptions;
use super::cpu::{Conv3x3, ConvLayer, Format, Packed, UpsampledConv3x3, isa};
use super::{Compute, LayerBuilder, Packing};
use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Builds networks whose weights have names and shapes but no elements, and records what they need.
///
/// Such a network is built from [`Self::var_builder`] or [`Self::layer_builder`] in milliseconds. Its layers return
/// zeros.
#[derive(Clone, Default)]
pub struct Outline {
    needs: Arc<Mutex<Needs>>,
    packing: Packing,
    /// The names of the weights that are f16 before they are packed.
    f16: Arc<HashSet<String>>,
}

/// The needs of a network.
#[derive(Clone, Default, Debug)]
pub struct Needs {
    /// The shapes of the tensors that it reads, by name.
    pub tensors: BTreeMap<String, Vec<usize>>,
    /// The size in bytes of these tensors before they are packed.
    pub unpacked_bytes: f64,
    /// The size in bytes of its layers' weights, packed for this CPU.
    pub packed_bytes: f64,
    /// The number of elements that its largest layer so far has read and computed in one call.
    largest_layer: usize,
}

impl Needs {
    /// The number of parameters.
    pub fn parameters(&self) -> f64 {
        let count = |shape: &Vec<usize>| shape.iter().map(|&n| n as f64).product::<f64>();
        self.tensors.values().map(count).sum()
    }
}

impl Outline {
    /// Returns an outline of layers whose weights are packed as `packing` says. `f16`: the names of those that are f16 before.
    pub fn new(packing: Packing, f16: &Arc<HashSet<String>>) -> Self {
        Self { packing, f16: f16.clone(), ..Self::default() }
    }

    /// Returns a source of tensors of any name and shape.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F16, Device::Cpu)
    }

    /// Returns a source of layers of any name and shape. `compute`: the arithmetic that weights are packed for.
    pub fn layer_builder(&self, compute: Compute) -> LayerBuilder<'_> {
        LayerBuilder::with_packer(self.var_builder(), compute, self)
    }

    /// Returns the needs recorded so far.
    pub fn needs(&self) -> Needs {
        self.lock().clone()
    }

    /// Runs a network, and returns the number of elements that its largest layer has read and computed in one call.
    ///
    /// # Errors
    /// If `run` fails.
    pub fn largest_layer(&self, run: impl FnOnce() -> Result<Tensor>) -> Result<usize> {
        self.lock().largest_layer = 0;
        run()?;
        Ok(self.lock().largest_layer)
    }

    fn lock(&self) -> MutexGuard<'_, Needs> {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the bias of a layer, if any, to its packed weight of `bytes`.
    fn add_weight(&self, bytes: f64, bias: Option<&Tensor>) {
        self.lock().packed_bytes += bytes + bias.map_or(0., |bias| 4. * bias.elem_count() as f64);
    }

    /// Records a linear layer. Returns C_out.
    fn add_linear(&self, compute: Compute, weight: &Tensor, bias: Option<&Tensor>) -> Result<usize> {
        let (c_out, c_in) = weight.dims2()?;
        let format = Format::of_linear(compute, self.packing, weight.dtype() == DType::F16, isa(), c_in);
        self.add_weight(Packed::bytes(format, c_in, c_out), bias);
        Ok(c_out)
    }

    /// Records a layer's call, which reads `x` and computes `computed` elements, and returns zeros of `shape`.
    fn call(&self, x: &Tensor, computed: usize, shape: impl Into<Shape>) -> Result<Tensor> {
        let mut needs = self.lock();
        needs.largest_layer = needs.largest_layer.max(x.elem_count() + computed);
        Tensor::zeros(shape, DType::F32, x.device())
    }
}

impl SimpleBackend for Outline {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let dtype = if dtype == DType::F16 && !self.f16.contains(name) { DType::F32 } else { dtype };
        let mut needs = self.lock();
        needs.tensors.insert(name.to_owned(), shape.dims().to_vec());
        needs.unpacked_bytes += shape.dims().iter().map(|&n| n as f64).product::<f64>() * dtype.size_in_bytes() as f64;
        // One element, seen everywhere.
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("the shape of '{name}' is unknown")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

impl Packer for Outline {
    fn linear(&self, layers: &[LinearWeights]) -> Result<Box<dyn MatMul>> {
        let add =
            |LinearWeights { compute, weight, bias }: &LinearWeights| self.add_linear(*compute, weight, bias.as_ref());
        let c_out = layers.iter().map(add).sum::<Result<usize>>()?;
        Ok(Box::new(Layer { outline: self.clone(), columns: c_out, c_out, stride: 1 }))
    }

    fn projections(&self, layers: &[LinearWeights]) -> Result<Box<dyn Projections>> {
        Ok(Box::new(layers.chunks(1).map(|layer| self.linear(layer)).collect::<Result<Vec<_>>>()?))
    }

    fn geglu(&self, compute: Compute, weight: &Tensor, bias: &Tensor) -> Result<Box<dyn MatMul>> {
        let columns = self.add_linear(compute, weight, Some(bias))?;
        Ok(Box::new(Layer { outline: self.clone(), columns, c_out: columns / 2, stride: 1 }))
    }

    fn conv3x3(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        options: ConvOptions,
    ) -> Result<Box<dyn MatMul>> {
        let layer = ConvLayer::new(compute, self.packing, weight, options)?;
        self.add_weight(Conv3x3::bytes(layer), Some(bias));
        let ConvLayer { c_out, options: ConvOptions { stride, .. }, .. } = layer;
        Ok(Box::new(Layer { outline: self.clone(), columns: c_out, c_out, stride }))
    }

    fn conv3x3_upsampled(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        large_maps: bool,
    ) -> Result<Box<dyn UpsampledConv>> {
        let layer = ConvLayer::upsampled(compute, self.packing, weight, large_maps)?;
        self.add_weight(UpsampledConv3x3::bytes(layer), Some(bias));
        Ok(Box::new(Upsampled { outline: self.clone(), c_out: layer.c_out }))
    }

    fn group_norm(&self, _: Compute, weight: &Tensor, bias: &Tensor, _: f64) -> Result<Box<dyn GroupNorm>> {
        self.add_weight(4. * weight.elem_count() as f64, Some(bias));
        Ok(Box::new(Norm(self.clone())))
    }

    fn layer_norm(&self, _: Compute, weight: &Tensor, bias: &Tensor, _: f64) -> Result<Box<dyn LayerNorm>> {
        self.add_weight(4. * weight.elem_count() as f64, Some(bias));
        Ok(Box::new(Norm(self.clone())))
    }
}

/// A linear layer or convolution without weights.
struct Layer {
    outline: Outline,
    /// The columns of the weight; with GEGLU, twice C_out.
    columns: usize,
    c_out: usize,
    stride: usize,
}

impl MatMul for Layer {
    fn apply(&self, x: &Tensor, _: Addends) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        shape.pop();
        if let [_, h, w] = &mut shape[..] {
            (*h, *w) = (h.div_ceil(self.stride), w.div_ceil(self.stride));
        }
        let rows: usize = shape.iter().product();
        shape.push(self.c_out);
        self.outline.call(x, rows * self.columns, shape)
    }
}

/// A convolution of upsampled maps without weights.
struct Upsampled {
    outline: Outline,
    c_out: usize,
}

impl UpsampledConv for Upsampled {
    fn apply(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        let shape = (x.dim(0)?, height, width, self.c_out);
        self.outline.call(x, Shape::from(shape).elem_count(), shape)
    }
}

impl Projections for Vec<Box<dyn MatMul>> {
    fn apply(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        self.iter().map(|layer| layer.apply(x, Addends::default())).collect()
    }
}

/// A group or layer norm without weights.
struct Norm(Outline);

impl GroupNorm for Norm {
    fn apply(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        self.0.call(x, x.elem_count(), x.shape())
    }
}

impl LayerNorm for Norm {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.0.call(x, x.elem_count(), x.shape())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{conv3x3, conv3x3_stride2, geglu, group_norm, linear_no_bias};

    #[test]
    fn a_network_is_outlined_by_building_and_running_it() -> Result<()> {
        let outline = Outline::default();
        let lb = outline.layer_builder(Compute::F32);
        let norm = group_norm(32, 1e-5, lb.pp("norm"))?;
        let (conv, act) = (conv3x3_stride2(32, 64, lb.pp("conv"))?, geglu(64, 96, lb.pp("act"))?);
        let needs = outline.needs();
        let shapes: Vec<(&str, &[usize])> = needs.tensors.iter().map(|(name, shape)| (&**name, &**shape)).collect();
        let expected: [(&str, &[usize]); 6] = [
            ("act.bias", &[192]),
            ("act.weight", &[192, 64]),
            ("conv.bias", &[64]),
            ("conv.weight", &[64, 32, 3, 3]),
            ("norm.bias", &[32]),
            ("norm.weight", &[32]),
        ];
        assert_eq!(shapes, expected);
        // Strided convolutions and whole vectors of columns are packed without padding.
        assert_eq!(needs.packed_bytes, 4. * needs.parameters());
        let run = |height: usize| {
            let x = Tensor::zeros((1, height, 7, 32), DType::F32, &Device::Cpu)?;
            act.forward(&conv.forward(&norm.forward_silu(&x)?)?)
        };
        assert_eq!(run(5)?.dims(), [1, 3, 4, 96]);
        // Smaller maps after larger ones, too.
        assert_eq!(outline.largest_layer(|| run(9))?, 5 * 4 * (64 + 192));
        assert_eq!(outline.largest_layer(|| run(5))?, 3 * 4 * (64 + 192));
        Ok(())
    }

    #[test]
    fn compact_weights_of_f16_take_half_the_memory() -> Result<()> {
        let f16 = Arc::new(HashSet::from(["linear.weight".to_owned(), "conv.weight".to_owned()]));
        let sizes = |packing: Packing, f16: &Arc<HashSet<String>>| -> Result<(f64, f64)> {
            let outline = Outline::new(packing, f16);
            let lb = outline.layer_builder(Compute::F32);
            linear_no_bias(320, 640, lb.pp("linear"))?;
            let linear = outline.needs();
            conv3x3(320, 640, lb.pp("conv"))?;
            Ok((linear.packed_bytes, outline.needs().packed_bytes - linear.packed_bytes))
        };
        let (linear, conv) = (4. * 320. * 640., 4. * 9. * 320. * 640. + 4. * 640.);
        let none = Arc::default();
        assert_eq!(sizes(Packing::Compact, &none)?, (linear, conv));
        assert_eq!(sizes(Packing::Compact, &f16)?, (linear / 2., conv / 2. + 2. * 640.));
        assert_eq!(sizes(Packing::Fast, &f16)?, sizes(Packing::Fast, &none)?);
        Ok(())
    }

    #[test]
    fn an_outlined_layer_holds_no_weights() -> Result<()> {
        // 4 TB, were there any.
        let side = 1_000_000;
        let lb = Outline::default();
        super::super::linear(side, side, lb.layer_builder(Compute::Half))?;
        assert_eq!(lb.needs().parameters(), 1e12 + 1e6);
        Ok(())
    }
}
