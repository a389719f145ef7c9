//! The UNet of Stable Diffusion 1.x (LDM `UNetModel`), which predicts the noise in latents.

mod attention;
mod blocks;
mod time;

use super::deep_cache::{DeepCache, DeepFeatures};
use crate::config::UNetConfig;
use crate::ops::{Conv2d, Graph, GroupNorm, LayerBuilder, conv3x3, group_norm};
use attention::{Kv, SpatialTransformer};
use blocks::{Block, BlockShape, ResBlock, input_shapes, output_shapes};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;
use time::TimeEmbedding;

pub use blocks::skips_per_latent;

/// The inputs of a UNet that are computed once and used in every step.
pub struct PromptKv {
    /// The keys and values of prompts, for every cross-attention.
    kv: Vec<Vec<Kv>>,
    /// The embedding of the guidance scale (1, C), if it is an input.
    guidance: Option<Tensor>,
}

/// The UNet. Field names are those of the checkpoint's `model.diffusion_model`.
pub struct UNet {
    takes_mask: bool,
    conv_in: Conv2d,
    time_embed: TimeEmbedding,
    input_blocks: Vec<Block>,
    middle_block: (ResBlock, SpatialTransformer, ResBlock),
    output_blocks: Vec<Block>,
    out_norm: GroupNorm,
    out_conv: Conv2d,
    /// The captured steps.
    graph: Graph,
}

impl UNet {
    /// Builds the network from the layers below `lb`, blocks in parallel.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(config: &UNetConfig, lb: LayerBuilder) -> Result<Self> {
        let c = config.model_channels;
        let middle = lb.pp("middle_block");
        let c_middle = config.level_channels(config.channel_mult.len() - 1);
        let res = |i: usize| ResBlock::new(c_middle, c_middle, middle.pp(i));
        let transformer = |i: usize| {
            let heads = config.num_heads_of(c_middle);
            SpatialTransformer::new(c_middle, heads, config.transformer_depth, config.context_dim, middle.pp(i))
        };
        let numbered = |name: &str, first: usize, shapes: Vec<BlockShape>| -> Vec<(BlockShape, LayerBuilder)> {
            let blocks = shapes.into_iter().enumerate();
            blocks.map(|(i, shape)| (shape, lb.pp(name).pp(first + i))).collect()
        };
        let input = numbered("input_blocks", 1, input_shapes(config));
        let output = numbered("output_blocks", 0, output_shapes(config));
        let blocks = |all: &[(BlockShape, LayerBuilder)]| {
            all.par_iter().map(|(shape, lb)| Block::new(shape, config, lb.clone())).collect::<Result<Vec<_>>>()
        };
        let middle_block = || -> Result<_> { Ok((res(0)?, transformer(1)?, res(2)?)) };
        let (input_blocks, (middle_block, output_blocks)) =
            rayon::join(|| blocks(&input), || rayon::join(middle_block, || blocks(&output)));
        let res_blocks =
            [res_blocks(&input), [0, 2].map(|i| (c_middle, middle.pp(i))).to_vec(), res_blocks(&output)].concat();
        Ok(Self {
            takes_mask: config.takes_mask(),
            conv_in: conv3x3(config.in_channels, c, lb.pp("input_blocks.0.0"))?,
            time_embed: TimeEmbedding::new(c, config.guidance_width, &res_blocks, lb.pp("time_embed"))?,
            input_blocks: input_blocks?,
            middle_block: middle_block?,
            output_blocks: output_blocks?,
            out_norm: group_norm(c, 1e-5, lb.pp("out.0"))?,
            out_conv: conv3x3(c, config.out_channels, lb.pp("out.2"))?,
            graph: Graph::new(lb.device())?,
        })
    }

    /// Returns whether the mask and the latents of the masked image are inputs.
    pub fn takes_mask(&self) -> bool {
        self.takes_mask
    }

    /// Returns whether the guidance scale is an input.
    pub fn takes_guidance(&self) -> bool {
        self.time_embed.takes_guidance()
    }

    /// Computes what is the same in every step: the keys and values of `context` (B, M, C_context), and the embedding of the
    /// guidance scale, which is ignored unless it is an input.
    ///
    /// # Errors
    /// If the shape does not fit, or the device fails.
    pub fn project(&self, context: &Tensor, scale: f64) -> Result<PromptKv> {
        let transformer = |block| Block::transformer(block);
        let (input, output) = (self.input_blocks.iter(), self.output_blocks.iter());
        let transformers =
            input.filter_map(transformer).chain([&self.middle_block.1]).chain(output.filter_map(transformer));
        Ok(PromptKv {
            kv: transformers.map(|transformer| transformer.project(context)).collect::<Result<_>>()?,
            guidance: self.time_embed.guidance(scale, context.device())?,
        })
    }

    /// The input of the time embedding: (1, C).
    fn time(&self, t: f64, prompt: &PromptKv, device: &Device) -> Result<Tensor> {
        let t = self.time_embed.sinusoids(t, device)?;
        prompt.guidance.as_ref().map_or(Ok(t.clone()), |guidance| t + guidance)
    }

    /// Predicts the noise eps (R·B, h, w, 4) in the latents `x` (B, h, w, 4) at timestep `t`; an inpainting model takes the mask and
    /// the latents of the masked image, too (B, h, w, 9). `prompt`: the projection of
    /// R·B contexts, R for each latent; layers before the first cross-attention are computed once for all R.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn forward(&self, x: &Tensor, t: f64, prompt: &PromptKv) -> Result<Tensor> {
        self.forward_then(x, t, prompt, None, Ok)
    }

    /// Returns `then(forward(x, t, prompt))`. A GPU captures both in one graph, so `then` must depend on nothing but its
    /// argument and `number`.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn forward_then(
        &self,
        x: &Tensor,
        t: f64,
        prompt: &PromptKv,
        number: Option<f64>,
        then: impl Fn(Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let t = self.time(t, prompt, x.device())?; // (1, C)
        let mut inputs = vec![x, &t];
        inputs.extend(prompt.kv.iter().flatten().flat_map(Kv::tensors));
        self.graph.run(&inputs, number, |inputs| {
            let mut seen = inputs[2..].chunks_exact(2).map(|two| Kv::new(two[0], two[1]));
            let prompts = prompt.kv.iter().map(|blocks| seen.by_ref().take(blocks.len()).collect());
            then(self.blocks(inputs[0], inputs[1], &prompts.collect::<Vec<_>>(), 0, None)?.0)
        })
    }

    /// Returns what [`Self::forward`] returns, with deep layers that run only in some evaluations. `deep`: their output, for this
    /// batch. GPUs do not capture these evaluations.
    ///
    /// # Errors
    /// If the shapes do not fit, the UNet lacks the skip connection, or the device fails.
    pub fn forward_cached(
        &self,
        x: &Tensor,
        t: f64,
        prompt: &PromptKv,
        DeepCache { every, branch }: DeepCache,
        deep: &mut DeepFeatures,
    ) -> Result<Tensor> {
        if branch >= self.output_blocks.len() {
            bail!("the UNet has no skip connection {branch}, only 0 to {}", self.output_blocks.len() - 1);
        }
        let t = self.time(t, prompt, x.device())?; // (1, C)
        let kept = deep.next(every);
        let (eps, features) = self.blocks(x, &t, &prompt.kv, branch, kept.as_ref())?;
        deep.keep(features);
        Ok(eps)
    }

    /// The network itself. `t`: the input of the time embedding (1, C). `branch`: the skip connection that separates the deep
    /// layers from the others. `deep`: the output of the deep layers (R·B, h, w, C'), if it need not be computed. Returns the
    /// noise (R·B, h, w, 4) and the output of the deep layers.
    fn blocks(
        &self,
        x: &Tensor,
        t: &Tensor,
        prompts: &[Vec<Kv>],
        branch: usize,
        deep: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let (input, deep_input) = self.input_blocks.split_at(branch);
        let (deep_output, output) = self.output_blocks.split_at(self.output_blocks.len() - 1 - branch);
        let (first, transformer, last) = &self.middle_block;
        let times = &mut self.time_embed.forward(t)?.into_iter();
        let prompts = &mut prompts.iter();
        let mut x = self.conv_in.forward(x)?;
        let mut skips = vec![x.clone()];
        for block in input {
            x = block.forward(&x, times, prompts, (0, 0))?;
            skips.push(x.clone());
        }
        if let Some(deep) = deep {
            for block in deep_input.iter().chain(deep_output) {
                block.skip(times, prompts);
            }
            // The middle block's.
            times.nth(1);
            prompts.next();
            x = deep.clone();
        } else {
            for block in deep_input {
                x = block.forward(&x, times, prompts, (0, 0))?;
                skips.push(x.clone());
            }
            let mut time = || times.next().expect("one for each residual block");
            let (before, after) = (time(), time());
            x = transformer.forward(&first.forward(&x, &before)?, prompts.next().expect("one for each transformer"))?;
            x = last.forward(&x, &after)?; // (R·B, h', w', C)
            for block in deep_output {
                x = block.forward_up(&x, &mut skips, times, prompts)?;
            }
        }
        let deep = x.clone();
        for block in output {
            x = block.forward_up(&x, &mut skips, times, prompts)?;
        }
        let eps = self.out_conv.forward(&self.out_norm.forward_silu(&x)?)?;
        Ok((eps.to_dtype(DType::F32)?, deep))
    }
}

/// The channels and locations of the residual blocks; each is the first part of its block.
fn res_blocks<'a>(blocks: &[(BlockShape, LayerBuilder<'a>)]) -> Vec<(usize, LayerBuilder<'a>)> {
    blocks.iter().filter(|(shape, _)| shape.res).map(|(shape, lb)| (shape.c_out, lb.pp(0))).collect()
}

/// Repeats `x` (B, …) as a whole: (batch, …), where `batch` is a multiple of B.
fn repeated(x: &Tensor, batch: usize) -> Result<Tensor> {
    let times = batch / x.dim(0)?;
    if times == 1 { Ok(x.clone()) } else { Tensor::cat(&vec![x; times], 0) }
}
