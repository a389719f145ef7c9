//! How much noise there is at each timestep.

use crate::config::NoiseConfig;

/// ᾱ at each of the model's 1000 timesteps: the share of the picture left in the noise.
#[derive(Clone, PartialEq, Debug)]
pub struct Schedule {
    alphas_cumprod: Vec<f64>,
}

impl Schedule {
    /// β evenly spaced in √β, as LDM's "linear" schedule: computed in f64, kept as f32.
    pub fn new(config: &NoiseConfig) -> Self {
        let (start, end) = (config.linear_start.sqrt(), config.linear_end.sqrt());
        let step = (end - start) / (config.timesteps - 1) as f64;
        let mut product = 1.;
        let alphas_cumprod = (0..config.timesteps)
            .map(|t| {
                product *= 1. - (start + step * t as f64).powi(2);
                f64::from(product as f32)
            })
            .collect();
        Self { alphas_cumprod }
    }

    /// A checkpoint's own `alphas_cumprod`; none unless it falls from 1 towards 0 as ᾱ must.
    pub fn from_buffer(alphas_cumprod: &[f32]) -> Option<Self> {
        let in_range = alphas_cumprod.iter().all(|&a| 0. < a && a < 1.);
        let falling = alphas_cumprod.windows(2).all(|pair| pair[0] > pair[1]);
        let alphas_cumprod: Vec<f64> = alphas_cumprod.iter().map(|&a| f64::from(a)).collect();
        (in_range && falling && alphas_cumprod.len() == 1000).then_some(Self { alphas_cumprod })
    }

    /// How many timesteps the model was trained with.
    pub fn timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// ᾱ at timestep t.
    pub fn alpha_cumprod(&self, t: usize) -> f64 {
        self.alphas_cumprod[t]
    }

    /// ᾱ at a timestep that need not be whole: between two, in proportion.
    pub fn alpha_cumprod_near(&self, t: f64) -> f64 {
        let t = t.clamp(0., self.timesteps() as f64 - 1.);
        let (below, above) = (self.alphas_cumprod[t.floor() as usize], self.alphas_cumprod[t.ceil() as usize]);
        below + (above - below) * t.fract()
    }

    /// All of them, from the least noise to the most.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// DDIM's and PLMS's timesteps, smallest first, for `steps` asked for (1 to 1000).
    ///
    /// Every c-th with c = 1000 / steps rounded down, plus one: so 30 steps are really 31. Where the last would be
    /// 1000, which the original dies of, it is 999.
    pub fn ddim_timesteps(&self, steps: usize) -> Vec<usize> {
        let last = self.timesteps() - 1;
        (0..self.timesteps()).step_by(self.timesteps() / steps).map(|t| (t + 1).min(last)).collect()
    }
}
