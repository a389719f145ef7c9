//! 3×3 convolutions by Winograd's minimal filtering (Lavin & Gray 2015, arXiv 1509.09308), which takes fewer products
//! than the 9 per output of the definition.

use super::bf16::{pair, pair_vector};
use super::conv::{ConvEpilogue, MapShape};
use super::gemm::{Epilogue, MatrixA, strip};
use super::isa::Isa;
use super::math::for_each_isa;
use super::packed::{Format, Packed};
use super::parallel::{DisjointSlice, for_each, from_uninit};
use crate::ops::Compute;
use std::array;

/// The size of a tile of outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TileSize {
    /// F(2×2, 3×3): 16 products make 4 outputs; weights grow by 16/9.
    Two,
    /// F(4×4, 3×3): 36 products make 16 outputs; weights grow by 4.
    Four,
}

impl TileSize {
    /// The number of outputs along each side of a tile.
    fn outputs(self) -> usize {
        match self {
            TileSize::Two => 2,
            TileSize::Four => 4,
        }
    }

    /// The number of points of a transformed tile, which is its number of products for each pair of channels.
    pub fn points(self) -> usize {
        (self.outputs() + 2).pow(2)
    }
}

/// The bytes of transformed tiles in flight on one core, which should stay in its L2 cache.
const L2_BYTES: usize = 512 << 10;

/// The bytes of transformed tiles in flight on all cores, which should stay in the last-level cache. They may be half as large as
/// the weights, which are read again for each batch of tiles.
const L3_BYTES: usize = 12 << 20;

/// The number of tiles in flight on one core from which each core works on its own. With fewer, reading the weights would
/// take longer than it saves.
const MIN_TILES: usize = 24;

/// The transformed weight of a 3×3 convolution.
pub struct Winograd {
    size: TileSize,
    points: Vec<Packed>, // (C_in, C_out) for each point
}

impl Winograd {
    /// Transforms and packs `weight` (C_out, C_in, 3, 3).
    pub fn new(isa: Isa, wanted: Compute, size: TileSize, weight: &[f32], c_in: usize, c_out: usize) -> Self {
        let format = Format::of(wanted, isa, c_in);
        let points = match size {
            TileSize::Two => pack::<16>(isa, format, size, weight, c_in, c_out).into(),
            TileSize::Four => pack::<36>(isa, format, size, weight, c_in, c_out).into(),
        };
        Self { size, points }
    }

    /// The weights: a matrix (C_in, C_out) for each point.
    #[cfg(test)]
    pub fn points(&self) -> &[Packed] {
        &self.points
    }

    /// `x`: (B, h, w, C_in) → (B, h, w, C_out).
    pub fn forward(&self, x: &[f32], map: MapShape, epilogue: ConvEpilogue) -> Vec<f32> {
        let c_out = self.points[0].n;
        let outputs = self.size.outputs();
        let tiles = map.b * map.h.div_ceil(outputs) * map.w.div_ceil(outputs);
        let tile_bytes = 4 * self.size.points() * (self.points[0].k_slots() + c_out);
        let weight_bytes = 4 * self.size.points() * self.points[0].k_slots() * c_out;
        let (of_core, of_all) = (L2_BYTES / tile_bytes, L3_BYTES.max(weight_bytes / 2) / tile_bytes);
        let is_narrow = of_core >= MIN_TILES;
        let size = (if is_narrow { of_core } else { of_all }).next_multiple_of(12).max(12).min(tiles);
        let batches = tiles.div_ceil(size);
        let batch = |i: usize| Tiles { size: self.size, map, first: i * size, count: size.min(tiles - i * size) };
        let convolve = |out: &DisjointSlice| {
            if is_narrow {
                for_each(batches, |i| self.convolve(batch(i), x, epilogue, out, |n, f| (0..n).for_each(f)));
            } else {
                (0..batches).for_each(|i| self.convolve(batch(i), x, epilogue, out, |n, f| for_each(n, f)));
            }
        };
        // SAFETY: the tiles cover the whole output.
        unsafe { from_uninit(map.b * map.h * map.w * c_out, convolve) }
    }

    /// Computes the outputs of a batch of tiles. `each` calls a function with every index below a number.
    fn convolve(
        &self,
        tiles: Tiles,
        x: &[f32],
        epilogue: ConvEpilogue,
        out: &DisjointSlice,
        each: impl Fn(usize, &(dyn Fn(usize) + Sync)),
    ) {
        let Packed { k: c_in, n: c_out, .. } = self.points[0];
        let (compute, slots, panels) = (self.points[0].compute(), self.points[0].k_slots(), self.points[0].panels());
        let transform = |inputs: &DisjointSlice| {
            each(tiles.count, &|tile| input_tile(tiles, tile, x, c_in, compute, inputs));
        };
        // Slots of (points, count, C_in).
        // SAFETY: every tile writes a row at each point.
        let inputs: Vec<f32> = unsafe { from_uninit(self.points.len() * tiles.count * slots, transform) };
        let rows: Vec<usize> = (0..tiles.count).map(|row| row * slots).collect();
        let multiply = |products: &DisjointSlice| {
            each(self.points.len() * panels.len(), &|task| {
                let (point, panel) = (task / panels.len(), panels[task % panels.len()]);
                let slots = &inputs[point * tiles.count * slots..][..tiles.count * slots];
                let a = MatrixA { slots, rows: &rows, taps: &[0] };
                let first = point * tiles.count;
                // SAFETY: A has `count` rows of all of K. Each task has a panel of its own, in the rows of its point.
                unsafe { strip(a, &self.points[point], panel, Epilogue::default(), first, products) };
            });
        };
        // (points, count, C_out).
        // SAFETY: the tasks cover every panel of every point.
        let products: Vec<f32> = unsafe { from_uninit(self.points.len() * tiles.count * c_out, multiply) };
        each(tiles.count, &|tile| output_tile(tiles, tile, &products, epilogue, out));
    }
}

/// Computes G·w·Gᵀ of every 3×3 kernel in `weight` (C_out, C_in, 3, 3), and packs a matrix for each point.
fn pack<const POINTS: usize>(
    isa: Isa,
    format: Format,
    size: TileSize,
    weight: &[f32],
    c_in: usize,
    c_out: usize,
) -> [Packed; POINTS] {
    Packed::several(isa, format, c_in, c_out, |panel, mut points| {
        let width = panel.vectors * isa.lanes();
        let columns = panel.column..c_out.min(panel.column + width);
        let weight = &weight[columns.start * c_in * 9..columns.end * c_in * 9];
        transform_kernels(size, weight, c_in, format.compute(), width, &mut points);
    })
}

for_each_isa! {
    /// Transforms the kernels `weight` (columns, C_in, 3, 3) into a panel of `width` columns at each point. Columns beyond
    /// those of `weight` become zero.
    fn transform_kernels(
        size: TileSize,
        weight: &[f32],
        c_in: usize,
        compute: Compute,
        width: usize,
        points: &mut [&mut [f32]],
    ) {
        match size {
            TileSize::Two => transform_weight(weight_transform_two, weight, c_in, compute, width, points),
            TileSize::Four => transform_weight(weight_transform_four, weight, c_in, compute, width, points),
        }
    }
}

/// The number of input channels whose kernels are transformed at once, so that long runs are read and written, and what is
/// between stays in the L2 cache. Even, for pairs of bf16.
const CHANNELS: usize = 8;

/// The number of kernels that are transformed at once, in panels of three vectors.
const KERNELS: usize = CHANNELS * 3 * 16;

#[inline(always)]
fn transform_weight<const IN: usize>(
    transform: impl Fn([f32; 3]) -> [f32; IN],
    weight: &[f32],
    c_in: usize,
    compute: Compute,
    width: usize,
    points: &mut [&mut [f32]],
) {
    let mut taps = [[0.; KERNELS]; 9];
    let mut transformed = [[[0.; KERNELS]; IN]; IN];
    for first in (0..c_in).step_by(CHANNELS) {
        let channels = first..c_in.min(first + CHANNELS);
        for (column, kernels) in weight.chunks(9 * c_in).enumerate() {
            let kernels = &kernels[9 * channels.start..9 * channels.end];
            for (channel, kernel) in kernels.as_chunks::<9>().0.iter().enumerate() {
                (0..9).for_each(|tap| taps[tap][channel * width + column] = kernel[tap]);
            }
        }
        // The compiler vectorises this loop, as it knows a bound of `count`.
        let count = KERNELS.min(channels.len() * width);
        for i in 0..count {
            let columns: [_; 3] = array::from_fn(|x| transform([taps[x][i], taps[3 + x][i], taps[6 + x][i]]));
            for y in 0..IN {
                let row = transform([columns[0][y], columns[1][y], columns[2][y]]);
                (0..IN).for_each(|x| transformed[y][x][i] = row[x]);
            }
        }
        for (point, transformed) in points.iter_mut().zip(transformed.as_flattened_mut()) {
            let slots = &mut point[compute.slots(first) * width..][..compute.slots(channels.len()) * width];
            match compute {
                Compute::F32 => slots.copy_from_slice(&transformed[..count]),
                Compute::Half => {
                    let rows = transformed[..count].chunks_exact(2 * width).map(|rows| rows.split_at(width));
                    for (slots, (low, high)) in slots.chunks_exact_mut(width).zip(rows) {
                        (0..width).for_each(|i| slots[i] = pair(low[i], high[i]));
                    }
                }
            }
        }
    }
}

/// G of the paper for F(2×2): a polynomial's values at 0, 1, -1 and infinity, scaled.
#[inline(always)]
fn weight_transform_two(w: [f32; 3]) -> [f32; 4] {
    let even = w[0] + w[2];
    [w[0], (even + w[1]) * 0.5, (even - w[1]) * 0.5, w[2]]
}

/// G of the paper for F(4×4): a polynomial's values at 0, 1, -1, 2, -2 and infinity, scaled.
#[inline(always)]
fn weight_transform_four(w: [f32; 3]) -> [f32; 6] {
    let (even, odd) = (w[0] + w[2], w[1]);
    let (even2, odd2) = (w[0] + w[2] * 4., w[1] * 2.);
    [
        w[0] * (1. / 4.),
        (even + odd) * (-1. / 6.),
        (even - odd) * (-1. / 6.),
        (even2 + odd2) * (1. / 24.),
        (even2 - odd2) * (1. / 24.),
        w[2],
    ]
}

/// A range of the tiles that cover the maps.
#[derive(Clone, Copy)]
struct Tiles {
    size: TileSize,
    map: MapShape,
    first: usize,
    count: usize,
}

impl Tiles {
    /// The image of the `i`th tile of the range, and the first row and column of its outputs.
    fn position(self, i: usize) -> (usize, usize, usize) {
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

/// The number of channels that are transformed together, as vectors. Maps must have at least as many.
pub const LANES: usize = 32;

type Lanes = [f32; LANES];

/// The first channels of chunks of `LANES` channels that cover all `c`; the last chunk may overlap the one before.
fn channel_chunks(c: usize) -> impl Iterator<Item = usize> {
    (0..c).step_by(LANES).map(move |channel| channel.min(c - LANES))
}

#[inline(always)]
fn load(x: &[f32], offset: usize) -> Lanes {
    *x[offset..].first_chunk().expect("as many channels as lanes")
}

/// Writes `lanes` to the slots from `offset` on.
///
/// # Safety
/// No other thread may access these slots at the same time.
#[inline(always)]
unsafe fn store<const N: usize>(lanes: &[f32; N], out: &DisjointSlice, offset: usize) {
    // SAFETY: `ptr` checks the bounds, and the caller guarantees exclusive access.
    unsafe { *out.ptr(offset, N).cast::<[f32; N]>() = *lanes };
}

/// y = transform(x), lane by lane.
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
    /// Transforms one tile of the input `x` (B, h, w, C), and writes it to `out`, slots of (points, count, C).
    fn input_tile(tiles: Tiles, tile: usize, x: &[f32], c: usize, compute: Compute, out: &DisjointSlice) {
        match tiles.size {
            TileSize::Two => transform_input::<BF16, 4>(input_transform_two, tiles, tile, x, c, compute, out),
            TileSize::Four => transform_input::<BF16, 6>(input_transform_four, tiles, tile, x, c, compute, out),
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
    out: &DisjointSlice,
) {
    let (map, (image, top, left)) = (tiles.map, tiles.position(tile));
    let mut columns = [[[0.; LANES]; IN]; IN];
    let mut transformed = [[0.; LANES]; IN];
    for channel in channel_chunks(c) {
        for j in 0..IN {
            let mut column = [[0.; LANES]; IN];
            for i in 0..IN {
                // Because of the padding, the inputs begin one pixel above and to the left of the outputs.
                let (row, pixel) = ((top + i).wrapping_sub(1), (left + j).wrapping_sub(1));
                if row < map.h && pixel < map.w {
                    column[i] = load(x, ((image * map.h + row) * map.w + pixel) * c + channel);
                }
            }
            transform_lanes(&transform, column.each_ref(), &mut columns[j]);
        }
        for i in 0..IN {
            transform_lanes(&transform, columns.each_ref().map(|column| &column[i]), &mut transformed);
            for j in 0..IN {
                let offset = ((i * IN + j) * tiles.count + tile) * c + channel;
                match compute {
                    // SAFETY: each tile has a row of its own at every point.
                    Compute::F32 => unsafe { store(&transformed[j], out, offset) },
                    // SAFETY: as above; `BF16` comes from `for_each_isa`.
                    Compute::Half => unsafe { store(&pair_vector::<BF16>(&transformed[j]), out, offset / 2) },
                }
            }
        }
    }
}

for_each_isa! {
    /// Transforms the products (points, count, C) of one tile back, applies the epilogue, and writes the outputs to
    /// `out` (B, h, w, C).
    fn output_tile(tiles: Tiles, tile: usize, products: &[f32], epilogue: ConvEpilogue, out: &DisjointSlice) {
        match tiles.size {
            TileSize::Two => transform_output(output_transform_two, tiles, tile, products, epilogue, out),
            TileSize::Four => transform_output(output_transform_four, tiles, tile, products, epilogue, out),
        }
    }
}

#[inline(always)]
fn transform_output<const IN: usize, const OUT: usize>(
    transform: impl Fn([f32; IN]) -> [f32; OUT],
    tiles: Tiles,
    tile: usize,
    products: &[f32],
    epilogue: ConvEpilogue,
    out: &DisjointSlice,
) {
    let (map, (image, top, left)) = (tiles.map, tiles.position(tile));
    let c = epilogue.bias.len();
    let mut columns = [[[0.; LANES]; OUT]; IN];
    let mut row = [[0.; LANES]; OUT];
    for channel in channel_chunks(c) {
        for j in 0..IN {
            let mut column = [[0.; LANES]; IN];
            for i in 0..IN {
                column[i] = load(products, ((i * IN + j) * tiles.count + tile) * c + channel);
            }
            transform_lanes(&transform, column.each_ref(), &mut columns[j]);
        }
        let bias = load(epilogue.bias, channel);
        for i in 0..OUT.min(map.h - top) {
            transform_lanes(&transform, columns.each_ref().map(|column| &column[i]), &mut row);
            for j in 0..OUT.min(map.w - left) {
                let offset = ((image * map.h + top + i) * map.w + left + j) * c + channel;
                (0..LANES).for_each(|lane| row[j][lane] += bias[lane]);
                if let Some(residual) = epilogue.residual {
                    let residual = load(residual, offset);
                    (0..LANES).for_each(|lane| row[j][lane] += residual[lane]);
                }
                if epilogue.relu {
                    (0..LANES).for_each(|lane| row[j][lane] = row[j][lane].max(0.));
                }
                // SAFETY: tiles do not overlap in the output.
                unsafe { store(&row[j], out, offset) };
            }
        }
    }
}
