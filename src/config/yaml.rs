//! The parser of the original's yaml files.

use super::{Ends, Heads, ModelConfig, NoiseConfig, Prediction, TIMESTEPS, UNetConfig, VaeConfig};
use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

#[derive(Deserialize)]
struct File<M> {
    model: Params<M>,
}

#[derive(Deserialize)]
struct Params<P> {
    params: P,
}

/// The classes of the model's parts.
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

/// The arguments of the model's class, with their defaults in the original.
#[derive(Deserialize)]
struct Model {
    #[serde(default = "linear")]
    beta_schedule: String,
    #[serde(default = "linear_start")]
    linear_start: f64,
    #[serde(default = "linear_end")]
    linear_end: f64,
    #[serde(default = "cosine_s")]
    cosine_s: f64,
    given_betas: Option<Vec<f64>>,
    #[serde(default = "timesteps")]
    timesteps: usize,
    parameterization: Option<String>,
    #[serde(default = "yes")]
    use_ema: bool,
    #[serde(default = "unscaled")]
    scale_factor: f64,
    #[serde(default)]
    scale_by_std: bool,
    conditioning_key: Option<String>,
    unet_config: Params<UNet>,
    first_stage_config: Params<FirstStage>,
    cond_stage_config: Optional<TextEncoder>,
}

/// A class with optional arguments.
#[derive(Deserialize)]
struct Optional<P> {
    params: Option<P>,
}

#[derive(Deserialize)]
struct TextEncoder {
    #[serde(default = "last")]
    layer: String,
    #[serde(default = "tokens")]
    max_length: usize,
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
    #[serde(default = "yes")]
    conv_resample: bool,
    #[serde(default)]
    disable_middle_self_attn: bool,
    num_classes: Option<IgnoredAny>,
    n_embed: Option<IgnoredAny>,
    disable_self_attentions: Option<IgnoredAny>,
    num_attention_blocks: Option<IgnoredAny>,
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
    #[serde(default)]
    tanh_out: bool,
    #[serde(default)]
    use_linear_attn: bool,
    #[serde(default = "yes")]
    resamp_with_conv: bool,
}

// The defaults in the original's classes.
fn linear() -> String {
    "linear".into()
}
fn linear_start() -> f64 {
    1e-4
}
fn linear_end() -> f64 {
    2e-2
}
fn cosine_s() -> f64 {
    8e-3
}
fn timesteps() -> usize {
    1000
}
fn yes() -> bool {
    true
}
fn last() -> String {
    "last".into()
}
fn tokens() -> usize {
    77
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

/// Parses the text of a yaml file.
///
/// # Errors
/// If the text is not a config of Stable Diffusion 1.x.
pub fn parse(text: &str) -> Result<ModelConfig> {
    check_classes(&model_params(text)?)?;
    let model: Model = model_params(text)?;
    check(&model)?;
    Ok(ModelConfig {
        noise: noise(&model)?,
        prediction: prediction(model.parameterization.as_deref())?,
        assumed_prediction: None,
        use_ema: model.use_ema,
        unet: unet(model.unet_config.params)?,
        vae: vae(model.first_stage_config.params)?,
        scale_factor: model.scale_factor,
    })
}

/// Checks settings that would change the image and are not supported.
fn check(model: &Model) -> Result<()> {
    if let Some(key) = &model.conditioning_key {
        ensure!(
            // An inpainting model's is "hybrid".
            ["crossattn", "hybrid"].contains(&&**key),
            "conditioning_key '{key}' is not supported; it must be 'crossattn', or 'hybrid' for inpainting"
        );
    }
    ensure!(!model.scale_by_std, "scale_by_std is not supported; give the model's scale_factor instead");
    if let Some(TextEncoder { layer, max_length }) = &model.cond_stage_config.params {
        ensure!(layer == "last", "cond_stage_config: layer must be last, as in Stable Diffusion 1.x, not {layer}");
        ensure!(*max_length == tokens(), "cond_stage_config: max_length must be 77, not {max_length}");
    }
    Ok(())
}

fn noise(model: &Model) -> Result<NoiseConfig> {
    let n = model.timesteps;
    ensure!(n == TIMESTEPS, "timesteps must be {TIMESTEPS}, as in every Stable Diffusion 1.x model, not {n}");
    if let Some(betas) = &model.given_betas {
        return Ok(NoiseConfig::Betas(betas.clone()));
    }
    let ends = Ends { start: model.linear_start, end: model.linear_end };
    NoiseConfig::from_ldm_name(&model.beta_schedule, ends, model.cosine_s)
}

fn prediction(name: Option<&str>) -> Result<Option<Prediction>> {
    let unknown = |name| format!("parameterization '{name}' is not supported; it must be 'eps' or 'v'");
    name.map(|name| Prediction::from_any_name(name).with_context(|| unknown(name))).transpose()
}

/// Parses `model.params`.
fn model_params<M: DeserializeOwned>(text: &str) -> Result<M> {
    // Without the snippet of the file, which has several lines.
    let invalid =
        |error: serde_saphyr::Error| anyhow!("not a Stable Diffusion 1.x config: {}", error.without_snippet());
    let file: File<M> = serde_saphyr::from_str(text).map_err(invalid)?;
    Ok(file.model.params)
}

/// Checks that the model consists of the classes of Stable Diffusion 1.x.
fn check_classes(classes: &Classes) -> Result<()> {
    for (key, class, name) in [
        ("unet_config", &classes.unet_config, "UNetModel"),
        ("first_stage_config", &classes.first_stage_config, "AutoencoderKL"),
        ("cond_stage_config", &classes.cond_stage_config, "FrozenCLIPEmbedder"),
    ] {
        let target = &class.target;
        ensure!(
            target.rsplit('.').next() == Some(name),
            "{key}: '{target}' is not part of Stable Diffusion 1.x, which has {name} in its place"
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
        ("conv_resample", unet.conv_resample, true),
        ("disable_middle_self_attn", unet.disable_middle_self_attn, false),
    ] {
        ensure!(given == wanted, "unet_config: {name} must be {wanted}, as in Stable Diffusion 1.x");
    }
    for (name, given) in [
        ("num_classes", unet.num_classes),
        ("n_embed", unet.n_embed),
        ("disable_self_attentions", unet.disable_self_attentions),
        ("num_attention_blocks", unet.num_attention_blocks),
    ] {
        ensure!(given.is_none(), "unet_config: {name} is not supported; Stable Diffusion 1.x has none");
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
        guidance_width: None,
    })
}

/// Returns the number of heads, of which LDM's -1 stands for "not given". If both are given, the width of a head
/// decides.
fn heads(count: i64, width: i64) -> Result<Heads> {
    match (usize::try_from(count), usize::try_from(width)) {
        (_, Ok(width)) => Ok(Heads::Width(width)),
        (Ok(count), _) => Ok(Heads::Count(count)),
        _ => anyhow::bail!("unet_config: num_heads or num_head_channels must be given"),
    }
}

fn vae(stage: FirstStage) -> Result<VaeConfig> {
    for (name, given, wanted) in [
        ("tanh_out", stage.ddconfig.tanh_out, false),
        ("use_linear_attn", stage.ddconfig.use_linear_attn, false),
        ("resamp_with_conv", stage.ddconfig.resamp_with_conv, true),
    ] {
        ensure!(given == wanted, "ddconfig: {name} must be {wanted}, as in Stable Diffusion 1.x");
    }
    Ok(VaeConfig {
        embed_dim: stage.embed_dim,
        z_channels: stage.ddconfig.z_channels,
        out_ch: stage.ddconfig.out_ch,
        ch: stage.ddconfig.ch,
        ch_mult: stage.ddconfig.ch_mult,
        num_res_blocks: stage.ddconfig.num_res_blocks,
        attn_resolutions: stage.ddconfig.attn_resolutions,
        resolution: stage.ddconfig.resolution,
    })
}
