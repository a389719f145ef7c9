//! 3×3 convolutions as F(4×4, 3×3) of Winograd (Lavin & Gray 2015, arXiv 1509.09308): 36 products make 16 outputs, where
//! the definition takes 144.

use super::conv::{Addends, Map};
use super::gemm::{Epilogue, Rows, strip};
use super::isa::Isa;
use super::math::for_each_isa;
use super::packed::Packed;
use super::parallel::{Shared, for_each, unwritten};
use std::array;
use std::ops::{Add, Mul, Sub};

/// Outputs of a tile, along each side.
const OUT: usize = 4;
/// Inputs of a tile, along each side.
const IN: usize = OUT + 2;
/// Products of a tile.
const POINTS: usize = IN * IN;

/// Bytes of transformed tiles at a time: they should stay in the last-level cache.
const CACHED: usize = 12 << 20;

/// A 3×3 kernel, transformed: for each point a (C_in, C_out) matrix.
pub struct Winograd {
    points: Vec<Packed>,
}

impl Winograd {
    /// weight: (C_out, C_in, 3, 3).
    pub fn new(isa: Isa, weight: &[f32], c_in: usize, c_out: usize) -> Self {
        // G, the polynomials' values at 0, 1, -1, 2, -2 and infinity.
        const G: [[f64; 3]; IN] = [
            [0.25, 0., 0.],
            [-1. / 6., -1. / 6., -1. / 6.],
            [-1. / 6., 1. / 6., -1. / 6.],
            [1. / 24., 1. / 12., 1. / 6.],
            [1. / 24., -1. / 12., 1. / 6.],
            [0., 0., 1.],
        ];
        let at = |point: usize, i: usize, o: usize| {
            let kernel = &weight[(o * c_in + i) * 9..][..9];
            let (row, column) = (G[point / IN], G[point % IN]);
            let rows = (0..3).map(|y| row[y] * (0..3).map(|x| column[x] * f64::from(kernel[3 * y + x])).sum::<f64>());
            rows.sum::<f64>() as f32
        };
        Self { points: (0..POINTS).map(|point| Packed::new(isa, c_in, c_out, |i, o| at(point, i, o))).collect() }
    }

    /// x: (B, h, w, C_in) → (B, h, w, C_out).
    pub fn forward(&self, x: &[f32], map: Map, addends: Addends) -> Vec<f32> {
        let (c_in, c_out) = (self.points[0].k, self.points[0].n);
        let tiles = map.b * map.h.div_ceil(OUT) * map.w.div_ceil(OUT);
        let at_once = (CACHED / (4 * POINTS * (c_in + c_out))).next_multiple_of(12).min(tiles);
        let mut inputs = unwritten(POINTS * at_once * c_in);
        let mut products = unwritten(POINTS * at_once * c_out);
        let mut y = unwritten(map.b * map.h * map.w * c_out);
        let out = Shared::new(&mut y);
        for first in (0..tiles).step_by(at_once) {
            let count = at_once.min(tiles - first);
            {
                let inputs = Shared::new(&mut inputs);
                for_each(count, |tile| input_tile(x, map, c_in, first + tile, tile, count, &inputs));
            }
            self.multiply(&inputs, &mut products, count);
            for_each(count, |tile| output_tile(&products, map, c_out, first + tile, tile, count, addends, &out));
        }
        y
    }

    /// products = inputs · weights at each point — inputs: (points, count, C_in) → products: (points, count, C_out).
    fn multiply(&self, inputs: &[f32], products: &mut [f32], count: usize) {
        let (c_in, c_out) = (self.points[0].k, self.points[0].n);
        let rows: Vec<usize> = (0..count).map(|row| row * c_in).collect();
        let panels = self.points[0].panels();
        let out = Shared::new(products);
        for_each(POINTS * panels.len(), |task| {
            let (point, panel) = (task / panels.len(), panels[task % panels.len()]);
            let a = Rows { numbers: &inputs[point * count * c_in..][..count * c_in], rows: &rows, taps: &[0] };
            // A point's rows follow those of the point before.
            strip(a, &self.points[point], panel, Epilogue::default(), point * count, &out);
        });
        debug_assert!(products.len() >= POINTS * count * c_out);
    }
}

/// Where a tile is: its image, and the first row and column of its outputs.
fn place(map: Map, tile: usize) -> (usize, usize, usize) {
    let (across, down) = (map.w.div_ceil(OUT), map.h.div_ceil(OUT));
    (tile / (across * down), tile / across % down * OUT, tile % across * OUT)
}

/// Channels that are transformed together.
const LANES: usize = 16;

#[derive(Clone, Copy)]
struct Lanes([f32; LANES]);

impl Lanes {
    const ZERO: Self = Self([0.; LANES]);

    /// As many numbers as there are, then zeros.
    #[inline(always)]
    fn load(x: &[f32]) -> Self {
        match x.first_chunk() {
            Some(lanes) => Self(*lanes),
            None => Self(array::from_fn(|i| x.get(i).copied().unwrap_or(0.))),
        }
    }
}

impl Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(array::from_fn(|i| self.0[i] + other.0[i]))
    }
}

impl Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(array::from_fn(|i| self.0[i] - other.0[i]))
    }
}

impl Mul<f32> for Lanes {
    type Output = Self;
    #[inline(always)]
    fn mul(self, factor: f32) -> Self {
        Self(array::from_fn(|i| self.0[i] * factor))
    }
}

/// Bᵀ of the paper.
#[inline(always)]
fn input_transform(d: [Lanes; IN]) -> [Lanes; IN] {
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

/// Aᵀ of the paper.
#[inline(always)]
fn output_transform(m: [Lanes; IN]) -> [Lanes; OUT] {
    let (even, odd) = (m[1] + m[2], m[1] - m[2]);
    let (even2, odd2) = (m[3] + m[4], m[3] - m[4]);
    [m[0] + even + even2, odd + odd2 * 2., even + even2 * 4., odd + odd2 * 8. + m[5]]
}

for_each_isa! {
    /// One tile of x, transformed, to (points, count, C_in).
    fn input_tile(x: &[f32], map: Map, c: usize, tile: usize, row: usize, count: usize, out: &Shared) {
        let (image, top, left) = place(map, tile);
        for channel in (0..c).step_by(LANES) {
            let lanes = LANES.min(c - channel);
            let pixel = |i: usize, j: usize| {
                // The padding is one pixel wide, so pixel (0, 0) of the tile is one up and to the left.
                let (y, x_) = ((top + i).wrapping_sub(1), (left + j).wrapping_sub(1));
                if y >= map.h || x_ >= map.w {
                    return Lanes::ZERO;
                }
                Lanes::load(&x[((image * map.h + y) * map.w + x_) * c + channel..][..lanes])
            };
            let mut columns = [[Lanes::ZERO; IN]; IN];
            for j in 0..IN {
                let mut column = [Lanes::ZERO; IN];
                for i in 0..IN {
                    column[i] = pixel(i, j);
                }
                columns[j] = input_transform(column);
            }
            for i in 0..IN {
                let mut line = [Lanes::ZERO; IN];
                for j in 0..IN {
                    line[j] = columns[j][i];
                }
                for (j, value) in input_transform(line).into_iter().enumerate() {
                    // SAFETY: each tile has a row of its own at every point.
                    let out = unsafe { out.part(((i * IN + j) * count + row) * c + channel, lanes) };
                    out.copy_from_slice(&value.0[..lanes]);
                }
            }
        }
    }
}

for_each_isa! {
    /// One tile of y from (points, count, C_out).
    fn output_tile(products: &[f32], map: Map, c: usize, tile: usize, row: usize, count: usize, addends: Addends, out: &Shared) {
        let (image, top, left) = place(map, tile);
        for channel in (0..c).step_by(LANES) {
            let lanes = LANES.min(c - channel);
            let mut columns = [[Lanes::ZERO; OUT]; IN];
            for j in 0..IN {
                let mut column = [Lanes::ZERO; IN];
                for i in 0..IN {
                    column[i] = Lanes::load(&products[((i * IN + j) * count + row) * c + channel..][..lanes]);
                }
                columns[j] = output_transform(column);
            }
            let bias = Lanes::load(&addends.bias[channel..channel + lanes]);
            for i in 0..OUT.min(map.h - top) {
                let mut line = [Lanes::ZERO; IN];
                for j in 0..IN {
                    line[j] = columns[j][i];
                }
                let line = output_transform(line);
                for j in 0..OUT.min(map.w - left) {
                    let offset = ((image * map.h + top + i) * map.w + left + j) * c + channel;
                    let mut value = line[j] + bias;
                    if let Some(residual) = addends.residual {
                        value = value + Lanes::load(&residual[offset..offset + lanes]);
                    }
                    // SAFETY: tiles do not overlap in the output.
                    let out = unsafe { out.part(offset, lanes) };
                    out.copy_from_slice(&value.0[..lanes]);
                }
            }
        }
    }
}
