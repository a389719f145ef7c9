//! The `.safetensors` format: 8 bytes of header length, a JSON header, and the tensors.

use super::bytes::Bytes;
use super::tensor::{Dtype, Tensor, View};
use super::{Tensors, damaged};
use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype as StoredDtype, Metadata};
use std::ops::Range;
use std::sync::Arc;

/// The number of bytes of the header's length.
pub(super) const LENGTH: usize = 8;

/// Reads the tensors of a file, under the names in it.
///
/// # Errors
/// If the file is truncated or damaged.
pub(super) fn read_tensors(file: &Arc<Bytes>) -> Result<Tensors> {
    let (header, data) = parts(file)?;
    let header = metadata(&file[header]).map_err(|e| damaged(format!("its header is not valid: {e}")))?;
    // `metadata` has checked that there are no gaps and overlaps, but not the end.
    let (declared, held) = (header.data_len(), data.len());
    ensure!(
        declared <= held,
        "is cut short: its header announces {declared} bytes of tensors and {held} are there; download it again"
    );
    let tensors = header.tensors().into_iter();
    tensors
        .map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let view = View::contiguous(info.shape.clone());
            let tensor = Tensor::new(file, data.start + start..data.start + end, dtype(info.dtype), view)
                .ok_or_else(|| damaged(format!("tensor '{name}' lies outside of it")))?;
            Ok((name, tensor))
        })
        .collect()
}

/// Parses the header and checks it with the crate `safetensors`. If `__metadata__` is invalid, which does not affect
/// the tensors, it is ignored.
fn metadata(header: &[u8]) -> serde_json::Result<Metadata> {
    serde_json::from_slice(header).or_else(|error| {
        let mut entries: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header)?;
        match entries.remove("__metadata__") {
            Some(_) => serde_json::from_value(entries.into()),
            None => Err(error),
        }
    })
}

/// Returns the position of the first tensor in a file, or 0 if the file has no valid header.
pub(super) fn data_start(file: &[u8]) -> usize {
    parts(file).map_or(0, |(_, data)| data.start)
}

/// Returns the byte ranges of the header and of the tensors' data.
fn parts(file: &[u8]) -> Result<(Range<usize>, Range<usize>)> {
    let (length, rest) =
        file.split_first_chunk::<LENGTH>().context("is too short for a .safetensors file; download it again")?;
    let length = u64::from_le_bytes(*length);
    let held = rest.len();
    ensure!(
        length <= held as u64,
        "is cut short or damaged: its header has {length} bytes and {held} are there; download it again"
    );
    let end = LENGTH + length as usize;
    Ok((LENGTH..end, end..file.len()))
}

fn dtype(stored: StoredDtype) -> Dtype {
    match stored {
        StoredDtype::F8_E4M3 => Dtype::F8E4M3,
        StoredDtype::F8_E5M2 => Dtype::F8E5M2,
        StoredDtype::F16 => Dtype::F16,
        StoredDtype::BF16 => Dtype::BF16,
        StoredDtype::F32 => Dtype::F32,
        StoredDtype::F64 => Dtype::F64,
        StoredDtype::I8 => Dtype::I8,
        StoredDtype::I16 => Dtype::I16,
        StoredDtype::I32 => Dtype::I32,
        StoredDtype::I64 => Dtype::I64,
        StoredDtype::U8 => Dtype::U8,
        StoredDtype::BOOL => Dtype::Bool,
        _ => Dtype::Other,
    }
}
