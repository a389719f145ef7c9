//! Cards, for a program that was built without them: the same functions as `ops::cards`.

use anyhow::{Result, bail};
use candle_core::{Device, Error};

pub fn count() -> usize {
    0
}

pub fn open(_number: usize) -> Result<Device> {
    bail!("this txt2img was built without CUDA; use --device cpu")
}

pub fn memory(_device: &Device) -> Option<usize> {
    None
}

pub fn release_memory(_device: &Device) {}

/// Processors without memory end the program.
pub fn out_of_memory(_error: &Error) -> bool {
    false
}
