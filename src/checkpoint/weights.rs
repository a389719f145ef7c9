//! Loads networks from a checkpoint's tensors.

use super::lora::Loras;
use super::names::TEXT;
use super::{Checkpoint, Dtype};
use crate::config::TIMESTEPS;
use crate::diffusion::schedule::Schedule;
use anyhow::{Result, bail};
use candle_core::{DType, Device, Error, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// The number of mismatches after which loading stops.
const MAX_MISMATCHES: usize = 5;

/// The maximum number of elements of a placeholder. The model's largest tensor has 38 million.
const MAX_ZEROS: usize = 1 << 26;

/// Builds a network from a checkpoint and LoRAs. `build` requests its tensors by name and shape; `on_tensor` is called
/// after each. On CPUs, tensors that are requested as f16, the type of the source, are f16 if they are stored as f16 or 8-bit
/// numbers, and f32 if not.
///
/// # Errors
/// If tensors are missing or have other shapes, in one error that names the first few; or if `build` fails.
pub fn load<T>(
    checkpoint: &Checkpoint,
    loras: &Loras,
    device: &Device,
    on_tensor: &(dyn Fn() + Sync),
    build: impl FnOnce(VarBuilder) -> Result<T>,
) -> Result<T> {
    let mismatches = Mismatches::default();
    let averages = loras.names_of_averages();
    let weights = Weights { checkpoint, loras: loras.clone(), averages, on_tensor, mismatches: mismatches.clone() };
    // The kernels for GPUs take weights of f32.
    let dtype = if device.is_cpu() { DType::F16 } else { DType::F32 };
    let network = build(VarBuilder::from_backend(Box::new(weights), dtype, device.clone()));
    check_none(checkpoint, &mismatches.lock().unwrap_or_else(PoisonError::into_inner))?;
    network
}

/// Checks that a checkpoint has tensors of these names and shapes.
///
/// # Errors
/// If some are missing or have other shapes, in one error that names the first few.
pub fn check(checkpoint: &Checkpoint, tensors: &BTreeMap<String, Vec<usize>>) -> Result<()> {
    let mismatch = |(name, shape): (&String, &Vec<usize>)| {
        let clause = mismatch(checkpoint, name, shape)?;
        Some(Mismatch { name: name.clone(), clause })
    };
    check_none(checkpoint, &tensors.iter().filter_map(mismatch).take(MAX_MISMATCHES).collect::<Vec<_>>())
}

/// Checks that there are no mismatches.
///
/// # Errors
/// If there are, in one error that names them.
fn check_none(checkpoint: &Checkpoint, mismatches: &[Mismatch]) -> Result<()> {
    let Some(first) = mismatches.first() else { return Ok(()) };
    let more = if mismatches.len() < MAX_MISMATCHES { "" } else { " and perhaps more" };
    let path = checkpoint.path_of(&first.name).display();
    let clauses: Vec<&str> = mismatches.iter().map(|mismatch| &mismatch.clause[..]).collect();
    bail!(
        "'{path}' does not fit the model's config: {}{more}; {}",
        clauses.join(", "),
        remedy(checkpoint, mismatches.iter().map(|mismatch| &*mismatch.name))
    );
}

/// The tensor of the model's noise schedule.
pub const SCHEDULE: &str = "alphas_cumprod";

/// Returns the checkpoint's own noise schedule. Returns `None` if it is missing, invalid or rounded to half precision.
pub fn schedule(checkpoint: &Checkpoint) -> Option<Schedule> {
    let is_exact = checkpoint.dtype(SCHEDULE) == Some(Dtype::F32);
    is_exact.then(|| checkpoint.read_f32(SCHEDULE).ok()).flatten().and_then(|a| Schedule::from_buffer(&a))
}

/// Returns whether the checkpoint's noise schedule, in any precision, ends in 0.
pub fn schedule_ends_in_zero(checkpoint: &Checkpoint) -> bool {
    let is_one = checkpoint.shape(SCHEDULE).is_some_and(|shape| shape == [TIMESTEPS]);
    let values = is_one.then(|| checkpoint.read_f32(SCHEDULE).ok()).flatten();
    values.is_some_and(|a| a[0] > 0.5 && a.last() == Some(&0.))
}

/// Returns a clause that says what is wrong with a tensor that should have this shape; `None` if it fits.
pub fn mismatch(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Option<String> {
    let Some(found) = checkpoint.shape(name) else {
        return Some(format!("it has no tensor '{name}'"));
    };
    // Some tools write 1×1 convolutions as linear layers.
    let is_fit = without_ones(found) == without_ones(shape);
    (!is_fit).then(|| format!("'{name}' is {}, not {}", product(found), product(shape)))
}

/// Returns the advice for tensors that do not fit: another config, or another file if no config would help.
pub fn remedy<'a>(checkpoint: &Checkpoint, mut names: impl Iterator<Item = &'a str>) -> &'static str {
    if names.any(|name| depends_on_config(checkpoint, name)) {
        "give the config that belongs to it"
    } else {
        "it is incomplete or damaged, so download it again"
    }
}

/// Returns whether the existence or the shape of a tensor depends on the config. It does not in the text encoder, whose
/// sizes come from the checkpoint, nor for a missing tensor of a layer that has others in the checkpoint.
fn depends_on_config(checkpoint: &Checkpoint, name: &str) -> bool {
    let layer = name.rsplit_once('.').map_or("", |(layer, _)| layer);
    let is_in_layer = |other: &str| other.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'));
    let is_lost = !checkpoint.contains(name) && checkpoint.names().any(is_in_layer);
    !name.starts_with(TEXT) && !is_lost
}

/// The mismatches so far, shared with the caller.
type Mismatches = Arc<Mutex<Vec<Mismatch>>>;

/// A requested tensor that the checkpoint lacks or has in another shape.
struct Mismatch {
    name: String,
    /// The clause that says what is wrong.
    clause: String,
}

/// candle's source of tensors.
struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    loras: Loras,
    /// LDM's names of the moving averages that the LoRAs change.
    averages: HashMap<String, String>,
    on_tensor: &'a (dyn Fn() + Sync),
    mismatches: Mismatches,
}

impl Weights<'_> {
    /// Reads a tensor as f32, or as f16 if `dtype` is f16 and it is stored as f16 or 8-bit numbers.
    fn read(&self, name: &str, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        let ldm_name = self.averages.get(name).map_or(name, String::as_str);
        if self.loras.changes(ldm_name) {
            return Ok(self.loras.read(self.checkpoint, name, ldm_name, shape)?.to_device(device)?);
        }
        let stays_f16 = dtype == DType::F16 && self.checkpoint.dtype(name).and_then(Dtype::of_candle) == Some(dtype);
        if device.is_cpu() && !stays_f16 {
            return Ok(Tensor::from_vec(self.checkpoint.read_f32(name)?, shape, device)?);
        }
        let stored = self.checkpoint.read_to(name, shape.dims(), device)?;
        // On GPUs, tensors are converted after they are copied, which keeps the transfer small.
        Ok(if stays_f16 { stored } else { stored.to_dtype(DType::F32)? })
    }

    /// Records a mismatch and returns zeros, so that one error can name several mismatches.
    fn placeholder(&self, name: &str, clause: String, shape: Shape, device: &Device) -> candle_core::Result<Tensor> {
        let mut mismatches = self.mismatches.lock().unwrap_or_else(PoisonError::into_inner);
        mismatches.push(Mismatch { name: name.to_string(), clause });
        if mismatches.len() >= MAX_MISMATCHES || shape.elem_count() > MAX_ZEROS {
            return Err(Error::Msg("too many mismatches".into()));
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
        if let Some(clause) = mismatch(self.checkpoint, name, shape.dims()) {
            return self.placeholder(name, clause, shape, device);
        }
        let tensor = self.read(name, &shape, dtype, device).map_err(candle_error)?;
        (self.on_tensor)();
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = self.checkpoint.shape(name).unwrap_or_default().into();
        self.get(shape, name, candle_nn::Init::Const(0.), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.checkpoint.contains(name)
    }
}

/// Converts an error to candle's type. Errors that came from candle are kept as they are.
fn candle_error(error: anyhow::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Msg(format!("{error:#}")))
}

/// Returns the shape without trailing 1s.
fn without_ones(shape: &[usize]) -> &[usize] {
    let end = shape.iter().rposition(|&n| n != 1).map_or(0, |last| last + 1);
    &shape[..end]
}

/// Formats a shape, such as 320×4×3×3.
pub(super) fn product(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn f16_is_read_as_f16_on_request() -> Result<()> {
        let nano = Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nano.ckpt"))?;
        for (name, stored) in [("model.diffusion_model.out.2.weight", DType::F16), (SCHEDULE, DType::F32)] {
            let shape = nano.shape(name).unwrap_or_default().to_vec();
            let read = |dtype: Option<DType>| {
                load(&nano, &Loras::default(), &Device::Cpu, &|| (), |vb| {
                    let dtype = dtype.unwrap_or(vb.dtype());
                    Ok(vb.get_with_hints_dtype(shape.clone(), name, candle_nn::Init::default(), dtype)?)
                })
            };
            assert_eq!(read(None)?.dtype(), stored, "{name}");
            assert_eq!(read(Some(DType::F32))?.dtype(), DType::F32, "{name}");
        }
        Ok(())
    }
}
