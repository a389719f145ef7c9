//! candle's tensors as slices.

use super::operand::{Made, Operand};
use crate::ops::Compute;
use candle_core::{DType, Device, Result, Shape, Storage, Tensor, WithDType, bail};
use half::bf16;

/// Calls `f` with the numbers of a contiguous f32 tensor on the CPU.
pub fn numbers<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    contiguous(x, f)
}

/// The same for a tensor of f32 or of bf16, an even number of them.
pub fn operand<T>(x: &Tensor, f: impl FnOnce(Operand) -> Result<T>) -> Result<T> {
    if x.dtype() != DType::BF16 {
        return contiguous(x, |slots: &[f32]| f(slots.into()));
    }
    contiguous(x, |numbers: &[bf16]| {
        // SAFETY: every pattern of 32 bits is an f32.
        match unsafe { numbers.align_to::<f32>() } {
            ([], slots, []) => f(Operand { compute: Compute::Half, slots }),
            _ => bail!("the kernels take whole pairs of bf16 only"),
        }
    })
}

fn contiguous<N: WithDType, T>(x: &Tensor, f: impl FnOnce(&[N]) -> Result<T>) -> Result<T> {
    let (storage, layout) = x.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("the kernels take contiguous tensors only");
    };
    match &*storage {
        Storage::Cpu(storage) => f(&storage.as_slice::<N>()?[start..end]),
        _ => bail!("the kernels of ops/cpu take tensors on the CPU only"),
    }
}

/// A tensor of numbers that a kernel made.
pub fn tensor(made: Made, shape: impl Into<Shape>) -> Result<Tensor> {
    match made {
        Made::F32(numbers) => Tensor::from_vec(numbers, shape.into(), &Device::Cpu),
        Made::Bf16(numbers) => Tensor::from_vec(numbers, shape.into(), &Device::Cpu),
    }
}
