//! Samplers and their tables, against k-diffusion's and numpy's.

use crate::support::{Counting, assert_close, channels_last, fixture, nano, sample, tensors};
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use txt2img::by_name::ByName;
use txt2img::config::ModelConfig;
use txt2img::diffusion::EpsModel;
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Sampling, Sigmas, Spacing, Start, Step};
use txt2img::diffusion::schedule::Schedule;
use txt2img::rng::{Noise, Rng};

#[derive(Deserialize)]
struct Case {
    name: String,
    sampler: String,
    sigmas: String,
    steps: usize,
    scale: f64,
    seed: u64,
    prompts: Vec<String>,
    #[serde(rename = "H")]
    height: usize,
    #[serde(rename = "W")]
    width: usize,
    batches: usize,
}

impl Case {
    fn plan(&self) -> SamplerConfig {
        // The names of two samplers in k-diffusion.
        let name = match self.sampler.as_str() {
            "euler_ancestral" => "euler_a",
            "dpm_2" => "dpm2",
            name => name,
        };
        let spacing = if self.sigmas == "karras" { Spacing::Karras } else { Spacing::Discrete };
        SamplerConfig { kind: Kind::from_name(name).unwrap(), steps: self.steps, spacing, ..SamplerConfig::default() }
    }
}

fn schedule() -> Schedule {
    Schedule::new(&ModelConfig::v1().noise)
}

#[test]
fn k_diffusions_samplers_give_its_latents() {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(fixture("kdiffusion.json")).unwrap()).unwrap();
    let expected = tensors("kdiffusion.safetensors");
    let model = nano();
    for case in &cases {
        let mut noise = Counting::new(Rng::default().noise(case.seed));
        let tokens: Vec<_> = case.prompts.iter().map(|prompt| model.tokens(prompt).unwrap()).collect();
        let denoiser = model.denoiser(&model.uncond().unwrap(), &model.context(&tokens).unwrap(), case.scale).unwrap();
        for batch in 0..case.batches {
            let shape = (case.prompts.len(), case.height / 8, case.width / 8, 4);
            let start = noise.randn_latents(shape, &Device::Cpu).unwrap();
            let latents = sample(case.plan(), model.schedule(), &*denoiser, start, &mut noise).unwrap();
            let name = format!("{}.{batch}", case.name);
            assert_close(&name, &latents, &channels_last(&expected[&name]), 1e-4);
        }
        let draws = expected[&format!("{}.randn_calls", case.name)].to_vec1::<f32>().unwrap()[0];
        assert_eq!(noise.draws as f32, draws, "{}", case.name);
    }
}

/// A case of `schedulers.json`.
#[derive(Deserialize)]
struct DiffusersCase {
    sampler: String,
    steps: usize,
    scale: f64,
    seed: u64,
    /// (B, 4, h, w)
    shape: [usize; 4],
    #[serde(default)]
    eta: f64,
    timesteps: Vec<f64>,
    /// The number of draws, with that of the start noise.
    randn_calls: usize,
}

impl DiffusersCase {
    fn plan(&self) -> SamplerConfig {
        let (kind, spacing) = match self.sampler.as_str() {
            "ddim_trailing" => (Kind::Ddim, Spacing::Trailing),
            "uni_pc_karras" => (Kind::UniPc, Spacing::Karras),
            name => (Kind::from_name(name).unwrap(), Spacing::Discrete),
        };
        SamplerConfig { kind, steps: self.steps, eta: self.eta, spacing, strength: None }
    }
}

/// A model that notes the timesteps at which it is called.
struct Noted<'a>(&'a dyn EpsModel, RefCell<Vec<f64>>);

impl EpsModel for Noted<'_> {
    fn eps(&self, x: &Tensor, t: f64, a: f64) -> candle_core::Result<Tensor> {
        self.1.borrow_mut().push(t);
        self.0.eps(x, t, a)
    }
}

#[test]
fn the_samplers_of_diffusers_give_its_latents() {
    let cases: Vec<DiffusersCase> =
        serde_json::from_slice(&std::fs::read(fixture("schedulers.json")).unwrap()).unwrap();
    let expected = tensors("schedulers.safetensors");
    let model = nano();
    assert_eq!(cases.len(), 11);
    for (i, case) in cases.iter().enumerate() {
        let [batch, channels, height, width] = case.shape;
        let mut noise = Counting::new(Rng::default().noise(case.seed));
        let x = noise.randn_latents((batch, height, width, channels), &Device::Cpu).unwrap();
        let cond = expected["cond"].repeat((batch, 1, 1)).unwrap();
        let denoiser = model.denoiser(&expected["uncond"], &cond, case.scale).unwrap();
        let noted = Noted(&*denoiser, RefCell::default());
        let latents = sample(case.plan(), model.schedule(), &noted, x, &mut noise).unwrap();
        let name = format!("{} of {} steps", case.sampler, case.steps);
        assert_eq!(noted.1.into_inner(), case.timesteps, "{name}");
        assert_close(&name, &latents, &channels_last(&expected[&i.to_string()]), 1e-4);
        if case.sampler != "ddim_trailing" {
            assert_eq!(noise.draws, case.randn_calls, "{name}");
        }
    }
}

#[test]
fn sigmas_are_spaced_as_k_diffusion_does() {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(fixture("kdiffusion.json")).unwrap()).unwrap();
    let expected = tensors("kdiffusion.safetensors");
    for case in &cases {
        let sigmas = Sigmas::new(&schedule(), case.steps, case.plan().spacing);
        let sigmas: Vec<f32> = sigmas.values().iter().map(|&sigma| sigma as f32).collect();
        let sigmas = Tensor::new(sigmas, &Device::Cpu).unwrap();
        assert_close(&case.name, &sigmas, &expected[&format!("{}.sigmas", case.name)], 2e-6);
    }
}

#[test]
fn every_number_of_steps_means_what_it_means_to_the_original() {
    let steps: HashMap<String, Value> =
        serde_json::from_slice(&std::fs::read(fixture("modules/steps.json")).unwrap()).unwrap();
    assert_eq!(steps.len(), 1001);
    for (asked, real) in steps {
        let asked: usize = asked.parse().unwrap();
        if asked > 1000 {
            assert!(plan(Kind::Ddim, asked).check().is_err(), "{asked}");
            continue;
        }
        let timesteps = schedule().ddim_timesteps(asked);
        assert!(timesteps.is_sorted() && timesteps.iter().all(|&t| t < 1000), "{asked}");
        match real.as_u64() {
            Some(real) => assert_eq!(timesteps.len() as u64, real, "{asked}"),
            // The original looks for timestep 1000, which does not exist; ours takes the last one.
            None => assert_eq!(timesteps.last(), Some(&999), "{asked}: {real}"),
        }
    }
}

#[test]
fn ddims_table_is_numpys() {
    let expected = tensors("modules/modules.safetensors");
    let table = Step::original_table(&schedule(), 50, 0.5);
    let column = |number: fn(&Step) -> f64| {
        let rising: Vec<f32> = table.iter().rev().map(|step| number(step) as f32).collect();
        Tensor::new(rising, &Device::Cpu).unwrap()
    };
    for (name, ours) in [
        ("ddim50.timesteps", column(|step| step.t as f64)),
        ("ddim50.alphas", column(|step| step.a)),
        ("ddim50.alphas_prev", column(|step| step.a_prev)),
        ("ddim50.sigmas_eta0.5", column(|step| step.sigma)),
    ] {
        assert_close(name, &ours, &expected[name], 1e-6);
    }
}

#[test]
fn samplers_draw_as_often_as_the_original_and_report_each_step() {
    let drawn = [
        (Kind::Ddim, 10),
        (Kind::Plms, 11), // the first step takes two
        (Kind::DpmSolver, 0),
        (Kind::Lms, 0),
        (Kind::Euler, 10),
        (Kind::EulerA, 9), // none after the last step
        (Kind::Heun, 10),
        (Kind::Dpm2, 10),
        (Kind::DpmPp2m, 0),
        (Kind::UniPc, 0),
        (Kind::Lcm, 9),
        (Kind::Tcd, 0), // with eta 0
    ];
    assert_eq!(drawn.len(), Kind::ALL.len());
    for (kind, draws) in drawn {
        let (counted, ticks, _) = try_out(plan(kind, 10), |x, _| x.zeros_like().unwrap());
        assert_eq!((counted, ticks), (draws, 10), "{kind:?}");
    }
}

#[test]
fn counted_draws_are_those_of_a_real_run() {
    let x = Tensor::zeros((2, 3, 5, 4), DType::F32, &Device::Cpu).unwrap();
    let model = Model(|x: &Tensor, _| (x * 0.5).unwrap());
    for &(name, kind) in Kind::ALL {
        for plan in plans(kind) {
            let mut sizes = Sizes(vec![]);
            sample(plan, &schedule(), &model, x.clone(), &mut sizes).unwrap();
            let draws = plan.counts(&schedule()).draws;
            assert_eq!(sizes.0, vec![x.elem_count(); draws], "{name}: {plan:?}");
        }
    }
}

/// Returns sampler configs with few and many steps and every spacing.
fn plans(kind: Kind) -> impl Iterator<Item = SamplerConfig> {
    let spaced = Spacing::ALL.iter().map(move |&(_, spacing)| SamplerConfig { spacing, ..plan(kind, 0) });
    let plans = spaced.flat_map(|plan| [1, 2, 3, 10, 30].map(|steps| SamplerConfig { steps, ..plan }));
    plans.filter(|plan| plan.check().is_ok())
}

/// A noise source that records the size of each call.
struct Sizes(Vec<usize>);

impl Noise for Sizes {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        self.0.push(n);
        vec![0.; n]
    }
}

#[test]
fn every_sampler_works_with_any_number_of_steps() {
    for &(_, kind) in Kind::ALL {
        let many = match kind {
            Kind::Lcm | Kind::Tcd => [49, 50],
            Kind::UniPc => [111, 999],
            _ => [111, 1000],
        };
        for steps in [1, 2, 3, 4, 7].into_iter().chain(many) {
            assert!(plan(kind, steps).check().is_ok(), "{kind:?} with {steps} steps");
            let (_, _, latents) = try_out(plan(kind, steps), |x, _| (x * 0.5).unwrap());
            assert!(latents.iter().all(|x| x.is_finite()), "{kind:?} with {steps} steps");
        }
    }
}

/// A model whose clean latents are always `c`: every sampler must end at it, or within the noise left at timestep 0.
#[test]
fn every_sampler_finds_what_the_model_sees() {
    const C: f64 = 0.75;
    for &(_, kind) in Kind::ALL {
        let schedule = schedule();
        let eps = move |x: &Tensor, t: f64| {
            let (low, part) = (t as usize, t.fract());
            let log = |t: usize| schedule.alpha_cumprod(t.min(999)).ln();
            let a = (log(low) + part * (log(low + 1) - log(low))).exp();
            ((x - C * a.sqrt()).unwrap() / (1. - a).sqrt()).unwrap()
        };
        let (_, _, latents) = try_out(plan(kind, 20), eps);
        for x in latents {
            assert!((f64::from(x) - C).abs() < 0.15, "{kind:?} ends at {x}");
        }
    }
}

/// A model that sees the image in any latents, which therefore must be where sampling ends, at any strength.
#[test]
fn every_sampler_takes_the_last_steps_from_an_image() {
    let image = Rng::default().noise(1).randn_latents((2, 3, 5, 4), &Device::Cpu).unwrap();
    for &(name, kind) in Kind::ALL {
        for plan in plans(kind).filter(|plan| plan.steps > 3) {
            for (strength, taken) in [(0., 0), (0.09, plan.steps * 9 / 100), (0.5, plan.steps / 2), (1., plan.steps)] {
                let plan = SamplerConfig { strength: Some(strength), ..plan };
                let (mut noise, mut ticks) = (Rng::default().noise(42), 0);
                let start =
                    Start { noise: noise.randn_like(&image).unwrap(), image: Some(image.clone()), region: None };
                let model = SeesImage(image.clone());
                let mut on_step = |i: usize, _: &Tensor, _: &Tensor| {
                    assert_eq!(i, ticks);
                    ticks += 1;
                    Ok(())
                };
                let mut sampling = Sampling { model: &model, noise: &mut *noise, on_step: &mut on_step };
                let latents = plan.sample(&schedule(), start, &mut sampling).unwrap();
                assert_eq!((ticks, plan.counts(&schedule()).steps), (taken, taken), "{name}: {plan:?}");
                // DDIM, PLMS and DPM-Solver end at the first timestep, whose noise is left.
                let left = ((latents - &image).unwrap().sqr().unwrap().mean_all().unwrap()).to_scalar::<f32>().unwrap();
                assert!(left.sqrt() < 0.06, "{name}: {plan:?}: {}", left.sqrt());
            }
        }
    }
}

/// Predicts the noise that latents have beside an image.
struct SeesImage(Tensor);

impl EpsModel for SeesImage {
    fn eps(&self, x: &Tensor, _: f64, a: f64) -> candle_core::Result<Tensor> {
        (x - (&self.0 * a.sqrt())?)? / (1. - a).sqrt()
    }
}

#[test]
fn the_samplers_of_diffusers_start_from_an_image_as_there() {
    let fixture = tensors("strength.safetensors");
    let (model, contexts) = (nano(), &tensors("modules/modules.safetensors")["context"]);
    let [cond, uncond] = [0, 1].map(|i| contexts.narrow(0, i, 1).unwrap());
    let denoiser = model.denoiser(&uncond, &cond, 5.).unwrap();
    let mut n_compared = 0;
    for (name, expected) in fixture.iter().filter(|(name, _)| name.contains('.')) {
        let (sampler, strength) = name.split_once('.').unwrap();
        let (kind, spacing) = match sampler {
            "ddim_trailing" => (Kind::Ddim, Spacing::Trailing),
            name => (Kind::from_name(name).unwrap(), Spacing::Discrete),
        };
        let strength = Some(strength.parse().unwrap());
        let plan = SamplerConfig { kind, steps: 8, eta: kind.default_eta(), spacing, strength };
        let noises = fixture["noises"].flatten_from(1).unwrap().to_vec2().unwrap();
        let mut noise = Listed(noises.into_iter());
        let image = channels_last(&fixture["image"]);
        let start = Start { noise: noise.randn_like(&image).unwrap(), image: Some(image), region: None };
        let mut sampling = Sampling { model: &*denoiser, noise: &mut noise, on_step: &mut |_, _, _| Ok(()) };
        let latents = plan.sample(model.schedule(), start, &mut sampling).unwrap();
        assert_close(name, &latents, &channels_last(expected), 1e-4);
        n_compared += 1;
    }
    assert_eq!(n_compared, 12);
}

/// Noise from a list of the results of calls.
struct Listed(std::vec::IntoIter<Vec<f32>>);

impl Noise for Listed {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        self.0.next().filter(|numbers| numbers.len() == n).unwrap()
    }

    fn skip(&mut self, _: usize) {}
}

#[test]
fn an_image_and_a_strength_belong_together() {
    let x = Tensor::zeros((1, 2, 2, 4), DType::F32, &Device::Cpu).unwrap();
    let mut noise = Rng::default().noise(0);
    let model = Model(|x: &Tensor, _| x.zeros_like().unwrap());
    for (strength, image) in [(Some(0.5), None), (None, Some(x.clone()))] {
        let mut sampling = Sampling { model: &model, noise: &mut *noise, on_step: &mut |_, _, _| Ok(()) };
        let plan = SamplerConfig { strength, ..plan(Kind::Ddim, 10) };
        let start = Start { noise: x.clone(), image, region: None };
        assert!(plan.sample(&schedule(), start, &mut sampling).unwrap_err().to_string().contains("belong together"));
    }
}

#[test]
fn an_error_after_a_step_ends_the_sampling() {
    for &(_, kind) in Kind::ALL {
        let mut noise = Counting::new(Rng::default().noise(0));
        let mut ticks = 0;
        let mut on_step = |_: usize, _: &Tensor, _: &Tensor| {
            ticks += 1;
            if ticks == 3 { Err(anyhow::anyhow!("enough")) } else { Ok(()) }
        };
        let model = Model(|x: &Tensor, _| x.zeros_like().unwrap());
        let x = noise.randn_latents((1, 2, 2, 4), &Device::Cpu).unwrap();
        let mut sampling = Sampling { model: &model, noise: &mut noise, on_step: &mut on_step };
        let error = plan(kind, 10).sample(&schedule(), x, &mut sampling).unwrap_err();
        assert_eq!((error.to_string().as_str(), ticks), ("enough", 3), "{kind:?}");
    }
}

#[test]
fn plans_that_cannot_be_drawn_are_refused() {
    for (plan, reason) in [
        (plan(Kind::Ddim, 0), "--ddim_steps 0 is not between 1 and 1000"),
        (plan(Kind::Euler, 1001), "--ddim_steps 1001 is not between 1 and 1000"),
        (plan(Kind::UniPc, 1000), "--ddim_steps 1000 is more than 999 with uni_pc"),
        (plan(Kind::Lcm, 51), "--ddim_steps 51 is too many; lcm and tcd take at most 50"),
        (SamplerConfig { eta: 0.5, ..plan(Kind::Plms, 50) }, "ddim_eta must be 0 with PLMS"),
        (SamplerConfig { eta: -1., ..plan(Kind::Tcd, 4) }, "--ddim_eta -1 is not between 0 and 1"),
        (SamplerConfig { eta: 1.5, ..plan(Kind::Tcd, 4) }, "--ddim_eta 1.5 is not between 0 and 1"),
        (SamplerConfig { eta: f64::NAN, ..plan(Kind::Tcd, 4) }, "--ddim_eta NaN is not between 0 and 1"),
        (
            SamplerConfig { spacing: Spacing::Karras, ..plan(Kind::Ddim, 50) },
            "--schedule karras works only with --sampler lms,",
        ),
        (
            SamplerConfig { spacing: Spacing::Trailing, ..plan(Kind::Euler, 50) },
            "--schedule trailing works only with --sampler ddim",
        ),
    ] {
        assert!(plan.check().unwrap_err().to_string().contains(reason));
    }
}

fn plan(kind: Kind, steps: usize) -> SamplerConfig {
    SamplerConfig { kind, steps, ..SamplerConfig::default() }
}

/// Samples with a function as the model; returns the number of draws, of steps, and the final latents.
fn try_out(plan: SamplerConfig, eps: impl Fn(&Tensor, f64) -> Tensor) -> (usize, usize, Vec<f32>) {
    let mut noise = Counting::new(Rng::default().noise(42));
    let x = noise.randn_latents((2, 3, 5, 4), &Device::Cpu).unwrap();
    noise.draws = 0;
    let mut ticks = 0;
    let mut on_step = |i: usize, x: &Tensor, x0: &Tensor| {
        assert!(i == ticks && x.dims() == x0.dims());
        ticks += 1;
        Ok(())
    };
    let mut sampling = Sampling { model: &Model(eps), noise: &mut noise, on_step: &mut on_step };
    let latents = plan.sample(&schedule(), x, &mut sampling).unwrap();
    (noise.draws, ticks, latents.flatten_all().unwrap().to_vec1().unwrap())
}

struct Model<F>(F);

impl<F: Fn(&Tensor, f64) -> Tensor> EpsModel for Model<F> {
    fn eps(&self, x: &Tensor, t: f64, _: f64) -> candle_core::Result<Tensor> {
        Ok((self.0)(x, t))
    }
}
