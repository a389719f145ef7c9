//! Position ids: which row of a text encoder's table of positions belongs to each place of a prompt.
//!
//! They are 0, 1, 2, …, but single files keep them beside the weights, and merging models in half precision has damaged
//! them in many. The original loads them as they are, and draws other pictures with such a file.

use std::sync::Arc;

use super::Tensors;
use super::bytes::Bytes;
use super::tensor::{Tensor, View};

const IDS: &str = "cond_stage_model.transformer.text_model.embeddings.position_ids";
const TABLE: &str = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight";

/// Puts the rows of the table of positions in the order of the ids. Ids that do not fit the table are ignored.
pub(super) fn apply(tensors: &mut Tensors) {
    let (Some(ids), Some(table)) = (tensors.get(IDS), tensors.get(TABLE)) else { return };
    if let Some(ordered) = ordered(ids, table) {
        tensors.insert(TABLE.to_string(), ordered);
    }
}

/// The table in the order of the ids; none if that is its own or the ids do not fit.
fn ordered(ids: &Tensor, table: &Tensor) -> Option<Tensor> {
    let &[rows, width] = &table.view.shape[..] else { return None };
    let fits = ids.view.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size)) == Some(rows);
    let ids = if fits { ids.to_integers()? } else { return None };
    if ids.iter().copied().eq(0..rows as i64) {
        return None;
    }
    let bytes = table.row_major()?;
    let length = width.checked_mul(table.dtype.size()?).filter(|&length| length > 0)?;
    let row = |&id: &i64| bytes.chunks(length).nth(usize::try_from(id).ok()?);
    let ordered = ids.iter().map(row).collect::<Option<Vec<_>>>()?.concat();
    let (all, file) = (0..ordered.len(), Arc::new(Bytes::Owned(ordered)));
    Tensor::new(&file, all, table.dtype, View::contiguous(vec![rows, width]))
}
