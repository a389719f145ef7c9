//! Convolutions whose weights are transformed in each call: the weights take a quarter of the memory, and less time to read.

use super::tiles::{Channels, LANES, NARROW, Products, Tiles, input_tile, output_tile};
use super::transforms::{transform_weights, weight_transform_four};
use super::{TileSize, tile_memory};
use crate::ops::Compute;
use crate::ops::cpu::conv::{ConvEpilogue, MapShape};
use crate::ops::cpu::gemm::{MatrixA, kernel};
use crate::ops::cpu::kernel::{Tile, prefetch_once};
use crate::ops::cpu::math::for_each_isa;
use crate::ops::cpu::packed::{Packed, Panel};
use crate::ops::cpu::parallel::{DisjointSlice, for_each, from_uninit};
use std::cell::RefCell;
use std::ops::Range;

/// The number of points of a tile of 4×4 outputs.
const POINTS: usize = 36;

/// The number of input channels whose kernels are transformed and multiplied at once, so that the transformed kernels of a
/// panel stay in the L2 cache.
const BLOCK: usize = 64;

/// The largest number of kernels in a block: those of a panel of three vectors of 16.
const KERNELS: usize = BLOCK * 3 * 16;

/// The distance between the kernels of two points. It is not a multiple of a page, so that they are in different sets of the
/// L1 cache.
const STRIDE: usize = KERNELS + 16;

/// The largest number of tiles in a task, so that its products stay in the L2 cache.
const TASK_TILES: usize = 64;

/// The weight of a 3×3 convolution, with products in f32.
pub struct CompactWinograd {
    taps: Packed, // (9·C_in, C_out), taps in row-major order
    c_in: usize,
}

impl CompactWinograd {
    /// Returns whether convolutions of `c_in` to `c_out` channels can be computed in this way.
    pub fn supports(c_in: usize, c_out: usize) -> bool {
        c_in.is_multiple_of(LANES) && c_out.is_multiple_of(NARROW)
    }

    /// `taps`: (9·C_in, C_out), with the taps in row-major order.
    pub fn new(taps: Packed, c_in: usize) -> Self {
        Self { taps, c_in }
    }

    /// The weight: (9·C_in, C_out).
    #[cfg(test)]
    pub fn taps(&self) -> &Packed {
        &self.taps
    }

    /// `x`: (B, h, w, C_in) → (B, h, w, C_out).
    pub fn forward(&self, x: &[f32], map: MapShape, epilogue: ConvEpilogue) -> Vec<f32> {
        let size = TileSize::Four;
        let tiles = size.tiles(map);
        let batch = (tile_memory() / (4 * POINTS * self.c_in)).max(12).min(tiles);
        let convolve = |out: &DisjointSlice| {
            for first in (0..tiles).step_by(batch) {
                self.convolve(Tiles { size, map, first, count: batch.min(tiles - first) }, x, epilogue, out);
            }
        };
        // SAFETY: the tiles cover the whole output.
        unsafe { from_uninit(map.b * map.h * map.w * self.taps.n, convolve) }
    }

    /// Computes the outputs of a batch of tiles. A task is a panel of columns for some of the tiles.
    fn convolve(&self, tiles: Tiles, x: &[f32], epilogue: ConvEpilogue, out: &DisjointSlice) {
        let channels = Channels { count: self.c_in, block: BLOCK };
        let transform = |inputs: &DisjointSlice| {
            for_each(tiles.count, |tile| input_tile(tiles, tile, x, channels, Compute::F32, inputs));
        };
        // (C_in / block, points, count, block).
        // SAFETY: every tile writes a row of every block at each point.
        let inputs: Vec<f32> = unsafe { from_uninit(POINTS * tiles.count * self.c_in, transform) };
        let panels = self.taps.panels();
        let parts = tiles.count.div_ceil(TASK_TILES);
        let part = tiles.count.div_ceil(parts);
        for_each(panels.len() * parts, |task| {
            let (panel, first) = (panels[task / parts], task % parts * part);
            let rows = first..tiles.count.min(first + part);
            SCRATCH.with_borrow_mut(|scratch| {
                let products = self.multiply(tiles, rows.clone(), panel, &inputs, scratch);
                for (row, tile) in rows.enumerate() {
                    output_tile(tiles, tile, products, row, epilogue, out);
                }
            });
        });
    }

    /// Computes the products of the tiles `range` of a batch and a panel, block by block. `inputs`: the transformed tiles.
    fn multiply<'a>(
        &self,
        tiles: Tiles,
        range: Range<usize>,
        panel: Panel,
        inputs: &[f32],
        scratch: &'a mut Scratch,
    ) -> Products<'a> {
        let Scratch { taps, points, products } = scratch;
        let points = points.as_chunks_mut().0.as_chunks_mut().0.first_chunk_mut().expect("room for all points");
        let width = panel.vectors * self.taps.isa.lanes();
        let (kernel, mr) = kernel(&self.taps, panel.vectors, range.len());
        let n_rows = range.len().next_multiple_of(mr);
        products.resize(products.len().max(POINTS * n_rows * width), 0.);
        for first in (0..self.c_in).step_by(BLOCK) {
            let depth = BLOCK.min(self.c_in - first);
            for (tap, kernels) in taps.iter_mut().enumerate() {
                self.taps.read(panel, tap * self.c_in + first, &mut kernels[..depth * width]);
            }
            transform_kernels(taps, depth * width, points);
            let rows: Vec<usize> = range.clone().map(|tile| tile * depth).collect();
            for (point, kernels) in points.as_flattened().iter().enumerate() {
                let slots = &inputs[(first * POINTS + point * depth) * tiles.count..][..tiles.count * depth];
                let products = &mut products[point * n_rows * width..][..n_rows * width];
                for (rows, products) in rows.chunks(mr).zip(products.chunks_exact_mut(mr * width)) {
                    // The next rows, which follow in memory, are fetched while the kernel computes. They are used once, and must
                    // not take the place of the kernels and the products in the L2 cache.
                    prefetch_once(slots.as_ptr().wrapping_add(rows[0] + mr * depth), mr * depth);
                    let a = MatrixA { slots, rows, taps: &[0] };
                    let tile = a.tile(depth, kernels, products.as_mut_ptr(), width);
                    // SAFETY: A has these rows, the panel has `depth` rows, and the products have room for MR rows.
                    unsafe { kernel(&Tile { adds: first > 0, ..tile }) };
                }
            }
        }
        Products { values: products, tiles: n_rows, width, column: panel.column }
    }
}

/// The memory of a task.
struct Scratch {
    taps: Box<[[f32; KERNELS]; 9]>,
    points: Vec<f32>,   // (points, stride)
    products: Vec<f32>, // (points, tiles, width)
}

thread_local! {
    /// The memory of this thread's tasks, which stays in its cache.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        taps: Box::new([[0.; KERNELS]; 9]),
        points: vec![0.; POINTS * STRIDE],
        products: vec![],
    });
}

for_each_isa! {
    /// Computes G·w·Gᵀ of `count` 3×3 kernels, for all points.
    fn transform_kernels(taps: &[[f32; KERNELS]; 9], count: usize, points: &mut [[[f32; STRIDE]; 6]; 6]) {
        transform_weights(weight_transform_four, weight_transform_four, taps, count, points);
    }
}
