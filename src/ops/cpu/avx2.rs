//! AVX2 and FMA: vectors of 8.

use super::f16;
use super::kernel::{Tile, kernel, products};
use std::arch::x86_64::*;

kernel! {
    #[target_feature(enable = "avx2,fma")]
    kernel, __m256, lanes: 8, zero: _mm256_setzero_ps(), load: _mm256_loadu_ps, splat: _mm256_set1_ps,
    multiply_add: _mm256_fmadd_ps, add: _mm256_add_ps, store: _mm256_storeu_ps,
}

/// Converts f16, of two little-endian bytes each, to f32.
#[target_feature(enable = "avx2,f16c")]
pub fn f16_to_f32(halves: &[u8], out: &mut [f32]) {
    let ((vectors, rest), (out, out_rest)) = (halves.as_chunks::<16>(), out.as_chunks_mut::<8>());
    for (vector, out) in vectors.iter().zip(out) {
        // SAFETY: both are as long as the vectors, which need no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(vector.as_ptr().cast()))) };
    }
    f16::portable(rest, out_rest);
}
