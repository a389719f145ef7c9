//! Which kernel makes a product, and how the work is cut up.

use super::card::{Card, Grid};
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
    threads: usize,
    /// Stretches of both sides under way in shared memory, in bytes.
    shared: usize,
    /// Products a multiprocessor makes in a clock where there is enough to do.
    speed: f64,
}

const fn f16(kernel: &'static str, m: usize, n: usize, speed: f64) -> Tile {
    Tile { kernel, m, n, threads: 128, shared: 4 * (m + n) * STRETCH * 2, speed }
}

/// Speeds are guesses: not measured.
const F16: [Tile; 5] = [
    f16("product_f16_128x160", 128, 160, 900.),
    f16("product_f16_64x160", 64, 160, 850.),
    f16("product_f16_128x128", 128, 128, 880.),
    f16("product_f16_128x64", 128, 64, 760.),
    f16("product_f16_64x64", 64, 64, 600.),
];

const F32: [Tile; 2] = [
    Tile { kernel: "product_f32_128x128", m: 128, n: 128, threads: 256, shared: 0, speed: 90. },
    Tile { kernel: "product_f32_64x64", m: 64, n: 64, threads: 64, shared: 0, speed: 60. },
];

/// A tile, and into how many parts the sums over k are cut, so that there is work for the whole card.
#[derive(Clone, Copy)]
pub struct Way {
    pub tile: Tile,
    pub slices: usize,
}

/// Blocks that a multiprocessor has at once.
const AT_ONCE: usize = 2;

/// Clocks until a block's first stretch is there and after its last.
const START: f64 = 2000.;

/// Clocks that another kernel costs, and bytes that all of the card reads or writes in one.
const KERNEL: f64 = 4000.;
const BYTES: f64 = 1500.;

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
    /// stretches: of k. whole: it is not cut. What `TXT2IMG_WAY` names, as in `product_f16_64x64:4`, is
    /// taken where it can be: benches compare ways like that.
    pub fn fastest(
        dtype: DType,
        m: usize,
        n: usize,
        stretches: usize,
        whole: bool,
        device: &CudaDevice,
    ) -> Result<Self> {
        let multiprocessors = Card::of(device)?.multiprocessors;
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
        let clocks = |way: &Self| way.clocks(m, n, stretches, multiprocessors);
        let fastest = ways.min_by(|a, b| clocks(a).total_cmp(&clocks(b)));
        Ok(fastest.unwrap_or(Self { tile: tiles[0], slices: 1 }))
    }

    fn clocks(&self, m: usize, n: usize, stretches: usize, multiprocessors: usize) -> f64 {
        let Self { tile, slices } = self;
        let blocks = m.div_ceil(tile.m) * n.div_ceil(tile.n) * slices;
        let block = (tile.m * tile.n * STRETCH * stretches.div_ceil(*slices)) as f64 / tile.speed + START;
        // A block alone on its multiprocessor has it wait for memory now and then.
        let alone = if blocks <= multiprocessors { 1.3 } else { 1. };
        let rounds =
            blocks.div_ceil(multiprocessors).next_multiple_of(if blocks > multiprocessors { AT_ONCE } else { 1 });
        let adding = if *slices > 1 { KERNEL + (2 * 4 * slices * m * n) as f64 / BYTES } else { 0. };
        rounds as f64 * block * alone + adding
    }

    /// The blocks that make all of y.
    pub fn grid(&self, m: usize, n: usize) -> Grid {
        let Tile { threads, shared, .. } = self.tile;
        Grid { blocks: [m.div_ceil(self.tile.m), n.div_ceil(self.tile.n), self.slices], threads: [threads, 1], shared }
    }
}
