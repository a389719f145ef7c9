//! Tensors of torch files, from the recorded calls that would rebuild them.

use super::bytes::Bytes;
use super::pickle::{Items, Pickle, Value};
use super::tensor::{Dtype, Tensor, View};
use super::torch::{Saved, as_name};
use anyhow::{Context, Result, bail, ensure};
use std::ops::Range;
use std::sync::Arc;

/// The maximum number of dimensions of a tensor.
const MAX_DIMS: usize = 8;

/// The maximum number of calls around the one that rebuilds a tensor. A parameter of a subclass with attributes has
/// three.
const MAX_WRAPPERS: usize = 4;

/// The class of storages without a type, which `_rebuild_tensor_v3` uses.
const UNTYPED: Value = Value::Global("torch.storage", "UntypedStorage");

/// Reads the tensors of a file.
pub(super) struct Rebuild<'p, 'a> {
    pub file: &'p Arc<Bytes>,
    pub saved: &'p Saved<'a>,
}

/// The arguments of the call that rebuilds a tensor. The type is present if the storage has none.
#[derive(Clone, Copy)]
pub(super) struct Description<'a> {
    storage: Value<'a>,
    offset: Value<'a>,
    shape: Value<'a>,
    strides: Value<'a>,
    dtype: Option<Value<'a>>,
}

/// Returns the description of a tensor, possibly within wrappers; `None` if `value` is not a tensor.
pub(super) fn description<'a>(pickle: &Pickle<'a>, value: Value<'a>) -> Option<Description<'a>> {
    let [mut function, mut arguments] = pickle.call(value)?;
    for _ in 0..=MAX_WRAPPERS {
        let (Value::Global("torch._utils" | "torch._tensor", called), Value::Tuple(items)) = (function, arguments)
        else {
            return None;
        };
        [function, arguments] = match (called, pickle.items(items)) {
            // (data, requires_grad, hooks[, attributes])
            ("_rebuild_parameter" | "_rebuild_parameter_with_state", [tensor, ..]) => pickle.call(*tensor)?,
            // (function, type, arguments, attributes): a tensor with attributes, or of a subclass
            ("_rebuild_from_type" | "_rebuild_from_type_v2", [function, _, arguments, ..]) => [*function, *arguments],
            ("_rebuild_tensor" | "_rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
                return Some(Description { storage, offset, shape, strides, dtype: None });
            }
            // (…, requires_grad, hooks, dtype, …)
            ("_rebuild_tensor_v3", &[storage, offset, shape, strides, _, _, dtype, ..]) => {
                return Some(Description { storage, offset, shape, strides, dtype: Some(dtype) });
            }
            _ => return None,
        };
    }
    None
}

impl<'a> Rebuild<'_, 'a> {
    /// Returns the description of a tensor, as the function [`description`] does.
    pub fn description(&self, value: Value<'a>) -> Option<Description<'a>> {
        description(&self.saved.pickle, value)
    }

    /// Creates the tensor of a description.
    ///
    /// # Errors
    /// A clause about the tensor, if the description is invalid or does not fit the file.
    pub fn tensor(&self, description: Description<'a>) -> Result<Tensor> {
        use Value::{Int, Persistent, Tuple};
        let Description { storage: Persistent(storage), offset: Int(offset), shape: Tuple(shape), .. } = description
        else {
            bail!("is described in an unknown way");
        };
        let Tuple(strides) = description.strides else { bail!("is described in an unknown way") };
        let view = View {
            offset: usize::try_from(offset).context("begins before its storage")?,
            shape: self.sizes(shape)?,
            strides: self.sizes(strides)?,
        };
        ensure!(view.shape.len() == view.strides.len(), "has a stride too many or too few");
        let (storage_dtype, range) = self.storage(storage)?;
        let dtype = description.dtype.map_or(storage_dtype, dtype_by_name);
        Tensor::new(self.file, range, dtype, view).context("does not fit its storage")
    }

    /// Reads a tuple of sizes or strides.
    fn sizes(&self, items: Items) -> Result<Vec<usize>> {
        let sizes = self.saved.pickle.items(items);
        ensure!(sizes.len() <= MAX_DIMS, "has {} dimensions", sizes.len());
        let size = |value: &Value| match value {
            Value::Int(size) => usize::try_from(*size).context("has a negative size"),
            _ => bail!("has a size that is not a number"),
        };
        sizes.iter().map(size).collect()
    }

    /// Returns the type and the byte range of a storage.
    fn storage(&self, id: Items) -> Result<(Dtype, Range<usize>)> {
        let (class, key, count) =
            storage_id(&self.saved.pickle, id).context("has a storage described in an unknown way")?;
        let range = self.saved.storages.get(key).context("has no storage")?;
        let bytes = count.checked_mul(element_size(class).unwrap_or(0));
        let end = bytes.and_then(|bytes| range.start.checked_add(bytes));
        let end = end.filter(|&end| end <= range.end).context("has a storage that is cut short")?;
        Ok((dtype_of_storage(class), range.start..end))
    }
}

/// Returns class, key and element count of a storage's identifier, `("storage", class, key, device, count[, view])`.
/// Views of other storages, which torch has not written since 2018, are not supported.
pub(super) fn storage_id<'a>(pickle: &Pickle<'a>, id: Items) -> Option<(Value<'a>, &'a str, usize)> {
    match *pickle.items(id) {
        [Value::Str("storage"), class, key, _, Value::Int(count), ref view @ ..]
            if matches!(view, [] | [Value::Opaque]) =>
        {
            // A negative count is too large for any file.
            Some((class, as_name(key)?, usize::try_from(count).unwrap_or(usize::MAX)))
        }
        _ => None,
    }
}

/// Returns the bytes per element of a storage class of torch; `None` for other classes.
pub(super) fn element_size(class: Value) -> Option<usize> {
    if class == UNTYPED {
        return Some(1);
    }
    let Value::Global("torch", name) = class else { return None };
    match name {
        "UntypedStorage" | "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" => Some(1),
        "QInt32Storage" => Some(4),
        "ComplexFloatStorage" => Some(8),
        "ComplexDoubleStorage" => Some(16),
        _ => dtype_of_storage(class).size(),
    }
}

/// Returns the element type of a storage class.
fn dtype_of_storage(class: Value) -> Dtype {
    match class {
        Value::Global("torch", "HalfStorage") => Dtype::F16,
        Value::Global("torch", "BFloat16Storage") => Dtype::BF16,
        Value::Global("torch", "FloatStorage") => Dtype::F32,
        Value::Global("torch", "DoubleStorage") => Dtype::F64,
        Value::Global("torch", "CharStorage") => Dtype::I8,
        Value::Global("torch", "ShortStorage") => Dtype::I16,
        Value::Global("torch", "IntStorage") => Dtype::I32,
        Value::Global("torch", "LongStorage") => Dtype::I64,
        Value::Global("torch", "ByteStorage") => Dtype::U8,
        Value::Global("torch", "BoolStorage") => Dtype::Bool,
        _ => Dtype::Other,
    }
}

/// Returns the element type that a `torch.dtype` stands for.
fn dtype_by_name(value: Value) -> Dtype {
    match value {
        Value::Global("torch", "float8_e4m3fn") => Dtype::F8E4M3,
        Value::Global("torch", "float8_e5m2") => Dtype::F8E5M2,
        Value::Global("torch", "float16") => Dtype::F16,
        Value::Global("torch", "bfloat16") => Dtype::BF16,
        Value::Global("torch", "float32") => Dtype::F32,
        Value::Global("torch", "float64") => Dtype::F64,
        Value::Global("torch", "int8") => Dtype::I8,
        Value::Global("torch", "int16") => Dtype::I16,
        Value::Global("torch", "int32") => Dtype::I32,
        Value::Global("torch", "int64") => Dtype::I64,
        Value::Global("torch", "uint8") => Dtype::U8,
        Value::Global("torch", "bool") => Dtype::Bool,
        _ => Dtype::Other,
    }
}
