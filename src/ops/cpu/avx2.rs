//! AVX2 and FMA: vectors of 8.

use super::f16;
use super::kernel::{Tile, kernel, products};
use std::arch::asm;
use std::arch::x86_64::*;

kernel! {
    #[target_feature(enable = "avx2,fma")]
    kernel, __m256, lanes: 8, zero: _mm256_setzero_ps(), load: _mm256_loadu_ps, splat: _mm256_set1_ps,
    multiply_add: _mm256_fmadd_ps, add: _mm256_add_ps, store: _mm256_storeu_ps, first_steps: steps_of_four,
}

/// Runs a step of K, given in assembly, `steps` times, in a loop of four steps. `i` numbers the four, `k` counts up to 0 from
/// `-steps`, the registers `rows` point to the ends of their rows, `b` to the panel, and ymm0 to ymm11 are the sums.
///
/// # Safety
/// Each row and the panel must be valid for `steps` steps, and `steps` must be a positive multiple of four.
macro_rules! loop_of_four {
    (
        rows: [$($row:ident),*], panel: $panel:expr, row_bytes: $row_bytes:literal, steps: $steps:expr, sums: $sums:expr,
        step: [$($line:literal),* $(,)?] $(,)?
    ) => {{
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11] = $sums else { unreachable!("a tile has twelve sums") };
        asm!(
            "2:",
            ".set i, 0",
            ".rept 4",
            $($line,)*
            ".set i, i + 1",
            ".endr",
            concat!("add {b}, 4*", $row_bytes),
            "add {k}, 4",
            "jnz 2b",
            b = inout(reg) $panel => _, k = inout(reg) -$steps.cast_signed() => _, $($row = in(reg) $row,)*
            inout("ymm0") *s0, inout("ymm1") *s1, inout("ymm2") *s2, inout("ymm3") *s3, inout("ymm4") *s4,
            inout("ymm5") *s5, inout("ymm6") *s6, inout("ymm7") *s7, inout("ymm8") *s8, inout("ymm9") *s9,
            inout("ymm10") *s10, inout("ymm11") *s11,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(readonly, nostack),
        );
    }};
}

/// Adds the products of the first steps of K to the sums, four at a time, and returns their number. Only the shapes that take
/// most of the time have code here, as the compiler spills registers when it unrolls the loop.
///
/// These loops take 20 or 19 instructions for 12 multiply-adds, and 23 with a counter in each step, which is as fast on a
/// core of its own but a fifth slower on one that another thread shares.
///
/// # Safety
/// Every row of A must be valid for `depth` slots, and the panel for `depth` rows of `NV` vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn steps_of_four<const MR: usize, const NV: usize>(
    a: &[*const f32; MR],
    b: *const f32,
    depth: usize,
    sums: &mut [[__m256; NV]; MR],
) -> usize {
    let steps = depth / 4 * 4;
    if steps == 0 {
        return 0;
    }
    let ends = a.map(|row| row.wrapping_add(steps));
    let sums = sums.as_flattened_mut();
    match (NV, &ends[..]) {
        // SAFETY: this reads `steps` slots of each row and rows of the panel, and stores nothing.
        (2, &[a0, a1, a2, a3, a4, a5]) => unsafe {
            loop_of_four! {
                rows: [a0, a1, a2, a3, a4, a5], panel: b, row_bytes: 64, steps: steps, sums: sums,
                step: [
                    "vmovups ymm12, [{b} + 64*i]",
                    "vmovups ymm13, [{b} + 64*i + 32]",
                    "vbroadcastss ymm14, [{a0} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm0, ymm12, ymm14",
                    "vfmadd231ps ymm1, ymm13, ymm14",
                    "vbroadcastss ymm15, [{a1} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm2, ymm12, ymm15",
                    "vfmadd231ps ymm3, ymm13, ymm15",
                    "vbroadcastss ymm14, [{a2} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm4, ymm12, ymm14",
                    "vfmadd231ps ymm5, ymm13, ymm14",
                    "vbroadcastss ymm15, [{a3} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm6, ymm12, ymm15",
                    "vfmadd231ps ymm7, ymm13, ymm15",
                    "vbroadcastss ymm14, [{a4} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm8, ymm12, ymm14",
                    "vfmadd231ps ymm9, ymm13, ymm14",
                    "vbroadcastss ymm15, [{a5} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm10, ymm12, ymm15",
                    "vfmadd231ps ymm11, ymm13, ymm15",
                ],
            }
        },
        // SAFETY: as above.
        (3, &[a0, a1, a2, a3]) => unsafe {
            loop_of_four! {
                rows: [a0, a1, a2, a3], panel: b, row_bytes: 96, steps: steps, sums: sums,
                step: [
                    "vmovups ymm12, [{b} + 96*i]",
                    "vmovups ymm13, [{b} + 96*i + 32]",
                    "vmovups ymm14, [{b} + 96*i + 64]",
                    "vbroadcastss ymm15, [{a0} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm0, ymm12, ymm15",
                    "vfmadd231ps ymm1, ymm13, ymm15",
                    "vfmadd231ps ymm2, ymm14, ymm15",
                    "vbroadcastss ymm15, [{a1} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm3, ymm12, ymm15",
                    "vfmadd231ps ymm4, ymm13, ymm15",
                    "vfmadd231ps ymm5, ymm14, ymm15",
                    "vbroadcastss ymm15, [{a2} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm6, ymm12, ymm15",
                    "vfmadd231ps ymm7, ymm13, ymm15",
                    "vfmadd231ps ymm8, ymm14, ymm15",
                    "vbroadcastss ymm15, [{a3} + 4*{k} + 4*i]",
                    "vfmadd231ps ymm9, ymm12, ymm15",
                    "vfmadd231ps ymm10, ymm13, ymm15",
                    "vfmadd231ps ymm11, ymm14, ymm15",
                ],
            }
        },
        _ => return 0,
    }
    steps
}

/// Converts f16, of two little-endian bytes each, to f32, times `factor`.
#[target_feature(enable = "avx2,f16c")]
pub fn f16_to_f32(halves: &[u8], factor: f32, out: &mut [f32]) {
    let ((vectors, rest), (out, out_rest)) = (halves.as_chunks::<16>(), out.as_chunks_mut::<8>());
    let factors = _mm256_set1_ps(factor);
    for (vector, out) in vectors.iter().zip(out) {
        // SAFETY: both are as long as the vectors, which need no alignment.
        unsafe {
            let x = _mm256_cvtph_ps(_mm_loadu_si128(vector.as_ptr().cast()));
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(x, factors));
        }
    }
    f16::portable(rest, factor, out_rest);
}

/// Rounds `panel` times `factor` to f16, two to a slot.
#[target_feature(enable = "avx2,f16c")]
pub fn narrow(panel: &[f32], factor: f32, slots: &mut [f32]) {
    let factor = _mm256_set1_ps(factor);
    for (vector, slots) in panel.as_chunks::<8>().0.iter().zip(slots.as_chunks_mut::<4>().0) {
        // SAFETY: the vectors are as long as the instructions need, and need no alignment.
        unsafe {
            let x = _mm256_mul_ps(_mm256_loadu_ps(vector.as_ptr()), factor);
            _mm_storeu_si128(slots.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
        }
    }
}
