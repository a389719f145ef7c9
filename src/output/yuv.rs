//! OpenCV's 8-bit conversion between RGB and YUV, in fixed point with 14 fractional bits.

/// One half, to round.
const ROUND: i32 = 1 << 13;

/// Converts a pixel from RGB to YUV.
pub fn from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = [r, g, b].map(i32::from);
    let y = (4899 * r + 9617 * g + 1868 * b + ROUND) >> 14;
    let u = ((8061 * (b - y) + ROUND) >> 14) + 128;
    let v = ((14369 * (r - y) + ROUND) >> 14) + 128;
    [y, u, v].map(saturated)
}

/// Converts a pixel from YUV to RGB.
pub fn to_rgb([y, u, v]: [u8; 3]) -> [u8; 3] {
    let [y, u, v] = [i32::from(y), i32::from(u) - 128, i32::from(v) - 128];
    let r = y + ((18678 * v + ROUND) >> 14);
    let g = y + ((-6472 * u - 9519 * v + ROUND) >> 14);
    let b = y + ((33292 * u + ROUND) >> 14);
    [r, g, b].map(saturated)
}

fn saturated(level: i32) -> u8 {
    level.clamp(0, 255) as u8
}
