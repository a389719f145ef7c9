//! AVX-512: vectors of 16.

use super::kernel::{Tile, kernel};
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
