//! The transforms of tiles: from inputs to factors of the products, and from products to outputs.

use super::TileSize;
use super::transforms::{
    input_transform_four, input_transform_two, input_transform_upsampled, output_transform_four, output_transform_two,
    output_transform_upsampled,
};
use crate::ops::Compute;
use crate::ops::cpu::bf16::pair_vector;
use crate::ops::cpu::conv::{ConvEpilogue, MapShape};
use crate::ops::cpu::math::for_each_isa;
use crate::ops::cpu::parallel::DisjointSlice;

/// A range of the tiles that cover the maps.
#[derive(Clone, Copy)]
pub struct Tiles {
    pub size: TileSize,
    /// The maps of outputs.
    pub map: MapShape,
    pub first: usize,
    pub count: usize,
}

impl Tiles {
    /// The image of the `i`th tile of the range, and the first row and column of its outputs.
    fn position(self, i: usize) -> (usize, usize, usize) {
        let (outputs, tile) = (self.size.outputs(), self.first + i);
        let (across, down) = (self.map.w.div_ceil(outputs), self.map.h.div_ceil(outputs));
        (tile / (across * down), tile / across % down * outputs, tile % across * outputs)
    }

    /// The image of the `i`th tile of the range, the height and width of the input, and the row and column of the tile's second
    /// input. The first is above and to the left of it.
    fn inputs(self, i: usize) -> (usize, (usize, usize), (usize, usize)) {
        let (factor, (image, top, left)) = (self.size.upsampling(), self.position(i));
        (image, (self.map.h.div_ceil(factor), self.map.w.div_ceil(factor)), (top / factor, left / factor))
    }
}

/// The number of channels that are transformed together, as vectors. Maps must have at least as many.
pub const LANES: usize = 32;

/// The number of columns that are transformed back together if there are fewer than `LANES`.
pub const NARROW: usize = 8;

/// The first channels of chunks of `L` channels that cover all `c`; the last chunk may overlap the one before.
fn chunks<const L: usize>(c: usize) -> impl Iterator<Item = usize> {
    (0..c).step_by(L).map(move |channel| channel.min(c - L))
}

#[inline(always)]
fn load<const L: usize>(x: &[f32], offset: usize) -> [f32; L] {
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
fn transform_lanes<const A: usize, const B: usize, const L: usize>(
    transform: impl Fn([f32; A]) -> [f32; B],
    x: [&[f32; L]; A],
    y: &mut [[f32; L]; B],
) {
    for lane in 0..L {
        let result = transform(x.map(|x| x[lane]));
        for i in 0..B {
            y[i][lane] = result[i];
        }
    }
}

for_each_isa! {
    /// Transforms one tile of the input `x` (B, h, w, C), and writes it to `out`, slots of (C / block, points, count, block):
    /// the last block may be shorter. `x` is smaller than the outputs if it is upsampled.
    pub fn input_tile(tiles: Tiles, tile: usize, x: &[f32], channels: Channels, compute: Compute, out: &DisjointSlice) {
        match tiles.size {
            TileSize::Two => transform_input::<BF16, 4>(input_transform_two, tiles, tile, x, channels, compute, out),
            TileSize::Four => transform_input::<BF16, 6>(input_transform_four, tiles, tile, x, channels, compute, out),
            TileSize::Upsampled => {
                transform_input::<BF16, 3>(input_transform_upsampled, tiles, tile, x, channels, compute, out)
            }
        }
    }
}

/// The channels of transformed inputs.
#[derive(Clone, Copy)]
pub struct Channels {
    /// Their number.
    pub count: usize,
    /// The number of them that are stored together: all, or a multiple of `LANES` if `count` is one.
    pub block: usize,
}

#[inline(always)]
fn transform_input<const BF16: bool, const IN: usize>(
    transform: impl Fn([f32; IN]) -> [f32; IN],
    tiles: Tiles,
    tile: usize,
    x: &[f32],
    channels: Channels,
    compute: Compute,
    out: &DisjointSlice,
) {
    let (image, (h, w), (top, left)) = tiles.inputs(tile);
    let Channels { count: c, block } = channels;
    let mut columns = [[[0.; LANES]; IN]; IN];
    let mut transformed = [[0.; LANES]; IN];
    for channel in chunks::<LANES>(c) {
        for j in 0..IN {
            let mut column = [[0.; LANES]; IN];
            for i in 0..IN {
                // Because of the padding, the inputs begin one pixel above and to the left of the outputs.
                let (row, pixel) = ((top + i).wrapping_sub(1), (left + j).wrapping_sub(1));
                if row < h && pixel < w {
                    column[i] = load(x, ((image * h + row) * w + pixel) * c + channel);
                }
            }
            transform_lanes(&transform, column.each_ref(), &mut columns[j]);
        }
        let first = channel / block * block;
        let (start, length) = (first * IN * IN * tiles.count + channel - first, block.min(c - first));
        for i in 0..IN {
            transform_lanes(&transform, columns.each_ref().map(|column| &column[i]), &mut transformed);
            for j in 0..IN {
                let offset = start + ((i * IN + j) * tiles.count + tile) * length;
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

/// The products of tiles, for some columns of the output.
#[derive(Clone, Copy)]
pub struct Products<'a> {
    pub values: &'a [f32], // (points, tiles, width)
    /// The number of tiles.
    pub tiles: usize,
    pub width: usize,
    /// The column of the output at which rows begin.
    pub column: usize,
}

impl Products<'_> {
    /// The number of columns that the output has, which may be fewer than a panel's.
    fn columns(&self, epilogue: ConvEpilogue) -> usize {
        self.width.min(epilogue.bias.len() - self.column)
    }
}

for_each_isa! {
    /// Transforms the products of one tile back, applies the epilogue, and writes the outputs to `out` (B, h, w, C). `row`: the
    /// number of the tile in `products`.
    pub fn output_tile(
        tiles: Tiles,
        tile: usize,
        products: Products,
        row: usize,
        epilogue: ConvEpilogue,
        out: &DisjointSlice,
    ) {
        let place = (tiles, tile, row);
        let (two, four) = (|m, _| output_transform_two(m), |m, _| output_transform_four(m));
        match tiles.size {
            TileSize::Two => transform_output::<4, 2, LANES>(two, place, products, epilogue, out),
            TileSize::Four if products.columns(epilogue) < LANES => {
                transform_output::<6, 4, NARROW>(four, place, products, epilogue, out)
            }
            TileSize::Four => transform_output::<6, 4, LANES>(four, place, products, epilogue, out),
            TileSize::Upsampled => {
                transform_output::<3, 2, LANES>(output_transform_upsampled, place, products, epilogue, out)
            }
        }
    }
}

/// `transform`: the transform of a row or column, which is also told whether the map ends within the tile.
#[inline(always)]
fn transform_output<const IN: usize, const OUT: usize, const L: usize>(
    transform: impl Fn([f32; IN], bool) -> [f32; OUT],
    (tiles, tile, number): (Tiles, usize, usize),
    products: Products,
    epilogue: ConvEpilogue,
    out: &DisjointSlice,
) {
    let (map, (image, top, left)) = (tiles.map, tiles.position(tile));
    let (down, across, c) = (OUT.min(map.h - top), OUT.min(map.w - left), epilogue.bias.len());
    let mut columns = [[[0.; L]; OUT]; IN];
    let mut row = [[0.; L]; OUT];
    for channel in chunks::<L>(products.columns(epilogue)) {
        for j in 0..IN {
            let mut column = [[0.; L]; IN];
            for i in 0..IN {
                let offset = ((i * IN + j) * products.tiles + number) * products.width;
                column[i] = load(products.values, offset + channel);
            }
            transform_lanes(|m| transform(m, down < OUT), column.each_ref(), &mut columns[j]);
        }
        let channel = products.column + channel;
        let bias: [f32; L] = load(epilogue.bias, channel);
        for i in 0..down {
            transform_lanes(|m| transform(m, across < OUT), columns.each_ref().map(|column| &column[i]), &mut row);
            for j in 0..across {
                let offset = ((image * map.h + top + i) * map.w + left + j) * c + channel;
                (0..L).for_each(|lane| row[j][lane] += bias[lane]);
                if let Some(residual) = epilogue.residual {
                    let residual: [f32; L] = load(residual, offset);
                    (0..L).for_each(|lane| row[j][lane] += residual[lane]);
                }
                if epilogue.relu {
                    (0..L).for_each(|lane| row[j][lane] = row[j][lane].max(0.));
                }
                // SAFETY: tiles do not overlap in the output.
                unsafe { store(&row[j], out, offset) };
            }
        }
    }
}
