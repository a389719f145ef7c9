//! The yaml files of the original, as far as they shape the model.

use super::{Heads, ModelConfig, NoiseConfig, UNetConfig, VaeConfig};
use anyhow::{Result, anyhow, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct File<M> {
    model: Params<M>,
}

#[derive(Deserialize)]
struct Params<P> {
    params: P,
}

/// Which classes the model is put together from.
#[derive(Deserialize)]
struct Classes {
    unet_config: Class,
    first_stage_config: Class,
    cond_stage_config: Class,
}

#[derive(Deserialize)]
struct Class {
    target: String,
}

/// The arguments of those classes.
#[derive(Deserialize)]
struct Model {
    linear_start: f64,
    linear_end: f64,
    #[serde(default = "thousand")]
    timesteps: usize,
    #[serde(default = "eps")]
    parameterization: String,
    #[serde(default = "unscaled")]
    scale_factor: f64,
    unet_config: Params<UNet>,
    first_stage_config: Params<FirstStage>,
}

#[derive(Deserialize)]
struct UNet {
    in_channels: usize,
    out_channels: usize,
    model_channels: usize,
    attention_resolutions: Vec<usize>,
    num_res_blocks: usize,
    channel_mult: Vec<usize>,
    #[serde(default = "not_given")]
    num_heads: i64,
    #[serde(default = "not_given")]
    num_head_channels: i64,
    #[serde(default = "single")]
    transformer_depth: usize,
    context_dim: usize,
    #[serde(default)]
    use_spatial_transformer: bool,
    #[serde(default)]
    use_linear_in_transformer: bool,
    #[serde(default)]
    use_scale_shift_norm: bool,
    #[serde(default)]
    resblock_updown: bool,
}

#[derive(Deserialize)]
struct FirstStage {
    embed_dim: usize,
    ddconfig: DdConfig,
}

#[derive(Deserialize)]
struct DdConfig {
    z_channels: usize,
    resolution: usize,
    out_ch: usize,
    ch: usize,
    ch_mult: Vec<usize>,
    num_res_blocks: usize,
    attn_resolutions: Vec<usize>,
}

// What the original's classes take for an argument that is not there.
fn thousand() -> usize {
    1000
}
fn eps() -> String {
    "eps".into()
}
fn unscaled() -> f64 {
    1.
}
fn not_given() -> i64 {
    -1
}
fn single() -> usize {
    1
}

/// The model a yaml file describes.
pub fn parse(text: &str) -> Result<ModelConfig> {
    check_classes(&read(text)?)?;
    let model: Model = read(text)?;
    let parameterization = &model.parameterization;
    ensure!(
        parameterization == "eps",
        "parameterization '{parameterization}' is not Stable Diffusion 1.x's, which is 'eps'"
    );
    Ok(ModelConfig {
        unet: unet(model.unet_config.params)?,
        vae: vae(model.first_stage_config.params),
        noise: NoiseConfig {
            linear_start: model.linear_start,
            linear_end: model.linear_end,
            timesteps: model.timesteps,
        },
        scale_factor: model.scale_factor,
    })
}

fn read<M: DeserializeOwned>(text: &str) -> Result<M> {
    // One line: the parser's own errors quote the file around them.
    let told = |error: serde_saphyr::Error| anyhow!("not a Stable Diffusion 1.x config: {}", error.without_snippet());
    let file: File<M> = serde_saphyr::from_str(text).map_err(told)?;
    Ok(file.model.params)
}

fn check_classes(classes: &Classes) -> Result<()> {
    for (class, name) in [
        (&classes.unet_config, "UNetModel"),
        (&classes.first_stage_config, "AutoencoderKL"),
        (&classes.cond_stage_config, "FrozenCLIPEmbedder"),
    ] {
        let target = &class.target;
        ensure!(
            target.rsplit('.').next() == Some(name),
            "'{target}' is not part of Stable Diffusion 1.x, which has {name} in its place"
        );
    }
    Ok(())
}

fn unet(unet: UNet) -> Result<UNetConfig> {
    for (name, given, wanted) in [
        ("use_spatial_transformer", unet.use_spatial_transformer, true),
        ("use_linear_in_transformer", unet.use_linear_in_transformer, false),
        ("use_scale_shift_norm", unet.use_scale_shift_norm, false),
        ("resblock_updown", unet.resblock_updown, false),
    ] {
        ensure!(given == wanted, "unet_config: {name} must be {wanted}, as in Stable Diffusion 1.x");
    }
    Ok(UNetConfig {
        in_channels: unet.in_channels,
        out_channels: unet.out_channels,
        model_channels: unet.model_channels,
        channel_mult: unet.channel_mult,
        attention_resolutions: unet.attention_resolutions,
        num_res_blocks: unet.num_res_blocks,
        heads: heads(unet.num_heads, unet.num_head_channels)?,
        transformer_depth: unet.transformer_depth,
        context_dim: unet.context_dim,
    })
}

/// -1 is LDM's "not given"; with both given, the width of a head decides.
fn heads(count: i64, width: i64) -> Result<Heads> {
    match (usize::try_from(count), usize::try_from(width)) {
        (_, Ok(width)) => Ok(Heads::Width(width)),
        (Ok(count), _) => Ok(Heads::Count(count)),
        _ => anyhow::bail!("unet_config: num_heads or num_head_channels must be given"),
    }
}

fn vae(stage: FirstStage) -> VaeConfig {
    VaeConfig {
        embed_dim: stage.embed_dim,
        z_channels: stage.ddconfig.z_channels,
        out_ch: stage.ddconfig.out_ch,
        ch: stage.ddconfig.ch,
        ch_mult: stage.ddconfig.ch_mult,
        num_res_blocks: stage.ddconfig.num_res_blocks,
        attn_resolutions: stage.ddconfig.attn_resolutions,
        resolution: stage.ddconfig.resolution,
    }
}
