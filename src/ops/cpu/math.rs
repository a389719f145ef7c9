//! Elementary functions and reductions that the compiler vectorises, and their compilation for each instruction set.

use crate::ops::activation::QUICK_GELU;
use std::f32::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E};

/// Compiles a function for each instruction set, and selects one when called.
///
/// The body is inlined into functions with wider vectors. In it, the constant `FMA` is true if the CPU has fused
/// multiply-add, and `BF16` if it has AVX-512 BF16.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            fn body<const FMA: bool, const BF16: bool>($($arg: $type),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
            fn avx512bf16($($arg: $type),*) $(-> $ret)? { body::<true, true>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $ret)? { body::<true, false>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $ret)? { body::<true, false>($($arg),*) }
            match $crate::ops::cpu::isa() {
                // SAFETY: `isa` returns only instruction sets that the CPU has.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::cpu::Isa::Avx512Bf16 => unsafe { avx512bf16($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::cpu::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::cpu::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // Every 64-bit ARM CPU has fused multiply-add.
                #[cfg(target_arch = "aarch64")]
                $crate::ops::cpu::Isa::Neon => body::<true, false>($($arg),*),
                _ => body::<false, false>($($arg),*),
            }
        }
    };
}
pub(super) use for_each_isa;

// The functions below have no branches, which would prevent vectorisation: only clamps and selections.

/// a · b + c, fused if the CPU has an instruction for it; without one, a fused operation would be slow.
#[inline(always)]
fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// 1.5 · 2²³. Adding it rounds to an integer, which is then in the low bits of the sum.
pub const ROUND: f32 = 12_582_912.;

/// eˣ to about two units in the last place (Cody & Waite's reduction, Cephes' polynomial). `x` must not be above 88;
/// below -87 the result is e⁻⁸⁷.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = x.max(-87.);
    let shifted = multiply_add::<FMA>(x, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FMA>(n, -0.693_359_4, x);
    let r = multiply_add::<FMA>(n, 2.121_944_4e-4, r);
    let p = multiply_add::<FMA>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = multiply_add::<FMA>(p, r, 8.333_452e-3);
    let p = multiply_add::<FMA>(p, r, 4.166_579_6e-2);
    let p = multiply_add::<FMA>(p, r, 1.666_666_5e-1);
    let p = multiply_add::<FMA>(p, r, 5.000_000_3e-1);
    let p = multiply_add::<FMA>(p, r * r, r) + 1.;
    let power = f32::from_bits(shifted.to_bits().wrapping_shl(23).wrapping_add(0x3f80_0000));
    p * power
}

/// The minimax polynomial of 2ʳ for r from −½ to ½, to a unit in the last place of f32. Highest power first.
pub const EXP2_F32: [f32; 7] = [1.534_581e-4, 1.339_993_1e-3, 9.618_489e-3, 5.550_328_6e-2, 0.240_226_46, LN_2, 1.];

/// The minimax polynomial of 2ʳ for r from −½ to ½ with a relative error of 8·10⁻⁵, a 25th of bf16's rounding error.
/// Highest power first.
pub const EXP2_BF16: [f32; 4] = [0.055_171_67, 0.242_611_12, 0.693_260_99, 0.999_928_07];

/// The value at `r` of a polynomial, highest power first.
#[inline(always)]
fn evaluate<const FMA: bool, const N: usize>(polynomial: [f32; N], r: f32) -> f32 {
    let mut p = polynomial[0];
    for coefficient in &polynomial[1..] {
        p = multiply_add::<FMA>(p, r, *coefficient);
    }
    p
}

/// 2ˣ by one of the polynomials above. `x` must not be above 127; below -126 the result is 2⁻¹²⁶. NaN stays NaN.
#[inline(always)]
pub fn exp2<const FMA: bool, const N: usize>(x: f32, polynomial: [f32; N]) -> f32 {
    let x = if x < -126. { -126. } else { x }; // `max` would turn NaN into -126
    let shifted = x + ROUND;
    let p = evaluate::<FMA, _>(polynomial, x - (shifted - ROUND));
    p * f32::from_bits(shifted.to_bits().wrapping_shl(23).wrapping_add(0x3f80_0000))
}

/// 2^(scale · x) by one of the polynomials above, for scale · x from -126 to 126.
#[inline(always)]
pub fn exp2_scaled<const FMA: bool, const N: usize>(x: f32, scale: f32, polynomial: [f32; N]) -> f32 {
    let shifted = multiply_add::<FMA>(x, scale, ROUND);
    let p = evaluate::<FMA, _>(polynomial, multiply_add::<FMA>(x, scale, ROUND - shifted));
    // The integer part is in the low bits of `shifted`, and is added to the exponent.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits().wrapping_shl(23)))
}

/// x / (1 + e⁻ˣ).
#[inline(always)]
pub fn silu<const FMA: bool>(x: f32) -> f32 {
    let e = exp::<FMA>(-x.abs());
    let numerator = if x < 0. { e } else { 1. };
    x * numerator / (1. + e)
}

/// x / (1 + e⁻¹·⁷⁰²ˣ).
#[inline(always)]
pub fn quick_gelu<const FMA: bool>(x: f32) -> f32 {
    const FACTOR: f32 = QUICK_GELU as f32;
    silu::<FMA>(FACTOR * x) * (1. / FACTOR)
}

/// x · Φ(x), with erf to 1.5e-7 (Abramowitz & Stegun 7.1.26).
#[inline(always)]
pub fn gelu<const FMA: bool>(x: f32) -> f32 {
    let magnitude = x.abs() * FRAC_1_SQRT_2;
    let t = 1. / multiply_add::<FMA>(0.327_591_1, magnitude, 1.);
    let p = multiply_add::<FMA>(1.061_405_4, t, -1.453_152_1);
    let p = multiply_add::<FMA>(p, t, 1.421_413_8);
    let p = multiply_add::<FMA>(p, t, -0.284_496_72);
    let p = multiply_add::<FMA>(p, t, 0.254_829_6) * t;
    let tail = 0.5 * p * exp::<FMA>(-magnitude * magnitude); // 1 - Φ(|x|)
    x * if x < 0. { tail } else { 1. - tail }
}

/// x · Φ(x) for results that are rounded to bf16: the error is a quarter of bf16's rounding error from -3 to 3, and at
/// most that or 8·10⁻⁵ elsewhere. Φ(x) is approximated by 1 / (1 + 2⁻ˡ), where l / x is a polynomial in x².
#[inline(always)]
pub fn gelu_bf16<const FMA: bool>(x: f32) -> f32 {
    let inner = x.clamp(-5., 5.); // Φ is 0 or 1 beyond
    let square = inner * inner;
    let p = multiply_add::<FMA>(-1.140_178e-3, square, 0.107_740_66);
    let p = multiply_add::<FMA>(p, square, 2.299_818);
    let numerator = if x < -5. { -5. } else { x };
    numerator / (1. + exp2::<FMA, _>(-inner * p, EXP2_BF16))
}

for_each_isa! {
    /// Returns whether no number is infinite or NaN.
    pub fn all_finite(numbers: &[f32]) -> bool {
        numbers.iter().fold(true, |all, number| all & number.is_finite())
    }
}

for_each_isa! {
    /// The largest magnitude. NaN is ignored.
    pub fn largest(numbers: &[f32]) -> f32 {
        let mut lanes = [0f32; 16];
        for vector in numbers.as_chunks::<16>().0 {
            for lane in 0..16 {
                lanes[lane] = lanes[lane].max(vector[lane].abs());
            }
        }
        let rest = numbers.as_chunks::<16>().1.iter().map(|x| x.abs());
        rest.chain(lanes).fold(0., f32::max)
    }
}
