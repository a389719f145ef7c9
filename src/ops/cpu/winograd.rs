//! 3×3 convolutions by Winograd's minimal filtering (Lavin & Gray 2015, arXiv 1509.09308): fewer products than the
//! definition takes, 9 an output.

use super::bf16::{pair, pair_vector};
use super::conv::{Addends, Map};
use super::cost::Cost;
use super::gemm::{Epilogue, Rows, strip};
use super::isa::Isa;
use super::math::for_each_isa;
use super::packed::Packed;
use super::parallel::{Shared, for_each, written};
use crate::ops::Compute;
use std::array;

/// How large a tile is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// F(2×2, 3×3): 16 products make 4 outputs; weights grow by 16/9.
    Two,
    /// F(4×4, 3×3): 36 products make 16 outputs; weights grow by 4.
    Four,
}

impl Size {
    /// Outputs of a tile, along each side.
    fn outputs(self) -> usize {
        match self {
            Size::Two => 2,
            Size::Four => 4,
        }
    }

    /// Compute of a tile.
    fn points(self) -> usize {
        (self.outputs() + 2).pow(2)
    }
}

/// Bytes of transformed tiles at a time: they should stay in the last-level cache.
const CACHED: usize = 12 << 20;

/// A 3×3 kernel, transformed: for each point a (C_in, C_out) matrix.
pub struct Winograd {
    size: Size,
    points: Vec<Packed>,
}

impl Winograd {
    /// weight: (C_out, C_in, 3, 3).
    pub fn new(isa: Isa, wanted: Compute, size: Size, weight: &[f32], c_in: usize, c_out: usize) -> Self {
        let compute = wanted.possible(isa, c_in);
        let points = match size {
            Size::Two => pack::<4, 16>(isa, compute, &G2, weight, c_in, c_out).into(),
            Size::Four => pack::<6, 36>(isa, compute, &G4, weight, c_in, c_out).into(),
        };
        Self { size, points }
    }

    /// A matrix (C_in, C_out) for each point.
    #[cfg(test)]
    pub fn points(&self) -> &[Packed] {
        &self.points
    }

    /// What a kernel of these channels comes to, without its weights; for one pixel.
    pub fn cost(isa: Isa, wanted: Compute, size: Size, c_in: usize, c_out: usize) -> Cost {
        let Cost { bytes, in_f32, in_bf16 } = Packed::cost(isa, wanted, 1, c_in, c_out);
        let (points, outputs) = (size.points() as f64, size.outputs().pow(2) as f64);
        Cost { bytes: points * bytes, in_f32: points / outputs * in_f32, in_bf16: points / outputs * in_bf16 }
    }

    /// x: (B, h, w, C_in) → (B, h, w, C_out).
    pub fn forward(&self, x: &[f32], map: Map, addends: Addends) -> Vec<f32> {
        let Packed { compute, k: c_in, n: c_out, .. } = self.points[0];
        let (points, outputs, slots) = (self.size.points(), self.size.outputs(), self.points[0].slots());
        let tiles = map.b * map.h.div_ceil(outputs) * map.w.div_ceil(outputs);
        let at_once = (CACHED / (4 * points * (slots + c_out))).next_multiple_of(12).max(12).min(tiles);
        let convolve = |out: &Shared| {
            for first in (0..tiles).step_by(at_once) {
                let tiles = Tiles { size: self.size, map, first, count: at_once.min(tiles - first) };
                let transform =
                    |inputs: &Shared| for_each(tiles.count, |tile| input_tile(tiles, tile, x, c_in, compute, inputs));
                // SAFETY: every tile has a row at each point.
                let inputs = unsafe { written(points * tiles.count * slots, transform) };
                let outputs = self.multiply(&inputs, tiles.count);
                for_each(tiles.count, |tile| output_tile(tiles, tile, &outputs, addends, out));
            }
        };
        // SAFETY: the tiles cover all of y.
        unsafe { written(map.b * map.h * map.w * c_out, convolve) }
    }

    /// inputs · weights at each point — inputs: (points, count, C_in) in the weights' slots → (points, count, C_out).
    fn multiply(&self, inputs: &[f32], count: usize) -> Vec<f32> {
        let (slots, c_out) = (self.points[0].slots(), self.points[0].n);
        let rows: Vec<usize> = (0..count).map(|row| row * slots).collect();
        let panels = self.points[0].panels();
        let multiply = |out: &Shared| {
            for_each(self.points.len() * panels.len(), |task| {
                let (point, panel) = (task / panels.len(), panels[task % panels.len()]);
                let a = Rows { numbers: &inputs[point * count * slots..][..count * slots], rows: &rows, taps: &[0] };
                // SAFETY: A is `count` rows of all of K. Each task has a panel of its own, whose rows at this point
                // follow those of the point before.
                unsafe { strip(a, &self.points[point], panel, Epilogue::default(), point * count, out) };
            });
        };
        // SAFETY: there is a task for every panel of every point.
        unsafe { written(self.points.len() * count * c_out, multiply) }
    }
}

/// G of the paper for F(2×2): a polynomial's values at 0, 1, -1 and infinity, scaled.
const G2: [[f32; 3]; 4] = [[1., 0., 0.], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0., 0., 1.]];

/// G of the paper for F(4×4): a polynomial's values at 0, 1, -1, 2, -2 and infinity, scaled.
const G4: [[f32; 3]; 6] = [
    [1. / 4., 0., 0.],
    [-1. / 6., -1. / 6., -1. / 6.],
    [-1. / 6., 1. / 6., -1. / 6.],
    [1. / 24., 1. / 12., 1. / 6.],
    [1. / 24., -1. / 12., 1. / 6.],
    [0., 0., 1.],
];

/// G·w·Gᵀ of every kernel in weight (C_out, C_in, 3, 3), packed point by point.
fn pack<const IN: usize, const POINTS: usize>(
    isa: Isa,
    compute: Compute,
    g: &[[f32; 3]; IN],
    weight: &[f32],
    c_in: usize,
    c_out: usize,
) -> [Packed; POINTS] {
    let transform = |o: usize, i: usize| -> [f32; POINTS] {
        let kernel = &weight[(o * c_in + i) * 9..][..9];
        let columns: [[f32; 3]; IN] =
            array::from_fn(|p| array::from_fn(|x| (0..3).map(|y| g[p][y] * kernel[3 * y + x]).sum()));
        array::from_fn(|point| (0..3).map(|x| g[point % IN][x] * columns[point / IN][x]).sum())
    };
    Packed::several(isa, compute, c_in, c_out, |panel, mut points| {
        let width = panel.vectors * isa.lanes();
        for slot in 0..compute.slots(c_in) {
            for (lane, o) in (panel.column..c_out.min(panel.column + width)).enumerate() {
                let slots = match compute {
                    Compute::F32 => transform(o, slot),
                    Compute::Half => {
                        let (low, high) = (transform(o, 2 * slot), transform(o, 2 * slot + 1));
                        array::from_fn(|point| pair(low[point], high[point]))
                    }
                };
                points.iter_mut().zip(slots).for_each(|(numbers, x)| numbers[slot * width + lane] = x);
            }
        }
    })
}

/// Some tiles, one after another, of all that cover the maps.
#[derive(Clone, Copy)]
struct Tiles {
    size: Size,
    map: Map,
    first: usize,
    count: usize,
}

impl Tiles {
    /// Where the `i`th of them is: its image, and the first row and column of its outputs.
    fn place(self, i: usize) -> (usize, usize, usize) {
        let (outputs, tile) = (self.size.outputs(), self.first + i);
        let (across, down) = (self.map.w.div_ceil(outputs), self.map.h.div_ceil(outputs));
        (tile / (across * down), tile / across % down * outputs, tile % across * outputs)
    }
}

/// Bᵀ of the paper for F(2×2).
#[inline(always)]
fn input_transform_two(d: [f32; 4]) -> [f32; 4] {
    [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]
}

/// Aᵀ of the paper for F(2×2).
#[inline(always)]
fn output_transform_two(m: [f32; 4]) -> [f32; 2] {
    [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
}

/// Bᵀ of the paper for F(4×4).
#[inline(always)]
fn input_transform_four(d: [f32; 6]) -> [f32; 6] {
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

/// Aᵀ of the paper for F(4×4).
#[inline(always)]
fn output_transform_four(m: [f32; 6]) -> [f32; 4] {
    let (even, odd) = (m[1] + m[2], m[1] - m[2]);
    let (even2, odd2) = (m[3] + m[4], m[3] - m[4]);
    [m[0] + even + even2, odd + odd2 * 2., even + even2 * 4., odd + odd2 * 8. + m[5]]
}

/// Channels that are transformed together, for the compiler to make vectors of; no fewer can be.
pub const LANES: usize = 32;

type Lanes = [f32; LANES];

/// Channels to begin at, such that the last reach the end: they may begin among those before.
fn chunks(c: usize) -> impl Iterator<Item = usize> {
    (0..c).step_by(LANES).map(move |channel| channel.min(c - LANES))
}

#[inline(always)]
fn load(x: &[f32], offset: usize) -> Lanes {
    *x[offset..].first_chunk().expect("as many channels as lanes")
}

/// Writes to numbers from `offset` on.
///
/// # Safety
/// No other thread may touch them meanwhile.
#[inline(always)]
unsafe fn store<const N: usize>(lanes: &[f32; N], out: &Shared, offset: usize) {
    // SAFETY: `at` checked that there is room, and the caller says it is ours.
    unsafe { *out.at(offset, N).cast::<[f32; N]>() = *lanes };
}

/// y = the transform of x, lane by lane.
#[inline(always)]
fn transform_lanes<const A: usize, const B: usize>(
    transform: impl Fn([f32; A]) -> [f32; B],
    x: [&Lanes; A],
    y: &mut [Lanes; B],
) {
    for lane in 0..LANES {
        let result = transform(x.map(|x| x[lane]));
        for i in 0..B {
            y[i][lane] = result[i];
        }
    }
}

for_each_isa! {
    /// The `tile`th of `tiles` of x (B, h, w, C), transformed, to (points, count, C) in slots for these products.
    fn input_tile(tiles: Tiles, tile: usize, x: &[f32], c: usize, compute: Compute, out: &Shared) {
        match tiles.size {
            Size::Two => transform_input::<BF16, 4>(input_transform_two, tiles, tile, x, c, compute, out),
            Size::Four => transform_input::<BF16, 6>(input_transform_four, tiles, tile, x, c, compute, out),
        }
    }
}

#[inline(always)]
fn transform_input<const BF16: bool, const IN: usize>(
    transform: impl Fn([f32; IN]) -> [f32; IN],
    tiles: Tiles,
    tile: usize,
    x: &[f32],
    c: usize,
    compute: Compute,
    out: &Shared,
) {
    let (map, (image, top, left)) = (tiles.map, tiles.place(tile));
    let mut columns = [[[0.; LANES]; IN]; IN];
    let mut line = [[0.; LANES]; IN];
    for channel in chunks(c) {
        for j in 0..IN {
            let mut column = [[0.; LANES]; IN];
            for i in 0..IN {
                // The padding is one pixel wide, so the tile's first pixel is one up and to the left.
                let (row, pixel) = ((top + i).wrapping_sub(1), (left + j).wrapping_sub(1));
                if row < map.h && pixel < map.w {
                    column[i] = load(x, ((image * map.h + row) * map.w + pixel) * c + channel);
                }
            }
            transform_lanes(&transform, column.each_ref(), &mut columns[j]);
        }
        for i in 0..IN {
            transform_lanes(&transform, columns.each_ref().map(|column| &column[i]), &mut line);
            for j in 0..IN {
                let offset = ((i * IN + j) * tiles.count + tile) * c + channel;
                match compute {
                    // SAFETY: each tile has a row of its own at every point.
                    Compute::F32 => unsafe { store(&line[j], out, offset) },
                    // SAFETY: as above; `BF16` comes from `for_each_isa`.
                    Compute::Half => unsafe { store(&pair_vector::<BF16>(&line[j]), out, offset / 2) },
                }
            }
        }
    }
}

for_each_isa! {
    /// The `tile`th of `tiles` of y (B, h, w, C) from (points, count, C).
    fn output_tile(tiles: Tiles, tile: usize, compute: &[f32], addends: Addends, out: &Shared) {
        match tiles.size {
            Size::Two => transform_output(output_transform_two, tiles, tile, compute, addends, out),
            Size::Four => transform_output(output_transform_four, tiles, tile, compute, addends, out),
        }
    }
}

#[inline(always)]
fn transform_output<const IN: usize, const OUT: usize>(
    transform: impl Fn([f32; IN]) -> [f32; OUT],
    tiles: Tiles,
    tile: usize,
    compute: &[f32],
    addends: Addends,
    out: &Shared,
) {
    let (map, (image, top, left)) = (tiles.map, tiles.place(tile));
    let c = addends.bias.len();
    let mut columns = [[[0.; LANES]; OUT]; IN];
    let mut line = [[0.; LANES]; OUT];
    for channel in chunks(c) {
        for j in 0..IN {
            let mut column = [[0.; LANES]; IN];
            for i in 0..IN {
                column[i] = load(compute, ((i * IN + j) * tiles.count + tile) * c + channel);
            }
            transform_lanes(&transform, column.each_ref(), &mut columns[j]);
        }
        let bias = load(addends.bias, channel);
        for i in 0..OUT.min(map.h - top) {
            transform_lanes(&transform, columns.each_ref().map(|column| &column[i]), &mut line);
            for j in 0..OUT.min(map.w - left) {
                let offset = ((image * map.h + top + i) * map.w + left + j) * c + channel;
                (0..LANES).for_each(|lane| line[j][lane] += bias[lane]);
                if let Some(residual) = addends.residual {
                    let residual = load(residual, offset);
                    (0..LANES).for_each(|lane| line[j][lane] += residual[lane]);
                }
                // SAFETY: tiles do not overlap in the output.
                unsafe { store(&line[j], out, offset) };
            }
        }
    }
}
