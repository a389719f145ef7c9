//! `.safetensors`: 8 bytes of header length, a JSON header, the tensors.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype as StoredDtype, Metadata};

use super::bytes::Bytes;
use super::tensor::{Dtype, Tensor, View};
use super::{Tensors, damaged};

/// The length of the header's length.
const LENGTH: usize = 8;

/// The tensors of a file, under the names they have there.
pub(super) fn read(file: &Arc<Bytes>) -> Result<Tensors> {
    let (header, data) = parts(file)?;
    let header = metadata(&file[header]).map_err(|e| damaged(format!("its header is not valid: {e}")))?;
    // The header's offsets are checked: no gap, no overlap. Where they end is not.
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

/// The header as checked by the crate `safetensors`. Where only its free-form `__metadata__` is not as it should be, which
/// says nothing of the tensors, it is left out.
fn metadata(header: &[u8]) -> serde_json::Result<Metadata> {
    serde_json::from_slice(header).or_else(|error| {
        let mut entries: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header)?;
        match entries.remove("__metadata__") {
            Some(_) => serde_json::from_value(entries.into()),
            None => Err(error),
        }
    })
}

/// Where the header and the tensors' bytes are.
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
