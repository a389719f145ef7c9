//! `.ckpt`, `.pt`, `.bin`: a zip archive of a pickle that describes the tensors, and their numbers.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::archive::Archive;
use super::bytes::Bytes;
use super::pickle::{Items, Pickle, Value};
use super::tensor::{Dtype, Tensor, View};
use super::{Tensors, damaged, other_models};

/// Real checkpoints' pickles have less than one MiB; this bounds the memory that unpickling takes.
const MAX_PICKLE: usize = 64 << 20;
/// A longer text, or one with control characters, names neither a tensor nor a storage.
const MAX_NAME: usize = 1024;
const MAX_DIMS: usize = 8;

/// The tensors of a file, under the names they have there.
pub(super) fn read(file: &Arc<Bytes>) -> Result<Tensors> {
    let archive = Archive::read(file)?;
    check_byte_order(file, &archive)?;
    let code = archive.entry("data.pkl").ok_or_else(|| damaged("it has no data.pkl"))?;
    ensure!(code.len() <= MAX_PICKLE, "holds far more than tensors; save its state_dict alone with torch.save");
    let pickle = Pickle::read(&file[code]).map_err(damaged)?;
    let reader = Reader { file, archive: &archive, pickle: &pickle };
    reader.tensors(state_dict(&pickle)?)
}

fn check_byte_order(file: &[u8], archive: &Archive) -> Result<()> {
    let order = archive.entry("byteorder").map(|place| &file[place]);
    ensure!(
        order.is_none_or(|order| order == b"little"),
        "was saved on a big-endian machine; convert it to .safetensors there"
    );
    Ok(())
}

/// Keys and values of the dictionary of tensors: what is under `state_dict`, or else the whole.
fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<&'p [[Value<'a>; 2]]> {
    let whole = pickle
        .entries(pickle.root)
        .context("holds a Python object, not a dictionary of tensors; save its state_dict() with torch.save")?;
    let under = |wanted| whole.iter().rev().find(|[key, _]| *key == Value::Str(wanted));
    if under("string_to_param").is_some() {
        return Err(other_models::refusal(other_models::TEXTUAL_INVERSION));
    }
    let nested = under("state_dict").and_then(|[_, value]| pickle.entries(*value));
    Ok(nested.unwrap_or(whole))
}

struct Reader<'p, 'a> {
    file: &'p Arc<Bytes>,
    archive: &'p Archive,
    pickle: &'p Pickle<'a>,
}

impl<'p, 'a> Reader<'p, 'a> {
    /// The entries that are tensors.
    fn tensors(&self, entries: &[[Value<'a>; 2]]) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for &[key, value] in entries {
            if let (Some(name), Some(description)) = (name(key), self.description(value)) {
                let tensor = self.tensor(description).map_err(|e| damaged(format!("tensor '{name}' {e}")))?;
                tensors.insert(name.to_string(), tensor);
            }
        }
        Ok(tensors)
    }

    /// The arguments of the call that rebuilds a tensor, if the value is one.
    fn description(&self, value: Value<'a>) -> Option<&'p [Value<'a>]> {
        let rebuilt = match self.call(value)? {
            ("_rebuild_parameter", [tensor, ..]) => self.call(*tensor)?,
            other => other,
        };
        match rebuilt {
            ("_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3", arguments) => Some(arguments),
            _ => None,
        }
    }

    /// Name and arguments of a call of one of torch's own functions.
    fn call(&self, value: Value<'a>) -> Option<(&'a str, &'p [Value<'a>])> {
        let Value::Call(call) = value else { return None };
        match self.pickle.items(call) {
            [Value::Global("torch._utils", function), Value::Tuple(arguments)] => {
                Some((function, self.pickle.items(*arguments)))
            }
            _ => None,
        }
    }

    /// The tensor of `_rebuild_tensor_v2(storage, offset, shape, strides, …)`.
    fn tensor(&self, description: &[Value<'a>]) -> Result<Tensor> {
        use Value::{Int, Persistent, Tuple};
        let &[Persistent(storage), Int(offset), Tuple(shape), Tuple(strides), ..] = description else {
            bail!("is described in an unknown way");
        };
        let view = View {
            offset: usize::try_from(offset).context("begins before its storage")?,
            shape: self.sizes(shape)?,
            strides: self.sizes(strides)?,
        };
        ensure!(view.shape.len() == view.strides.len(), "has a stride too many or too few");
        let (dtype, place) = self.storage(storage)?;
        Tensor::new(self.file, place, dtype, view).context("does not fit its storage")
    }

    fn sizes(&self, items: Items) -> Result<Vec<usize>> {
        let sizes = self.pickle.items(items);
        ensure!(sizes.len() <= MAX_DIMS, "has {} dimensions", sizes.len());
        let size = |value: &Value| match value {
            Value::Int(size) => usize::try_from(*size).context("has a negative size"),
            _ => bail!("has a size that is no number"),
        };
        sizes.iter().map(size).collect()
    }

    /// Type and place of `("storage", type, key, device, count of numbers)`.
    fn storage(&self, id: Items) -> Result<(Dtype, Range<usize>)> {
        let &[Value::Str("storage"), kind, key, _, Value::Int(count), ..] = self.pickle.items(id) else {
            bail!("has a storage described in an unknown way");
        };
        let place = name(key).and_then(|key| self.archive.entry(&format!("data/{key}")));
        let place = place.context("has no storage")?;
        let dtype = dtype(kind);
        let bytes = usize::try_from(count).ok().and_then(|n| n.checked_mul(dtype.size().unwrap_or(0)));
        let end = bytes.and_then(|bytes| place.start.checked_add(bytes));
        let end = end.filter(|&end| end <= place.end).context("has a storage that is cut short")?;
        Ok((dtype, place.start..end))
    }
}

fn name(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Str(name) if name.len() <= MAX_NAME && !name.contains(char::is_control) => Some(name),
        _ => None,
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
