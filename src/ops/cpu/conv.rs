//! 3×3 convolutions with padding 1: by Winograd's algorithm if that is faster, else as one implicit matrix product over
//! the nine taps.

use super::copy::copy_rows;
use super::gemm::{Epilogue, RowOffsets, gemm};
use super::isa::isa;
use super::operand::Output;
use super::packed::{Format, Packed};
use super::weight::Weight;
use super::winograd::{CompactWinograd, LANES, TileSize, Winograd};
use crate::ops::conv2d::ConvOptions;
use crate::ops::{Compute, Packing};
use candle_core::{DType, Result, Tensor};

/// The size of an input or output: B maps of h·w pixels.
#[derive(Clone, Copy)]
pub struct MapShape {
    pub b: usize,
    pub h: usize,
    pub w: usize,
}

/// The operations applied to a convolution before it is stored.
#[derive(Clone, Copy)]
pub struct ConvEpilogue<'a> {
    /// Added to each pixel: (C_out).
    pub bias: &'a [f32],
    /// Added to the output: as large as the output.
    pub residual: Option<&'a [f32]>,
    /// If true, negative sums become 0.
    pub relu: bool,
}

/// The properties of a 3×3 convolution that decide how it is computed.
#[derive(Clone, Copy)]
pub struct ConvLayer {
    pub compute: Compute,
    pub packing: Packing,
    /// If true, the elements of the weight are f16 before it is packed.
    pub is_f16: bool,
    pub c_in: usize,
    pub c_out: usize,
    pub options: ConvOptions,
}

impl ConvLayer {
    /// Returns the layer with this `weight` (C_out, C_in, 3, 3).
    ///
    /// # Errors
    /// If the weight has another shape.
    pub fn new(compute: Compute, packing: Packing, weight: &Tensor, options: ConvOptions) -> Result<Self> {
        let (c_out, c_in, _, _) = weight.dims4()?;
        Ok(Self { compute, packing, is_f16: weight.dtype() == DType::F16, c_in, c_out, options })
    }

    /// Returns the layer with this `weight` (C_out, C_in, 3, 3) that convolves an upsampled map.
    ///
    /// # Errors
    /// If the weight has another shape.
    pub fn upsampled(compute: Compute, packing: Packing, weight: &Tensor, large_maps: bool) -> Result<Self> {
        Self::new(compute, packing, weight, ConvOptions { large_maps, ..1.into() })
    }

    /// Returns whether the packing allows tiles of 6×6 outputs, whose weights are larger.
    fn has_large_tiles(self) -> bool {
        let kernels = self.c_in * self.c_out;
        self.options.large_maps && (self.packing == Packing::Fast || kernels <= FEW_KERNELS)
    }
}

/// The packed weight of a convolution.
pub enum Conv3x3 {
    /// A matrix (9·C_in, C_out), with the taps in row-major order.
    Direct { weight: Packed, c_in: usize, stride: usize },
    /// A transformed weight, for stride 1 only.
    Winograd(Winograd),
    /// A weight that is transformed in each call, for stride 1 only.
    Compact(CompactWinograd),
}

/// The number of output channels from which maps are so small that reading the weights takes most of the time. Transformed
/// weights, which are four times as large for 4×4 tiles, would be slower.
const SMALL_MAP_CHANNELS: usize = 1280;

/// The number of 3×3 kernels from which compact packing saves much memory.
const LARGE_WEIGHT: usize = 320 * 320;

/// The number of channels from which the products take longer than the transforms, so that bf16 products pay although
/// their smaller tiles take more transforms.
const BF16_CHANNELS: usize = 320;

/// The largest number of 3×3 kernels for which 6×6 tiles are worth their memory in layers with large maps. With those of the next
/// larger layers, the weights of Stable Diffusion's decoder would take 0.5 GB more.
const SIX_KERNELS: usize = 512 * 256;

/// The largest number of 3×3 kernels for which 6×6 tiles are worth their memory even with compact packing: 4 MB at most.
const FEW_KERNELS: usize = 128 * 128;

/// The algorithm of a convolution, and the format of its weight.
enum Algorithm {
    Direct(Format),
    Winograd(TileSize, Format),
    Compact(Format),
}

impl Algorithm {
    fn new(layer: ConvLayer) -> Self {
        let ConvLayer { compute, packing, is_f16, c_in, c_out, options } = layer;
        if options.stride > 1 {
            return Self::Direct(Format::of(compute, isa(), c_in));
        }
        // Too few channels for the vectors of the transforms, and little to save.
        if c_in < LANES || c_out < LANES {
            return Self::Direct(Format::F32);
        }
        let can_be_compact = CompactWinograd::supports(c_in, c_out);
        if can_be_compact && packing == Packing::Compact && c_in * c_out >= LARGE_WEIGHT {
            return Self::Compact(Format::of_f32_products(compute, is_f16));
        }
        let format = Format::of(compute, isa(), c_in);
        match format {
            _ if layer.has_large_tiles() && c_in * c_out <= SIX_KERNELS => {
                Self::Winograd(TileSize::Six, if format == Format::Bf16 { Format::F32 } else { format })
            }
            // The transforms of larger tiles would lose one of the three digits of bf16. Tiles three columns wide would reach far
            // beyond small maps.
            Format::Bf16 if c_in.min(c_out) >= BF16_CHANNELS && c_out >= SMALL_MAP_CHANNELS => {
                Self::Winograd(TileSize::Two, format)
            }
            Format::Bf16 if c_in.min(c_out) >= BF16_CHANNELS => Self::Winograd(TileSize::TwoByThree, format),
            Format::Bf16 if c_out >= SMALL_MAP_CHANNELS => Self::Winograd(TileSize::Two, Format::F32),
            Format::Bf16 => Self::Winograd(TileSize::Four, Format::F32),
            _ if c_out < SMALL_MAP_CHANNELS => Self::Winograd(TileSize::Four, format),
            _ if can_be_compact => Self::Compact(format),
            _ => Self::Winograd(TileSize::Two, format),
        }
    }
}

impl Conv3x3 {
    /// Packs the `weight` (C_out, C_in, 3, 3) of a layer for the fastest algorithm that its packing allows.
    pub fn new(layer: ConvLayer, weight: Weight) -> Self {
        let ConvLayer { c_in, c_out, options, .. } = layer;
        let taps = |format: Format| Packed::from_weight::<9>(isa(), format, weight, c_in);
        match Algorithm::new(layer) {
            Algorithm::Direct(format) => Self::Direct { weight: taps(format), c_in, stride: options.stride },
            Algorithm::Winograd(size, format) => {
                Self::Winograd(Winograd::new(isa(), format, size, weight, c_in, c_out))
            }
            Algorithm::Compact(format) => Self::Compact(CompactWinograd::new(taps(format), c_in)),
        }
    }

    /// The size in bytes of a layer's weight packed by [`Self::new`].
    pub fn bytes(layer: ConvLayer) -> f64 {
        let ConvLayer { c_in, c_out, .. } = layer;
        match Algorithm::new(layer) {
            Algorithm::Direct(format) | Algorithm::Compact(format) => Packed::bytes(format, 9 * c_in, c_out),
            Algorithm::Winograd(size, format) => size.points() as f64 * Packed::bytes(format, c_in, c_out),
        }
    }

    /// `x`: (B, h, w, C_in) → (B, ⌈h/stride⌉, ⌈w/stride⌉, C_out).
    pub fn forward(&self, x: &[f32], map: MapShape, epilogue: ConvEpilogue) -> Output {
        match self {
            Self::Winograd(winograd) => Output::F32(winograd.forward(x, map, epilogue)),
            Self::Compact(winograd) => Output::F32(winograd.forward(x, map, epilogue)),
            Self::Direct { weight, c_in, stride } => {
                let mut y = direct(x, map, weight, *c_in, *stride, epilogue);
                // Layers with ReLU that are not transformed have few channels.
                if let (true, Output::F32(y)) = (epilogue.relu, &mut y) {
                    y.iter_mut().for_each(|y| *y = y.max(0.));
                }
                y
            }
        }
    }
}

/// The packed weight of a convolution of a map that is upsampled first: every pixel is repeated in a 2×2 square.
pub enum UpsampledConv3x3 {
    /// A weight for the pixels of the smaller map.
    Winograd(Winograd),
    /// A weight for upsampled maps, which have too few channels for transforms.
    Direct { weight: Packed, c_in: usize },
}

impl UpsampledConv3x3 {
    /// Returns the size of tiles and the format of a transformed weight, if the layer has enough channels.
    fn tiles(layer: ConvLayer) -> Option<(TileSize, Format)> {
        let ConvLayer { compute, c_in, c_out, .. } = layer;
        let format = Format::of(compute, isa(), c_in);
        // The transforms of larger tiles would lose one of the three digits of bf16.
        let is_six = layer.has_large_tiles() && format != Format::Bf16;
        let size = if is_six { TileSize::UpsampledSix } else { TileSize::Upsampled };
        (c_in >= LANES && c_out >= LANES).then_some((size, format))
    }

    /// Packs the `weight` (C_out, C_in, 3, 3) of a layer.
    pub fn new(layer: ConvLayer, weight: Weight) -> Self {
        let ConvLayer { c_in, c_out, .. } = layer;
        match Self::tiles(layer) {
            Some((size, format)) => Self::Winograd(Winograd::new(isa(), format, size, weight, c_in, c_out)),
            None => Self::Direct { weight: Packed::from_weight::<9>(isa(), Format::F32, weight, c_in), c_in },
        }
    }

    /// The size in bytes of a layer's weight packed by [`Self::new`].
    pub fn bytes(layer: ConvLayer) -> f64 {
        let ConvLayer { c_in, c_out, .. } = layer;
        match Self::tiles(layer) {
            Some((size, format)) => size.points() as f64 * Packed::bytes(format, c_in, c_out),
            None => Packed::bytes(Format::F32, 9 * c_in, c_out),
        }
    }

    /// `x`: (B, ⌈h/2⌉, ⌈w/2⌉, C_in) → (B, h, w, C_out), the shape `map`.
    pub fn forward(&self, x: &[f32], map: MapShape, epilogue: ConvEpilogue) -> Output {
        match self {
            Self::Winograd(winograd) => Output::F32(winograd.forward(x, map, epilogue)),
            Self::Direct { weight, c_in } => direct(&upsample(x, map, *c_in), map, weight, *c_in, 1, epilogue),
        }
    }
}

/// Nearest-neighbour upsampling by 2, cropped. `x`: (B, ⌈h/2⌉, ⌈w/2⌉, C) → (B, h, w, C), the shape `map`.
fn upsample(x: &[f32], MapShape { b, h, w }: MapShape, c: usize) -> Vec<f32> {
    let pixel = |i: usize| {
        let (row, column) = (i / w, i % w);
        (row / h * h.div_ceil(2) + row % h / 2) * w.div_ceil(2) + column / 2
    };
    copy_rows(b * h * w, c, |i| [&x[pixel(i) * c..][..c], &[]])
}

/// One matrix product whose row for a pixel is gathered from the nine taps around it.
fn direct(x: &[f32], map: MapShape, weight: &Packed, c: usize, stride: usize, epilogue: ConvEpilogue) -> Output {
    let (width, padded) = (map.w + 2, pad(x, map, c));
    let taps: Vec<usize> = (0..9).map(|tap| (tap / 3 * width + tap % 3) * c).collect();
    let (h, w) = (map.h.div_ceil(stride), map.w.div_ceil(stride));
    let rows: Vec<usize> = (0..map.b * h * w)
        .map(|i| ((i / (h * w) * (map.h + 2) + i / w % h * stride) * width + i % w * stride) * c)
        .collect();
    let epilogue = Epilogue { bias: Some(epilogue.bias), residual: epilogue.residual, ..Epilogue::default() };
    gemm(padded[..].into(), RowOffsets { rows: &rows, taps: &taps }, weight, epilogue)
}

/// Pads each map with one pixel of zeros on every side.
fn pad(x: &[f32], map: MapShape, c: usize) -> Vec<f32> {
    let length = (map.w + 2) * c;
    let mut padded = vec![0.; map.b * (map.h + 2) * length];
    for (i, row) in x.chunks_exact(map.w * c).enumerate() {
        let padded = &mut padded[(i / map.h * (map.h + 2) + i % map.h + 1) * length..][..length];
        padded[c..c + row.len()].copy_from_slice(row);
    }
    padded
}
