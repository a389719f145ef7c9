//! Conversions between candle's tensors and slices.

use super::operand::{Operand, Output};
use crate::ops::Compute;
use candle_core::{DType, Device, Result, Shape, Storage, Tensor, WithDType, bail};
use half::bf16;

/// Calls `f` with the elements of a contiguous f32 tensor on the CPU.
///
/// # Errors
/// If `x` has another type or device, if it is not contiguous, or if `f` fails.
pub fn with_f32<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    contiguous(x, f)
}

/// Calls `f` with the slots of a contiguous tensor of f32, or of an even number of bf16, on the CPU.
///
/// # Errors
/// If `x` has another type or device, if it is not contiguous, if it has an odd number of bf16, or if `f` fails.
pub fn with_operand<T>(x: &Tensor, f: impl FnOnce(Operand) -> Result<T>) -> Result<T> {
    if x.dtype() != DType::BF16 {
        return contiguous(x, |slots: &[f32]| f(slots.into()));
    }
    contiguous(x, |elements: &[bf16]| {
        // SAFETY: every 32-bit pattern is a valid f32.
        match unsafe { elements.align_to::<f32>() } {
            ([], slots, []) => f(Operand { compute: Compute::Half, slots }),
            _ => bail!("the CPU kernels take an even number of bf16 only"),
        }
    })
}

/// Calls `f` with the elements of a contiguous tensor on the CPU.
///
/// # Errors
/// If `x` has another type or device, if it is not contiguous, or if `f` fails.
pub fn contiguous<N: WithDType, T>(x: &Tensor, f: impl FnOnce(&[N]) -> Result<T>) -> Result<T> {
    let (storage, layout) = x.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("the CPU kernels take contiguous tensors only");
    };
    match &*storage {
        Storage::Cpu(storage) => f(&storage.as_slice::<N>()?[start..end]),
        _ => bail!("the CPU kernels take tensors on the CPU only"),
    }
}

/// Wraps the output of a kernel in a tensor of `shape`.
pub fn to_tensor(output: Output, shape: impl Into<Shape>) -> Result<Tensor> {
    match output {
        Output::F32(elements) => Tensor::from_vec(elements, shape.into(), &Device::Cpu),
        Output::Bf16(elements) => Tensor::from_vec(elements, shape.into(), &Device::Cpu),
    }
}
