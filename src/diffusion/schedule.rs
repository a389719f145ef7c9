//! The noise schedule: the amount of noise at each timestep.

use crate::config::{NoiseConfig, TIMESTEPS};

/// The ᾱ that stands for 0, as samplers divide by √ᾱ. The web UI and ComfyUI take the same.
const ZERO_SNR_ALPHA: f64 = 4.8973451890853435e-08;

/// ᾱ at each of the model's 1000 timesteps: the share of the image that is left in the noise.
#[derive(Clone, PartialEq, Debug)]
pub struct Schedule {
    alphas_cumprod: Vec<f64>,
}

impl Schedule {
    /// Computes the schedule that `config` describes.
    pub fn new(config: &NoiseConfig) -> Self {
        Self { alphas_cumprod: config.alphas_cumprod().into_iter().map(f64::from).collect() }
    }

    /// Returns the schedule that a checkpoint holds as `alphas_cumprod`, or `None` unless it falls from 1 towards 0 as ᾱ
    /// must. It may end in 0: no signal is left at the last timestep.
    pub fn from_buffer(alphas_cumprod: &[f32]) -> Option<Self> {
        let (last, others) = alphas_cumprod.split_last()?;
        let in_range = others.iter().all(|&a| 0. < a && a < 1.) && (0. ..1.).contains(last);
        let falling = alphas_cumprod.windows(2).all(|pair| pair[0] > pair[1]);
        if !in_range || !falling || alphas_cumprod.len() != TIMESTEPS {
            return None;
        }
        let mut alphas_cumprod: Vec<f64> = alphas_cumprod.iter().map(|&a| f64::from(a)).collect();
        if *last == 0. {
            alphas_cumprod[TIMESTEPS - 1] = ZERO_SNR_ALPHA;
        }
        Some(Self { alphas_cumprod })
    }

    /// Returns the schedule shifted and scaled so that no signal is left at the last timestep (Lin et al. 2023,
    /// arXiv 2305.08891, algorithm 1).
    pub fn with_zero_terminal_snr(&self) -> Self {
        let roots = self.alphas_cumprod.iter().map(|a| a.sqrt());
        let (first, last) = (self.alphas_cumprod[0].sqrt(), self.alphas_cumprod[self.timesteps() - 1].sqrt());
        let scale = first / (first - last);
        let mut alphas_cumprod: Vec<f64> = roots.map(|root| ((root - last) * scale).powi(2)).collect();
        alphas_cumprod[self.timesteps() - 1] = ZERO_SNR_ALPHA;
        Self { alphas_cumprod }
    }

    /// Whether no signal is left at the last timestep.
    pub fn has_zero_terminal_snr(&self) -> bool {
        self.alphas_cumprod[self.timesteps() - 1] == ZERO_SNR_ALPHA
    }

    /// The number of timesteps that the model was trained with.
    pub fn timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// ᾱ at timestep `t`.
    pub fn alpha_cumprod(&self, t: usize) -> f64 {
        self.alphas_cumprod[t]
    }

    /// ᾱ at every timestep, from the least noise to the most.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// Returns the timesteps of DDIM and PLMS, smallest first, for `steps` (1 to 1000).
    ///
    /// These are every c-th timestep, c = ⌊1000 / `steps`⌋, plus one, so 30 steps become 31. The last would be 1000 for 1000
    /// steps, which makes the original fail; here it is 999.
    pub fn ddim_timesteps(&self, steps: usize) -> Vec<usize> {
        let last = self.timesteps() - 1;
        (0..self.timesteps()).step_by(self.timesteps() / steps).map(|t| (t + 1).min(last)).collect()
    }

    /// Returns `steps` timesteps, rising, evenly spaced down from the last one, as diffusers' "trailing".
    pub fn trailing_timesteps(&self, steps: usize) -> Vec<usize> {
        let n = self.timesteps() as f64;
        let end = |i: usize| (n - i as f64 * n / steps as f64).round_ties_even() as usize;
        (0..steps).rev().map(|i| end(i) - 1).collect()
    }
}
