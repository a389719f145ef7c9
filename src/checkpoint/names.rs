//! The correspondence of LDM's and diffusers' tensor names.
//!
//! Names are not parsed: each function lists all tensors of a model under both names, and a name that is not in the
//! list is unknown.

use std::collections::BTreeMap;

/// The name of the text encoder in a checkpoint.
pub const TEXT: &str = "cond_stage_model.transformer.text_model";

/// The name of the UNet in a checkpoint.
pub const UNET: &str = "model.diffusion_model";

/// The name of the autoencoder in a checkpoint.
pub const VAE: &str = "first_stage_model";

/// Diffusers' name of each tensor, by LDM's name. Tensors that only some blocks have (skip convolutions, biases) are
/// listed for all blocks.
pub type Names = BTreeMap<String, String>;

/// One resolution of a UNet or VAE: `down_blocks.N` or `up_blocks.N`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The number of residual blocks.
    pub resnets: usize,
    /// Whether a transformer follows each residual block.
    pub attention: bool,
}

/// Returns the levels `{blocks}.0`, `{blocks}.1`, … of a diffusers model. `has` tells whether the model has a tensor.
pub fn levels(blocks: &str, has: impl Fn(&str) -> bool) -> Vec<Level> {
    let resnet = |level, layer| has(&format!("{blocks}.{level}.resnets.{layer}.conv1.weight"));
    let attention = |level| has(&format!("{blocks}.{level}.attentions.0.norm.weight"));
    (0..)
        .map(|level| Level {
            resnets: (0..).take_while(|&layer| resnet(level, layer)).count(),
            attention: attention(level),
        })
        .take_while(|level| level.resnets > 0)
        .collect()
}

/// Returns the number of layers of a text encoder. `has` tells whether the model has a tensor.
pub fn text_layers(has: impl Fn(&str) -> bool) -> usize {
    let layer = |n: &usize| has(&format!("text_model.encoder.layers.{n}.mlp.fc1.weight"));
    (0..).take_while(layer).count()
}

const UNET_RESNET: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

const TRANSFORMER: [&str; 16] = [
    "norm",
    "proj_in",
    "proj_out",
    "transformer_blocks.0.norm1",
    "transformer_blocks.0.norm2",
    "transformer_blocks.0.norm3",
    "transformer_blocks.0.attn1.to_q",
    "transformer_blocks.0.attn1.to_k",
    "transformer_blocks.0.attn1.to_v",
    "transformer_blocks.0.attn1.to_out.0",
    "transformer_blocks.0.attn2.to_q",
    "transformer_blocks.0.attn2.to_k",
    "transformer_blocks.0.attn2.to_v",
    "transformer_blocks.0.attn2.to_out.0",
    "transformer_blocks.0.ff.net.0.proj",
    "transformer_blocks.0.ff.net.2",
];

const VAE_RESNET: [(&str, &str); 5] =
    [("norm1", "norm1"), ("conv1", "conv1"), ("norm2", "norm2"), ("conv2", "conv2"), ("nin_shortcut", "conv_shortcut")];

const VAE_ATTENTION: [(&str, &str); 5] =
    [("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];

const TEXT_LAYER: [&str; 8] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
    "layer_norm1",
    "layer_norm2",
    "mlp.fc1",
    "mlp.fc2",
];

/// Lists the UNet's tensors. `down` and `up` are the levels of its two halves in diffusers' order.
pub fn unet(down: &[Level], up: &[Level]) -> Names {
    let mut list = List::new("model.diffusion_model");
    list.layer("time_embed.0", "time_embedding.linear_1");
    list.layer("time_embed.2", "time_embedding.linear_2");
    list.layer("time_embed.cond_proj", "time_embedding.cond_proj");
    list.layer("input_blocks.0.0", "conv_in");
    unet_down(&mut list, down);
    list.block("middle_block.0", "mid_block.resnets.0", &UNET_RESNET);
    list.same_block("middle_block.1", "mid_block.attentions.0", &TRANSFORMER);
    list.block("middle_block.2", "mid_block.resnets.1", &UNET_RESNET);
    unet_up(&mut list, up);
    list.layer("out.0", "conv_norm_out");
    list.layer("out.2", "conv_out");
    list.names
}

/// Lists the levels of the first half. LDM numbers the blocks of all levels consecutively, and counts the downsampler
/// at the end of each level but the last as a block.
fn unet_down(list: &mut List, levels: &[Level]) {
    let mut n = 1;
    for (i, level) in levels.iter().enumerate() {
        for layer in 0..level.resnets {
            let (ldm, diffusers) = (format!("input_blocks.{n}"), format!("down_blocks.{i}"));
            unet_layer(list, level, &ldm, &diffusers, layer);
            n += 1;
        }
        if i + 1 < levels.len() {
            let diffusers = format!("down_blocks.{i}.downsamplers.0.conv");
            list.layer(&format!("input_blocks.{n}.0.op"), &diffusers);
            n += 1;
        }
    }
}

/// Lists the levels of the second half. In LDM, an upsampler belongs to the last block of its level, after the
/// attention if there is one.
fn unet_up(list: &mut List, levels: &[Level]) {
    let mut n = 0;
    for (i, level) in levels.iter().enumerate() {
        for layer in 0..level.resnets {
            let (ldm, diffusers) = (format!("output_blocks.{n}"), format!("up_blocks.{i}"));
            unet_layer(list, level, &ldm, &diffusers, layer);
            if layer + 1 == level.resnets && i + 1 < levels.len() {
                let index = if level.attention { 2 } else { 1 };
                let diffusers = format!("{diffusers}.upsamplers.0.conv");
                list.layer(&format!("{ldm}.{index}.conv"), &diffusers);
            }
            n += 1;
        }
    }
}

fn unet_layer(list: &mut List, level: &Level, ldm: &str, diffusers: &str, layer: usize) {
    let resnet = format!("{diffusers}.resnets.{layer}");
    list.block(&format!("{ldm}.0"), &resnet, &UNET_RESNET);
    if level.attention {
        let attention = format!("{diffusers}.attentions.{layer}");
        list.same_block(&format!("{ldm}.1"), &attention, &TRANSFORMER);
    }
}

/// Lists the VAE's tensors. `down` and `up` are the levels of encoder and decoder in diffusers' order.
pub fn vae(down: &[Level], up: &[Level]) -> Names {
    let mut list = List::new("first_stage_model");
    list.layer("quant_conv", "quant_conv");
    list.layer("post_quant_conv", "post_quant_conv");
    for (i, level) in down.iter().enumerate() {
        let (ldm, diffusers) = (format!("encoder.down.{i}"), format!("encoder.down_blocks.{i}"));
        vae_level(&mut list, level, &ldm, &diffusers, ["downsample", "downsamplers"]);
    }
    for (i, level) in up.iter().enumerate() {
        // LDM numbers the decoder's levels from the image inwards, diffusers in the order of execution.
        let (ldm, diffusers) = (format!("decoder.up.{}", up.len() - 1 - i), format!("decoder.up_blocks.{i}"));
        vae_level(&mut list, level, &ldm, &diffusers, ["upsample", "upsamplers"]);
    }
    for coder in ["encoder", "decoder"] {
        vae_ends(&mut list, coder);
    }
    list.names
}

fn vae_level(list: &mut List, level: &Level, ldm: &str, diffusers: &str, resample: [&str; 2]) {
    for layer in 0..level.resnets {
        let resnet = format!("{diffusers}.resnets.{layer}");
        list.block(&format!("{ldm}.block.{layer}"), &resnet, &VAE_RESNET);
    }
    let [ldm_resample, diffusers_resample] = resample;
    let diffusers = format!("{diffusers}.{diffusers_resample}.0.conv");
    list.layer(&format!("{ldm}.{ldm_resample}.conv"), &diffusers);
}

/// Lists the layers at the start, the end and the middle, which encoder and decoder have in common.
fn vae_ends(list: &mut List, coder: &str) {
    let ldm = |name: &str| format!("{coder}.{name}");
    let diffusers = ldm;
    list.layer(&ldm("conv_in"), &diffusers("conv_in"));
    list.block(&ldm("mid.block_1"), &diffusers("mid_block.resnets.0"), &VAE_RESNET);
    list.block(&ldm("mid.attn_1"), &diffusers("mid_block.attentions.0"), &VAE_ATTENTION);
    list.block(&ldm("mid.block_2"), &diffusers("mid_block.resnets.1"), &VAE_RESNET);
    list.layer(&ldm("norm_out"), &diffusers("conv_norm_out"));
    list.layer(&ldm("conv_out"), &diffusers("conv_out"));
}

/// Lists the text encoder's tensors. LDM keeps the names of transformers.
pub fn text_encoder(layers: usize) -> Names {
    let mut list = List::new("cond_stage_model.transformer");
    for table in ["position_ids", "token_embedding.weight", "position_embedding.weight"] {
        let name = format!("text_model.embeddings.{table}");
        list.tensor(&name, &name);
    }
    for n in 0..layers {
        let name = format!("text_model.encoder.layers.{n}");
        list.same_block(&name, &name, &TEXT_LAYER);
    }
    list.layer("text_model.final_layer_norm", "text_model.final_layer_norm");
    list.names
}

/// Returns the name of a VAE's tensor in newer versions of diffusers. Older ones name the layers of its attention
/// `query`, `key`, `value` and `proj_attn`.
pub fn new_vae_name(name: &str) -> String {
    let mut ends = name.rsplitn(3, '.');
    let (Some(kind), Some(layer), Some(block)) = (ends.next(), ends.next(), ends.next()) else {
        return name.to_string();
    };
    let layer = match layer {
        "query" => "to_q",
        "key" => "to_k",
        "value" => "to_v",
        "proj_attn" => "to_out.0",
        other => other,
    };
    format!("{block}.{layer}.{kind}")
}

/// Returns LDM's name of a tensor, with the text encoder's `text_model.`, which transformers before 4.0 and from 5.6 on
/// omit.
pub fn new_text_name(name: &str) -> String {
    const ROOT: &str = "cond_stage_model.transformer.";
    match name.strip_prefix(ROOT) {
        Some(rest) => format!("{ROOT}{}", with_text_model(rest)),
        None => name.to_string(),
    }
}

/// Adds the prefix `text_model.` to the name of a text encoder's tensor that lacks it.
pub(super) fn with_text_model(name: &str) -> String {
    let is_bare = ["embeddings.", "encoder.", "final_layer_norm."].iter().any(|start| name.starts_with(start));
    if is_bare { format!("text_model.{name}") } else { name.to_string() }
}

/// A list of names under construction. Its methods take LDM's names without the model's prefix.
struct List {
    prefix: &'static str,
    names: Names,
}

impl List {
    fn new(prefix: &'static str) -> Self {
        Self { prefix, names: Names::new() }
    }

    /// Adds a block, as pairs of LDM's and diffusers' layers.
    fn block(&mut self, ldm: &str, diffusers: &str, layers: &[(&str, &str)]) {
        for (ldm_layer, diffusers_layer) in layers {
            self.layer(&format!("{ldm}.{ldm_layer}"), &format!("{diffusers}.{diffusers_layer}"));
        }
    }

    /// Adds a block whose layers have the same names in LDM and diffusers.
    fn same_block(&mut self, ldm: &str, diffusers: &str, layers: &[&str]) {
        for layer in layers {
            self.layer(&format!("{ldm}.{layer}"), &format!("{diffusers}.{layer}"));
        }
    }

    /// Adds the weight and the bias of a layer.
    fn layer(&mut self, ldm: &str, diffusers: &str) {
        for kind in ["weight", "bias"] {
            self.tensor(&format!("{ldm}.{kind}"), &format!("{diffusers}.{kind}"));
        }
    }

    fn tensor(&mut self, ldm: &str, diffusers: &str) {
        self.names.insert(format!("{}.{ldm}", self.prefix), diffusers.to_string());
    }
}
