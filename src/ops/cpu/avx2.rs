//! AVX2 and FMA: vectors of 8.

use super::kernel::{Tile, kernel, products};
use std::arch::x86_64::*;

kernel! {
    #[target_feature(enable = "avx2,fma")]
    kernel, __m256, lanes: 8, zero: _mm256_setzero_ps(), load: _mm256_loadu_ps, splat: _mm256_set1_ps,
    multiply_add: _mm256_fmadd_ps, store: _mm256_storeu_ps,
}
