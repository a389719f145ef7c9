//! Convolutions whose weights are transformed when they are packed.

use super::tiles::{Channels, Products, Tiles, input_tile, output_tile};
use super::transforms::{
    transform_weights, weight_transform_four, weight_transform_six, weight_transform_three, weight_transform_two,
    weight_transform_upsampled, weight_transform_upsampled_six,
};
use super::{TileSize, tile_memory};
use crate::ops::Compute;
use crate::ops::cpu::bf16::pair;
use crate::ops::cpu::caches::caches;
use crate::ops::cpu::conv::{ConvEpilogue, MapShape};
use crate::ops::cpu::gemm::{Epilogue, MatrixA, strip};
use crate::ops::cpu::isa::Isa;
use crate::ops::cpu::math::for_each_isa;
use crate::ops::cpu::packed::{Format, Packed};
use crate::ops::cpu::parallel::{DisjointSlice, for_each, from_uninit};
use crate::ops::cpu::weight::Weight;
use std::ops::Range;

/// The number of tiles in flight on one core from which each core works on its own. With fewer, reading the weights would
/// take longer than it saves.
const MIN_TILES: usize = 16;

/// The transformed weight of a 3×3 convolution.
pub struct Winograd {
    size: TileSize,
    points: Vec<Packed>, // (C_in, C_out) for each point
}

impl Winograd {
    /// Transforms and packs `weight` (C_out, C_in, 3, 3).
    pub fn new(isa: Isa, format: Format, size: TileSize, weight: Weight, c_in: usize, c_out: usize) -> Self {
        let points = match size {
            TileSize::Two => pack::<16>(isa, format, size, weight, c_in, c_out).into(),
            TileSize::TwoByThree => pack::<20>(isa, format, size, weight, c_in, c_out).into(),
            TileSize::Four => pack::<36>(isa, format, size, weight, c_in, c_out).into(),
            TileSize::Six => pack::<64>(isa, format, size, weight, c_in, c_out).into(),
            TileSize::Upsampled => pack::<9>(isa, format, size, weight, c_in, c_out).into(),
            TileSize::UpsampledSix => pack::<49>(isa, format, size, weight, c_in, c_out).into(),
        };
        Self { size, points }
    }

    /// The weights: a matrix (C_in, C_out) for each point.
    #[cfg(test)]
    pub fn points(&self) -> &[Packed] {
        &self.points
    }

    /// `x`: (B, h, w, C_in) → (B, h, w, C_out), the shape `map`. For an upsampled map, `x` is
    /// (B, ⌈h/2⌉, ⌈w/2⌉, C_in).
    pub fn forward(&self, x: &[f32], map: MapShape, epilogue: ConvEpilogue) -> Vec<f32> {
        let c_out = self.points[0].n;
        let tiles = self.size.tiles(map);
        let tile_bytes = 4 * self.size.points() * (self.points[0].k_slots() + c_out);
        let weight_bytes = 4 * self.size.points() * self.points[0].k_slots() * c_out;
        // The weights are read again for each batch of tiles, which may be half as large.
        let (of_core, of_all) = (caches().l2 / tile_bytes, tile_memory().max(weight_bytes / 2) / tile_bytes);
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
            let channels = Channels { count: c_in, block: c_in };
            each(tiles.count, &|tile| input_tile(tiles, tile, x, channels, compute, inputs));
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
        let products = Products { values: &products, tiles: tiles.count, width: c_out, column: 0 };
        each(tiles.count, &|tile| output_tile(tiles, tile, products, tile, epilogue, out));
    }
}

/// Computes G·w·Gᵀ of every 3×3 kernel in `weight` (C_out, C_in, 3, 3), and packs a matrix for each point.
fn pack<const POINTS: usize>(
    isa: Isa,
    format: Format,
    size: TileSize,
    weight: Weight,
    c_in: usize,
    c_out: usize,
) -> [Packed; POINTS] {
    Packed::several(isa, format, c_in, c_out, |panel, mut points| {
        let width = panel.vectors * isa.lanes();
        let columns = panel.column..c_out.min(panel.column + width);
        transform_kernels(size, weight, columns, c_in, format.compute(), width, &mut points);
    })
}

for_each_isa! {
    /// Transforms kernels of `weight` (C_out, C_in, 3, 3) into a panel of `width` columns at each point. Those beyond
    /// `columns` become zero.
    fn transform_kernels(
        size: TileSize,
        weight: Weight,
        columns: Range<usize>,
        c_in: usize,
        compute: Compute,
        width: usize,
        points: &mut [&mut [f32]],
    ) {
        let (two, three, four) = (weight_transform_two, weight_transform_three, weight_transform_four);
        let (six, upsampled) = (weight_transform_six, weight_transform_upsampled);
        match size {
            TileSize::Two => transform_weight((two, two), weight, columns, c_in, compute, width, points),
            TileSize::TwoByThree => transform_weight((two, three), weight, columns, c_in, compute, width, points),
            TileSize::Four => transform_weight((four, four), weight, columns, c_in, compute, width, points),
            TileSize::Six => transform_weight((six, six), weight, columns, c_in, compute, width, points),
            TileSize::Upsampled => transform_weight((upsampled, upsampled), weight, columns, c_in, compute, width, points),
            TileSize::UpsampledSix => {
                let six = weight_transform_upsampled_six;
                transform_weight((six, six), weight, columns, c_in, compute, width, points)
            }
        }
    }
}

/// The number of input channels whose kernels are transformed at once, so that long runs are read and written, and what is
/// between stays in the L2 cache. Even, for pairs of bf16.
const CHANNELS: usize = 8;

/// The number of kernels that are transformed at once, in panels of three vectors.
const KERNELS: usize = CHANNELS * 3 * 16;

#[inline(always)]
fn transform_weight<const H: usize, const W: usize>(
    (vertical, horizontal): (impl Fn([f32; 3]) -> [f32; H], impl Fn([f32; 3]) -> [f32; W]),
    weight: Weight,
    columns: Range<usize>,
    c_in: usize,
    compute: Compute,
    width: usize,
    points: &mut [&mut [f32]],
) {
    let mut buffer = [0.; 9 * CHANNELS];
    let mut taps = [[0.; KERNELS]; 9];
    let mut transformed = [[[0.; KERNELS]; W]; H];
    for first in (0..c_in).step_by(CHANNELS) {
        let channels = first..c_in.min(first + CHANNELS);
        for (column, number) in columns.clone().enumerate() {
            let kernels = weight.read(9 * (number * c_in + first), 9 * channels.len(), &mut buffer);
            for (channel, kernel) in kernels.as_chunks::<9>().0.iter().enumerate() {
                (0..9).for_each(|tap| taps[tap][channel * width + column] = kernel[tap]);
            }
        }
        let count = channels.len() * width;
        transform_weights(&vertical, &horizontal, &taps, count, &mut transformed);
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
