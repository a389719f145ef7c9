//! The transforms of Lavin & Gray 2015 (arXiv 1509.09308), of one row or column, and of whole weights.

use std::array;

/// Computes G·w·G'ᵀ of the first `count` 3×3 kernels, for all points. `vertical`: the product with G, `horizontal`: the product
/// with G', `taps`: (9, kernels), `points`: at least (points, kernels).
#[inline(always)]
pub fn transform_weights<const H: usize, const W: usize, const N: usize, const M: usize>(
    vertical: impl Fn([f32; 3]) -> [f32; H],
    horizontal: impl Fn([f32; 3]) -> [f32; W],
    taps: &[[f32; N]; 9],
    count: usize,
    points: &mut [[[f32; M]; W]; H],
) {
    // The compiler vectorises this loop, as it knows a bound of `count`.
    for i in 0..count.min(N) {
        let columns: [_; 3] = array::from_fn(|x| vertical([taps[x][i], taps[3 + x][i], taps[6 + x][i]]));
        for y in 0..H {
            let row = horizontal([columns[0][y], columns[1][y], columns[2][y]]);
            (0..W).for_each(|x| points[y][x][i] = row[x]);
        }
    }
}

/// The points of F(3) besides infinity are ±`R` and ±`S`, for which rounding errors are nearly the smallest possible:
/// 5e-3 in bf16 for 2×3 tiles, where 2×2 tiles have 4e-3.
const R: f32 = 0.375;
const S: f32 = 1.25;
const RR: f32 = R * R;
const SS: f32 = S * S;

/// G for F(2): a polynomial's values at 0, 1, -1 and infinity, scaled.
#[inline(always)]
pub fn weight_transform_two(w: [f32; 3]) -> [f32; 4] {
    let even = w[0] + w[2];
    [w[0], (even + w[1]) * 0.5, (even - w[1]) * 0.5, w[2]]
}

/// G for F(3): a polynomial's values at R, -R, S, -S and infinity, scaled.
#[inline(always)]
pub fn weight_transform_three(w: [f32; 3]) -> [f32; 5] {
    const R_SCALE: f32 = 1. / (2. * R * (RR - SS));
    const S_SCALE: f32 = 1. / (2. * S * (SS - RR));
    let (even_r, odd_r) = (w[0] + w[2] * RR, w[1] * R);
    let (even_s, odd_s) = (w[0] + w[2] * SS, w[1] * S);
    [
        (odd_r + even_r) * R_SCALE,
        (odd_r - even_r) * R_SCALE,
        (odd_s + even_s) * S_SCALE,
        (odd_s - even_s) * S_SCALE,
        w[2],
    ]
}

/// G for F(4): a polynomial's values at 0, 1, -1, 2, -2 and infinity, scaled so that none is much smaller than the weights: f16
/// has fewer digits for numbers below 6e-5.
#[inline(always)]
pub fn weight_transform_four(w: [f32; 3]) -> [f32; 6] {
    let (even, odd) = (w[0] + w[2], w[1]);
    let (even2, odd2) = (w[0] + w[2] * 4., w[1] * 2.);
    [
        w[0] * (1. / 4.),
        (even + odd) * (-1. / 6.),
        (even - odd) * (-1. / 6.),
        (even2 + odd2) * (1. / 6.),
        (even2 - odd2) * (1. / 6.),
        w[2],
    ]
}

/// G for F(6): a polynomial's values at 0, 1, -1, 2, -2, 1/2, -1/2 and infinity, scaled as for F(4).
#[inline(always)]
pub fn weight_transform_six(w: [f32; 3]) -> [f32; 8] {
    let (even, odd) = (w[0] + w[2], w[1]);
    let (even2, odd2) = (w[0] + w[2] * 4., w[1] * 2.);
    let (even_half, odd_half) = (w[0] + w[2] * 0.25, w[1] * 0.5);
    [
        w[0],
        (even + odd) * (-2. / 9.),
        (even - odd) * (-2. / 9.),
        (even2 + odd2) * (8. / 45.),
        (even2 - odd2) * (8. / 45.),
        (even_half + odd_half) * (32. / 45.),
        (even_half - odd_half) * (32. / 45.),
        w[2],
    ]
}

/// G for an upsampled map. Three pixels x₋, x₀, x₊ are four inputs x₋, x₀, x₀, x₊, which have the two outputs
/// w₀·(x₋ − x₀) + (w₀ + w₁ + w₂)·x₀ and (w₀ + w₁ + w₂)·x₀ + w₂·(x₊ − x₀).
#[inline(always)]
pub fn weight_transform_upsampled(w: [f32; 3]) -> [f32; 3] {
    [w[0], w[0] + w[1] + w[2], w[2]]
}

/// G for F(6) and an upsampled map: a polynomial's values at 0, 1, 2, -2, 1/2, -1/2 and infinity, scaled. The value at -1 is not
/// needed, as that of the inputs is always 0.
#[inline(always)]
pub fn weight_transform_upsampled_six(w: [f32; 3]) -> [f32; 7] {
    let [at_0, at_1, _, at_2, at_minus_2, at_half, at_minus_half, infinity] = weight_transform_six(w);
    [at_0, at_1 * 2., at_2 * 3., -at_minus_2, at_half * 1.5, at_minus_half * 0.5, infinity]
}

/// Bᵀ for F(2).
#[inline(always)]
pub fn input_transform_two(d: [f32; 4]) -> [f32; 4] {
    [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]
}

/// Aᵀ for F(2).
#[inline(always)]
pub fn output_transform_two(m: [f32; 4]) -> [f32; 2] {
    [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
}

/// Bᵀ for F(3).
#[inline(always)]
pub fn input_transform_three(d: [f32; 5]) -> [f32; 5] {
    let (odd_r, even_r) = (d[3] - d[1] * SS, (d[2] - d[0] * SS) * R);
    let (odd_s, even_s) = (d[3] - d[1] * RR, (d[2] - d[0] * RR) * S);
    [odd_r + even_r, odd_r - even_r, odd_s + even_s, odd_s - even_s, d[0] * (RR * SS) - d[2] * (RR + SS) + d[4]]
}

/// Aᵀ for F(3).
#[inline(always)]
pub fn output_transform_three(m: [f32; 5]) -> [f32; 3] {
    let (even_r, odd_r) = (m[0] + m[1], (m[0] - m[1]) * R);
    let (even_s, odd_s) = (m[2] + m[3], (m[2] - m[3]) * S);
    [even_r + even_s, odd_r + odd_s, even_r * RR + even_s * SS + m[4]]
}

/// Bᵀ for F(4).
#[inline(always)]
pub fn input_transform_four(d: [f32; 6]) -> [f32; 6] {
    let (even, odd) = (d[4] - d[2] * 4., d[3] - d[1] * 4.);
    let (half_even, half_odd) = (d[4] - d[2], (d[3] - d[1]) * 2.);
    [
        d[0] * 4. - d[2] * 5. + d[4],
        even + odd,
        even - odd,
        half_even + half_odd,
        half_even - half_odd,
        d[1] * 4. - d[3] * 5. + d[5],
    ]
}

/// Aᵀ for F(4).
#[inline(always)]
pub fn output_transform_four(m: [f32; 6]) -> [f32; 4] {
    let (even, odd) = (m[1] + m[2], m[1] - m[2]);
    let (even2, odd2) = (m[3] + m[4], m[3] - m[4]);
    [m[0] + even + even2 * 0.25, odd + odd2 * 0.5, even + even2, odd + odd2 * 2. + m[5]]
}

/// Bᵀ for F(6).
#[inline(always)]
pub fn input_transform_six(d: [f32; 8]) -> [f32; 8] {
    let (even, odd) = (d[2] - d[4] * 4.25 + d[6], d[1] - d[3] * 4.25 + d[5]);
    let (even2, odd2) = (d[2] * 0.25 - d[4] * 1.25 + d[6], (d[1] * 0.25 - d[3] * 1.25 + d[5]) * 2.);
    let (even_half, odd_half) = (d[2] * 4. - d[4] * 5. + d[6], (d[1] * 4. - d[3] * 5. + d[5]) * 0.5);
    [
        d[0] - d[6] + (d[4] - d[2]) * 5.25,
        even + odd,
        even - odd,
        even2 + odd2,
        even2 - odd2,
        even_half + odd_half,
        even_half - odd_half,
        d[7] - d[1] + (d[3] - d[5]) * 5.25,
    ]
}

/// Aᵀ for F(6).
#[inline(always)]
pub fn output_transform_six(m: [f32; 8]) -> [f32; 6] {
    let (even, odd) = (m[1] + m[2], m[1] - m[2]);
    let (even2, odd2) = (m[3] + m[4], m[3] - m[4]);
    let (even_half, odd_half) = (m[5] + m[6], m[5] - m[6]);
    [
        m[0] + even + even2 * 0.0625 + even_half,
        odd + odd2 * 0.125 + odd_half * 0.5,
        even + even2 * 0.25 + even_half * 0.25,
        odd + odd2 * 0.5 + odd_half * 0.125,
        even + even2 + even_half * 0.0625,
        odd + odd2 * 2. + odd_half * 0.03125 + m[7],
    ]
}

/// Bᵀ for an upsampled map.
#[inline(always)]
pub fn input_transform_upsampled(d: [f32; 3]) -> [f32; 3] {
    [d[0] - d[1], d[1], d[2] - d[1]]
}

/// Bᵀ for F(6) and an upsampled map. Five pixels are eight inputs, of which pairs are equal, and which as a polynomial are
/// (1 + t)·p(t²). So their values at t and -t differ only by a factor, by which the weights are multiplied.
#[inline(always)]
pub fn input_transform_upsampled_six(x: [f32; 5]) -> [f32; 7] {
    let at_2 = x[1] * 0.25 - x[2] * 1.25 + x[3];
    let at_half = x[1] * 4. - x[2] * 5. + x[3];
    [
        x[0] - x[3] + (x[2] - x[1]) * 5.25,
        x[1] - x[2] * 4.25 + x[3],
        at_2,
        at_2,
        at_half,
        at_half,
        x[4] - x[1] + (x[2] - x[3]) * 5.25,
    ]
}

/// Aᵀ for F(6) and an upsampled map.
#[inline(always)]
pub fn output_transform_upsampled_six(m: [f32; 7]) -> [f32; 6] {
    output_transform_six([m[0], m[1], 0., m[2], m[3], m[4], m[5], m[6]])
}

/// Aᵀ for an upsampled map. `is_cut`: whether the map ends after the first output. Its right neighbour is then 0 instead of x₀, for
/// which w₂·(0 − x₀) is added.
#[inline(always)]
pub fn output_transform_upsampled(m: [f32; 3], is_cut: bool) -> [f32; 2] {
    let first = m[0] + m[1];
    [if is_cut { first + m[2] } else { first }, m[1] + m[2]]
}
