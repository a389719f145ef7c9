//! The [`Backend`] of NVIDIA GPUs.

use super::gemm::{GEGLU_RUN, Gemm};
use super::graph::GraphCache;
use super::norm::{Affine, GroupNorm, LayerNorm};
use super::{attention, maps};
use crate::ops::backend::{self, Addends, Backend, Capture, LinearWeights, MatMul, Packer};
use crate::ops::conv2d::ConvOptions;
use crate::ops::linear::interleaved;
use crate::ops::{Compute, plain};
use candle_core::{D, Result, Tensor};

/// The kernels for NVIDIA GPUs.
pub struct Cuda;

impl Packer for Cuda {
    fn linear(&self, layers: &[LinearWeights]) -> Result<Box<dyn MatMul>> {
        let LinearWeights { compute, weight, bias } = LinearWeights::stack(layers)?;
        Ok(Box::new(Gemm::linear(compute, &weight, bias.as_ref())?))
    }

    fn projections(&self, layers: &[LinearWeights]) -> Result<Box<dyn backend::Projections>> {
        let LinearWeights { compute, weight, bias } = LinearWeights::stack(layers)?;
        let stacked = Gemm::linear(compute, &weight, bias.as_ref())?;
        Ok(Box::new(Projections { stacked, count: layers.len() }))
    }

    fn geglu(&self, compute: Compute, weight: &Tensor, bias: &Tensor) -> Result<Box<dyn MatMul>> {
        let [weight, bias] = interleaved([weight, bias], GEGLU_RUN)?;
        Ok(Box::new(Gemm::geglu(compute, &weight, &bias)?))
    }

    fn conv3x3(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        options: ConvOptions,
    ) -> Result<Box<dyn MatMul>> {
        let conv = Gemm::conv3x3(compute, weight, bias, options.stride)?;
        Ok(if options.relu { Box::new(Rectified(conv)) } else { Box::new(conv) })
    }

    fn conv3x3_upsampled(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        _: bool,
    ) -> Result<Box<dyn backend::UpsampledConv>> {
        Ok(Box::new(UpsampledConv(Gemm::conv3x3(compute, weight, bias, 1)?)))
    }

    fn group_norm(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<Box<dyn backend::GroupNorm>> {
        Ok(Box::new(GroupNorm(Affine::new(compute, weight, bias, eps)?)))
    }

    fn layer_norm(
        &self,
        compute: Compute,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<Box<dyn backend::LayerNorm>> {
        Ok(Box::new(LayerNorm(Affine::new(compute, weight, bias, eps)?)))
    }
}

impl Backend for Cuda {
    fn attention(&self, compute: Compute, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
        attention::attention(compute, q, k, v, heads)
    }

    fn causal_attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
        plain::causal_attention(q, k, v, heads)
    }

    fn quick_gelu(&self, x: &Tensor) -> Result<Tensor> {
        plain::quick_gelu(x)
    }

    fn concat(&self, x: &Tensor, skip: &Tensor) -> Result<Tensor> {
        maps::concat(x, skip)
    }

    fn weighted_sum(&self, terms: &[(&Tensor, f64)]) -> Result<Tensor> {
        maps::weighted_sum(terms)
    }

    fn graph(&self) -> Box<dyn Capture> {
        Box::new(GraphCache::default())
    }
}

/// A convolution followed by ReLU.
struct Rectified(Gemm);

impl MatMul for Rectified {
    fn apply(&self, x: &Tensor, addends: Addends) -> Result<Tensor> {
        self.0.apply(x, addends)?.relu()
    }
}

/// A convolution of maps that are upsampled first.
struct UpsampledConv(Gemm);

impl backend::UpsampledConv for UpsampledConv {
    fn apply(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        self.0.apply(&maps::upsample_nearest(x, height, width)?, Addends::default())
    }
}

/// Linear layers of one input as a single product, which is faster than several small ones.
struct Projections {
    stacked: Gemm,
    count: usize,
}

impl backend::Projections for Projections {
    fn apply(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        self.stacked.apply(x, Addends::default())?.chunk(self.count, D::Minus1)
    }
}
