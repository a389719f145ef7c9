//! The list of the decoder's layers, in the order of `Decoder::forward`, without weights.

use crate::config::VaeConfig;
use crate::ops::layer::{Layer, Op};

/// Returns the decoder's layers in the order in which they run, for one image of `height` × `width` latents. Their
/// names are relative to `first_stage_model`.
pub fn layers(config: &VaeConfig, height: usize, width: usize) -> Vec<Layer> {
    let mut walk = Walk { pixels: height * width, layers: vec![] };
    let top = config.ch_mult.len() - 1;
    let c_of = |level: usize| config.ch * config.ch_mult[level];
    let (c, c_last) = (c_of(top), c_of(0));
    walk.conv1x1("post_quant_conv", config.embed_dim, config.z_channels);
    walk.conv("decoder.conv_in", config.z_channels, c);
    walk.res("decoder.mid.block_1", c, c);
    walk.attention("decoder.mid.attn_1", c);
    walk.res("decoder.mid.block_2", c, c);
    for level in (0..=top).rev() {
        let (name, c) = (format!("decoder.up.{level}"), c_of(level));
        let has_attention = config.attn_resolutions.contains(&(config.resolution >> level));
        for i in 0..=config.num_res_blocks {
            walk.res(&format!("{name}.block.{i}"), if i == 0 { c_of(top.min(level + 1)) } else { c }, c);
            if has_attention {
                walk.attention(&format!("{name}.attn.{i}"), c);
            }
        }
        if level > 0 {
            walk.pixels *= 4;
            walk.conv(&format!("{name}.upsample.conv"), c, c);
        }
    }
    walk.norm("decoder.norm_out", c_last);
    walk.conv("decoder.conv_out", c_last, config.out_ch);
    walk.layers
}

/// The layers so far.
struct Walk {
    /// The number of pixels of the current map.
    pixels: usize,
    layers: Vec<Layer>,
}

impl Walk {
    fn add(&mut self, name: &str, op: Op) {
        self.layers.push(Layer::new(name, op, self.pixels));
    }

    fn norm(&mut self, name: &str, c: usize) {
        self.add(name, Op::Norm { c });
    }

    fn conv1x1(&mut self, name: &str, c_in: usize, c_out: usize) {
        self.add(name, Op::Conv1x1 { c_in, c_out });
    }

    fn conv(&mut self, name: &str, c_in: usize, c_out: usize) {
        self.add(name, Op::Conv3x3 { c_in, c_out, stride: 1 });
    }

    fn res(&mut self, name: &str, c_in: usize, c_out: usize) {
        self.norm(&format!("{name}.norm1"), c_in);
        self.conv(&format!("{name}.conv1"), c_in, c_out);
        self.norm(&format!("{name}.norm2"), c_out);
        self.conv(&format!("{name}.conv2"), c_out, c_out);
        if c_in != c_out {
            self.conv1x1(&format!("{name}.nin_shortcut"), c_in, c_out);
        }
    }

    fn attention(&mut self, name: &str, c: usize) {
        self.norm(&format!("{name}.norm"), c);
        for part in ["q", "k", "v"] {
            self.conv1x1(&format!("{name}.{part}"), c, c);
        }
        self.add(name, Op::Attention { m: self.pixels, c });
        self.conv1x1(&format!("{name}.proj_out"), c, c);
    }
}
