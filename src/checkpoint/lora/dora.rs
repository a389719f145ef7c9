//! DoRA (Liu et al. 2024, arXiv 2402.09353): changed weights are scaled to learned norms.

use super::super::tensor::Tensor;
use super::super::weights::product;
use super::matrix::read;
use anyhow::{Result, bail};
use candle_core::Tensor as Candle;

/// The axis along which there is a norm for each index.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Axis {
    Output,
    Input,
}

/// Returns the axis of norms, by their shape: that of the outputs if both are possible.
///
/// # Errors
/// A clause about the module, if they fit neither.
pub(super) fn axis(norms: &Tensor, weight: &[usize]) -> Result<Axis> {
    let shape = &norms.view.shape;
    let count: usize = shape.iter().product();
    match *weight {
        [outputs, _, ..] if shape.first() == Some(&outputs) && count == outputs => Ok(Axis::Output),
        [_, inputs, ..] if count == inputs => Ok(Axis::Input),
        _ => bail!("has norms of {} for a weight of {}", product(shape), product(weight)),
    }
}

/// Returns `x` (o, i, …) scaled to `norms`.
///
/// # Errors
/// If the norms do not fit.
pub(super) fn normalized(x: &Candle, norms: &Tensor) -> Result<Candle> {
    let axis = axis(norms, x.dims())?;
    let rows = x.reshape((x.dim(0)?, x.dim(1)?, ()))?; // (o, i, k·k)
    let squares = rows.sqr()?.sum_keepdim(2)?;
    let squares = squares.sum_keepdim(if axis == Axis::Output { 1 } else { 0 })?;
    let lengths = (squares.sqrt()? + f64::from(f32::EPSILON))?;
    let factors = (read(norms)?.reshape(lengths.shape())? / lengths)?;
    Ok(rows.broadcast_mul(&factors)?.reshape(x.shape())?)
}
