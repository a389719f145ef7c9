//! Weights before they are packed.

use super::f16::f16_to_f32;
use super::tensor::contiguous;
use candle_core::{DType, Result, Tensor};
use half::f16;

/// The elements of a weight, in the type in which the checkpoint stores them.
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

impl<'a> From<&'a [f32]> for Weight<'a> {
    fn from(elements: &'a [f32]) -> Self {
        Self::F32(elements)
    }
}

impl<'a> Weight<'a> {
    /// The number of elements.
    pub fn len(self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::F16(elements) => elements.len(),
        }
    }

    /// Returns `count` elements from `start` on. `buffer`: where they are converted, if they are f16.
    ///
    /// # Panics
    /// If there are fewer, or the buffer is too small.
    pub fn read(self, start: usize, count: usize, buffer: &'a mut [f32]) -> &'a [f32] {
        match self {
            Self::F32(elements) => &elements[start..][..count],
            Self::F16(elements) => {
                let buffer = &mut buffer[..count];
                f16_to_f32(bytes(&elements[start..][..count]), buffer);
                buffer
            }
        }
    }
}

/// Returns the bytes of `elements`.
fn bytes(elements: &[f16]) -> &[u8] {
    // SAFETY: every byte is valid and needs no alignment.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

/// Calls `f` with the elements of a contiguous tensor of f32 or f16 on the CPU.
///
/// # Errors
/// If `x` has another type or device, if it is not contiguous, or if `f` fails.
pub fn with_weight<T>(x: &Tensor, f: impl FnOnce(Weight) -> Result<T>) -> Result<T> {
    match x.dtype() {
        DType::F16 => contiguous(x, |elements| f(Weight::F16(elements))),
        _ => contiguous(x, |elements| f(Weight::F32(elements))),
    }
}
