//! The original's YAML configs.

use crate::support::{TestRun, fixture, nano_config};
use txt2img::config::{Heads, ModelConfig};

/// The numbers of configs/stable-diffusion/v1-inference.yaml, in its format.
const V1: &str = "
model:
  base_learning_rate: 1.0e-04
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    channels: 4
    scale_factor: 0.18215
    use_ema: False
    scheduler_config:
      target: ldm.lr_scheduler.LambdaLinearScheduler
      params: {cycle_lengths: [10000000000000], f_start: [1.e-6]}
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 32 # unused
        in_channels: 4
        out_channels: 4
        model_channels: 320
        attention_resolutions: [4, 2, 1]
        num_res_blocks: 2
        channel_mult: [1, 2, 4, 4]
        num_heads: 8
        use_spatial_transformer: True
        transformer_depth: 1
        context_dim: 768
        legacy: False
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        ddconfig: {double_z: true, z_channels: 4, resolution: 256, in_channels: 3, out_ch: 3, ch: 128, ch_mult: [1, 2, 4, 4], num_res_blocks: 2, attn_resolutions: [], dropout: 0.0}
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
";

fn parse(yaml: &str) -> anyhow::Result<ModelConfig> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), yaml)?;
    ModelConfig::from_yaml(file.path())
}

#[track_caller]
fn is_refused(change: (&str, &str), reason: &str) {
    let yaml = V1.replace(change.0, change.1);
    assert_ne!(yaml, V1, "'{}' is not in the file", change.0);
    let error = format!("{:#}", parse(&yaml).unwrap_err());
    assert!(error.contains(reason), "{error}");
}

#[test]
fn the_built_in_config_is_v1_inference() {
    assert_eq!(parse(V1).unwrap(), ModelConfig::v1());
}

#[test]
fn a_smaller_model_is_a_matter_of_numbers() {
    let config = nano_config();
    assert_eq!((config.unet.model_channels, config.unet.heads), (32, Heads::Count(4)));
    assert_eq!(config.vae.ch_mult, [1, 1, 2, 2]);
}

#[test]
fn heads_may_be_given_by_their_width() {
    let config = parse(&V1.replace("num_heads: 8", "num_head_channels: 64")).unwrap();
    assert_eq!(config.unet.heads, Heads::Width(64));
    assert_eq!(config.unet.num_heads_of(640), 10);
}

#[test]
fn configs_of_other_models_are_refused_by_name() {
    is_refused(
        ("FrozenCLIPEmbedder", "FrozenOpenCLIPEmbedder"),
        "cond_stage_config: 'ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder' is not part of",
    );
    is_refused(("FrozenCLIPEmbedder", "BERTEmbedder"), "has FrozenCLIPEmbedder in its place");
    is_refused(("AutoencoderKL", "VQModelInterface"), "VQModelInterface");
    is_refused(("use_ema: False", "parameterization: x0"), "parameterization 'x0'");
    is_refused(("transformer_depth: 1", "use_linear_in_transformer: True"), "use_linear_in_transformer must be false");
}

#[test]
fn numbers_no_model_can_be_built_from_are_refused() {
    is_refused(("model_channels: 320", "model_channels: 0"), "multiples of 32");
    is_refused(("model_channels: 320", "model_channels: 4294967296"), "multiples of 32");
    is_refused(("model_channels: 320", "model_channels: -320"), "not a Stable Diffusion 1.x config");
    is_refused(("channel_mult: [1, 2, 4, 4]", "channel_mult: []"), "1 to 8 levels");
    is_refused(("channel_mult: [1, 2, 4, 4]", "channel_mult: [1, 18446744073709551615]"), "multiples of 32");
    is_refused(("num_heads: 8", "num_heads: 7"), "320 channels cannot be divided among 7 heads");
    is_refused(("num_heads: 8", "num_heads: 0"), "0 heads");
    is_refused(("num_heads: 8", "num_head_channels: 0"), "heads");
    is_refused(("num_heads: 8", ""), "num_heads or num_head_channels");
    is_refused(("num_res_blocks: 2\n", "num_res_blocks: 99999999\n"), "1 to 16");
    is_refused(("context_dim: 768", "context_dim: 0"), "context_dim");
    is_refused(("embed_dim: 4", "embed_dim: 8"), "embed_dim is 8");
    is_refused(("out_ch: 3", "out_ch: 4"), "out_ch must be 3");
    is_refused(("timesteps: 1000", "timesteps: 4"), "timesteps must be 1000");
    is_refused(
        ("linear_end: 0.0120", "linear_end: 1.5"),
        "linear_start must not exceed linear_end; they are 0.00085 and 1.5",
    );
    is_refused(("linear_end: 0.0120", "linear_end: .nan"), "not a Stable Diffusion 1.x config");
    is_refused(("scale_factor: 0.18215", "scale_factor: 0"), "scale_factor");
}

#[test]
fn files_that_are_no_config_are_refused() {
    for text in ["", "model", "- 1", "{", "model: {params: 3}", "\0", "a: &a [*a, *a]"] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    TestRun::new()
        .args(["--config", "nowhere.yaml"])
        .fails_with("config 'nowhere.yaml': there is no such file; give the model's yaml file");
    TestRun::new().args(["--config", "."]).fails_with("config '.': it is a folder; give a yaml file");
    let checkpoint = fixture("nano.ckpt");
    TestRun::new()
        .args(["--config", checkpoint.to_str().unwrap()])
        .fails_with("nano.ckpt': more than 1048576 bytes; give a yaml file");
}
