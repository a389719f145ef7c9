//! 8-bit floating point numbers (Micikevicius et al. 2022, arXiv 2209.05433), as torch and safetensors store them.

use half::f16;

/// Decodes an E4M3 number: 4 bits of exponent with bias 7, 3 bits of mantissa, NaN but no infinities.
pub fn e4m3(byte: u8) -> f32 {
    E4M3[usize::from(byte)]
}

/// Decodes an E5M2 number, the upper half of an f16.
pub fn e5m2(byte: u8) -> f16 {
    f16::from_bits(u16::from(byte) << 8)
}

/// The value of every E4M3 number.
static E4M3: [f32; 256] = {
    let mut table = [0.; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = decoded_e4m3(byte as u32);
        byte += 1;
    }
    table
};

const fn decoded_e4m3(byte: u32) -> f32 {
    /// The spacing of subnormal numbers, 2⁻⁹.
    const STEP: f32 = 1. / 512.;
    let (negative, exponent, mantissa) = (byte >> 7 == 1, byte >> 3 & 15, byte & 7);
    let size = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa as f32 * STEP,
        _ => f32::from_bits((exponent + 127 - 7) << 23 | mantissa << 20),
    };
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landmarks_of_e4m3_are_decoded() {
        for (byte, value) in [
            (0x00, 0.),
            (0x01, 0.001953125),
            (0x07, 0.013671875),
            (0x08, 0.015625),
            (0x38, 1.),
            (0x7e, 448.),
            (0xb9, -1.125),
        ] {
            assert_eq!(e4m3(byte), value, "{byte:#04x}");
        }
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
        assert!(e4m3(0x80).is_sign_negative() && e4m3(0x80) == 0.);
    }

    #[test]
    fn landmarks_of_e5m2_are_decoded() {
        for (byte, value) in [(0x01, 2f32.powi(-16)), (0x3c, 1.), (0x7b, 57344.), (0xbd, -1.25), (0x7c, f32::INFINITY)]
        {
            assert_eq!(e5m2(byte).to_f32(), value, "{byte:#04x}");
        }
        assert!(e5m2(0x7e).is_nan());
    }

    #[test]
    fn every_e4m3_number_is_exact_in_f16() {
        for byte in 0..=255 {
            let value = e4m3(byte);
            assert!(value.is_nan() || f16::from_f32(value).to_f32() == value, "{byte:#04x}");
        }
    }
}
