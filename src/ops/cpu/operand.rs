//! Inputs and outputs of the kernels: f32 or bf16, addressed as 32-bit slots.

use super::bf16::{pairs, to_f32};
use super::parallel::{DisjointSlice, from_uninit};
use crate::ops::Compute;
use half::bf16;
use std::borrow::Cow;

/// A matrix operand in 32-bit slots, each of which holds one f32 or two bf16.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub(super) compute: Compute,
    pub(super) slots: &'a [f32],
}

impl<'a> Operand<'a> {
    /// The number of elements.
    pub fn len(self) -> usize {
        match self.compute {
            Compute::F32 => self.slots.len(),
            Compute::Half => 2 * self.slots.len(),
        }
    }

    /// Returns the slots, converted if the elements are of another type than `compute`.
    pub fn slots(self, compute: Compute) -> Cow<'a, [f32]> {
        match (self.compute, compute) {
            (Compute::F32, Compute::Half) => pairs(self.slots).into(),
            (Compute::Half, Compute::F32) => to_f32(self.slots).into(),
            _ => self.slots.into(),
        }
    }
}

impl<'a> From<&'a [f32]> for Operand<'a> {
    fn from(slots: &'a [f32]) -> Self {
        Self { compute: Compute::F32, slots }
    }
}

/// The output of a kernel.
pub enum Output {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Output {
    /// Allocates `length` elements, an even number if they are bf16, whose slots `f` writes.
    ///
    /// # Safety
    /// `f` must write every slot, and must not read a slot before writing it.
    pub unsafe fn new(compute: Compute, length: usize, f: impl FnOnce(&DisjointSlice)) -> Self {
        match compute {
            // SAFETY: the caller guarantees that `f` writes every slot.
            Compute::F32 => Self::F32(unsafe { from_uninit(length, f) }),
            // SAFETY: as above.
            Compute::Half => Self::Bf16(unsafe { from_uninit(length, f) }),
        }
    }
}
