//! The noise schedule of training.

use super::TIMESTEPS;
use anyhow::{Result, bail, ensure};

/// The variances β of the noise at each timestep.
#[derive(Clone, PartialEq, Debug)]
pub enum NoiseConfig {
    /// Evenly spaced in √β: LDM's `linear`, diffusers' `scaled_linear`.
    ScaledLinear(Ends),
    /// Evenly spaced in β: LDM's `sqrt_linear`, diffusers' `linear`.
    Linear(Ends),
    /// The square roots of evenly spaced numbers: LDM's `sqrt`.
    Sqrt(Ends),
    /// Nichol & Dhariwal 2021 (arXiv 2102.09672, eq. 17): LDM's `cosine`, diffusers' `squaredcos_cap_v2`.
    Cosine {
        /// The offset that keeps the first β from being too small.
        s: f64,
    },
    /// One β for each timestep: LDM's `given_betas`, diffusers' `trained_betas`.
    Betas(Vec<f64>),
}

/// The values of β at the first and the last timestep; for `NoiseConfig::Sqrt`, their squares.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ends {
    /// The value at the first timestep.
    pub start: f64,
    /// The value at the last timestep.
    pub end: f64,
}

/// The largest β of `NoiseConfig::Cosine`.
const MAX_COSINE_BETA: f64 = 0.999;

impl NoiseConfig {
    /// The schedule of Stable Diffusion 1.x.
    pub const V1: Self = Self::ScaledLinear(Ends { start: 0.00085, end: 0.012 });

    /// Returns the schedule that LDM's `beta_schedule` names.
    ///
    /// # Errors
    /// If LDM has no schedule of this name.
    pub(super) fn from_ldm_name(name: &str, ends: Ends, s: f64) -> Result<Self> {
        Ok(match name {
            "linear" => Self::ScaledLinear(ends),
            "sqrt_linear" => Self::Linear(ends),
            "sqrt" => Self::Sqrt(ends),
            "cosine" => Self::Cosine { s },
            _ => bail!("beta_schedule '{name}' is unknown; it must be linear, cosine, sqrt_linear or sqrt"),
        })
    }

    /// Returns β at each timestep.
    pub fn betas(&self) -> Vec<f64> {
        match self {
            Self::ScaledLinear(Ends { start, end }) => {
                evenly(start.sqrt(), end.sqrt()).map(|root| root.powi(2)).collect()
            }
            Self::Linear(Ends { start, end }) => evenly(*start, *end).collect(),
            Self::Sqrt(Ends { start, end }) => evenly(*start, *end).map(f64::sqrt).collect(),
            Self::Cosine { s } => {
                let quarter_turns = |t: usize| (t as f64 / TIMESTEPS as f64 + s) / (1. + s);
                let a = |t| (quarter_turns(t) * std::f64::consts::FRAC_PI_2).cos().powi(2);
                (0..TIMESTEPS).map(|t| (1. - a(t + 1) / a(t)).min(MAX_COSINE_BETA)).collect()
            }
            Self::Betas(betas) => betas.clone(),
        }
    }

    /// Returns ᾱ, the product of 1 − β up to each timestep: computed in f64, rounded to f32 as LDM keeps it.
    pub fn alphas_cumprod(&self) -> Vec<f32> {
        let mut product = 1.;
        let mut next = |beta: f64| {
            product *= 1. - beta;
            product as f32
        };
        self.betas().into_iter().map(&mut next).collect()
    }

    /// Checks the schedule.
    ///
    /// # Errors
    /// If it does not have `TIMESTEPS` timesteps, a timestep adds no noise, or no signal is left.
    pub fn check(&self) -> Result<()> {
        if let Self::ScaledLinear(Ends { start, end })
        | Self::Linear(Ends { start, end })
        | Self::Sqrt(Ends { start, end }) = self
        {
            ensure!(
                0. < *start && start <= end && *end < 1.,
                "linear_start and linear_end must lie between 0 and 1, and linear_start must not exceed linear_end; they are \
                 {start} and {end}"
            );
        }
        if let Self::Betas(betas) = self {
            let n = betas.len();
            ensure!(n == TIMESTEPS, "there are {n} betas, not {TIMESTEPS} as in every Stable Diffusion 1.x model");
        }
        let a = self.alphas_cumprod();
        let is_falling = a.windows(2).all(|pair| pair[0] > pair[1]);
        ensure!(
            is_falling && a.iter().all(|a| (f32::MIN_POSITIVE..1.).contains(a)),
            "the noise schedule is not one that a model can be trained with: each timestep must add noise and leave signal"
        );
        Ok(())
    }
}

/// Returns `TIMESTEPS` numbers from `start` to `end`.
fn evenly(start: f64, end: f64) -> impl Iterator<Item = f64> {
    let step = (end - start) / (TIMESTEPS - 1) as f64;
    (0..TIMESTEPS).map(move |t| start + step * t as f64)
}
