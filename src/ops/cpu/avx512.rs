//! AVX-512: vectors of 16.

use super::kernel::{Tile, kernel, no_steps, products};
use super::math::{EXP2_BF16, ROUND};
use std::arch::x86_64::*;

kernel! {
    #[target_feature(enable = "avx512f")]
    kernel, __m512, lanes: 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, splat: _mm512_set1_ps,
    multiply_add: _mm512_fmadd_ps, add: _mm512_add_ps, store: _mm512_storeu_ps, first_steps: no_steps,
}

kernel! {
    #[target_feature(enable = "avx512f,avx512bf16")]
    kernel_bf16, __m512, lanes: 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, splat: _mm512_set1_ps,
    multiply_add: dot_pairs, add: _mm512_add_ps, store: _mm512_storeu_ps, first_steps: no_steps,
}

/// sum + a · b, where each slot of `a` and `b` holds two bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_pairs(a: __m512, b: __m512, sum: __m512) -> __m512 {
    // SAFETY: both types have 64 bytes and no invalid bit patterns.
    let pairs = |slots: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(slots) };
    _mm512_dpbf16_ps(sum, pairs(a), pairs(b))
}

/// Writes the softmax weights 2^(scale · query · key) of `MR` queries and a panel of 32 keys, rounded to bf16: 16 slots
/// for each query. The first `keys` of the keys are valid; the others get weight 0. The weights are added to
/// `sums` (MR, 16).
///
/// # Safety
/// The requirements of `kernel_bf16`; also, no scaled score may be outside ±126.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn exp_scores_bf16<const MR: usize>(tile: &Tile, scale: f32, keys: usize, sums: &mut [[f32; 16]; MR]) {
    const NV: usize = 2;
    let products = products! {
        tile, MR, NV, __m512, lanes: 16, zero: _mm512_setzero_ps(), load: _mm512_loadu_ps, splat: _mm512_set1_ps,
        multiply_add: dot_pairs, first_steps: no_steps,
    };
    // Through memory: the loop below is too long to be unrolled, so the scores cannot stay in registers.
    let mut scores = [[0f32; 32]; MR];
    for r in 0..MR {
        for v in 0..NV {
            // SAFETY: a row has NV vectors.
            unsafe { _mm512_storeu_ps(scores[r].as_mut_ptr().add(16 * v), products[r][v]) };
        }
    }
    let scale = _mm512_set1_ps(scale);
    let mask = u32::MAX.checked_shr(32 - keys as u32).unwrap_or(0);
    for r in 0..MR {
        // SAFETY: a row of `scores` has two vectors, and one of `sums` has one.
        let (low, high, sum) = unsafe {
            let row = scores[r].as_ptr();
            (_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(16)), _mm512_loadu_ps(sums[r].as_ptr()))
        };
        let low = _mm512_maskz_mov_ps(mask as u16, exp2(low, scale));
        let high = _mm512_maskz_mov_ps((mask >> 16) as u16, exp2(high, scale));
        // SAFETY: as above; the output has MR rows; both types have 64 bytes and no invalid bit patterns.
        unsafe {
            _mm512_storeu_ps(sums[r].as_mut_ptr(), _mm512_add_ps(sum, _mm512_add_ps(low, high)));
            let pairs = std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_ps(tile.out.add(r * tile.stride), pairs);
        }
    }
}

/// 2^(scale · x) by the polynomial `EXP2_BF16`, for scale · x from -126 to 126.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2(x: __m512, scale: __m512) -> __m512 {
    let round = _mm512_set1_ps(ROUND);
    let shifted = _mm512_fmadd_ps(x, scale, round);
    let r = _mm512_fmsub_ps(x, scale, _mm512_sub_ps(shifted, round));
    let mut p = _mm512_set1_ps(EXP2_BF16[0]);
    for coefficient in &EXP2_BF16[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*coefficient));
    }
    // The integer part is in the low bits of `shifted`, and is added to the exponent.
    let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), power))
}

/// Rounds 32 f32 to bf16, in 16 slots.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn pair_vector(x: &[f32; 32]) -> [f32; 16] {
    let [low, high] = x.as_chunks::<16>().0 else { unreachable!("32 are twice 16") };
    // SAFETY: these types have 64 bytes and no invalid bit patterns.
    unsafe {
        let [low, high] = [low, high].map(|x| std::mem::transmute::<[f32; 16], __m512>(*x));
        std::mem::transmute::<__m512bh, [f32; 16]>(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// Rounds 16 f32 to bf16, in 8 slots.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn pair_half(x: &[f32; 16]) -> [f32; 8] {
    // SAFETY: the types have equal sizes, 64 or 32 bytes, and no invalid bit patterns.
    unsafe { std::mem::transmute(_mm512_cvtneps_pbh(std::mem::transmute::<[f32; 16], __m512>(*x))) }
}
