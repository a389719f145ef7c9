//! AVX-512: vectors of 16.

use super::kernel::{Tile, kernel, products};
use super::math::{ROUGH, ROUND};
use std::arch::x86_64::*;

kernel! {
    #[target_feature(enable = "avx512f")]
    kernel, __m512, lanes: 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, splat: _mm512_set1_ps,
    multiply_add: _mm512_fmadd_ps, store: _mm512_storeu_ps,
}

kernel! {
    #[target_feature(enable = "avx512f,avx512bf16")]
    kernel_bf16, __m512, lanes: 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, splat: _mm512_set1_ps,
    multiply_add: dot_pairs, store: _mm512_storeu_ps,
}

/// sum + a · b, where every slot of a and b is two bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_pairs(a: __m512, b: __m512, sum: __m512) -> __m512 {
    // SAFETY: both types are 64 bytes of which every pattern is good.
    let pairs = |slots: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(slots) };
    _mm512_dpbf16_ps(sum, pairs(a), pairs(b))
}

/// Rows · panel as weights: 2 to the power of each product times `scale`, for a panel of 32 keys of which the first `keys`
/// count. The output's rows are 16 slots of bf16 each; the weights' sums are added to `sums`, `MR` vectors of them.
///
/// # Safety
/// As for `kernel_bf16`; and no power is beyond ±126.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn weigh_bf16<const MR: usize>(tile: &Tile, scale: f32, keys: usize, sums: &mut [[f32; 16]; MR]) {
    const NV: usize = 2;
    let products = products! {
        tile, MR, NV, __m512, lanes: 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, splat: _mm512_set1_ps,
        multiply_add: dot_pairs,
    };
    // In memory for the long loop below: as it is not unrolled, they could not stay in registers before it either.
    let mut scores = [[0f32; 32]; MR];
    for r in 0..MR {
        for v in 0..NV {
            // SAFETY: a row has NV vectors.
            unsafe { _mm512_storeu_ps(scores[r].as_mut_ptr().add(16 * v), products[r][v]) };
        }
    }
    let scale = _mm512_set1_ps(scale);
    let counts = u32::MAX.checked_shr(32 - keys as u32).unwrap_or(0);
    for r in 0..MR {
        // SAFETY: a row has two vectors, and `sums` one for each row.
        let (low, high, sum) = unsafe {
            let row = scores[r].as_ptr();
            (_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(16)), _mm512_loadu_ps(sums[r].as_ptr()))
        };
        let low = _mm512_maskz_mov_ps(counts as u16, exp2(low, scale));
        let high = _mm512_maskz_mov_ps((counts >> 16) as u16, exp2(high, scale));
        // SAFETY: as above; the output has MR rows; the types are 64 bytes of which every pattern is good.
        unsafe {
            _mm512_storeu_ps(sums[r].as_mut_ptr(), _mm512_add_ps(sum, _mm512_add_ps(low, high)));
            let pairs = std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_ps(tile.out.add(r * tile.stride), pairs);
        }
    }
}

/// `math::exp2` of scale · x by `math::ROUGH`, for powers between -126 and 126.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2(x: __m512, scale: __m512) -> __m512 {
    let round = _mm512_set1_ps(ROUND);
    let shifted = _mm512_fmadd_ps(x, scale, round);
    let r = _mm512_fmsub_ps(x, scale, _mm512_sub_ps(shifted, round));
    let mut p = _mm512_set1_ps(ROUGH[0]);
    for factor in &ROUGH[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*factor));
    }
    // The whole number is in the low bits of `shifted`; it goes to the exponent.
    let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), power))
}

/// 32 numbers, rounded to bf16, in 16 slots.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn pair_vector(x: &[f32; 32]) -> [f32; 16] {
    let [low, high] = x.as_chunks::<16>().0 else { unreachable!("32 are twice 16") };
    // SAFETY: all of these are 64 bytes of which every pattern is good.
    unsafe {
        let [low, high] = [low, high].map(|x| std::mem::transmute::<[f32; 16], __m512>(*x));
        std::mem::transmute::<__m512bh, [f32; 16]>(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// 16 numbers, rounded to bf16, in 8 slots.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn pair_half(x: &[f32; 16]) -> [f32; 8] {
    // SAFETY: types of one size, 64 bytes or 32, of which every pattern is good.
    unsafe { std::mem::transmute(_mm512_cvtneps_pbh(std::mem::transmute::<[f32; 16], __m512>(*x))) }
}
