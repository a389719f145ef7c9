//! The choice of a GEMM kernel and of its split of K.

use super::abi::{GEMM_F16_BK, GEMM_F16_STAGES, GEMM_F16_TILES, GEMM_F32_TILES, LANES};
use super::gpu::{Gpu, Grid};
use candle_core::{CudaDevice, DType, Result};
use std::env;
use std::sync::OnceLock;

/// A kernel and the part of y that one of its blocks computes.
#[derive(Clone, Copy)]
pub struct Tile {
    pub kernel: &'static str,
    m: usize,
    n: usize,
    warps: usize,
    /// Dynamic shared memory of a block in bytes.
    shared: usize,
    /// Multiply-adds per clock of a multiprocessor with enough work.
    speed: f64,
}

/// Multiply-adds per clock of a multiprocessor's tensor cores with `mma.sync`, as on Hopper.
const MMA: f64 = 1270.;

/// Bytes per clock of a multiprocessor's shared memory.
const SHARED_BYTES: f64 = 128.;

/// The fraction of these limits that kernels reach, an estimate.
const REACHED: f64 = 0.85;

impl Tile {
    /// A tile of m×n in f16 with warps of `warp_m`×`warp_n`.
    fn f16(kernel: &'static str, [m, n]: [usize; 2], [warp_m, warp_n]: [usize; 2]) -> Self {
        let warps = m / warp_m * (n / warp_n);
        // For each channel the tile's rows of both operands are written once, and every warp reads its own.
        let bytes = (2 * (warps * (warp_m + warp_n) + m + n)) as f64;
        let by_shared = (m * n) as f64 / (bytes / SHARED_BYTES);
        let shared = GEMM_F16_STAGES * (m + n) * GEMM_F16_BK * DType::F16.size_in_bytes();
        Self { kernel, m, n, warps, shared, speed: REACHED * by_shared.min(MMA) }
    }

    /// The tiles of the kernels for `dtype`.
    fn all(dtype: DType) -> Vec<Self> {
        if dtype == DType::F16 {
            GEMM_F16_TILES.map(|(kernel, m, n, warp_m, warp_n, _)| Self::f16(kernel, [m, n], [warp_m, warp_n])).to_vec()
        } else {
            let tile = |(kernel, m, n, speed)| {
                let warps = m / 8 * (n / 8) / LANES;
                Self { kernel, m, n, warps, shared: 0, speed: speed as f64 }
            };
            GEMM_F32_TILES.map(tile).to_vec()
        }
    }
}

/// A tile, and the number of parts that K is split into, so that there is work for the whole GPU.
#[derive(Clone, Copy)]
pub struct GemmConfig {
    pub tile: Tile,
    pub splits: usize,
}

/// The numbers of splits to choose from.
const SPLITS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

/// Warps that keep a multiprocessor busy.
const ENOUGH_WARPS: usize = 8;

/// The slowdown with fewer warps than that, which cannot hide the latency of memory.
const STALLS: f64 = 1.3;

/// Clocks of a block before its first K tile has arrived and after its last.
const BLOCK_OVERHEAD: f64 = 2000.;

/// Clocks that another kernel costs.
const KERNEL_OVERHEAD: f64 = 4000.;

/// Bytes per clock that the whole GPU reads or writes.
const MEMORY_BYTES: f64 = 1500.;

/// The kernel and number of splits that `TXT2IMG_WAY` names, as in `gemm_f16_64x64_4:2`.
fn requested() -> Option<&'static (String, usize)> {
    static REQUESTED: OnceLock<Option<(String, usize)>> = OnceLock::new();
    let read = || {
        let config = env::var("TXT2IMG_WAY").ok()?;
        let (kernel, splits) = config.split_once(':')?;
        Some((kernel.into(), splits.parse().ok()?))
    };
    REQUESTED.get_or_init(read).as_ref()
}

impl GemmConfig {
    /// Returns the configuration for an m×n product that the cost model expects to be fastest, or the one that
    /// `TXT2IMG_WAY` names, if it applies: benches compare configurations with that.
    ///
    /// `k_tiles`: the size of K in tiles of `GEMM_F16_BK`, for either type. `may_split`: whether K may be split.
    pub fn fastest(
        dtype: DType,
        m: usize,
        n: usize,
        k_tiles: usize,
        may_split: bool,
        device: &CudaDevice,
    ) -> Result<Self> {
        let gpu = Gpu::of(device)?;
        let splits = if may_split { &SPLITS[..] } else { &[1] };
        let tiles = Tile::all(dtype);
        let configs = tiles.iter().flat_map(|&tile| splits.iter().map(move |&splits| Self { tile, splits }));
        let configs = configs.filter(|config| config.splits <= k_tiles);
        if let Some((kernel, splits)) = requested() {
            let mut requested = configs.clone().filter(|config| config.tile.kernel == kernel);
            if let Some(config) = requested.find(|config| config.splits == *splits || !may_split) {
                return Ok(config);
            }
        }
        let mut fastest = (f64::INFINITY, Self { tile: tiles[0], splits: 1 });
        for config in configs {
            let clocks = config.clocks(m, n, k_tiles, &gpu)?;
            if clocks < fastest.0 {
                fastest = (clocks, config);
            }
        }
        Ok(fastest.1)
    }

    /// The estimated duration of the product in clocks.
    fn clocks(&self, m: usize, n: usize, k_tiles: usize, gpu: &Gpu) -> Result<f64> {
        let Self { tile, splits } = self;
        let blocks = m.div_ceil(tile.m) * n.div_ceil(tile.n) * splits;
        let k = GEMM_F16_BK * k_tiles.div_ceil(*splits);
        let block = (tile.m * tile.n * k) as f64 / tile.speed + BLOCK_OVERHEAD;
        let occupancy = gpu.occupancy(tile.kernel, tile.warps * LANES, tile.shared)?;
        let concurrent = |blocks: usize| {
            let stalls = if blocks * tile.warps < ENOUGH_WARPS { STALLS } else { 1. };
            blocks as f64 * block * stalls
        };
        // Blocks of the multiprocessor that has the most.
        let each = blocks.div_ceil(gpu.multiprocessors);
        let reduce = if *splits > 1 { KERNEL_OVERHEAD + (2 * 4 * splits * m * n) as f64 / MEMORY_BYTES } else { 0. };
        Ok((each / occupancy) as f64 * concurrent(occupancy) + concurrent(each % occupancy) + reduce)
    }

    /// The launch that computes all of an m×n product.
    pub fn grid(&self, m: usize, n: usize) -> Grid {
        let Tile { warps, shared, .. } = self.tile;
        let blocks = [m.div_ceil(self.tile.m), n.div_ceil(self.tile.n), self.splits];
        Grid { blocks, threads: [warps * LANES, 1], shared }
    }
}
