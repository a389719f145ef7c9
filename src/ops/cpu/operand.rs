//! What products are made of, and what is made for them: numbers in slots of 32 bits.

use super::bf16::{pairs, singles};
use super::parallel::{Shared, written};
use crate::ops::Compute;
use half::bf16;
use std::borrow::Cow;

/// Numbers that are there: each an f32 and a slot, or every two bf16 a slot.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub(super) compute: Compute,
    pub(super) slots: &'a [f32],
}

impl<'a> Operand<'a> {
    /// Numbers it has.
    pub fn len(self) -> usize {
        match self.compute {
            Compute::F32 => self.slots.len(),
            Compute::Half => 2 * self.slots.len(),
        }
    }

    /// Slots for these products.
    pub fn slots(self, compute: Compute) -> Cow<'a, [f32]> {
        match (self.compute, compute) {
            (Compute::F32, Compute::Half) => pairs(self.slots).into(),
            (Compute::Half, Compute::F32) => singles(self.slots).into(),
            _ => self.slots.into(),
        }
    }
}

impl<'a> From<&'a [f32]> for Operand<'a> {
    fn from(slots: &'a [f32]) -> Self {
        Self { compute: Compute::F32, slots }
    }
}

/// Numbers that a kernel made, in slots for such products.
pub enum Made {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Made {
    /// `length` numbers, an even number of them for products of bf16, whose slots `f` writes.
    ///
    /// # Safety
    /// `f` writes all slots, and reads none that it has not written.
    pub unsafe fn new(compute: Compute, length: usize, f: impl FnOnce(&Shared)) -> Self {
        match compute {
            // SAFETY: the caller's word.
            Compute::F32 => Self::F32(unsafe { written(length, f) }),
            // SAFETY: as above.
            Compute::Half => Self::Bf16(unsafe { written(length, f) }),
        }
    }
}
