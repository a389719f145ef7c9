//! Inpainting, against diffusers' pipeline.

use crate::support::{
    TestRun, assert_close, channels_last, compute_device, fixture, nano_config, read_png, relative_rms, stdout, tensors,
};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::Path;
use tempfile::TempDir;
use txt2img::by_name::ByName;
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::Loras;
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use txt2img::engine::{Batch, BatchNoise, Engine, Input};
use txt2img::output::Mask;
use txt2img::params::SamplingParams;
use txt2img::rng::Noise;
use txt2img::text::Reading;

/// Writes the small model with another first convolution, that of an inpainting model.
fn write_wide_model(conv_in: &Tensor, path: &Path) {
    const CONV_IN: &str = "model.diffusion_model.input_blocks.0.0.weight";
    let nano = Checkpoint::open(&fixture("nano.ckpt")).unwrap();
    let tensor = |name: &str| {
        let numbers = nano.read_f32(name).ok()?;
        Some((name.to_owned(), Tensor::from_vec(numbers, nano.shape(name)?, &Device::Cpu).unwrap()))
    };
    let mut tensors: HashMap<String, Tensor> = nano.names().filter_map(tensor).collect();
    tensors.insert(CONV_IN.into(), conv_in.clone());
    candle_core::safetensors::save(&tensors, path).unwrap();
}

/// The noise of each call, from a list.
struct Listed {
    all: Vec<Vec<f32>>,
    next: usize,
}

impl BatchNoise for Listed {
    fn start(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> anyhow::Result<Tensor> {
        self.next = 0;
        let (b, h, w, c) = shape;
        let numbers = self.randn(b * h * w * c);
        Ok(channels_last(&Tensor::from_vec(numbers, (b, c, h, w), device)?))
    }

    fn steps(&mut self) -> &mut dyn Noise {
        self
    }
}

impl Noise for Listed {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        self.next += 1;
        let numbers = self.all[self.next - 1].clone();
        assert_eq!(numbers.len(), n);
        numbers
    }

    fn skip(&mut self, _: usize) {}
}

fn prompts() -> Vec<String> {
    let tokens: Vec<HashMap<String, serde_json::Value>> =
        serde_json::from_slice(&std::fs::read(fixture("modules/tokens.json")).unwrap()).unwrap();
    tokens.iter().take(2).map(|line| line["prompt"].as_str().unwrap().to_owned()).collect()
}

fn input() -> Input {
    let picture = |name: &str| read_png(&fixture("inpaint").join(name));
    Input { picture: picture("image.png"), mask: Some(Mask::of_white(&picture("mask.png"))) }
}

/// Returns the latents of every case of the fixture with this number of channels, by name. `dtype`: the type to compute in.
fn latents(channels: &str, dtype: DType) -> HashMap<String, Tensor> {
    let expected = tensors("inpaint.safetensors");
    let folder = TempDir::new().unwrap();
    let wide = folder.path().join("wide.safetensors");
    write_wide_model(&expected["conv_in"], &wide);
    let checkpoint = Checkpoint::open(&if channels == "9" { wide } else { fixture("nano.ckpt") }).unwrap();
    let (config, device) = (nano_config(), compute_device());
    let loras = Loras::default();
    let mut engine = Engine::load(&checkpoint, &config, &loras, &device, dtype, Reading::default(), &mut ()).unwrap();
    engine.load_encoder(&checkpoint).unwrap();
    let (input, prompts) = (input(), prompts());
    let draw = |name: &String| {
        let [sampler, strength @ .., of] = &name.split('.').collect::<Vec<_>>()[..] else { return None };
        if *of != channels {
            return None;
        }
        let kind = Kind::from_name(sampler).unwrap();
        let spacing = if kind == Kind::Ddim { Spacing::Trailing } else { Spacing::Discrete };
        let strength = Some(strength.join(".").parse().unwrap());
        // The pipeline passes its eta, which is 0, to TCD too.
        let sampler = SamplerConfig { kind, steps: 8, eta: 0., spacing, strength };
        let params = SamplingParams { height: 64, width: 64, scale: 5., sampler, ..SamplingParams::default() };
        let batch = Batch { prompts: vec![(&prompts[0], &prompts[1])], params, input: Some(&input) };
        let all = expected["noises"].flatten_from(1).unwrap().to_vec2().unwrap();
        let latents = engine.sample(&batch, &mut Listed { all, next: 0 }, &mut ()).unwrap().latents;
        Some((name.clone(), latents))
    };
    expected.keys().filter_map(draw).collect()
}

fn the_latents_equal_those_of_diffusers(channels: &str) {
    let expected = tensors("inpaint.safetensors");
    let latents = latents(channels, DType::F32);
    assert_eq!(latents.len(), 8);
    for (name, ours) in latents {
        assert_close(&name, &ours, &channels_last(&expected[&name]), 1e-4);
    }
}

#[test]
fn any_model_draws_a_region_as_in_diffusers() {
    the_latents_equal_those_of_diffusers("4");
}

#[test]
fn an_inpainting_model_draws_a_region_as_in_diffusers() {
    the_latents_equal_those_of_diffusers("9");
}

#[test]
fn half_precision_draws_almost_the_same() {
    // bf16 has three bits less than f16: rounding nothing but the UNet's weights to it already changes latents by 0.013.
    let (limit, of_one) = if txt2img::ops::has_bf16() { (0.03, 0.04) } else { (0.005, 0.03) };
    for channels in ["4", "9"] {
        let (half, full) = (latents(channels, DType::BF16), latents(channels, DType::F32));
        let errors: Vec<f64> = full.iter().map(|(name, full)| relative_rms(&half[name], full)).collect();
        // The error of a single case varies by a third when f32 rounds differently; that of all together does not.
        let error = (errors.iter().map(|error| error.powi(2)).sum::<f64>() / errors.len() as f64).sqrt();
        assert!(error <= limit, "{channels} channels: relative RMS error {error:.4} is above {limit}, of {errors:.4?}");
        assert!(
            errors.iter().all(|error| *error <= of_one),
            "{channels} channels: one of {errors:.4?} is above {of_one}"
        );
    }
}

#[test]
fn the_program_recognizes_an_inpainting_model_with_any_config() {
    let run = TestRun::new();
    write_wide_model(&tensors("inpaint.safetensors")["conv_in"], &run.path("wide.safetensors"));
    let yaml = std::fs::read_to_string(fixture("nano.yaml")).unwrap();
    let yaml = yaml
        .replace("in_channels: 4", "in_channels: 9")
        .replace("conditioning_key: crossattn", "conditioning_key: hybrid");
    let run = run.file("wide.yaml", yaml);
    for name in ["image.png", "mask.png"] {
        std::fs::copy(fixture("inpaint").join(name), run.path(name)).unwrap();
    }
    let model = ["--ckpt", "wide.safetensors", "--skip_watermark", "--skip_grid"];
    let masked = ["--init-img", "image.png", "--mask", "mask.png"];
    run.quick(model).ok();
    run.quick([&model[..], &["--config", "wide.yaml"]].concat()).ok();
    run.quick([&model[..], &masked, &["--strength", "1"]].concat()).ok();
    let picture = |n: usize| read_png(&run.path(&format!("out/samples/{n:05}.png")));
    assert!(picture(0) == picture(1) && picture(0) != picture(2));
    let plan = stdout(&run.quick([&model[..], &masked, &["--dry_run"]].concat()).ok());
    assert!(plan.contains("\nregion       mask.png\n"), "{plan}");
    // A config for inpainting does not fit another model.
    run.quick(["--config", "wide.yaml"]).fails_with("input_blocks.0.0.weight");
}
