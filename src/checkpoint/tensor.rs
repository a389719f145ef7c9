//! A tensor in the bytes of a checkpoint, and its conversion to f32.

use super::bytes::Bytes;
use super::float8;
use crate::files::sha256::Sha256;
use crate::ops::{all_finite, f16_to_f32, from_chunks};
use candle_core::{DType, Device};
use half::f16;
use rayon::prelude::*;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 8-bit floating point with 4 bits of exponent and no infinities.
    F8E4M3,
    /// 8-bit floating point with 5 bits of exponent: the upper half of an `F16`.
    F8E5M2,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of an `F32`.
    BF16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// A signed 8-bit integer.
    I8,
    /// A signed 16-bit integer.
    I16,
    /// A signed 32-bit integer.
    I32,
    /// A signed 64-bit integer.
    I64,
    /// An unsigned 8-bit integer.
    U8,
    /// A byte that is 0 or 1.
    Bool,
    /// Any other type, which no network of Stable Diffusion 1.x uses.
    Other,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Dtype::Other => f.write_str("numbers of an unsupported type"),
            known => write!(f, "{known:?}"),
        }
    }
}

impl Dtype {
    /// Returns whether the type is a floating point type, as that of weights is.
    pub(crate) fn is_float(self) -> bool {
        converter(self).is_some()
    }

    /// Returns candle's type for the elements. 8-bit numbers become f16, which represents all of them exactly. Returns `None` if
    /// the elements are not floating point numbers.
    pub(crate) fn of_candle(self) -> Option<DType> {
        match self {
            Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::F16 => Some(DType::F16),
            Dtype::BF16 => Some(DType::BF16),
            Dtype::F32 => Some(DType::F32),
            Dtype::F64 => Some(DType::F64),
            _ => None,
        }
    }

    /// The number of bytes of an element, if it is known.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::I8 | Dtype::U8 | Dtype::Bool => Some(1),
            Dtype::F16 | Dtype::BF16 | Dtype::I16 => Some(2),
            Dtype::F32 | Dtype::I32 => Some(4),
            Dtype::F64 | Dtype::I64 => Some(8),
            Dtype::Other => None,
        }
    }
}

/// The layout of a tensor in its storage, in elements.
pub(super) struct View {
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl View {
    /// The layout of consecutive elements in row-major order.
    pub fn contiguous(shape: Vec<usize>) -> Self {
        let strides = contiguous_strides(&shape);
        Self { offset: 0, shape, strides }
    }

    /// Returns the number of elements, if all lie in a storage of `len` elements and are not more than that.
    fn count_within(&self, len: usize) -> Option<usize> {
        let count = self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
        if count == 0 {
            return Some(0);
        }
        let mut last = self.offset;
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            last = last.checked_add((size - 1).checked_mul(stride)?)?;
        }
        (last < len && count <= len).then_some(count)
    }

    fn is_contiguous(&self) -> bool {
        let expected = contiguous_strides(&self.shape);
        let mut rows = self.shape.iter().zip(self.strides.iter().zip(&expected));
        rows.all(|(&size, (stride, expected))| size == 1 || stride == expected)
    }
}

fn contiguous_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    let mut count = 1usize;
    for (stride, &size) in strides.iter_mut().zip(shape).rev() {
        *stride = count;
        count = count.saturating_mul(size);
    }
    strides
}

/// A tensor in a file. All its elements lie within the file.
pub(super) struct Tensor {
    pub dtype: Dtype,
    pub view: View,
    /// The number of elements; 0 for `Dtype::Other`.
    count: usize,
    file: Arc<Bytes>,
    /// The byte range of the storage in the file.
    storage: Range<usize>,
}

impl Tensor {
    /// Creates a tensor. Returns `None` if the view reaches beyond the storage, or the storage beyond the file.
    pub fn new(file: &Arc<Bytes>, storage: Range<usize>, dtype: Dtype, view: View) -> Option<Self> {
        let bytes = file.get(storage.clone())?;
        let count = match dtype.size() {
            Some(size) => view.count_within(bytes.len() / size)?,
            None => 0,
        };
        Some(Self { dtype, view, count, file: file.clone(), storage })
    }

    /// Adds the type, the shape, and bytes from several places of the storage, among them its end, to a hash.
    pub fn add_to_fingerprint(&self, hash: &mut Sha256) {
        hash.update(format!(" {:?} {:?}\n", self.dtype, self.view.shape));
        let storage = &self.file[self.storage.clone()];
        let starts = (0..SAMPLES).map(|i| storage.len() / SAMPLES * i).chain([storage.len().saturating_sub(SAMPLE)]);
        starts.for_each(|start| hash.update(&storage[start..storage.len().min(start + SAMPLE)]));
    }

    /// Converts the elements to f32, in row-major order. Returns `None` if they are not floating point numbers.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        self.with_elements(|elements| elements.to_vec())
    }

    /// Calls `f` with the elements. Returns `None` if they are not floating point numbers.
    pub fn with_elements<T>(&self, f: impl FnOnce(&Elements) -> T) -> Option<T> {
        let (convert, size) = (converter(self.dtype)?, self.dtype.size()?);
        let result = f(&Elements { bytes: self.row_major()?, size, convert });
        self.file.release(self.storage.clone());
        Some(result)
    }

    /// Returns whether all elements are finite in f32. Returns `None` if they are not floating point numbers.
    pub fn is_finite(&self) -> Option<bool> {
        let (convert, size) = (converter(self.dtype)?, self.dtype.size()?);
        let is_finite = |bytes: &[u8]| {
            let mut numbers = [0f32; CHUNK];
            let numbers = &mut numbers[..bytes.len() / size];
            convert(bytes, numbers);
            all_finite(numbers)
        };
        let all = self.row_major()?.par_chunks(CHUNK * size).with_min_len(PART / CHUNK).all(is_finite);
        self.file.release(self.storage.clone());
        Some(all)
    }

    /// Returns whether another tensor has the same type, shape and bytes.
    pub fn equals(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.view.shape == other.view.shape && self.row_major() == other.row_major()
    }

    /// Copies the elements, in row-major order, to a tensor of `shape` on `device`, of the type [`Dtype::of_candle`]. Returns
    /// `None` if they are not floating point numbers.
    ///
    /// # Errors
    /// If the device fails.
    pub fn copy_to(&self, shape: &[usize], device: &Device) -> candle_core::Result<Option<candle_core::Tensor>> {
        let (Some(dtype), Some(bytes)) = (self.dtype.of_candle(), self.row_major()) else { return Ok(None) };
        let widened = |number: fn(u8) -> f16| bytes.iter().flat_map(|&byte| number(byte).to_le_bytes()).collect();
        let bytes = match self.dtype {
            Dtype::F8E4M3 => Cow::Owned(widened(|byte| f16::from_f32(float8::e4m3(byte)))),
            Dtype::F8E5M2 => Cow::Owned(widened(float8::e5m2)),
            _ => bytes,
        };
        let copy = candle_core::Tensor::from_raw_buffer(&bytes, dtype, shape, device)?;
        self.file.release(self.storage.clone());
        Ok(Some(copy))
    }

    /// Returns the bytes of the elements in row-major order; `None` if the type is `Dtype::Other`.
    pub fn row_major(&self) -> Option<Cow<'_, [u8]>> {
        let size = self.dtype.size()?;
        let storage = &self.file[self.storage.clone()];
        Some(if self.count == 0 {
            Cow::Borrowed(&[])
        } else if self.view.is_contiguous() {
            Cow::Borrowed(&storage[self.view.offset * size..][..self.count * size])
        } else {
            Cow::Owned(gather(storage, size, &self.view))
        })
    }
}

/// Copies the elements of a strided view, of `size` bytes each, in row-major order.
fn gather(storage: &[u8], size: usize, view: &View) -> Vec<u8> {
    let mut offsets = vec![view.offset];
    for (&n, &stride) in view.shape.iter().zip(&view.strides) {
        let along = |offset: usize| (0..n).map(move |i| offset + i * stride);
        offsets = offsets.into_iter().flat_map(along).collect();
    }
    offsets.iter().flat_map(|offset| &storage[offset * size..][..size]).copied().collect()
}

/// The number of bytes of a sample, enough to distinguish trained tensors.
const SAMPLE: usize = 256;

/// The number of samples of a storage, besides its end.
const SAMPLES: usize = 16;

/// The number of elements converted at a time, which fit in the L1 cache.
const CHUNK: usize = 4096;

/// The number of elements that a thread converts at a time.
const PART: usize = 16 * CHUNK;

/// A conversion of little-endian elements to f32. Both slices have the same number of elements.
type Convert = fn(&[u8], &mut [f32]);

/// Returns the conversion from a floating point type.
fn converter(dtype: Dtype) -> Option<Convert> {
    match dtype {
        Dtype::F8E4M3 => Some(|bytes, out| each(bytes, out, |[byte]| float8::e4m3(byte))),
        Dtype::F8E5M2 => Some(|bytes, out| each(bytes, out, |[byte]| float8::e5m2(byte).to_f32())),
        Dtype::F16 => Some(f16_to_f32),
        Dtype::BF16 => Some(|bytes, out| each(bytes, out, |b| half::bf16::from_le_bytes(b).to_f32())),
        Dtype::F32 => Some(|bytes, out| each(bytes, out, f32::from_le_bytes)),
        Dtype::F64 => Some(|bytes, out| each(bytes, out, |b| f64::from_le_bytes(b) as f32)),
        _ => None,
    }
}

/// The elements of a tensor in row-major order, converted to f32 when they are read.
pub(super) struct Elements<'a> {
    bytes: Cow<'a, [u8]>,
    /// The number of bytes of an element.
    size: usize,
    convert: Convert,
}

impl Elements<'_> {
    /// Reads as many elements as `out` has, from the element `start` on.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        let bytes = &self.bytes[start * self.size..][..out.len() * self.size];
        out.chunks_mut(CHUNK).zip(bytes.chunks(CHUNK * self.size)).for_each(|(out, bytes)| (self.convert)(bytes, out));
    }

    /// Reads all elements, many of them in parallel.
    pub fn to_vec(&self) -> Vec<f32> {
        // Embeddings, which are read before `--threads` takes effect, are smaller than a part, and need no threads.
        from_chunks(self.bytes.len() / self.size, PART, |i, out| self.read(i * PART, out))
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = number(bytes);
    }
}
