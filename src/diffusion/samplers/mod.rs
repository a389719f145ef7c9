//! Samplers. Each is one function that owns its loop: it takes its schedule, a [`Start`] and a [`Sampling`], and turns noise
//! into latents.

mod ddim;
mod dpm2;
mod dpm_solver;
mod dpmpp_2m;
mod euler;
mod euler_a;
mod heun;
mod lcm;
mod lms;
mod plms;
mod sigmas;
mod start;
mod steps;
mod tcd;
mod uni_pc;

use super::EpsModel;
use super::schedule::Schedule;
use crate::by_name::{self, ByName};
use crate::config::NoiseConfig;
use crate::rng::Noise;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

pub use ddim::Step;
pub use sigmas::{Sigmas, Spacing};
use start::Level;
pub use start::{Region, Start};
use steps::{Kept, Steps};

/// The inputs of a sampler besides its schedule and the start noise.
pub struct Sampling<'a> {
    /// The model that predicts the noise in latents.
    pub model: &'a dyn EpsModel,
    /// The random numbers of the steps. A sampler draws exactly as often as the original does, even numbers that it does
    /// not use, as the stream continues with the next batch.
    pub noise: &'a mut dyn Noise,
    /// Called after each step with its index, the latents it led to, and the clean latents x₀ that the model saw on the
    /// way: (B, h, w, C) both. An error ends the sampling.
    pub on_step: &'a mut dyn FnMut(usize, &Tensor, &Tensor) -> Result<()>,
}

/// A sampler, as `--sampler` names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Denoising diffusion implicit models.
    Ddim,
    /// Pseudo linear multistep.
    Plms,
    /// DPM-Solver++(2M), the original's.
    DpmSolver,
    /// Linear multistep, k-diffusion's.
    Lms,
    /// Euler's method.
    Euler,
    /// Euler's method with fresh noise in each step.
    EulerA,
    /// Heun's method.
    Heun,
    /// DPM-Solver-2.
    Dpm2,
    /// DPM-Solver++(2M), k-diffusion's.
    DpmPp2m,
    /// UniPC.
    UniPc,
    /// Latent consistency models.
    Lcm,
    /// Trajectory consistency distillation.
    Tcd,
}

/// The implementation of a sampler.
enum Run {
    /// A sampler over the model's timesteps.
    Timesteps(fn(&Schedule, &SamplerConfig, Start, &mut Steps) -> Result<Tensor>),
    /// A sampler over sigmas, spaced by `--schedule`, from noise of the size of the first.
    Sigmas(fn(&Sigmas, Tensor, &mut Steps) -> Result<Tensor>),
}

/// The properties of a sampler.
struct Row {
    kind: Kind,
    /// The name in `--sampler`, prompts files and metadata.
    name: &'static str,
    /// The name in AUTOMATIC1111's web UI.
    web_ui_name: &'static str,
    /// What the sampler is good for, and in how many steps.
    description: &'static str,
    run: Run,
}

/// The samplers, in the order in which help and errors list them.
const SAMPLERS: [Row; 12] = [
    row(Kind::Ddim, "ddim", "DDIM", "the original's default; 30 to 50 steps", Run::Timesteps(ddim::ddim)),
    row(Kind::Plms, "plms", "PLMS", "multistep; 20 to 50 steps", Run::Timesteps(plms::plms)),
    row(
        Kind::DpmSolver,
        "dpm_solver",
        "DPM-Solver++",
        "DPM-Solver++ (2M); good in 15 to 25 steps",
        Run::Timesteps(dpm_solver::dpm_solver),
    ),
    row(Kind::Lms, "lms", "LMS", "linear multistep; 30 to 50 steps, rough below 20", Run::Sigmas(lms::lms)),
    row(Kind::Euler, "euler", "Euler", "simple and robust; 20 to 30 steps", Run::Sigmas(euler::euler)),
    row(
        Kind::EulerA,
        "euler_a",
        "Euler a",
        "adds noise at each step, so the picture keeps changing with the number of steps; 20 to 40 steps",
        Run::Sigmas(euler_a::euler_a),
    ),
    row(
        Kind::Heun,
        "heun",
        "Heun",
        "precise, with two model evaluations per step; 10 to 20 steps",
        Run::Sigmas(heun::heun),
    ),
    row(
        Kind::Dpm2,
        "dpm2",
        "DPM2",
        "precise, with two model evaluations per step; 10 to 25 steps",
        Run::Sigmas(dpm2::dpm2),
    ),
    row(
        Kind::DpmPp2m,
        "dpmpp_2m",
        "DPM++ 2M",
        "good in 15 to 25 steps, best with --schedule karras",
        Run::Sigmas(dpmpp_2m::dpmpp_2m),
    ),
    row(Kind::UniPc, "uni_pc", "UniPC", "good in 8 to 20 steps", Run::Timesteps(uni_pc::uni_pc)),
    row(Kind::Lcm, "lcm", "LCM", "for LCM models and LoRAs; 2 to 8 steps at --scale 1 to 2", Run::Timesteps(lcm::lcm)),
    row(
        Kind::Tcd,
        "tcd",
        "TCD",
        "for TCD and Hyper-SD LoRAs; 1 to 8 steps at --scale 1 to 2",
        Run::Timesteps(tcd::tcd),
    ),
];

const fn row(kind: Kind, name: &'static str, web_ui_name: &'static str, description: &'static str, run: Run) -> Row {
    Row { kind, name, web_ui_name, description, run }
}

impl ByName for Kind {
    const ALL: &'static [(&'static str, Self)] = &{
        let mut all = [("", Kind::Ddim); SAMPLERS.len()];
        let mut i = 0;
        while i < SAMPLERS.len() {
            all[i] = (SAMPLERS[i].name, SAMPLERS[i].kind);
            i += 1;
        }
        all
    };
}

impl Kind {
    fn row(self) -> &'static Row {
        SAMPLERS.iter().find(|row| row.kind == self).expect("a row for every sampler")
    }

    /// The sampler's name in AUTOMATIC1111's web UI, without its spacing.
    pub fn web_ui_name(self) -> &'static str {
        self.row().web_ui_name
    }

    /// What the sampler is good for, and in how many steps.
    pub fn description(self) -> &'static str {
        self.row().description
    }

    /// Whether the sampler depends on `--ddim_eta`.
    pub fn takes_eta(self) -> bool {
        matches!(self, Self::Ddim | Self::Tcd)
    }

    /// The eta unless `--ddim_eta` is given.
    pub fn default_eta(self) -> f64 {
        if self == Self::Tcd { 0.3 } else { 0. }
    }

    /// The number of evaluations of the model in most steps of the sampler.
    fn order(self) -> usize {
        if matches!(self, Self::Heun | Self::Dpm2) { 2 } else { 1 }
    }

    /// The spacings of its steps that the sampler supports.
    pub fn spacings(self) -> &'static [Spacing] {
        match (self, &self.row().run) {
            (Self::UniPc, _) | (_, Run::Sigmas(_)) => &[Spacing::Discrete, Spacing::Karras],
            (Self::Ddim, _) => &[Spacing::Discrete, Spacing::Trailing],
            _ => &[Spacing::Discrete],
        }
    }

    /// The names of the samplers that support a spacing, as they stand in a sentence.
    fn names_with(spacing: Spacing) -> String {
        let names: Vec<_> =
            SAMPLERS.iter().filter(|row| row.kind.spacings().contains(&spacing)).map(|row| row.name).collect();
        match names.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => names.concat(),
        }
    }
}

/// A sampler and its settings, with the names that records give them.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct SamplerConfig {
    /// The sampler.
    #[serde(rename = "sampler", with = "by_name")]
    pub kind: Kind,
    /// The requested number of steps, 1 to 1000.
    pub steps: usize,
    /// The share of fresh noise: 0 for none; with DDIM, 1 for as much as DDPM's; with TCD, the paper's γ, 0 to 1.
    pub eta: f64,
    /// The spacing of the steps.
    #[serde(rename = "schedule", with = "by_name")]
    pub spacing: Spacing,
    /// The share of the steps to take, from 0 to 1, if sampling starts from an image: the last ones, for which the image
    /// gets as much noise as they remove. `None` starts from noise alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
}

impl Default for SamplerConfig {
    /// The original's sampler.
    fn default() -> Self {
        Self { kind: Kind::Ddim, steps: 50, eta: 0., spacing: Spacing::Discrete, strength: None }
    }
}

/// The settings of a sampler, for maps.
pub type Key = (Kind, usize, u64, Spacing, Option<u64>);

/// The cost of running a sampler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Steps, each of which ends in a call of `on_step`.
    pub steps: usize,
    /// Calls for noise of the latents' size, after the start noise.
    pub draws: usize,
    /// Evaluations of the model.
    pub model_calls: usize,
}

impl SamplerConfig {
    /// A key for maps, equal for equal settings.
    pub fn key(&self) -> Key {
        (self.kind, self.steps, self.eta.to_bits(), self.spacing, self.strength.map(f64::to_bits))
    }

    /// Returns the steps to take of `n`: all of them, or the last ones if sampling starts from an image.
    fn taken(&self, n: usize) -> Range<usize> {
        let skipped = self.strength.map_or(0, |strength| n - n.min((strength * self.steps as f64) as usize));
        skipped..n
    }

    /// Returns the number of steps in which prompts count, if the sampler takes `steps` steps: the web UI counts evaluations of
    /// the model, and twice as many steps for samplers of second order.
    pub fn prompt_steps(&self, steps: usize) -> usize {
        steps * self.kind.order()
    }

    /// Checks the settings before any weights are read.
    ///
    /// # Errors
    /// If the number of steps is out of range, or the sampler does not support the eta or the spacing.
    pub fn check(&self) -> Result<()> {
        ensure!((1..=1000).contains(&self.steps), "--ddim_steps {} is not between 1 and 1000", self.steps);
        let has_room = !matches!(self.kind, Kind::Lcm | Kind::Tcd) || self.steps <= lcm::TRAINED_STEPS;
        ensure!(has_room, "--ddim_steps {} is too many; lcm and tcd take at most {}", self.steps, lcm::TRAINED_STEPS);
        // With 1000, two steps would be at one timestep.
        ensure!(
            self.kind != Kind::UniPc || self.steps < 1000,
            "--ddim_steps {} is more than 999 with uni_pc",
            self.steps
        );
        ensure!(self.kind != Kind::Plms || self.eta == 0., "--ddim_eta must be 0 with PLMS");
        let is_gamma = self.kind == Kind::Tcd;
        ensure!(
            !is_gamma || (0. ..=1.).contains(&self.eta),
            "--ddim_eta {} is not between 0 and 1, as it must be with tcd",
            self.eta
        );
        if let Some(strength) = self.strength {
            ensure!((0. ..=1.).contains(&strength), "--strength {strength} is not between 0 and 1");
        }
        ensure!(
            self.kind.spacings().contains(&self.spacing),
            "--schedule {} works only with --sampler {}",
            self.spacing.name(),
            Kind::names_with(self.spacing)
        );
        Ok(())
    }

    /// Turns noise (B, h, w, C), or an image's latents with noise, into latents of the same shape.
    ///
    /// # Errors
    /// If there is a strength without an image or the other way round, shapes do not fit, or the model or `on_step` fails.
    pub fn sample(&self, schedule: &Schedule, start: impl Into<Start>, sampling: &mut Sampling) -> Result<Tensor> {
        let start = start.into();
        ensure!(start.image.is_some() == self.strength.is_some(), "an image and a strength belong together");
        let mut steps = Steps::new(sampling, Kept::of(&start));
        let start = start.with_strength(self.strength);
        let x = match self.kind.row().run {
            Run::Timesteps(sample) => sample(schedule, self, start, &mut steps)?,
            Run::Sigmas(sample) => {
                let sigmas = Sigmas::new(schedule, self.steps, self.spacing).without(self.taken(self.steps).start);
                let x = start.at_sigma(sigmas.largest())?;
                sample(&sigmas, x, &mut steps)?
            }
        };
        Ok(steps.finish(x)?)
    }

    /// Counts steps, draws and evaluations by running the sampler on a single latent.
    pub fn counts(&self, schedule: &Schedule) -> Counts {
        let (evaluations, draws) = self.trial(schedule);
        Counts { steps: evaluations.len(), draws, model_calls: evaluations.last().copied().unwrap_or(0) }
    }

    /// Returns the evaluations of the model in these steps.
    pub fn evaluations(&self, schedule: &Schedule, steps: Range<usize>) -> Range<usize> {
        let (ends, _) = self.trial(schedule);
        let before = |step: usize| step.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
        before(steps.start)..before(steps.end)
    }

    /// Runs the sampler on a single latent. Returns the number of evaluations before each step ends, and that of draws.
    fn trial(&self, schedule: &Schedule) -> (Vec<usize>, usize) {
        let (model, mut noise) = (CountingModel(Cell::new(0)), CountingNoise(0));
        let mut evaluations = vec![];
        let mut on_step = |_: usize, _: &Tensor, _: &Tensor| {
            evaluations.push(model.0.get());
            Ok(())
        };
        let mut sampling = Sampling { model: &model, noise: &mut noise, on_step: &mut on_step };
        Tensor::zeros((1, 1, 1, 1), DType::F32, &Device::Cpu)
            .map_err(Into::into)
            .and_then(|x| {
                let start = Start { image: self.strength.map(|_| x.clone()), noise: x, region: None };
                self.sample(schedule, start, &mut sampling)
            })
            .expect("a sampler runs on a single latent in memory");
        (evaluations, noise.0)
    }
}

/// The counts of samplers, each computed once.
pub struct CountCache {
    schedule: Schedule,
    known: HashMap<Key, Counts>,
}

impl CountCache {
    /// Returns an empty cache for a model's noise schedule.
    pub fn new(noise: &NoiseConfig) -> Self {
        Self { schedule: Schedule::new(noise), known: HashMap::new() }
    }

    /// Returns the counts of a sampler.
    pub fn of(&mut self, sampler: SamplerConfig) -> Counts {
        *self.known.entry(sampler.key()).or_insert_with(|| sampler.counts(&self.schedule))
    }
}

/// A model that predicts zeros and counts its evaluations.
struct CountingModel(Cell<usize>);

impl EpsModel for CountingModel {
    fn eps(&self, x: &Tensor, _: f64, _: f64) -> candle_core::Result<Tensor> {
        self.0.set(self.0.get() + 1);
        x.zeros_like()
    }
}

/// Noise that is all zeros, and counts the calls for it.
struct CountingNoise(usize);

impl Noise for CountingNoise {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        self.0 += 1;
        vec![0.; n]
    }
}
