//! Conversion of f16.

use super::isa::{Isa, isa};
use super::math::largest;
use half::f16;

/// Converts f16, of two little-endian bytes each, to f32. Every value is exact, and NaN stays NaN.
///
/// # Panics
/// If the numbers of elements differ.
pub fn f16_to_f32(halves: &[u8], out: &mut [f32]) {
    assert_eq!(halves.len(), 2 * out.len(), "f16 and f32 differ in number");
    convert(halves, 1., out);
}

/// Converts the f16 in `slots`, two to a slot, to f32, times `factor`.
pub fn widen(slots: &[f32], factor: f32, out: &mut [f32]) {
    // SAFETY: a slot is four bytes, each of which is valid and needs no alignment.
    let halves = unsafe { std::slice::from_raw_parts(slots.as_ptr().cast(), size_of_val(slots)) };
    convert(halves, factor, out);
}

/// Converts f16 to f32, times `factor`.
fn convert(halves: &[u8], factor: f32, out: &mut [f32]) {
    match isa() {
        // SAFETY: `isa` returns only instruction sets that the CPU has; these include F16C.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => unsafe { super::avx2::f16_to_f32(halves, factor, out) },
        _ => portable(halves, factor, out),
    }
}

/// Converts f16 to f32, times `factor`, in plain Rust.
pub fn portable(halves: &[u8], factor: f32, out: &mut [f32]) {
    for (out, &half) in out.iter_mut().zip(halves.as_chunks().0) {
        let half = u32::from(u16::from_le_bytes(half));
        let (exponent, mantissa) = (half & 0x7c00, half & 0x3ff);
        // The exponent's bias is 15 in f16, and 127 in f32.
        let normal = ((half & 0x7fff) << 13) + ((127 - 15) << 23);
        let subnormal = (mantissa as f32 * SMALLEST).to_bits();
        let magnitude = if exponent == 0 { subnormal } else { normal };
        let special = if exponent == 0x7c00 { f32::INFINITY.to_bits() } else { 0 };
        *out = f32::from_bits(magnitude | special | (half & 0x8000) << 16) * factor;
    }
}

/// The smallest positive f16.
const SMALLEST: f32 = 1. / (1 << 24) as f32;

/// Rounds a panel to f16, two to a slot, divided by a power of two that makes the largest of them fill f16's range.
/// Returns the power.
pub fn narrow(panel: &[f32], slots: &mut [f32]) -> f32 {
    const MAX_EXPONENT: i32 = 14; // f16 ends at 2¹⁶
    let max = largest(panel);
    // A panel of zeros, or with an infinity, is not scaled.
    let exponent = if max > 0. && max < f32::INFINITY { max.log2().floor() as i32 - MAX_EXPONENT } else { 0 };
    let scale = 2f32.powi(exponent.clamp(-120, 120));
    match isa() {
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => unsafe { super::avx2::narrow(panel, 1. / scale, slots) },
        _ => {
            for (slot, &[low, high]) in slots.iter_mut().zip(panel.as_chunks().0) {
                let [low, high] = [low, high].map(|x| u32::from(f16::from_f32(x / scale).to_bits()));
                *slot = f32::from_bits(low | high << 16);
            }
        }
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Converts the f16 in `slots` by the kernel of this CPU, which must equal the plain conversion.
    fn wide(slots: &[f32], scale: f32) -> Vec<f32> {
        let (mut wide, mut plain) = (vec![0.; 2 * slots.len()], vec![0.; 2 * slots.len()]);
        widen(slots, scale, &mut wide);
        let halves: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        portable(&halves, scale, &mut plain);
        assert_eq!(
            wide.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            plain.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
        wide
    }

    /// Numbers of many magnitudes, of both signs.
    fn panel() -> Vec<f32> {
        (0..1024).map(|i| (i as f32 * 0.37).sin() * 2f32.powi(-(i % 30))).collect()
    }

    #[test]
    fn narrow_numbers_keep_eleven_bits_of_the_largest_magnitudes() {
        for factor in [1., 1e-30, 1e30, 1e-4] {
            let panel: Vec<f32> = panel().iter().map(|x| x * factor).collect();
            let max = panel.iter().fold(0f32, |max, x| max.max(x.abs()));
            let mut slots = vec![0.; 512];
            let scale = narrow(&panel, &mut slots);
            for (x, y) in panel.iter().zip(&wide(&slots, scale)) {
                assert!((x - y).abs() <= x.abs().max(max * 2f32.powi(-28)) * 2f32.powi(-11), "{x} became {y}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros_and_infinities_stay_infinite() {
        for x in [0., f32::INFINITY] {
            let mut slots = [0.; 8];
            let scale = narrow(&[x; 16], &mut slots);
            assert_eq!(wide(&slots, scale), [x; 16]);
        }
    }

    #[test]
    fn nan_stays_nan() {
        let mut slots = [0.; 8];
        let scale = narrow(&[f32::NAN; 16], &mut slots);
        assert!(wide(&slots, scale).iter().all(|x| x.is_nan()));
    }
}
