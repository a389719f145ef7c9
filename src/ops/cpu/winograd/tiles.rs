//! The transforms of tiles: from inputs to factors of the products, and from products to outputs.

use super::TileSize;
use super::transforms::{
    input_transform_four, input_transform_six, input_transform_three, input_transform_two, input_transform_upsampled,
    input_transform_upsampled_six, output_transform_four, output_transform_six, output_transform_three,
    output_transform_two, output_transform_upsampled, output_transform_upsampled_six,
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
        let ((height, width), tile) = (self.size.outputs(), self.first + i);
        let (across, down) = (self.map.w.div_ceil(width), self.map.h.div_ceil(height));
        (tile / (across * down), tile / across % down * height, tile % across * width)
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
        let (two, three, four) = (input_transform_two, input_transform_three, input_transform_four);
        let (six, upsampled) = (input_transform_six, input_transform_upsampled);
        match tiles.size {
            TileSize::Two => transform_input::<BF16, 4, 4, 4, 4>((two, two), tiles, tile, x, channels, compute, out),
            TileSize::TwoByThree => transform_input::<BF16, 4, 5, 4, 5>((two, three), tiles, tile, x, channels, compute, out),
            TileSize::Four => transform_input::<BF16, 6, 6, 6, 6>((four, four), tiles, tile, x, channels, compute, out),
            TileSize::Six => transform_input::<BF16, 8, 8, 8, 8>((six, six), tiles, tile, x, channels, compute, out),
            TileSize::Upsampled => {
                transform_input::<BF16, 3, 3, 3, 3>((upsampled, upsampled), tiles, tile, x, channels, compute, out)
            }
            TileSize::UpsampledSix => {
                let six = input_transform_upsampled_six;
                transform_input::<BF16, 5, 5, 7, 7>((six, six), tiles, tile, x, channels, compute, out)
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

/// `DOWN` and `ACROSS`: the height and width of the tile's inputs, `H` and `W`: those of its points.
#[inline(always)]
fn transform_input<const BF16: bool, const DOWN: usize, const ACROSS: usize, const H: usize, const W: usize>(
    (vertical, horizontal): (impl Fn([f32; DOWN]) -> [f32; H], impl Fn([f32; ACROSS]) -> [f32; W]),
    tiles: Tiles,
    tile: usize,
    x: &[f32],
    channels: Channels,
    compute: Compute,
    out: &DisjointSlice,
) {
    let (image, (h, w), (top, left)) = tiles.inputs(tile);
    let Channels { count: c, block } = channels;
    let mut columns = [[[0.; LANES]; H]; ACROSS];
    let mut transformed = [[0.; LANES]; W];
    for channel in chunks::<LANES>(c) {
        for j in 0..ACROSS {
            let mut column = [[0.; LANES]; DOWN];
            for i in 0..DOWN {
                // Because of the padding, the inputs begin one pixel above and to the left of the outputs.
                let (row, pixel) = ((top + i).wrapping_sub(1), (left + j).wrapping_sub(1));
                if row < h && pixel < w {
                    column[i] = load(x, ((image * h + row) * w + pixel) * c + channel);
                }
            }
            transform_lanes(&vertical, column.each_ref(), &mut columns[j]);
        }
        let first = channel / block * block;
        let (start, length) = (first * H * W * tiles.count + channel - first, block.min(c - first));
        for i in 0..H {
            transform_lanes(&horizontal, columns.each_ref().map(|column| &column[i]), &mut transformed);
            for j in 0..W {
                let offset = start + ((i * W + j) * tiles.count + tile) * length;
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
        let (two, three) = (|m, _| output_transform_two(m), |m, _| output_transform_three(m));
        let (four, six) = (|m, _| output_transform_four(m), |m, _| output_transform_six(m));
        let upsampled = output_transform_upsampled;
        match tiles.size {
            TileSize::Two => transform_output::<4, 4, 2, 2, LANES>((two, two), place, products, epilogue, out),
            TileSize::TwoByThree => transform_output::<4, 5, 2, 3, LANES>((two, three), place, products, epilogue, out),
            TileSize::Four if products.columns(epilogue) < LANES => {
                transform_output::<6, 6, 4, 4, NARROW>((four, four), place, products, epilogue, out)
            }
            TileSize::Four => transform_output::<6, 6, 4, 4, LANES>((four, four), place, products, epilogue, out),
            TileSize::Six => transform_output::<8, 8, 6, 6, LANES>((six, six), place, products, epilogue, out),
            TileSize::Upsampled => {
                transform_output::<3, 3, 2, 2, LANES>((upsampled, upsampled), place, products, epilogue, out)
            }
            TileSize::UpsampledSix => {
                let six = |m, _| output_transform_upsampled_six(m);
                transform_output::<7, 7, 6, 6, LANES>((six, six), place, products, epilogue, out)
            }
        }
    }
}

/// `H` and `W`: the height and width of the tile's points, `DOWN` and `ACROSS`: those of its outputs. `vertical`, `horizontal`:
/// the transforms of a column and a row, which are also told whether the map ends within the tile.
#[inline(always)]
fn transform_output<const H: usize, const W: usize, const DOWN: usize, const ACROSS: usize, const L: usize>(
    (vertical, horizontal): (impl Fn([f32; H], bool) -> [f32; DOWN], impl Fn([f32; W], bool) -> [f32; ACROSS]),
    (tiles, tile, number): (Tiles, usize, usize),
    products: Products,
    epilogue: ConvEpilogue,
    out: &DisjointSlice,
) {
    let (map, (image, top, left)) = (tiles.map, tiles.position(tile));
    let (down, across, c) = (DOWN.min(map.h - top), ACROSS.min(map.w - left), epilogue.bias.len());
    let mut columns = [[[0.; L]; DOWN]; W];
    let mut row = [[0.; L]; ACROSS];
    let floor = if epilogue.relu { 0. } else { f32::NEG_INFINITY };
    for channel in chunks::<L>(products.columns(epilogue)) {
        for j in 0..W {
            let mut column = [[0.; L]; H];
            for i in 0..H {
                let offset = ((i * W + j) * products.tiles + number) * products.width;
                column[i] = load(products.values, offset + channel);
            }
            transform_lanes(|m| vertical(m, down < DOWN), column.each_ref(), &mut columns[j]);
        }
        let channel = products.column + channel;
        let bias: [f32; L] = load(epilogue.bias, channel);
        let mut residual = [[0.; L]; ACROSS];
        for i in 0..down {
            let offset = |j: usize| ((image * map.h + top + i) * map.w + left + j) * c + channel;
            if let Some(values) = epilogue.residual {
                (0..across).for_each(|j| residual[j] = load(values, offset(j)));
            }
            let columns = columns.each_ref().map(|column| &column[i]);
            // All in one loop, so that results stay in registers: between loops, the compiler stores halves of vectors, and the
            // loads of whole ones that follow stall.
            for lane in 0..L {
                let result = horizontal(columns.map(|column| column[lane]), across < ACROSS);
                for j in 0..ACROSS {
                    let y = result[j] + bias[lane] + residual[j][lane];
                    row[j][lane] = if y < floor { floor } else { y };
                }
            }
            for j in 0..across {
                // SAFETY: tiles do not overlap in the output.
                unsafe { store(&row[j], out, offset(j)) };
            }
        }
    }
}
