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
    /// F(2×3, 3×3), two rows of three outputs: 20 products make 6 outputs; weights grow by 20/9.
    TwoByThree,
    /// F(4×4, 3×3): 36 products make 16 outputs; weights grow by 4.
    Four,
    /// F(6×6, 3×3): 64 products make 36 outputs; weights grow by 64/9.
    Six,
    /// 2×2 outputs for a map upsampled by 2, so that their 4×4 inputs are 3×3 pixels: 9 products make 4 outputs; weights do not
    /// grow.
    Upsampled,
    /// 6×6 outputs for a map upsampled by 2, so that their 8×8 inputs are 5×5 pixels: 49 products make 36 outputs; weights grow by
    /// 49/9. For maps of even sizes only.
    UpsampledSix,
}

impl TileSize {
    /// The height and width of a tile in outputs.
    fn outputs(self) -> (usize, usize) {
        match self {
            TileSize::Two | TileSize::Upsampled => (2, 2),
            TileSize::TwoByThree => (2, 3),
            TileSize::Four => (4, 4),
            TileSize::Six | TileSize::UpsampledSix => (6, 6),
        }
    }

    /// The factor by which maps are upsampled before the convolution.
    fn upsampling(self) -> usize {
        match self {
            TileSize::Two | TileSize::TwoByThree | TileSize::Four | TileSize::Six => 1,
            TileSize::Upsampled | TileSize::UpsampledSix => 2,
        }
    }

    /// The number of tiles that cover maps of outputs.
    fn tiles(self, map: MapShape) -> usize {
        let (height, width) = self.outputs();
        map.b * map.h.div_ceil(height) * map.w.div_ceil(width)
    }

    /// The number of points of a transformed tile, which is its number of products for each pair of channels.
    pub fn points(self) -> usize {
        match self {
            TileSize::Two => 4 * 4,
            TileSize::TwoByThree => 4 * 5,
            TileSize::Four => 6 * 6,
            TileSize::Six => 8 * 8,
            TileSize::Upsampled => 3 * 3,
            TileSize::UpsampledSix => 7 * 7,
        }
    }
}
