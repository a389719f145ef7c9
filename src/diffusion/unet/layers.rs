//! The UNet layer by layer, without weights: the walk of `UNet::new` and `UNet::forward`.

use super::blocks::{BlockShape, Resample, input_shapes, output_shapes};
use crate::config::UNetConfig;
use crate::ops::layer::{Layer, Op};

/// What a UNet is given in one pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pass {
    /// Pictures.
    pub batch: usize,
    /// Rows of latents.
    pub height: usize,
    /// Columns of latents.
    pub width: usize,
    /// Contexts for each picture: 2 with guidance, else 1.
    pub contexts: usize,
    /// Tokens of a context.
    pub tokens: usize,
}

/// Every layer of the UNet in the order of work, their names below `model.diffusion_model`.
pub fn layers(config: &UNetConfig, pass: Pass) -> Vec<Layer> {
    let mut walk = Walk { config, pass, batch: pass.batch, size: (pass.height, pass.width), layers: vec![] };
    let (c, c_time) = (config.model_channels, config.time_channels());
    walk.add("time_embed.0", Op::Linear { c_in: c, c_out: c_time, bias: true }, 1);
    walk.add("time_embed.2", Op::Linear { c_in: c_time, c_out: c_time, bias: true }, 1);
    walk.conv("input_blocks.0.0", config.in_channels, c, 1);
    let mut sizes = vec![walk.size];
    for (i, shape) in input_shapes(config).iter().enumerate() {
        walk.block(&format!("input_blocks.{}", i + 1), shape, (0, 0));
        sizes.push(walk.size);
    }
    let c_middle = config.level_channels(config.channel_mult.len() - 1);
    walk.res("middle_block.0", c_middle, c_middle);
    walk.transformer("middle_block.1", c_middle);
    walk.res("middle_block.2", c_middle, c_middle);
    for (i, shape) in output_shapes(config).iter().enumerate() {
        let size = sizes.pop().unwrap_or(walk.size);
        walk.block(&format!("output_blocks.{i}"), shape, sizes.last().copied().unwrap_or(size));
    }
    walk.norm("out.0", c);
    walk.conv("out.2", c, config.out_channels, 1);
    walk.layers
}

/// Numbers that wait for the output blocks: of every input block, as many as it gives.
pub fn skips(config: &UNetConfig, pass: Pass) -> usize {
    let (mut h, mut w) = (pass.height, pass.width);
    let mut numbers = h * w * config.model_channels;
    for shape in input_shapes(config) {
        if shape.resample == Some(Resample::Down) {
            (h, w) = (h.div_ceil(2), w.div_ceil(2));
        }
        numbers += h * w * shape.c_out;
    }
    pass.batch * pass.contexts * numbers
}

struct Walk<'a> {
    config: &'a UNetConfig,
    pass: Pass,
    /// Maps under way: as many as pictures until the first look at the contexts.
    batch: usize,
    /// Of a map: rows, columns.
    size: (usize, usize),
    layers: Vec<Layer>,
}

impl Walk<'_> {
    fn rows(&self) -> usize {
        self.batch * self.size.0 * self.size.1
    }

    fn add(&mut self, name: &str, op: Op, rows: usize) {
        self.layers.push(Layer::new(name, op, rows));
    }

    fn norm(&mut self, name: &str, c: usize) {
        self.add(name, Op::Norm { c }, self.rows());
    }

    fn linear(&mut self, name: &str, c_in: usize, c_out: usize, bias: bool) {
        self.add(name, Op::Linear { c_in, c_out, bias }, self.rows());
    }

    fn conv1x1(&mut self, name: &str, c_in: usize, c_out: usize) {
        self.add(name, Op::Conv1x1 { c_in, c_out }, self.rows());
    }

    fn conv(&mut self, name: &str, c_in: usize, c_out: usize, stride: usize) {
        self.size = (self.size.0.div_ceil(stride), self.size.1.div_ceil(stride));
        self.add(name, Op::Conv3x3 { c_in, c_out, stride }, self.rows());
    }

    /// larger: the size that an upsampled map takes.
    fn block(&mut self, name: &str, shape: &BlockShape, larger: (usize, usize)) {
        let c = shape.c_out;
        let mut part = 0;
        let mut next = || {
            part += 1;
            format!("{name}.{}", part - 1)
        };
        if shape.res {
            self.res(&next(), shape.c_in, c);
        }
        if shape.heads.is_some() {
            self.transformer(&next(), c);
        }
        match shape.resample {
            Some(Resample::Down) => self.conv(&format!("{}.op", next()), c, c, 2),
            Some(Resample::Up) => {
                self.size = larger;
                self.conv(&format!("{}.conv", next()), c, c, 1);
            }
            None => (),
        }
    }

    fn res(&mut self, name: &str, c_in: usize, c_out: usize) {
        self.norm(&format!("{name}.in_layers.0"), c_in);
        self.conv(&format!("{name}.in_layers.2"), c_in, c_out, 1);
        let time = Op::Linear { c_in: self.config.time_channels(), c_out, bias: true };
        self.add(&format!("{name}.emb_layers.1"), time, 1);
        self.norm(&format!("{name}.out_layers.0"), c_out);
        self.conv(&format!("{name}.out_layers.3"), c_out, c_out, 1);
        if c_in != c_out {
            self.conv1x1(&format!("{name}.skip_connection"), c_in, c_out);
        }
    }

    fn transformer(&mut self, name: &str, c: usize) {
        self.norm(&format!("{name}.norm"), c);
        self.conv1x1(&format!("{name}.proj_in"), c, c);
        for i in 0..self.config.transformer_depth {
            self.transformer_block(&format!("{name}.transformer_blocks.{i}"), c);
        }
        self.conv1x1(&format!("{name}.proj_out"), c, c);
    }

    fn transformer_block(&mut self, name: &str, c: usize) {
        let (all, pixels) = (self.pass.batch * self.pass.contexts, self.size.0 * self.size.1);
        self.norm(&format!("{name}.norm1"), c);
        self.attention(&format!("{name}.attn1"), c, c, None, pixels);
        self.batch = all;
        self.norm(&format!("{name}.norm2"), c);
        let prompts = all * self.pass.tokens;
        self.attention(&format!("{name}.attn2"), c, self.config.context_dim, Some(prompts), self.pass.tokens);
        self.norm(&format!("{name}.norm3"), c);
        self.linear(&format!("{name}.ff.net.0.proj"), c, 8 * c, true);
        self.linear(&format!("{name}.ff.net.2"), 4 * c, c, true);
    }

    /// seen: the rows of all prompts, which are read once a batch, or none where a map looks at itself; m: how many
    /// each pixel looks at.
    fn attention(&mut self, name: &str, c: usize, c_seen: usize, seen: Option<usize>, m: usize) {
        self.linear(&format!("{name}.to_q"), c, c, false);
        for part in ["to_k", "to_v"] {
            let op = Op::Linear { c_in: c_seen, c_out: c, bias: false };
            let layer = Layer::new(format!("{name}.{part}"), op, seen.unwrap_or(self.rows()));
            self.layers.push(Layer { once: seen.is_some(), ..layer });
        }
        self.add(name, Op::Attention { m, c }, self.rows());
        self.linear(&format!("{name}.to_out.0"), c, c, true);
    }
}
