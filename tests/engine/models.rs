//! The networks against the original's results, with the tiny test model.

use crate::support::{
    assert_close, channels_last, compute_device, device, fixture, nano, nano_config, sample, tensors,
};
use candle_core::{DType, Device, Tensor};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::Loras;
use txt2img::demo;
use txt2img::diffusion::samplers::{Kind, SamplerConfig};
use txt2img::diffusion::schedule::Schedule;
use txt2img::engine::{Batch, Engine, Input, Model, Observer, Preview, SeedNoise};
use txt2img::output::{self, Picture};
use txt2img::params::SamplingParams;
use txt2img::rng::Rng;
use txt2img::text::Reading;

/// The tolerance. The original itself differs by 3e-6 with another convolution library.
const LIMIT: f64 = 2e-5;

const PROMPTS: [&str; 2] = ["a photo of a pink cube, black background", "a photograph of an astronaut riding a horse"];

#[test]
fn the_text_encoder_equals_the_original() {
    let model = nano();
    let tokens = PROMPTS.map(|prompt| model.tokens(prompt).unwrap());
    let expected = &tensors("modules/modules.safetensors")["context"];
    assert_close("context", &model.context(&tokens).unwrap(), expected, LIMIT);
}

#[test]
fn repeated_prompts_get_equal_contexts() {
    let model = nano();
    let tokens = [PROMPTS[0]; 3].map(|prompt| model.tokens(prompt).unwrap());
    let expected =
        tensors("modules/modules.safetensors")["context"].narrow(0, 0, 1).unwrap().repeat((3, 1, 1)).unwrap();
    assert_close("context", &model.context(&tokens).unwrap(), &expected, LIMIT);
}

#[test]
fn the_unet_equals_the_original_at_integer_and_fractional_timesteps() {
    let (model, expected) = (nano(), tensors("modules/modules.safetensors"));
    let x = channels_last(&expected["unet.x"]);
    let prompt = model.unet().project(&expected["context"], 1.).unwrap();
    for (name, t) in [("t1", 1.), ("t312.75", 312.75), ("t500", 500.), ("t981", 981.)] {
        let eps = model.unet().forward(&x, t, &prompt).unwrap();
        assert_close(name, &eps, &channels_last(&expected[&format!("unet.eps.{name}")]), LIMIT);
    }
}

#[test]
fn the_unet_equals_the_original_on_a_wide_map() {
    let (model, expected) = (nano(), tensors("modules/modules.safetensors"));
    let context = expected["context"].narrow(0, 0, 1).unwrap();
    let prompt = model.unet().project(&context, 1.).unwrap();
    let eps = model.unet().forward(&channels_last(&expected["unet.x_wide"]), 981., &prompt).unwrap();
    assert_close("wide", &eps, &channels_last(&expected["unet.eps_wide.t981"]), LIMIT);
}

#[test]
fn the_decoder_equals_the_original() {
    let (model, expected) = (nano(), tensors("modules/modules.safetensors"));
    let z = channels_last(&expected["vae.z"]);
    let pixels = model.pixels(&z).unwrap();
    assert_close("image", &pixels, &channels_last(&expected["vae.image"]), LIMIT);
}

/// Returns the pixels that the small model decodes from diffusers' latents with the TAESD in `path`, and diffusers' pixels.
fn decoded_by_taesd(path: &Path) -> (Tensor, Tensor) {
    let checkpoint = Checkpoint::open_with_vae(&fixture("nano.ckpt"), path).unwrap();
    let model = Model::load(&checkpoint, &nano_config(), &Loras::default(), &device(), DType::F32, &|| ()).unwrap();
    let expected = tensors("taesd/expect.safetensors");
    let pixels = model.pixels(&channels_last(&expected["latents"])).unwrap();
    (pixels, channels_last(&expected["decoded"]))
}

/// Returns the tensors of a TAESD's decoder in its author's layout.
fn taesd() -> Vec<(String, Tensor)> {
    candle_core::pickle::read_all(fixture("taesd/decoder.pth")).unwrap()
}

/// Writes tensors to the file `name` in a folder.
fn write(folder: &TempDir, name: &str, tensors: impl IntoIterator<Item = (String, Tensor)>) -> PathBuf {
    let path = folder.path().join(name);
    candle_core::safetensors::save(&tensors.into_iter().collect(), &path).unwrap();
    path
}

#[test]
fn taesd_equals_diffusers_in_every_layout() {
    let (pixels, expected) = decoded_by_taesd(&fixture("taesd/decoder.pth"));
    assert_close("its author's", &pixels, &expected, LIMIT);
    let folder = tempfile::tempdir().unwrap();
    let whole = taesd().into_iter().map(|(name, tensor)| (format!("decoder.{name}"), tensor));
    assert_close("whole", &decoded_by_taesd(&write(&folder, "taesd.safetensors", whole)).0, &pixels, 0.);
    let diffusers = taesd().into_iter().map(|(name, tensor)| {
        let (number, rest) = name.split_once('.').unwrap();
        (format!("decoder.layers.{}.{rest}", number.parse::<usize>().unwrap() - 1), tensor)
    });
    let path = write(&folder, "diffusers.safetensors", diffusers);
    assert_close("diffusers'", &decoded_by_taesd(&path).0, &pixels, 0.);
}

#[test]
fn taesds_bands_leave_no_seams() {
    let checkpoint = Checkpoint::open_with_vae(&fixture("nano.ckpt"), &fixture("taesd/decoder.pth")).unwrap();
    let model = Model::load(&checkpoint, &nano_config(), &Loras::default(), &device(), DType::F32, &|| ()).unwrap();
    let latents = Tensor::randn(0f32, 1., (1, 70, 4, 4), &device()).unwrap();
    let whole = model.pixels(&latents).unwrap(); // five bands of 16 rows of latents
    // Without its first rows, other pixels are at the borders of bands. A pixel depends on at most 19 rows on either side.
    let (cut, near) = (10, 19);
    let lower = model.pixels(&latents.narrow(1, cut, 70 - cut).unwrap().contiguous().unwrap()).unwrap();
    let below = |pixels: &Tensor, row: usize| pixels.narrow(1, 8 * row, pixels.dim(1).unwrap() - 8 * row).unwrap();
    assert_close("the pixels below", &below(&lower, near), &below(&whole, cut + near), LIMIT);
}

/// Keeps the clean latents and the preview of each step.
#[derive(Default)]
struct Previews(Vec<(Tensor, Picture)>);

impl Observer for Previews {
    fn on_step(&mut self, _: usize, _: &Tensor, x0: &Tensor, preview: &Preview) -> anyhow::Result<()> {
        self.0.push((x0.clone(), preview(0)?));
        Ok(())
    }
}

#[test]
fn previews_are_taesds_pictures_if_it_is_loaded() {
    let (nano, tiny) = (fixture("nano.ckpt"), fixture("taesd/decoder.pth"));
    for checkpoint in [Checkpoint::open(&nano), Checkpoint::open_with_vae(&nano, &tiny)].map(Result::unwrap) {
        let (config, loras, device) = (nano_config(), Loras::default(), compute_device());
        let load = || Engine::load(&checkpoint, &config, &loras, &device, DType::F32, Reading::default(), &mut ());
        let sampler = SamplerConfig { kind: Kind::Ddim, steps: 2, ..SamplerConfig::default() };
        let params = SamplingParams { height: 64, width: 128, sampler, ..SamplingParams::default() };
        let batch = Batch { prompts: vec![("a cube", "")], params, input: None };
        let mut previews = Previews::default();
        load().unwrap().render(&batch, &mut SeedNoise::new(Rng::default(), 1), &mut previews).unwrap();
        let model = Model::load(&checkpoint, &config, &loras, &device.device, DType::F32, &|| ()).unwrap();
        assert_eq!(previews.0.len(), 2);
        for (x0, picture) in previews.0 {
            let expected = if checkpoint.has_tiny_vae() { model.picture(&x0, 0) } else { output::preview(&x0) };
            assert!(picture == expected.unwrap());
        }
    }
}

#[test]
fn other_taesds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |path: &Path| Checkpoint::open_with_vae(&fixture("nano.ckpt"), path).err().unwrap().to_string();
    let mut wide = taesd();
    let first = wide.iter_mut().find(|(name, _)| name == "1.weight").unwrap();
    first.1 = first.1.repeat((1, 4, 1, 1)).unwrap();
    let message = refusal(&write(&folder, "taesd3_decoder.safetensors", wide));
    assert!(message.contains("is a TAESD for latents of 16 channels"), "{message}");
    let encoder = [("0.weight", &[64, 3, 3, 3][..]), ("1.conv.0.weight", &[64, 64, 3, 3])];
    let zeros = encoder.map(|(name, shape)| (name.to_owned(), Tensor::zeros(shape, DType::F32, &device()).unwrap()));
    let message = refusal(&write(&folder, "taesd_encoder.safetensors", zeros));
    assert!(message.contains("has no VAE decoder"), "{message}");
}

#[test]
fn tiled_decoding_is_close_to_whole_decoding() {
    let model = nano();
    let latents = Rng::default().noise(1).randn_latents((1, 70, 100, 4), &device()).unwrap();
    let [whole, tiled] = [model.pixels(&latents), model.pixels_in_tiles(&latents)].map(Result::unwrap);
    assert_close("tiled", &tiled, &whole, 0.03);
    let small = latents.narrow(1, 3, 9).unwrap().narrow(2, 5, 64).unwrap().contiguous().unwrap();
    assert_close("one tile", &model.pixels_in_tiles(&small).unwrap(), &model.pixels(&small).unwrap(), 0.);
}

#[test]
fn the_encoder_equals_the_original() {
    let (checkpoint, config, device) =
        (Checkpoint::open(&fixture("nano.ckpt")).unwrap(), nano_config(), compute_device());
    let (loras, reading) = (Loras::default(), Reading::default());
    let mut engine = Engine::load(&checkpoint, &config, &loras, &device, DType::F32, reading, &mut ()).unwrap();
    engine.load_encoder(&checkpoint).unwrap();
    // Without steps and without noise, the latents are those of the picture.
    let sampler = SamplerConfig { kind: Kind::Euler, strength: Some(0.), ..SamplerConfig::default() };
    for (case, file) in
        [("i_default", "square.png"), ("i_strength", "odd.jpg"), ("i_eta", "alpha.png"), ("i_bulk", "palette.png")]
    {
        let expected = &tensors(&format!("img2img/{case}.safetensors"))["init.latents"].narrow(0, 0, 1).unwrap();
        let (height, width) = (8 * expected.dims()[2], 8 * expected.dims()[3]);
        let picture = output::open(&fixture("img2img").join(file)).unwrap();
        let picture = output::resized(&picture, width, height);
        let params = SamplingParams { height, width, sampler, ..SamplingParams::default() };
        let input = Input { picture: picture.into_owned(), mask: None };
        let batch = Batch { prompts: vec![("", "")], params, input: Some(&input) };
        let latents = engine.sample(&batch, &mut SeedNoise::new(Rng::default(), 1), &mut ()).unwrap().latents;
        assert_close(case, &latents, &channels_last(expected), LIMIT);
    }
}

#[test]
fn the_unet_takes_latents_of_any_size() {
    let (model, context) = (nano(), tensors("modules/modules.safetensors")["context"].clone());
    let prompt = model.unet().project(&context, 1.).unwrap();
    for (h, w) in [(1, 1), (3, 5), (7, 2), (9, 16)] {
        let x = Tensor::ones((2, h, w, 4), DType::F32, &device()).unwrap();
        assert_eq!(model.unet().forward(&x, 1., &prompt).unwrap().dims(), [2, h, w, 4]);
    }
}

#[test]
fn several_prompts_for_one_image_equal_separate_passes() {
    let (model, expected) = (nano(), tensors("modules/modules.safetensors"));
    let x = channels_last(&expected["unet.x"]).narrow(0, 0, 1).unwrap();
    let contexts = &expected["context"].narrow(0, 0, 2).unwrap();
    let eps = model.unet().forward(&x, 500., &model.unet().project(contexts, 1.).unwrap()).unwrap();
    for i in 0..2 {
        let alone = model.unet().project(&contexts.narrow(0, i, 1).unwrap(), 1.).unwrap();
        let expected = model.unet().forward(&x, 500., &alone).unwrap();
        assert_close("eps", &eps.narrow(0, i, 1).unwrap(), &expected, 1e-6);
    }
}

/// Uses the demo model, as it is trained. Half precision is f16 on GPUs and bf16 on CPUs.
#[test]
fn half_precision_images_are_close_to_f32_on_the_cpu() {
    let plan = SamplerConfig { kind: Kind::DpmSolver, steps: 8, ..SamplerConfig::default() };
    let draw = |device: Device, dtype| {
        let model = Model::load(
            &demo::checkpoint().unwrap(),
            &demo::config().unwrap(),
            &Default::default(),
            &device,
            dtype,
            &|| (),
        )
        .unwrap();
        let context = model.context(&[model.tokens(PROMPTS[0]).unwrap()]).unwrap();
        let denoiser = model.denoiser(&model.uncond().unwrap(), &context, 7.5).unwrap();
        let mut noise = Rng::default().noise(42);
        let start = noise.randn_latents((1, 32, 32, 4), &device).unwrap();
        let latents = sample(plan, model.schedule(), &*denoiser, start, &mut *noise).unwrap();
        model.picture(&latents, 0).unwrap().rgb
    };
    let half = if device().is_cuda() { DType::F16 } else { DType::BF16 };
    let (full, half) = (draw(Device::Cpu, DType::F32), draw(device(), half));
    let squares: f64 = full.iter().zip(&half).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let psnr = 10. * (255. * 255. * full.len() as f64 / squares).log10();
    assert!(psnr >= 35., "{psnr:.1} dB");
}

/// GPUs capture a step as a CUDA graph, and replay it with other prompts and scales.
#[test]
fn a_step_depends_only_on_its_own_prompt_and_scale() {
    let (model, expected) = (nano(), tensors("modules/modules.safetensors"));
    let x = channels_last(&expected["unet.x"]).narrow(0, 0, 1).unwrap();
    let contexts = [0, 1].map(|i| expected["context"].narrow(0, i, 1).unwrap());
    let step = |prompt: usize, scale: f64| {
        let denoiser = model.denoiser(&contexts[1 - prompt], &contexts[prompt], scale).unwrap();
        let [first, second] = [300., 700.].map(|t| denoiser.eps(&x, t, 0.5).unwrap());
        Tensor::cat(&[first, second], 0).unwrap()
    };
    let cases = [(0, 7.5), (1, 7.5), (0, 2.), (1, 1.)];
    let expected = cases.map(|(prompt, scale)| step(prompt, scale));
    assert!(
        crate::support::relative_rms(&expected[0], &expected[1]) > 1e-3
            && crate::support::relative_rms(&expected[0], &expected[2]) > 1e-3
    );
    for _ in 0..2 {
        for ((prompt, scale), expected) in cases.iter().zip(&expected) {
            assert_close(&format!("prompt {prompt}, {scale}"), &step(*prompt, *scale), expected, 1e-6);
        }
    }
}

#[test]
fn the_schedule_equals_the_original() {
    let expected = tensors("modules/modules.safetensors")["alphas_cumprod"].to_vec1::<f32>().unwrap();
    let (computed, model) = (Schedule::new(&nano_config().noise), nano());
    assert_eq!(expected.len(), 1000);
    for (t, a) in expected.into_iter().enumerate() {
        assert_eq!(computed.alpha_cumprod(t) as f32, a, "computed, at {t}");
        assert_eq!(model.schedule().alpha_cumprod(t) as f32, a, "the checkpoint's, at {t}");
    }
}

#[test]
fn invalid_schedules_are_refused() {
    let falling: Vec<f32> = (0..1000).map(|t| 1. - (t as f32 + 1.) / 1001.).collect();
    assert!(Schedule::from_buffer(&falling).is_some());
    assert!(Schedule::from_buffer(&falling[1..]).is_none());
    for (t, a) in [(0, 1.), (5, falling[4]), (998, 0.), (999, -0.1), (3, f32::NAN)] {
        let mut broken = falling.clone();
        broken[t] = a;
        assert!(Schedule::from_buffer(&broken).is_none(), "{a} at {t}");
    }
}

#[test]
fn every_instruction_set_passes_these_tests() {
    crate::support::pass_with_every_instruction_set(module_path!());
}

#[test]
fn a_gpu_passes_these_tests() {
    crate::support::pass_on_a_gpu(module_path!());
}
