//! Which kernel makes a product, and how the work is cut up.

use super::gpu::{Gpu, Grid, LANES};
use candle_core::{CudaDevice, DType, Result};
use std::env;
use std::sync::OnceLock;

/// Channels that are multiplied at a time.
pub const STRETCH: usize = 32;

/// What a block of threads makes of y.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Its name.
    pub kernel: &'static str,
    m: usize,
    n: usize,
    warps: usize,
    /// Stretches of both sides under way in shared memory, in bytes.
    shared: usize,
    /// Compute a multiprocessor makes in a clock where there is enough to do.
    speed: f64,
}

/// Compute that a multiprocessor's tensor cores make in a clock, as `mma.sync` has them: Hopper's.
const MMA: f64 = 1270.;

/// Bytes that its shared memory moves in one.
const SHARED_BYTES: f64 = 128.;

/// Of what these allow, what is reached: a guess.
const REACHED: f64 = 0.85;

/// A tile of m×n by warps of warp_m×warp_n.
const fn f16(kernel: &'static str, [m, n]: [usize; 2], [warp_m, warp_n]: [usize; 2]) -> Tile {
    let warps = m / warp_m * (n / warp_n);
    // Of one channel every warp reads its rows of both sides, which were written once.
    let bytes = (2 * (warps * (warp_m + warp_n) + m + n)) as f64;
    let by_shared = (m * n) as f64 / (bytes / SHARED_BYTES);
    let speed = REACHED * if by_shared < MMA { by_shared } else { MMA };
    Tile { kernel, m, n, warps, shared: 4 * (m + n) * STRETCH * 2, speed }
}

const F16: [Tile; 6] = [
    f16("product_f16_128x160_4", [128, 160], [64, 80]),
    f16("product_f16_128x160_8", [128, 160], [64, 40]),
    f16("product_f16_64x160_4", [64, 160], [32, 80]),
    f16("product_f16_128x128_4", [128, 128], [64, 64]),
    f16("product_f16_128x64_4", [128, 64], [64, 32]),
    f16("product_f16_64x64_4", [64, 64], [32, 32]),
];

/// Speeds are guesses.
const F32: [Tile; 2] = [
    Tile { kernel: "product_f32_128x128", m: 128, n: 128, warps: 8, shared: 0, speed: 90. },
    Tile { kernel: "product_f32_64x64", m: 64, n: 64, warps: 2, shared: 0, speed: 60. },
];

/// A tile, and into how many parts the sums over k are cut, so that there is work for the whole card.
#[derive(Clone, Copy)]
pub struct Way {
    pub tile: Tile,
    pub slices: usize,
}

/// Warps that a multiprocessor is busy with.
const ENOUGH_WARPS: usize = 8;

/// How much longer fewer take, that wait for memory now and then.
const WAITING: f64 = 1.3;

/// Clocks until a block's first stretch is there and after its last.
const START: f64 = 2000.;

/// Clocks that another kernel costs.
const KERNEL: f64 = 4000.;

/// Bytes that all of the card reads or writes in one.
const MEMORY_BYTES: f64 = 1500.;

/// The kernel and slices that `TXT2IMG_WAY` names.
fn wished() -> Option<&'static (String, usize)> {
    static WISHED: OnceLock<Option<(String, usize)>> = OnceLock::new();
    let read = || {
        let way = env::var("TXT2IMG_WAY").ok()?;
        let (kernel, slices) = way.split_once(':')?;
        Some((kernel.into(), slices.parse().ok()?))
    };
    WISHED.get_or_init(read).as_ref()
}

impl Way {
    /// stretches: of k. whole: it is not cut. What `TXT2IMG_WAY` names, as in `product_f16_64x64_4:2`, is
    /// taken where it can be: benches compare ways like that.
    pub fn fastest(
        dtype: DType,
        m: usize,
        n: usize,
        stretches: usize,
        whole: bool,
        device: &CudaDevice,
    ) -> Result<Self> {
        let card = Gpu::of(device)?;
        let tiles: &[Tile] = if dtype == DType::F16 { &F16 } else { &F32 };
        let cuts: &[usize] = if whole { &[1] } else { &[1, 2, 3, 4, 6, 8, 12, 16] };
        let ways = tiles.iter().flat_map(|&tile| cuts.iter().map(move |&slices| Self { tile, slices }));
        let ways = ways.filter(|way| way.slices <= stretches);
        if let Some((kernel, slices)) = wished() {
            let mut wished = ways.clone().filter(|way| way.tile.kernel == kernel);
            if let Some(way) = wished.find(|way| way.slices == *slices || whole) {
                return Ok(way);
            }
        }
        let mut fastest = (f64::INFINITY, Self { tile: tiles[0], slices: 1 });
        for way in ways {
            let clocks = way.clocks(m, n, stretches, &card)?;
            if clocks < fastest.0 {
                fastest = (clocks, way);
            }
        }
        Ok(fastest.1)
    }

    fn clocks(&self, m: usize, n: usize, stretches: usize, card: &Gpu) -> Result<f64> {
        let Self { tile, slices } = self;
        let blocks = m.div_ceil(tile.m) * n.div_ceil(tile.n) * slices;
        let block = (tile.m * tile.n * STRETCH * stretches.div_ceil(*slices)) as f64 / tile.speed + START;
        let at_once = card.blocks_at_once(tile.kernel, tile.warps * LANES, tile.shared)?;
        let together = |blocks: usize| {
            let waiting = if blocks * tile.warps < ENOUGH_WARPS { WAITING } else { 1. };
            blocks as f64 * block * waiting
        };
        // Of the multiprocessor that has most.
        let each = blocks.div_ceil(card.multiprocessors);
        let adding = if *slices > 1 { KERNEL + (2 * 4 * slices * m * n) as f64 / MEMORY_BYTES } else { 0. };
        Ok((each / at_once) as f64 * together(at_once) + together(each % at_once) + adding)
    }

    /// The blocks that make all of y.
    pub fn grid(&self, m: usize, n: usize) -> Grid {
        let Tile { warps, shared, .. } = self.tile;
        let blocks = [m.div_ceil(self.tile.m), n.div_ceil(self.tile.n), self.slices];
        Grid { blocks, threads: [warps * LANES, 1], shared }
    }
}
