//! A tensor in a torch file: the call that would rebuild it, read as a description of where its numbers lie.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::bytes::Bytes;
use super::pickle::{Items, Pickle, Value};
use super::tensor::{Dtype, Tensor, View};
use super::torch::{Saved, name};

const MAX_DIMS: usize = 8;

/// Calls around the one that rebuilds a tensor: a parameter with attributes of a subclass has three.
const MAX_WRAPPERS: usize = 4;

/// Storages without a type of their own, as the third version of torch's tensors has them.
const UNTYPED: Value = Value::Global("torch.storage", "UntypedStorage");

/// Reads tensors of one file.
pub(super) struct Rebuild<'p, 'a> {
    pub file: &'p Arc<Bytes>,
    pub saved: &'p Saved<'a>,
}

/// A tensor's storage, offset, shape and strides, and its type where its storage has none.
#[derive(Clone, Copy)]
pub(super) struct Description<'a> {
    storage: Value<'a>,
    offset: Value<'a>,
    shape: Value<'a>,
    strides: Value<'a>,
    dtype: Option<Value<'a>>,
}

/// The description of a tensor, whichever wrappers its value has; none if the value is not a tensor.
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
    /// As [`description`].
    pub fn description(&self, value: Value<'a>) -> Option<Description<'a>> {
        description(&self.saved.pickle, value)
    }

    /// The tensor of a description; an error says what is wrong with it.
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
        let (of_storage, place) = self.storage(storage)?;
        let dtype = description.dtype.map_or(of_storage, dtype_of);
        Tensor::new(self.file, place, dtype, view).context("does not fit its storage")
    }

    fn sizes(&self, items: Items) -> Result<Vec<usize>> {
        let sizes = self.saved.pickle.items(items);
        ensure!(sizes.len() <= MAX_DIMS, "has {} dimensions", sizes.len());
        let size = |value: &Value| match value {
            Value::Int(size) => usize::try_from(*size).context("has a negative size"),
            _ => bail!("has a size that is not a number"),
        };
        sizes.iter().map(size).collect()
    }

    /// Type and place of a storage.
    fn storage(&self, id: Items) -> Result<(Dtype, Range<usize>)> {
        let (class, key, count) =
            storage_id(&self.saved.pickle, id).context("has a storage described in an unknown way")?;
        let place = self.saved.storages.get(key).context("has no storage")?;
        let bytes = count.checked_mul(element_size(class).unwrap_or(0));
        let end = bytes.and_then(|bytes| place.start.checked_add(bytes));
        let end = end.filter(|&end| end <= place.end).context("has a storage that is cut short")?;
        Ok((dtype(class), place.start..end))
    }
}

/// Class, key and count of numbers of `("storage", class, key, device, count[, view])`. A view of another storage, which
/// torch stopped writing in 2018, is not understood.
pub(super) fn storage_id<'a>(pickle: &Pickle<'a>, id: Items) -> Option<(Value<'a>, &'a str, usize)> {
    match *pickle.items(id) {
        [Value::Str("storage"), class, key, _, Value::Int(count), ref view @ ..]
            if matches!(view, [] | [Value::Opaque]) =>
        {
            // A negative count is too large for any file.
            Some((class, name(key)?, usize::try_from(count).unwrap_or(usize::MAX)))
        }
        _ => None,
    }
}

/// The bytes that a number takes in a storage of this class, if it is one that torch has.
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
        _ => dtype(class).size(),
    }
}

/// The type of a storage class's numbers.
fn dtype(class: Value) -> Dtype {
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

/// The type that a `torch.dtype` names.
fn dtype_of(value: Value) -> Dtype {
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
