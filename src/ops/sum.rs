//! Sums of latents: each of a sampler's steps is one, and so is guidance.

use super::cpu;
#[cfg(feature = "cuda")]
use super::cuda;
use candle_core::{DType, Result, Tensor, bail};

/// As many as a sum may have.
pub(super) const MOST_TERMS: usize = 8;

/// Σ weight · x of tensors of one shape, in f32. Numbers are added up in f64 and rounded once: weights of opposite signs
/// lose nothing.
pub fn weighted_sum(terms: &[(&Tensor, f64)]) -> Result<Tensor> {
    let [(first, _), more @ ..] = terms else { bail!("a sum has terms") };
    if terms.len() > MOST_TERMS {
        bail!("a sum has at most {MOST_TERMS} terms, not {}", terms.len());
    }
    for (x, _) in more {
        if x.shape() != first.shape() {
            bail!("{:?} and {:?} do not add up", first.dims(), x.dims());
        }
    }
    #[cfg(feature = "cuda")]
    if first.device().is_cuda() {
        return cuda::weighted_sum(terms);
    }
    let mut sums = vec![0f64; first.elem_count()];
    for (x, weight) in terms {
        cpu::numbers(x, |x| {
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * f64::from(*x));
            Ok(())
        })?;
    }
    cpu::tensor(cpu::Made::F32(sums.into_iter().map(|sum| sum as f32).collect()), first.shape())
}

/// `weighted_sum` in candle's own operations.
pub fn weighted_sum_plain(terms: &[(&Tensor, f64)]) -> Result<Tensor> {
    let mut sum = terms[0].0.to_dtype(DType::F64)?.zeros_like()?;
    for (x, weight) in terms {
        sum = (sum + (x.to_dtype(DType::F64)? * *weight)?)?;
    }
    sum.to_dtype(DType::F32)
}
