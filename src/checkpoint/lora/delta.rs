//! Changes of a weight, by kind: LoRA, LoCon, LoHa and LoKr (LyCORIS: Yeh et al. 2023, arXiv 2309.14859), and full
//! differences.

use super::super::tensor::Tensor;
use super::change::Parts;
use super::keys::Part;
use super::matrix::{Matrix, numbers};
use crate::ops::Product;
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor as Candle;

/// The change of a weight, without its scale.
pub(super) enum Delta {
    /// A matrix.
    Plain(Matrix),
    /// The elementwise product of two matrices.
    Hadamard(Matrix, Matrix),
    /// The Kronecker product of two matrices.
    Kronecker(Matrix, Matrix),
}

impl Delta {
    /// Combines the parts of a change. Returns `None` if there are none.
    ///
    /// # Errors
    /// A clause about the module, if parts are missing, exclude each other, or do not fit each other.
    pub fn new(mut parts: Parts) -> Result<Option<Self>> {
        let Some(first) = parts.keys().next().copied() else { return Ok(None) };
        let delta = match first {
            Part::Up | Part::Down | Part::Mid => Self::Plain(factored(&mut parts, [Part::Up, Part::Mid, Part::Down])?),
            Part::HadaW1A | Part::HadaW1B | Part::HadaT1 | Part::HadaW2A | Part::HadaW2B | Part::HadaT2 => {
                let one = factored(&mut parts, [Part::HadaW1A, Part::HadaT1, Part::HadaW1B])?;
                let two = factored(&mut parts, [Part::HadaW2A, Part::HadaT2, Part::HadaW2B])?;
                let ((rows, columns), (others, other_columns)) = (one.size(), two.size());
                ensure!(
                    one.size() == two.size(),
                    "has matrices that do not fit each other, {rows}×{columns} and {others}×{other_columns}"
                );
                Self::Hadamard(one, two)
            }
            Part::LokrW1 | Part::LokrW1A | Part::LokrW1B => {
                let one = whole_or(&mut parts, Part::LokrW1, |parts| {
                    Matrix::product(take(parts, Part::LokrW1A)?, take(parts, Part::LokrW1B)?)
                })?;
                let two = whole_or(&mut parts, Part::LokrW2, |parts| {
                    factored(parts, [Part::LokrW2A, Part::LokrT2, Part::LokrW2B])
                })?;
                Self::Kronecker(one, two)
            }
            Part::Diff => Self::Plain(Matrix::whole(take(&mut parts, Part::Diff)?)?),
            part => bail!("has a '{}' without the parts that belong to it; download it again", part.name()),
        };
        if let Some(other) = parts.keys().next() {
            bail!("has a '{}' and a '{}', which exclude each other; download it again", first.name(), other.name());
        }
        Ok(Some(delta))
    }

    /// The name of the kind. `weight`: the shape of the weight.
    pub fn kind(&self, weight: Option<&[usize]>) -> &'static str {
        let is_spatial = weight.is_some_and(|shape| shape.iter().skip(2).any(|&size| size > 1));
        match self {
            Self::Plain(Matrix::Whole(_)) => "full difference",
            Self::Plain(_) if is_spatial => "LoCon",
            Self::Plain(_) => "LoRA",
            Self::Hadamard(..) => "LoHa",
            Self::Kronecker(..) => "LoKr",
        }
    }

    /// The numbers of rows and columns.
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Plain(matrix) | Self::Hadamard(matrix, _) => matrix.size(),
            Self::Kronecker(one, two) => {
                let ((a, b), (c, d)) = (one.size(), two.size());
                (a.saturating_mul(c), b.saturating_mul(d))
            }
        }
    }

    /// The rank that alpha is divided by; `None` if the change is stored whole.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Self::Plain(matrix) | Self::Hadamard(matrix, _) => matrix.rank(),
            Self::Kronecker(one, two) => two.rank().or(one.rank()),
        }
    }

    /// The largest size between any factors.
    pub fn largest_rank(&self) -> usize {
        self.matrices().into_iter().flat_map(Matrix::ranks).copied().max().unwrap_or(0)
    }

    /// Returns whether the kernels in all cores are as large as those of a weight of shape `weight`.
    pub fn fits_kernel(&self, weight: &[usize]) -> bool {
        let kernel: usize = weight.iter().skip(2).product();
        self.matrices().into_iter().filter_map(Matrix::kernel).all(|core| core == kernel)
    }

    /// The tensors in the file.
    pub fn tensors(&self) -> Vec<(Part, &Tensor)> {
        self.matrices().into_iter().flat_map(Matrix::tensors).collect()
    }

    fn matrices(&self) -> Vec<&Matrix> {
        match self {
            Self::Plain(matrix) => vec![matrix],
            Self::Hadamard(one, two) | Self::Kronecker(one, two) => vec![one, two],
        }
    }

    /// Returns the factors of the change times `factor`, if it is a product of two.
    ///
    /// # Errors
    /// A clause about the module, if they are not floating point numbers.
    pub fn product(&self, factor: f64) -> Result<Option<Product>> {
        let Self::Plain(Matrix::Product { left, right }) = self else { return Ok(None) };
        let (mut left, right) = (numbers(&left.1)?, numbers(&right.1)?);
        left.iter_mut().for_each(|number| *number *= factor as f32);
        Ok(Some(Product { left, right }))
    }

    /// Returns `x` (o, i, …) with the change added, times `factor`. The change must have as many rows and columns.
    ///
    /// # Errors
    /// If memory does not suffice.
    pub fn add_to(&self, x: &Candle, factor: f64) -> Result<Candle> {
        let delta = match self {
            Self::Plain(matrix) => matrix.read()?,
            Self::Hadamard(one, two) => (one.read()? * two.read()?)?,
            Self::Kronecker(one, two) => kronecker(&one.read()?, &two.read()?)?,
        };
        Ok((x + (delta.reshape(x.shape())? * factor)?)?)
    }
}

/// Takes a matrix in factors from the parts, possibly with a core. LyCORIS stores the left factor transposed beside a core,
/// except in LoCon.
fn factored(parts: &mut Parts, [left, core, right]: [Part; 3]) -> Result<Matrix> {
    let is_transposed = left != Part::Up;
    let (left, right) = (take(parts, left)?, take(parts, right)?);
    match parts.remove_entry(&core) {
        Some(core) => Matrix::tucker(left, core, right, is_transposed),
        None => Matrix::product(left, right),
    }
}

/// Takes a matrix from the parts: the part `whole`, or else what `factored` returns.
fn whole_or(parts: &mut Parts, whole: Part, factored: impl FnOnce(&mut Parts) -> Result<Matrix>) -> Result<Matrix> {
    match parts.remove_entry(&whole) {
        Some(matrix) => Matrix::whole(matrix),
        None => factored(parts),
    }
}

fn take(parts: &mut Parts, part: Part) -> Result<(Part, Tensor)> {
    parts.remove_entry(&part).with_context(|| format!("lacks its '{}'; download it again", part.name()))
}

/// Returns w1 ⊗ w2 (a·c, b·d). w1: (a, b), w2: (c, d).
fn kronecker(w1: &Candle, w2: &Candle) -> Result<Candle> {
    let ((a, b), (c, d)) = (w1.dims2()?, w2.dims2()?);
    let blocks = w1.reshape((a, 1, b, 1))?.broadcast_mul(&w2.reshape((1, c, 1, d))?)?; // (a, c, b, d)
    Ok(blocks.reshape((a * c, b * d))?)
}
