//! Conversion of f16.

use super::isa::{Isa, isa};

/// Converts f16, of two little-endian bytes each, to f32. Every value is exact, and NaN stays NaN.
///
/// # Panics
/// If the numbers of elements differ.
pub fn f16_to_f32(halves: &[u8], out: &mut [f32]) {
    assert_eq!(halves.len(), 2 * out.len(), "f16 and f32 differ in number");
    match isa() {
        // SAFETY: `isa` returns only instruction sets that the CPU has; these include F16C.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => unsafe { super::avx2::f16_to_f32(halves, out) },
        _ => portable(halves, out),
    }
}

/// Converts f16 in plain Rust.
pub fn portable(halves: &[u8], out: &mut [f32]) {
    for (out, &half) in out.iter_mut().zip(halves.as_chunks().0) {
        let half = u32::from(u16::from_le_bytes(half));
        let (exponent, mantissa) = (half & 0x7c00, half & 0x3ff);
        // The exponent's bias is 15 in f16, and 127 in f32.
        let normal = ((half & 0x7fff) << 13) + ((127 - 15) << 23);
        let subnormal = (mantissa as f32 * SMALLEST).to_bits();
        let magnitude = if exponent == 0 { subnormal } else { normal };
        let special = if exponent == 0x7c00 { f32::INFINITY.to_bits() } else { 0 };
        *out = f32::from_bits(magnitude | special | (half & 0x8000) << 16);
    }
}

/// The smallest positive f16.
const SMALLEST: f32 = 1. / (1 << 24) as f32;
