//! A tensor that lies in a checkpoint's bytes.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::bytes::Bytes;
use super::float8;

/// The type of a tensor's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 8-bit floating point with 4 bits of exponent and no infinities
    F8E4M3,
    /// 8-bit floating point with 5 bits of exponent: the upper half of an `F16`
    F8E5M2,
    /// half precision
    F16,
    /// bfloat16: the upper half of an f32
    BF16,
    /// single precision
    F32,
    /// double precision
    F64,
    /// signed byte
    I8,
    /// signed, 2 bytes
    I16,
    /// signed, 4 bytes
    I32,
    /// signed, 8 bytes
    I64,
    /// unsigned byte
    U8,
    /// a byte that is 0 or 1
    Bool,
    /// any type a Stable Diffusion 1.x model has no use for
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
    /// Whether the numbers are floating point numbers, which weights are.
    pub fn is_float(self) -> bool {
        converter(self).is_some()
    }

    /// Bytes a number takes; unknown for `Other`.
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

/// Where in its storage a tensor's numbers lie; all in numbers, not bytes.
pub(super) struct View {
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl View {
    /// Numbers that follow each other in row-major order.
    pub fn contiguous(shape: Vec<usize>) -> Self {
        let strides = contiguous_strides(&shape);
        Self { offset: 0, shape, strides }
    }

    /// The count of the numbers, if they lie in a storage of `len` numbers and are no more than it has.
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

/// A tensor in a file; its numbers are known to lie within the file.
pub(super) struct Tensor {
    pub dtype: Dtype,
    pub view: View,
    /// Of numbers.
    count: usize,
    file: Arc<Bytes>,
    /// Bytes of the file that the view looks at.
    storage: Range<usize>,
}

impl Tensor {
    /// None if the view reaches beyond its storage, or the storage beyond the file.
    pub fn new(file: &Arc<Bytes>, storage: Range<usize>, dtype: Dtype, view: View) -> Option<Self> {
        let bytes = file.get(storage.clone())?;
        let count = match dtype.size() {
            Some(size) => view.count_within(bytes.len() / size)?,
            None => 0,
        };
        Some(Self { dtype, view, count, file: file.clone(), storage })
    }

    /// Some from all over what it lies in, and its end.
    pub fn some_bytes(&self) -> impl Iterator<Item = &[u8]> {
        let storage = &self.file[self.storage.clone()];
        let piece = move |start: usize| &storage[start..storage.len().min(start + SOME)];
        (0..PIECES).map(move |i| piece(storage.len() / PIECES * i)).chain([piece(storage.len().saturating_sub(SOME))])
    }

    /// The numbers in row-major order; none if they are not floating point numbers.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let convert = converter(self.dtype)?;
        let numbers = converted(&self.row_major()?, self.dtype.size()?, convert);
        self.file.release(self.storage.clone());
        Some(numbers)
    }

    /// The numbers in row-major order as a device takes them: candle's type and bytes. 8-bit numbers become f16, which
    /// holds every one of them exactly. None if they are not floating point numbers.
    pub fn to_raw(&self) -> Option<(DType, Cow<'_, [u8]>)> {
        let dtype = match self.dtype {
            Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            _ => return None,
        };
        let bytes = self.row_major()?;
        let widened = |number: fn(u8) -> f16| bytes.iter().flat_map(|&byte| number(byte).to_le_bytes()).collect();
        let bytes = match self.dtype {
            Dtype::F8E4M3 => Cow::Owned(widened(|byte| f16::from_f32(float8::e4m3(byte)))),
            Dtype::F8E5M2 => Cow::Owned(widened(float8::e5m2)),
            _ => bytes,
        };
        Some((dtype, bytes))
    }

    /// The bytes of the numbers in row-major order; none if they are of no type that is known.
    pub fn row_major(&self) -> Option<Cow<'_, [u8]>> {
        let size = self.dtype.size()?;
        let storage = &self.file[self.storage.clone()];
        Some(if self.count == 0 {
            Cow::Borrowed(&[])
        } else if self.view.is_contiguous() {
            Cow::Borrowed(&storage[self.view.offset * size..][..self.count * size])
        } else {
            Cow::Owned(gathered(storage, size, &self.view))
        })
    }
}

/// The bytes of a view that jumps about in its storage, put in row-major order.
fn gathered(storage: &[u8], size: usize, view: &View) -> Vec<u8> {
    let mut places = vec![view.offset];
    for (&n, &stride) in view.shape.iter().zip(&view.strides) {
        let along = |place: usize| (0..n).map(move |i| place + i * stride);
        places = places.into_iter().flat_map(along).collect();
    }
    places.iter().flat_map(|place| &storage[place * size..][..size]).copied().collect()
}

/// Bytes that tell a trained tensor from another, and in how many places they are looked at.
const SOME: usize = 256;
const PIECES: usize = 16;

/// Numbers converted at a time: they stay in the nearest cache.
const CHUNK: usize = 4096;

/// Reads as many numbers as there is room for.
type Convert = fn(&[u8], &mut [f32]);

fn converter(dtype: Dtype) -> Option<Convert> {
    match dtype {
        Dtype::F8E4M3 => Some(|bytes, out| each(bytes, out, |[byte]| float8::e4m3(byte))),
        Dtype::F8E5M2 => Some(|bytes, out| each(bytes, out, |[byte]| float8::e5m2(byte).to_f32())),
        Dtype::F16 => Some(from_f16),
        Dtype::BF16 => Some(|bytes, out| each(bytes, out, |b| half::bf16::from_le_bytes(b).to_f32())),
        Dtype::F32 => Some(|bytes, out| each(bytes, out, f32::from_le_bytes)),
        Dtype::F64 => Some(|bytes, out| each(bytes, out, |b| f64::from_le_bytes(b) as f32)),
        _ => None,
    }
}

fn converted(bytes: &[u8], size: usize, convert: Convert) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / size];
    out.par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * size))
        .with_min_len(16)
        .for_each(|(out, bytes)| convert(bytes, out));
    out
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = number(bytes);
    }
}

/// The crate `half` converts slices with the CPU's own instructions, but wants them aligned.
fn from_f16(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; CHUNK];
    let halves = &mut halves[..out.len()];
    for (half, &bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
        *half = f16::from_le_bytes(bytes);
    }
    halves.convert_to_f32_slice(out);
}
