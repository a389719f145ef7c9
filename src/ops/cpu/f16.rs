//! Conversion of f16.

use super::isa::{Isa, isa};
use super::math::for_each_isa;
use half::f16;

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

/// Rounds a panel to f16, two to a slot, divided by a power of two that makes the largest of them fill f16's range.
/// Returns the power.
pub fn narrow(panel: &[f32], slots: &mut [f32]) -> f32 {
    const MAX_EXPONENT: i32 = 14; // f16 ends at 2¹⁶
    let max = largest(panel);
    // A panel of zeros, or with an infinity, is not scaled.
    let exponent = if max > 0. && max < f32::INFINITY { max.log2().floor() as i32 - MAX_EXPONENT } else { 0 };
    let scale = 2f32.powi(exponent.clamp(-120, 120));
    match isa() {
        // SAFETY: `isa` returns only instruction sets that the CPU has; these include F16C.
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

for_each_isa! {
    /// The largest magnitude. NaN is ignored.
    fn largest(panel: &[f32]) -> f32 {
        let mut lanes = [0f32; 16];
        for vector in panel.as_chunks::<16>().0 {
            for lane in 0..16 {
                lanes[lane] = lanes[lane].max(vector[lane].abs());
            }
        }
        let rest = panel.as_chunks::<16>().1.iter().map(|x| x.abs());
        rest.chain(lanes).fold(0., f32::max)
    }
}

/// Converts the f16 of a panel to f32, times `scale`.
pub fn widen(slots: &[f32], scale: f32, panel: &mut [f32]) {
    match isa() {
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => unsafe { super::avx2::widen(slots, scale, panel) },
        _ => widen_portable(slots, scale, panel),
    }
}

/// [`widen`] in plain Rust. The exponent's bias is 15 in f16 and 127 in f32, which the multiplication makes up for.
fn widen_portable(slots: &[f32], scale: f32, panel: &mut [f32]) {
    let bias = 2f32.powi(127 - 15);
    for (pair, slot) in panel.as_chunks_mut::<2>().0.iter_mut().zip(slots) {
        let bits = slot.to_bits();
        *pair = [bits << 16, bits].map(|half| {
            let magnitude = f32::from_bits((half & 0x7fff_0000) >> 3);
            (magnitude * bias * scale).copysign(f32::from_bits(half))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of many magnitudes, of both signs.
    fn panel() -> Vec<f32> {
        (0..1024).map(|i| (i as f32 * 0.37).sin() * 2f32.powi(-(i % 30))).collect()
    }

    #[test]
    fn narrow_numbers_keep_eleven_bits_of_the_largest_magnitudes() {
        for factor in [1., 1e-30, 1e30, 1e-4] {
            let wide: Vec<f32> = panel().iter().map(|x| x * factor).collect();
            let max = wide.iter().fold(0f32, |max, x| max.max(x.abs()));
            let (mut slots, mut back, mut plain) = (vec![0.; 512], vec![0.; 1024], vec![0.; 1024]);
            let scale = narrow(&wide, &mut slots);
            widen(&slots, scale, &mut back);
            widen_portable(&slots, scale, &mut plain);
            assert_eq!(back, plain);
            for (x, y) in wide.iter().zip(&back) {
                assert!((x - y).abs() <= x.abs().max(max * 2f32.powi(-28)) * 2f32.powi(-11), "{x} became {y}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros_and_infinities_stay_infinite() {
        for x in [0., f32::INFINITY] {
            let (mut slots, mut back) = ([0.; 8], vec![0.; 16]);
            let scale = narrow(&[x; 16], &mut slots);
            widen(&slots, scale, &mut back);
            assert_eq!(back, [x; 16]);
        }
    }
}
