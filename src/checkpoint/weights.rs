//! A checkpoint's tensors, handed to the networks by name.

use super::{Checkpoint, Dtype};
use crate::config::TIMESTEPS;
use crate::diffusion::schedule::Schedule;
use crate::engine::TEXT;
use anyhow::{Result, bail};
use candle_core::{DType, Device, Error, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use std::sync::{Arc, Mutex, PoisonError};

/// How many unfit tensors are named before giving up.
const ENOUGH: usize = 5;

/// Numbers in a tensor that can be stood in for; the model's largest has 38 million.
const MOST_ZEROS: usize = 1 << 26;

/// Builds a network, which asks for its tensors by name and shape; `read` is called after each.
///
/// # Errors
/// When tensors are missing or of another shape: one error names the first few.
pub fn load<T>(
    checkpoint: &Checkpoint,
    device: &Device,
    read: &(dyn Fn() + Sync),
    build: impl FnOnce(VarBuilder) -> candle_core::Result<T>,
) -> Result<T> {
    let unfit = Unfit::default();
    let weights = Weights { checkpoint, read, unfit: unfit.clone() };
    let network = build(VarBuilder::from_backend(Box::new(weights), DType::F32, device.clone()));
    let unfit = unfit.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(first) = unfit.first() {
        let more = if unfit.len() < ENOUGH { "" } else { " and perhaps more" };
        let path = checkpoint.path_of(&first.name).display();
        let clauses: Vec<&str> = unfit.iter().map(|misfit| &misfit.clause[..]).collect();
        bail!(
            "'{path}' does not fit the model's config: {}{more}; {}",
            clauses.join(", "),
            remedy(checkpoint, unfit.iter().map(|misfit| &*misfit.name))
        );
    }
    Ok(network?)
}

/// The tensor with the model's noise schedule.
pub const SCHEDULE: &str = "alphas_cumprod";

/// Returns the checkpoint's own noise schedule, unless it was rounded to half precision or is not one.
pub fn schedule(checkpoint: &Checkpoint) -> Option<Schedule> {
    let is_exact = checkpoint.dtype(SCHEDULE) == Some(Dtype::F32);
    is_exact.then(|| checkpoint.read_f32(SCHEDULE).ok()).flatten().and_then(|a| Schedule::from_buffer(&a))
}

/// Whether the checkpoint's noise schedule, in whatever precision, ends in 0.
pub fn schedule_ends_in_zero(checkpoint: &Checkpoint) -> bool {
    let is_one = checkpoint.shape(SCHEDULE).is_some_and(|shape| shape == [TIMESTEPS]);
    let values = is_one.then(|| checkpoint.read_f32(SCHEDULE).ok()).flatten();
    values.is_some_and(|a| a[0] > 0.5 && a.last() == Some(&0.))
}

/// What is wrong with a tensor that should have this shape, a clause; nothing if it can be read.
pub fn misfit(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Option<String> {
    let Some(found) = checkpoint.shape(name) else {
        return Some(format!("it has no tensor '{name}'"));
    };
    // 1×1 convolutions are linear layers to some writers.
    let is_fit = without_ones(found) == without_ones(shape);
    (!is_fit).then(|| format!("'{name}' is {}, not {}", product(found), product(shape)))
}

/// What may help when these tensors do not fit: another config, or another file if no config could.
pub fn remedy<'a>(checkpoint: &Checkpoint, mut unfit: impl Iterator<Item = &'a str>) -> &'static str {
    if unfit.any(|name| may_be_configured(checkpoint, name)) {
        "give the config that belongs to it"
    } else {
        "it is incomplete or damaged, so download it again"
    }
}

/// Whether the shape of a tensor, or whether there is one, depends on the config. It does not in a text encoder, whose
/// shape is read off the checkpoint, nor in a layer of which the checkpoint has another tensor.
fn may_be_configured(checkpoint: &Checkpoint, name: &str) -> bool {
    let layer = name.rsplit_once('.').map_or("", |(layer, _)| layer);
    let is_in_layer = |other: &str| other.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'));
    let is_lost = !checkpoint.contains(name) && checkpoint.names().any(is_in_layer);
    !name.starts_with(TEXT) && !is_lost
}

/// What is wrong with tensors asked for so far.
type Unfit = Arc<Mutex<Vec<Misfit>>>;

struct Misfit {
    name: String,
    clause: String,
}

struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    read: &'a (dyn Fn() + Sync),
    unfit: Unfit,
}

impl Weights<'_> {
    fn read(&self, name: &str, shape: &Shape, device: &Device) -> Result<Tensor> {
        if device.is_cpu() {
            return Ok(Tensor::from_vec(self.checkpoint.read_f32(name)?, shape, device)?);
        }
        self.checkpoint.read_to(name, shape.dims(), device)
    }

    /// Notes the misfit and goes on with zeros, so that one error can name several.
    fn misfit(&self, name: &str, clause: String, shape: Shape, device: &Device) -> candle_core::Result<Tensor> {
        let mut unfit = self.unfit.lock().unwrap_or_else(PoisonError::into_inner);
        unfit.push(Misfit { name: name.to_string(), clause });
        if unfit.len() >= ENOUGH || shape.elem_count() > MOST_ZEROS {
            return Err(Error::Msg("too much does not fit".into()));
        }
        Tensor::zeros(shape, DType::F32, device)
    }
}

impl SimpleBackend for Weights<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        if let Some(clause) = misfit(self.checkpoint, name, shape.dims()) {
            return self.misfit(name, clause, shape, device);
        }
        let tensor = self.read(name, &shape, device).map_err(of_candle)?;
        (self.read)();
        tensor.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = self.checkpoint.shape(name).unwrap_or_default().into();
        self.get(shape, name, candle_nn::Init::Const(0.), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.checkpoint.contains(name)
    }
}

/// The device's error as it is, and others in their words.
fn of_candle(error: anyhow::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Msg(format!("{error:#}")))
}

/// The shape without the 1s at its end.
fn without_ones(shape: &[usize]) -> &[usize] {
    let end = shape.iter().rposition(|&n| n != 1).map_or(0, |last| last + 1);
    &shape[..end]
}

/// 320×4×3×3
fn product(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}
