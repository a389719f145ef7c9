//! 3×3 convolutions by Winograd's minimal filtering (Lavin & Gray 2015, arXiv 1509.09308), which takes fewer products
//! than the 9 per output of the definition.

mod compact;
mod tiles;
mod transformed;
mod transforms;

pub use compact::CompactWinograd;
pub use tiles::LANES;
pub use transformed::Winograd;

use super::caches::caches;
use super::conv::MapShape;

/// The bytes of transformed tiles in flight on all cores, which should stay in the last-level cache.
fn tile_memory() -> usize {
    caches().l3 * 3 / 8
}

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

    /// The number of tiles that cover maps.
    fn tiles(self, map: MapShape) -> usize {
        map.b * map.h.div_ceil(self.outputs()) * map.w.div_ceil(self.outputs())
    }

    /// The number of points of a transformed tile, which is its number of products for each pair of channels.
    pub fn points(self) -> usize {
        (self.outputs() + 2).pow(2)
    }
}
