//! candle's tensors as slices.

use candle_core::{Device, Result, Shape, Storage, Tensor, bail};

/// Calls `f` with the numbers of a contiguous f32 tensor on the CPU.
pub fn numbers<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = x.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("the kernels take contiguous tensors only");
    };
    match &*storage {
        Storage::Cpu(storage) => f(&storage.as_slice::<f32>()?[start..end]),
        _ => bail!("the kernels of ops/cpu take tensors on the CPU only"),
    }
}

/// A tensor of numbers that a kernel made.
pub fn tensor(numbers: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(numbers, shape.into(), &Device::Cpu)
}
