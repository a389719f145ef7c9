//! The change of one module, and its addition to the module's weight and bias.

use super::super::tensor::Tensor;
use super::super::weights::product;
use super::delta::Delta;
use super::dora;
use super::keys::Part;
use super::matrix::{number, read};
use crate::files::sha256::Sha256;
use crate::ops::Product;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor as Candle;
use std::collections::BTreeMap;

/// The largest rank that is accepted. Real ones have at most 1280; a larger one is a damaged file.
const MAX_RANK: usize = 4096;

/// The parts of a module's change, as they are in a file.
pub(super) type Parts = BTreeMap<Part, Tensor>;

/// A parameter of a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parameter {
    Weight,
    Bias,
}

impl Parameter {
    /// Parses the last part of a tensor's name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "weight" => Some(Self::Weight),
            "bias" => Some(Self::Bias),
            _ => None,
        }
    }
}

/// The change of a module.
pub(super) struct Change {
    delta: Option<Delta>,
    bias: Option<Tensor>,
    /// The norms of DoRA.
    norms: Option<Tensor>,
    /// alpha / rank, or what replaces it.
    scale: f64,
    /// The rank, unless the change is stored whole.
    pub rank: Option<usize>,
    /// The alpha that the file states.
    pub alpha: Option<f64>,
}

impl Change {
    /// Checks the parts of a module's change against each other. `stated` returns alpha and alpha / rank for a rank, for
    /// files that have them in their metadata.
    ///
    /// # Errors
    /// A clause about the module, if parts are missing or do not fit each other.
    pub fn new(mut parts: Parts, stated: impl FnOnce(usize) -> Option<(f64, f64)>) -> Result<Self> {
        let mut single = |part| parts.remove(&part).map(|tensor| number(part, &tensor)).transpose();
        let (alpha, fixed, scalar) = (single(Part::Alpha)?, single(Part::Scale)?, single(Part::Scalar)?);
        let (norms, bias) = (parts.remove(&Part::DoraScale), parts.remove(&Part::DiffBias));
        let delta = Delta::new(parts)?;
        ensure!(
            delta.is_some() || bias.is_some(),
            "has no matrices, only an alpha, a scale or a DoRA magnitude; download it again"
        );
        ensure!(
            delta.is_some() || norms.is_none(),
            "has a DoRA magnitude, but no matrices that it applies to; download it again"
        );
        let rank = delta.as_ref().and_then(Delta::rank);
        let largest = delta.as_ref().map_or(0, Delta::largest_rank);
        ensure!(
            largest <= MAX_RANK,
            "has rank {largest}, but at most {MAX_RANK} is supported; it is damaged, so download it again"
        );
        let (alpha, ratio) = match (alpha, rank) {
            (Some(alpha), Some(rank)) => (Some(alpha), alpha / rank as f64),
            (None, Some(rank)) => stated(rank).map_or((None, 1.), |(alpha, ratio)| (Some(alpha), ratio)),
            // Alpha has no effect on changes that are stored whole.
            (_, None) => (None, 1.),
        };
        let scale = fixed.unwrap_or(ratio) * scalar.unwrap_or(1.);
        Ok(Self { delta, bias, norms, scale, rank, alpha })
    }

    /// The kind of the change, as trainers name it. `weight`: the shape of the module's weight.
    pub fn kind(&self, weight: Option<&[usize]>) -> &'static str {
        match (&self.norms, &self.delta) {
            (Some(_), _) => "DoRA",
            (None, Some(delta)) => delta.kind(weight),
            (None, None) => "full difference",
        }
    }

    /// Returns whether a parameter changes.
    pub fn changes(&self, parameter: Parameter) -> bool {
        match parameter {
            Parameter::Weight => self.delta.is_some(),
            Parameter::Bias => self.bias.is_some(),
        }
    }

    /// The numbers of rows and columns of the change of the weight, if it changes.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.delta.as_ref().map(Delta::size)
    }

    /// Returns whether another change is the same, byte for byte.
    pub fn equals(&self, other: &Self) -> bool {
        let (tensors, others) = (self.tensors(), other.tensors());
        self.scale == other.scale
            && tensors.len() == others.len()
            && tensors
                .iter()
                .zip(&others)
                .all(|((part, tensor), (other_part, other))| part == other_part && tensor.equals(other))
    }

    /// Adds the scale, and samples of the tensors, to a hash.
    pub fn add_to_fingerprint(&self, hash: &mut Sha256) {
        hash.update(self.scale.to_le_bytes());
        for (part, tensor) in self.tensors() {
            hash.update(part.name());
            tensor.add_to_fingerprint(hash);
        }
    }

    /// Checks the shapes against those of the module's weight and bias.
    ///
    /// # Errors
    /// A clause about the module, if they do not fit.
    pub fn check_fit(&self, weight: Option<&[usize]>, bias: Option<&[usize]>) -> Result<()> {
        if let Some(change) = &self.bias {
            let bias = bias.context("has a bias, which the model's module lacks")?;
            let fits = change.view.shape.iter().product::<usize>() == bias.iter().product::<usize>();
            ensure!(fits, "has {} for a bias of {}", product(&change.view.shape), product(bias));
        }
        let Some(delta) = &self.delta else { return Ok(()) };
        let weight = weight.context("has a weight, which the model's module lacks")?;
        let (rows, columns) = delta.size();
        // 1×1 convolutions and linear layers are the same matrices.
        let fits = weight.first() == Some(&rows) && columns == weight.iter().skip(1).product::<usize>();
        ensure!(fits, "has {rows}×{columns} for a weight of {}", product(weight));
        ensure!(delta.fits_kernel(weight), "has a core that is no kernel of {}", product(weight));
        match &self.norms {
            Some(norms) => dora::axis(norms, weight).map(drop),
            None => Ok(()),
        }
    }

    /// Checks that all numbers are finite.
    ///
    /// # Errors
    /// A clause about the module, if they are not, or are not floating point numbers.
    pub fn check_finite(&self) -> Result<()> {
        ensure!(self.scale.is_finite(), "has an alpha that is NaN or infinite; it is damaged, so download it again");
        for (part, tensor) in self.tensors() {
            let is_finite = tensor.is_finite().with_context(|| {
                format!("holds {} in '{}', not floating point numbers; download it again", tensor.dtype, part.name())
            })?;
            ensure!(is_finite, "has numbers that are NaN or infinite; it is damaged, so download it again");
        }
        Ok(())
    }

    /// The tensors in the file, except single numbers.
    fn tensors(&self) -> Vec<(Part, &Tensor)> {
        let others = [(Part::DiffBias, &self.bias), (Part::DoraScale, &self.norms)];
        let others = others.into_iter().filter_map(|(part, tensor)| Some((part, tensor.as_ref()?)));
        self.delta.iter().flat_map(Delta::tensors).chain(others).collect()
    }

    /// Returns the factors of the change of a parameter, times `weight`, if it is a product of two and nothing else.
    ///
    /// # Errors
    /// A clause about the module, if they are not floating point numbers.
    pub fn product(&self, parameter: Parameter, weight: f64) -> Result<Option<Product>> {
        match (parameter, &self.delta, &self.norms) {
            (Parameter::Weight, Some(delta), None) => delta.product(self.scale * weight),
            _ => Ok(None),
        }
    }

    /// Returns a parameter of the module with the change added, times `weight`. `x`: the parameter, in its shape.
    ///
    /// # Errors
    /// If memory does not suffice.
    pub fn apply(&self, parameter: Parameter, x: &Candle, weight: f64) -> Result<Candle> {
        match (parameter, &self.delta, &self.bias, &self.norms) {
            (Parameter::Weight, Some(delta), _, None) => delta.add_to(x, self.scale * weight),
            (Parameter::Weight, Some(delta), _, Some(norms)) => {
                let normalized = dora::normalized(&delta.add_to(x, self.scale)?, norms)?;
                Ok((x + ((normalized - x)? * weight)?)?)
            }
            (Parameter::Bias, _, Some(bias), _) => Ok((x + (read(bias)?.reshape(x.shape())? * weight)?)?),
            _ => Ok(x.clone()),
        }
    }
}
