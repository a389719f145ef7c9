//! The functions of `cuda::gpu` for builds without CUDA, which have no GPU.

use anyhow::{Result, bail};
use candle_core::{Device, Error};

/// The number of GPUs: none.
pub fn count() -> usize {
    0
}

/// Opens a GPU.
///
/// # Errors
/// Always, as this build has no kernels for it.
pub fn open(_number: usize) -> Result<Device> {
    bail!("this txt2img was built without CUDA; use --device cpu")
}

/// The memory of a GPU in bytes: not known.
pub fn memory(_device: &Device) -> Option<usize> {
    None
}

/// Returns cached memory to the driver: there is none.
pub fn release_memory(_device: &Device) {}

/// Whether an error is a GPU's out-of-memory error: never. On a CPU the operating system ends the program.
pub fn out_of_memory(_error: &Error) -> bool {
    false
}
