//! What products are made of, and what is made for them: numbers in slots of 32 bits.

use super::bf16::{pairs, singles};
use super::parallel::{Shared, written};
use crate::ops::Products;
use half::bf16;
use std::borrow::Cow;

/// Numbers that are there: each an f32 and a slot, or every two bf16 a slot.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub(super) products: Products,
    pub(super) slots: &'a [f32],
}

impl<'a> Operand<'a> {
    /// Numbers it has.
    pub fn len(self) -> usize {
        match self.products {
            Products::F32 => self.slots.len(),
            Products::Half => 2 * self.slots.len(),
        }
    }

    /// Slots for these products.
    pub fn slots(self, products: Products) -> Cow<'a, [f32]> {
        match (self.products, products) {
            (Products::F32, Products::Half) => pairs(self.slots).into(),
            (Products::Half, Products::F32) => singles(self.slots).into(),
            _ => self.slots.into(),
        }
    }
}

impl<'a> From<&'a [f32]> for Operand<'a> {
    fn from(slots: &'a [f32]) -> Self {
        Self { products: Products::F32, slots }
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
    pub unsafe fn new(products: Products, length: usize, f: impl FnOnce(&Shared)) -> Self {
        match products {
            // SAFETY: the caller's word.
            Products::F32 => Self::F32(unsafe { written(length, f) }),
            // SAFETY: as above.
            Products::Half => Self::Bf16(unsafe { written(length, f) }),
        }
    }
}
