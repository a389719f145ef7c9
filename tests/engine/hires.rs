//! The second pass for large pictures.

use crate::support::{Counting, assert_close, compute_device, fixture, nano, nano_config};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;
use txt2img::by_name::ByName;
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::Loras;
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Sampling, Start};
use txt2img::engine::{Batch, BatchNoise, Engine, Observer, Pass, Preview};
use txt2img::params::{Hires, HiresSize, SamplingParams, Upscaler};
use txt2img::rng::{Noise, Rng};
use txt2img::text::timeline::Timeline;
use txt2img::text::{PassSteps, Reading};

/// Noise of a seed that notes the shapes of the starts.
struct Noted {
    numbers: Counting,
    shapes: Vec<(usize, usize, usize, usize)>,
}

impl Noted {
    fn new() -> Self {
        Self { numbers: Counting::new(Rng::default().noise(7)), shapes: vec![] }
    }
}

impl BatchNoise for Noted {
    fn start(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> anyhow::Result<Tensor> {
        self.shapes.push(shape);
        self.numbers = Counting::new(Rng::default().noise(7));
        Ok(self.numbers.randn_latents(shape, device)?)
    }

    fn steps(&mut self) -> &mut dyn Noise {
        &mut self.numbers
    }
}

/// Notes the passes and the numbers of their steps.
#[derive(Default)]
struct Passes {
    sizes: Vec<(usize, usize)>,
    steps: Vec<usize>,
}

impl Observer for Passes {
    fn on_start(&mut self, pass: &Pass) {
        self.sizes.push((pass.params.height, pass.params.width));
    }

    fn on_step(&mut self, i: usize, _: &Tensor, _: &Tensor, _: &Preview) -> anyhow::Result<()> {
        self.steps.push(i);
        Ok(())
    }
}

fn params(kind: Kind, hires: Hires) -> SamplingParams {
    let sampler = SamplerConfig { kind, steps: 5, eta: kind.default_eta(), ..SamplerConfig::default() };
    SamplingParams { height: 32, width: 40, scale: 5., sampler, hires, ..SamplingParams::default() }
}

fn hires(size: HiresSize) -> Hires {
    Hires { size, strength: 0.6, upscaler: Upscaler::LatentNearest, ..Hires::default() }
}

const PROMPTS: [(&str, &str); 2] = [("a cube", ""), ("a sphere", "blue")];

/// Returns the latents of a batch, with the shapes of its start noise and its steps.
fn draw(params: SamplingParams) -> (Tensor, Noted, Passes) {
    let (checkpoint, config, device) =
        (Checkpoint::open(&fixture("nano.ckpt")).unwrap(), nano_config(), compute_device());
    let (loras, reading) = (Loras::default(), Reading::default());
    let mut engine = Engine::load(&checkpoint, &config, &loras, &device, DType::F32, reading, &mut ()).unwrap();
    engine.load_encoder(&checkpoint).unwrap();
    let (mut noise, mut passes) = (Noted::new(), Passes::default());
    let batch = Batch { prompts: PROMPTS.to_vec(), params, input: None };
    let latents = engine.sample(&batch, &mut noise, &mut passes).unwrap().latents;
    (latents, noise, passes)
}

#[test]
fn the_second_pass_draws_the_enlarged_latents_with_noise_from_the_same_seed() {
    for kind in [Kind::Ddim, Kind::Euler, Kind::EulerA, Kind::UniPc, Kind::Lcm] {
        let all = params(kind, hires(HiresSize::Factor(2.)));
        let (latents, ..) = draw(all.clone());
        let (first, ..) = draw(SamplingParams { hires: Hires::default(), ..all.clone() });
        let (b, h, w, c) = first.dims4().unwrap();
        let doubled = first.reshape((b, h, 1, w, 1, c)).unwrap().repeat((1, 1, 2, 1, 2, 1)).unwrap();
        let image = doubled.reshape((b, 2 * h, 2 * w, c)).unwrap();
        let model = nano();
        let contexts = |texts: [&str; 2]| texts.map(|text| model.context(&[model.tokens(text).unwrap()]).unwrap());
        let (conds, unconds) = (contexts(PROMPTS.map(|(prompt, _)| prompt)), contexts(PROMPTS.map(|(_, not)| not)));
        let denoiser = model.denoiser_of_each(&unconds, &conds, 5., Default::default()).unwrap();
        let mut noise = Rng::default().noise(7);
        let start = Start { noise: noise.randn_like(&image).unwrap(), image: Some(image), region: None };
        // The last 5 of ⌊5 / 0.6⌋ steps.
        let sampler = SamplerConfig { steps: 8, strength: Some(5.5 / 8.), ..all.sampler };
        let mut sampling = Sampling { model: &*denoiser, noise: &mut *noise, on_step: &mut |_, _, _| Ok(()) };
        let expected = sampler.sample(model.schedule(), start, &mut sampling).unwrap();
        assert_close(kind.name(), &latents, &expected, 1e-5);
    }
}

#[test]
fn the_second_pass_takes_exactly_its_steps() {
    for (strength, steps) in [(0.3, 0), (0.5, 7), (0.75, 3), (1., 4)] {
        for &(name, kind) in Kind::ALL {
            let hires = Hires { strength, steps, ..hires(HiresSize::Factor(1.5)) };
            let taken = if steps == 0 { 5 } else { steps };
            let (latents, noise, passes) = draw(params(kind, hires));
            assert_eq!(latents.dims(), [2, 6, 7, 4], "{name}");
            assert_eq!(noise.shapes, [(2, 4, 5, 4), (2, 6, 7, 4)], "{name}");
            assert_eq!(passes.sizes, [(32, 40), (48, 56)], "{name}");
            // The steps of the second pass count on from those of the first.
            assert_eq!(passes.steps, (0..5 + taken).collect::<Vec<_>>(), "{name} {strength}");
        }
    }
}

#[test]
fn the_second_pass_may_have_a_sampler_and_proportions_of_its_own() {
    let size = HiresSize::Pixels { width: 64, height: 64 };
    for upscaler in [Upscaler::Latent, Upscaler::LatentBicubic, Upscaler::Lanczos] {
        let hires = Hires { sampler: Some(Kind::Heun), upscaler, ..hires(size) };
        let (latents, ..) = draw(params(Kind::Ddim, hires));
        assert_eq!(latents.dims(), [2, 8, 8, 4]);
    }
}

#[test]
fn words_of_the_second_pass_count_on_from_the_first() {
    let last_steps = |prompt: &str, steps: PassSteps| -> Vec<usize> {
        let timeline = Timeline::new(prompt, steps);
        (1..=steps.steps).filter(|step| timeline.text_at(*step) == "a").collect()
    };
    let (first, second) = (PassSteps::from(10), PassSteps { steps: 4, before: Some(10) });
    for (prompt, in_first, in_second) in [
        ("[a:b:5]", 1..6, 0..0),
        ("[a:b:0.5]", 1..6, 0..0),
        ("[a:b:12]", 1..11, 1..3),
        ("[a:b:1.5]", 1..11, 1..3),
        ("[a:b:2.0]", 1..11, 1..5),
    ] as [(&str, Range<usize>, Range<usize>); 5]
    {
        assert_eq!(last_steps(prompt, first), in_first.collect::<Vec<_>>(), "{prompt}");
        assert_eq!(last_steps(prompt, second), in_second.collect::<Vec<_>>(), "{prompt}");
    }
}
