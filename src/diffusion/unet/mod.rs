//! The UNet of Stable Diffusion 1.x (LDM `UNetModel`): what noise is in these latents?

mod attention;
mod blocks;
pub mod layers;
mod time;

use crate::config::UNetConfig;
use crate::ops::{Compute, Conv2d, Graph, GroupNorm, concat, conv3x3, group_norm};
use attention::{KeysValues, SpatialTransformer};
use blocks::{Block, BlockShape, ResBlock, input_shapes, output_shapes};
use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use rayon::prelude::*;
use time::TimeEmbedding;

/// A prompt, as each transformer of a UNet reads it.
pub struct Prompt(Vec<Vec<KeysValues>>);

/// Field names are those of the checkpoint's `model.diffusion_model`.
pub struct UNet {
    conv_in: Conv2d,
    time_embed: TimeEmbedding,
    input_blocks: Vec<Block>,
    middle_block: (ResBlock, SpatialTransformer, ResBlock),
    output_blocks: Vec<Block>,
    out_norm: GroupNorm,
    out_conv: Conv2d,
    /// Of its steps.
    graph: Graph,
}

impl UNet {
    /// Reads the weights below `vb`, blocks in parallel.
    pub fn new(config: &UNetConfig, compute: Compute, vb: VarBuilder) -> Result<Self> {
        let c = config.model_channels;
        let middle = vb.pp("middle_block");
        let c_middle = config.level_channels(config.channel_mult.len() - 1);
        let res = |i: usize| ResBlock::new(c_middle, c_middle, compute, middle.pp(i));
        let transformer = |i: usize| {
            let heads = config.num_heads_of(c_middle);
            SpatialTransformer::new(
                c_middle,
                heads,
                config.transformer_depth,
                config.context_dim,
                compute,
                middle.pp(i),
            )
        };
        let numbered = |name: &str, first: usize, shapes: Vec<BlockShape>| -> Vec<(BlockShape, VarBuilder)> {
            let blocks = shapes.into_iter().enumerate();
            blocks.map(|(i, shape)| (shape, vb.pp(name).pp(first + i))).collect()
        };
        let input = numbered("input_blocks", 1, input_shapes(config));
        let output = numbered("output_blocks", 0, output_shapes(config));
        let blocks = |all: &[(BlockShape, VarBuilder)]| {
            all.par_iter().map(|(shape, vb)| Block::new(shape, config, compute, vb.clone())).collect::<Result<Vec<_>>>()
        };
        let res_blocks =
            [res_blocks(&input), [0, 2].map(|i| (c_middle, middle.pp(i))).to_vec(), res_blocks(&output)].concat();
        Ok(Self {
            conv_in: conv3x3(config.in_channels, c, compute, vb.pp("input_blocks.0.0"))?,
            time_embed: TimeEmbedding::new(c, &res_blocks, compute, vb.pp("time_embed"))?,
            input_blocks: blocks(&input)?,
            middle_block: (res(0)?, transformer(1)?, res(2)?),
            output_blocks: blocks(&output)?,
            out_norm: group_norm(c, 1e-5, compute, vb.pp("out.0"))?,
            out_conv: conv3x3(c, config.out_channels, compute, vb.pp("out.2"))?,
            graph: Graph::new(vb.device())?,
        })
    }

    /// context: (B, M, C_context) → what does not change from step to step.
    pub fn read(&self, context: &Tensor) -> Result<Prompt> {
        let transformer = |block| Block::transformer(block);
        let (input, output) = (self.input_blocks.iter(), self.output_blocks.iter());
        let transformers =
            input.filter_map(transformer).chain([&self.middle_block.1]).chain(output.filter_map(transformer));
        Ok(Prompt(transformers.map(|transformer| transformer.read(context)).collect::<Result<_>>()?))
    }

    /// x: (B, h, w, 4) latents, t: the timestep of all of them, prompt: of R·B contexts, R for each of the latents →
    /// eps (R·B, h, w, 4). What comes before the first look at the contexts is computed once for all R.
    pub fn forward(&self, x: &Tensor, t: f64, prompt: &Prompt) -> Result<Tensor> {
        self.forward_then(x, t, prompt, None, Ok)
    }

    /// The same, and what follows it. number: all that what follows depends on.
    pub fn forward_then(
        &self,
        x: &Tensor,
        t: f64,
        prompt: &Prompt,
        number: Option<f64>,
        then: impl Fn(Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let t = self.time_embed.sinusoids(t, x.device())?; // (1, C)
        let mut inputs = vec![x, &t];
        inputs.extend(prompt.0.iter().flatten().flat_map(KeysValues::tensors));
        self.graph.run(&inputs, number, |inputs| {
            let mut seen = inputs[2..].chunks_exact(2).map(|two| KeysValues::new(two[0], two[1]));
            let prompts = prompt.0.iter().map(|blocks| seen.by_ref().take(blocks.len()).collect());
            then(self.blocks(inputs[0], inputs[1], &prompts.collect::<Vec<_>>())?.to_dtype(DType::F32)?)
        })
    }

    /// t: its sinusoids.
    fn blocks(&self, x: &Tensor, t: &Tensor, prompts: &[Vec<KeysValues>]) -> Result<Tensor> {
        let times = &mut self.time_embed.forward(t)?.into_iter();
        let prompts = &mut prompts.iter();
        let mut x = self.conv_in.forward(x)?;
        let mut skips = vec![x.clone()];
        for block in &self.input_blocks {
            x = block.forward(&x, times, prompts, (0, 0))?;
            skips.push(x.clone());
        }
        let (first, transformer, last) = &self.middle_block;
        let mut time = || times.next().expect("one for each residual block");
        let (before, after) = (time(), time());
        x = transformer.forward(&first.forward(&x, &before)?, prompts.next().expect("one for each transformer"))?;
        x = last.forward(&x, &after)?; // (R·B, h', w', C)
        for block in &self.output_blocks {
            let skip = skips.pop().expect("as many skips as output blocks");
            let (_, h, w, _) = skips.last().unwrap_or(&skip).dims4()?;
            x = block.forward(&concat(&x, &skip)?, times, prompts, (h, w))?;
        }
        self.out_conv.forward(&self.out_norm.forward_silu(&x)?)
    }
}

/// The channels of the residual blocks, each of which is the first part of its block, and where they are.
fn res_blocks<'a>(blocks: &[(BlockShape, VarBuilder<'a>)]) -> Vec<(usize, VarBuilder<'a>)> {
    blocks.iter().filter(|(shape, _)| shape.res).map(|(shape, vb)| (shape.c_out, vb.pp(0))).collect()
}

/// x: (B, …) → (batch, …), all of it again and again; `batch` is a multiple of B.
fn repeated(x: &Tensor, batch: usize) -> Result<Tensor> {
    let times = batch / x.dim(0)?;
    if times == 1 { Ok(x.clone()) } else { Tensor::cat(&vec![x; times], 0) }
}
