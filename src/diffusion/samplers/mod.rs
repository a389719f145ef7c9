//! Samplers: each owns its table, made in `new`, and its loop, in `sample`.

mod ddim;
mod dpm2;
mod dpm_solver;
mod dpmpp_2m;
mod euler;
mod euler_a;
mod heun;
mod lms;
mod plms;
mod sigma;

pub use ddim::{Ddim, Step};
pub use dpm_solver::DpmSolver;
pub use dpm2::Dpm2;
pub use dpmpp_2m::DpmPp2m;
pub use euler::Euler;
pub use euler_a::EulerAncestral;
pub use heun::Heun;
pub use lms::Lms;
pub use plms::Plms;
pub use sigma::{Sigmas, Spacing};

use super::EpsModel;
use super::schedule::Schedule;
use crate::by_name::ByName;
use crate::rng::Noise;
use anyhow::{Result, ensure};
use candle_core::Tensor;

/// A way from noise to latents.
pub trait Sampler: Send + Sync {
    /// How many times `sample` ticks.
    fn steps(&self) -> usize;

    /// How many times `sample` calls for noise, each time of x's size.
    fn draws(&self) -> usize;

    /// x: (B, h, w, C) standard normal noise → latents of the same shape.
    ///
    /// Draws from `noise` exactly as often as the original does, needed or not: the next batch starts where this one
    /// stops. `tick` is called after each step; its error ends the loop.
    fn sample(
        &self,
        model: &dyn EpsModel,
        x: Tensor,
        noise: &mut dyn Noise,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor>;
}

/// The samplers by name, as `--sampler` spells them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
}

impl ByName for Kind {
    const ALL: &'static [(&'static str, Self)] = &[
        ("ddim", Kind::Ddim),
        ("plms", Kind::Plms),
        ("dpm_solver", Kind::DpmSolver),
        ("lms", Kind::Lms),
        ("euler", Kind::Euler),
        ("euler_a", Kind::EulerA),
        ("heun", Kind::Heun),
        ("dpm2", Kind::Dpm2),
        ("dpmpp_2m", Kind::DpmPp2m),
    ];
}

impl Kind {
    /// Whether it is one of k-diffusion's, whose steps are `--schedule`'s to space.
    pub fn takes_spacing(self) -> bool {
        !matches!(self, Kind::Ddim | Kind::Plms | Kind::DpmSolver)
    }
}

/// What the command line says of the sampler.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// Which.
    pub kind: Kind,
    /// Steps asked for, 1 to 1000.
    pub steps: usize,
    /// DDIM's share of fresh noise.
    pub eta: f64,
    /// How k-diffusion's samplers space their steps.
    pub spacing: Spacing,
}

impl Plan {
    /// What can be wrong with a plan, said before any weights are read.
    ///
    /// # Errors
    /// When the number of steps is out of range, or PLMS is asked for fresh noise.
    pub fn check(&self) -> Result<()> {
        ensure!((1..=1000).contains(&self.steps), "--ddim_steps {} is not between 1 and 1000", self.steps);
        ensure!(self.kind != Kind::Plms || self.eta == 0., "ddim_eta must be 0 for PLMS");
        ensure!(
            self.spacing == Spacing::Discrete || self.kind.takes_spacing(),
            "--schedule karras is for lms, euler, euler_a, heun, dpm2 and dpmpp_2m"
        );
        Ok(())
    }

    /// The sampler itself.
    pub fn sampler(&self, schedule: &Schedule) -> Box<dyn Sampler> {
        let sigmas = || Sigmas::new(schedule, self.steps, self.spacing);
        match self.kind {
            Kind::Ddim => Box::new(Ddim::new(schedule, self.steps, self.eta)),
            Kind::Plms => Box::new(Plms::new(schedule, self.steps)),
            Kind::DpmSolver => Box::new(DpmSolver::new(schedule, self.steps)),
            Kind::Lms => Box::new(Lms::new(sigmas())),
            Kind::Euler => Box::new(Euler::new(sigmas())),
            Kind::EulerA => Box::new(EulerAncestral::new(sigmas())),
            Kind::Heun => Box::new(Heun::new(sigmas())),
            Kind::Dpm2 => Box::new(Dpm2::new(sigmas())),
            Kind::DpmPp2m => Box::new(DpmPp2m::new(sigmas())),
        }
    }
}
