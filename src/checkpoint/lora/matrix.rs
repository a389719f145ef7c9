//! Matrices in LoRA files, whole or in factors.

use super::super::tensor::{Dtype, Tensor};
use super::super::weights::product;
use super::keys::Part;
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor as Candle};

/// A tensor in a file, and the part of a change that it is.
type Stored = (Part, Tensor);

/// A matrix. A convolution's kernel (o, i, k, k) counts as the matrix (o, i·k·k).
pub(super) enum Matrix {
    /// The matrix itself.
    Whole(Stored),
    /// A product of `left` (o, r) and `right` (r, i·k·k).
    Product { left: Stored, right: Stored },
    /// Σₚ,q left[o, p] · core[p, q, k, k] · right[q, i]: Tucker's decomposition of a convolution. `is_transposed`: whether
    /// `left` is stored as (p, o).
    Tucker { left: Stored, core: Stored, right: Stored, is_transposed: bool },
}

impl Matrix {
    /// Creates a product of factors.
    ///
    /// # Errors
    /// A clause about the module, if they do not fit each other.
    pub fn product(left: Stored, right: Stored) -> Result<Self> {
        let ((_, inner), (rank, _)) = (size(&left.1)?, size(&right.1)?);
        ensure!(inner == rank, "has factors that do not fit each other, {} and {}", shape(&left.1), shape(&right.1));
        Ok(Self::Product { left, right })
    }

    /// Creates a product of factors with a core between them.
    ///
    /// # Errors
    /// A clause about the module, if they do not fit each other.
    pub fn tucker(left: Stored, core: Stored, right: Stored, is_transposed: bool) -> Result<Self> {
        let ((rows, columns), (q, _)) = (size(&left.1)?, size(&right.1)?);
        size(&core.1)?;
        let p = if is_transposed { rows } else { columns };
        let sizes = &core.1.view.shape;
        let fits = sizes.len() >= 2 && sizes[..2] == [p, q];
        let [left_shape, core_shape, right_shape] = [&left, &core, &right].map(|(_, tensor)| shape(tensor));
        ensure!(fits, "has factors that do not fit their core, {left_shape}, {core_shape} and {right_shape}");
        Ok(Self::Tucker { left, core, right, is_transposed })
    }

    /// Creates a matrix that is stored whole.
    ///
    /// # Errors
    /// A clause about the module, if it is empty.
    pub fn whole(matrix: Stored) -> Result<Self> {
        size(&matrix.1)?;
        Ok(Self::Whole(matrix))
    }

    /// The numbers of rows and columns.
    pub fn size(&self) -> (usize, usize) {
        let size = |(_, tensor): &Stored| size(tensor).unwrap_or((0, 0));
        match self {
            Self::Whole(matrix) => size(matrix),
            Self::Product { left, right } => (size(left).0, size(right).1),
            Self::Tucker { left, right, is_transposed, .. } => {
                let rows = if *is_transposed { size(left).1 } else { size(left).0 };
                (rows, size(right).1.saturating_mul(self.kernel().unwrap_or(1)))
            }
        }
    }

    /// The number of elements k·k of the core's kernels, if there is a core.
    pub fn kernel(&self) -> Option<usize> {
        match self {
            Self::Tucker { core, .. } => Some(core.1.view.shape[2..].iter().product()),
            _ => None,
        }
    }

    /// The number of rows of the right factor, if there is one.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Self::Whole(_) => None,
            Self::Product { right, .. } | Self::Tucker { right, .. } => right.1.view.shape.first().copied(),
        }
    }

    /// The sizes of all dimensions between the factors.
    pub fn ranks(&self) -> &[usize] {
        match self {
            Self::Whole(_) => &[],
            Self::Product { right, .. } => &right.1.view.shape[..1],
            Self::Tucker { core, .. } => &core.1.view.shape[..2],
        }
    }

    /// The tensors in the file.
    pub fn tensors(&self) -> Vec<(Part, &Tensor)> {
        let stored = match self {
            Self::Whole(matrix) => vec![matrix],
            Self::Product { left, right } => vec![left, right],
            Self::Tucker { left, core, right, .. } => vec![left, core, right],
        };
        stored.into_iter().map(|(part, tensor)| (*part, tensor)).collect()
    }

    /// Reads and multiplies the factors. No intermediate result is larger than the matrix or the core.
    ///
    /// # Errors
    /// If the tensors do not hold floating point numbers, or memory does not suffice.
    pub fn read(&self) -> Result<Candle> {
        match self {
            Self::Whole((_, matrix)) => read(matrix),
            Self::Product { left, right } => Ok(read(&left.1)?.matmul(&read(&right.1)?)?),
            Self::Tucker { left, core, right, is_transposed } => {
                let left = if *is_transposed { read(&left.1)?.t()?.contiguous()? } else { read(&left.1)? };
                let (p, q) = (core.1.view.shape[0], core.1.view.shape[1]);
                tucker(&left, &read(&core.1)?.reshape((p, q, ()))?, &read(&right.1)?)
            }
        }
    }
}

/// Returns Σₚ,q left[o, p] · core[p, q, k] · right[q, i]: (o, i·k). left: (o, p), core: (p, q, k), right: (q, i).
///
/// The smaller of the two possible intermediate results is computed, (o, q, k) or (p, i, k). It is at most as large as the
/// result if q ≤ i or p ≤ o, and as the core otherwise.
fn tucker(left: &Candle, core: &Candle, right: &Candle) -> Result<Candle> {
    let ((o, p), (q, i), k) = (left.dims2()?, right.dims2()?, core.dim(2)?);
    // (rows, q, k) · (q, i) → (rows, i, k)
    let times_right = |x: &Candle, rows: usize| -> Result<Candle> {
        let x = x.transpose(1, 2)?.contiguous()?.reshape((rows * k, q))?.matmul(right)?; // (rows·k, i)
        Ok(x.reshape((rows, k, i))?.transpose(1, 2)?.contiguous()?)
    };
    let all = if o.saturating_mul(q) <= p.saturating_mul(i) {
        times_right(&left.matmul(&core.reshape((p, q * k))?)?.reshape((o, q, k))?, o)?
    } else {
        left.matmul(&times_right(core, p)?.reshape((p, i * k))?)?
    };
    Ok(all.reshape((o, i * k))?)
}

/// Returns the rows and columns of a tensor.
///
/// # Errors
/// A clause about the module, if the tensor is a single number or empty.
fn size(tensor: &Tensor) -> Result<(usize, usize)> {
    let sizes = &tensor.view.shape;
    let is_empty = sizes.is_empty() || sizes.contains(&0);
    ensure!(!is_empty, "has a matrix without elements, {}", shape(tensor));
    Ok((sizes[0], sizes[1..].iter().product()))
}

fn shape(tensor: &Tensor) -> String {
    if tensor.view.shape.is_empty() { "a single number".to_owned() } else { product(&tensor.view.shape) }
}

/// Reads a tensor as a matrix: its first dimension, and all others.
///
/// # Errors
/// A clause about the module, if the tensor is empty or does not hold floating point numbers.
pub(super) fn read(tensor: &Tensor) -> Result<Candle> {
    Ok(Candle::from_vec(numbers(tensor)?, size(tensor)?, &Device::Cpu)?)
}

/// Reads the elements of a tensor.
///
/// # Errors
/// A clause about the module, if they are not floating point numbers.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_f32().with_context(|| format!("holds {}, not floating point numbers", tensor.dtype))
}

/// Reads a tensor that holds one number, of any type.
///
/// # Errors
/// A clause about the module, if the tensor holds anything else.
pub(super) fn number(part: Part, tensor: &Tensor) -> Result<f64> {
    let count: usize = tensor.view.shape.iter().product();
    ensure!(count == 1, "has {count} numbers in '{}' instead of one", part.name());
    let float = || tensor.to_f32().and_then(|numbers| numbers.first().copied()).map(f64::from);
    let number = float().or_else(|| integer(tensor).map(|number| number as f64));
    number.with_context(|| format!("has {} in '{}', not a number", tensor.dtype, part.name()))
}

/// Reads a tensor that holds one integer.
fn integer(tensor: &Tensor) -> Option<i64> {
    let bytes = tensor.row_major()?;
    match (tensor.dtype, &*bytes) {
        (Dtype::I8, &[a]) => Some(i64::from(i8::from_le_bytes([a]))),
        (Dtype::U8, &[a]) => Some(i64::from(a)),
        (Dtype::I16, &[a, b]) => Some(i64::from(i16::from_le_bytes([a, b]))),
        (Dtype::I32, &[a, b, c, d]) => Some(i64::from(i32::from_le_bytes([a, b, c, d]))),
        (Dtype::I64, bytes) => bytes.try_into().ok().map(i64::from_le_bytes),
        _ => None,
    }
}
