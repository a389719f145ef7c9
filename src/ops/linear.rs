//! y = x·Wᵀ + b over the last dimension, alone or fused with what follows.

use super::backend::{self, Addends, LinearWeights, MatMul, Packer};
use super::{Compute, LayerBuilder};
use candle_core::{D, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// A linear layer, packed at load for the device of its weight.
pub struct Linear {
    weight: Box<dyn MatMul>,
    c_in: usize,
    c_out: usize,
}

/// Reads `weight` (C_out, C_in) and `bias` (C_out) of a linear layer.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn linear(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Linear> {
    Linear::pack(&[read((c_out, c_in), true, &lb)?], lb.packer())
}

/// Reads `weight` (C_out, C_in) of a linear layer without bias.
///
/// # Errors
/// If it is missing or has another shape.
pub fn linear_no_bias(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Linear> {
    Linear::pack(&[read((c_out, c_in), false, &lb)?], lb.packer())
}

/// Reads `weight` of `shape`, (C_out, C_in) or (C_out, C_in, 1, 1), and, if `bias`, `bias` (C_out).
pub(super) fn read(shape: impl Into<Shape>, bias: bool, lb: &LayerBuilder) -> Result<LinearWeights> {
    let mut weight = lb.weight(shape)?;
    if weight.rank() == 4 {
        weight = weight.squeeze(3)?.squeeze(2)?;
    }
    let bias = bias.then(|| lb.get(weight.dim(0)?, "bias")).transpose()?;
    Ok(LinearWeights { compute: lb.compute(), weight, bias })
}

impl Linear {
    /// `weight`: (C_out, C_in), `bias`: (C_out).
    ///
    /// # Errors
    /// If there are no kernels for the device of `weight`.
    pub fn new(compute: Compute, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let layer = LinearWeights { compute, weight: weight.clone(), bias: bias.cloned() };
        Self::pack(&[layer], backend::of(weight.device())?)
    }

    /// Packs layers of one input as a single one.
    pub(super) fn pack(layers: &[LinearWeights], packer: &dyn Packer) -> Result<Self> {
        let Some(first) = layers.first() else { bail!("there are no linear layers") };
        let (_, c_in) = first.weight.dims2()?;
        let c_out = layers.iter().map(|layer| layer.weight.dim(0)).sum::<Result<usize>>()?;
        Ok(Self { weight: packer.linear(layers)?, c_in, c_out })
    }

    /// `x`: (…, C_in) → (…, C_out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Addends::default())
    }

    /// Adds `residual` (…, C_out) to the layer's output for `x` (…, C_in).
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.apply(x, Addends { residual: Some(residual), ..Addends::default() })
    }

    fn apply(&self, x: &Tensor, addends: Addends) -> Result<Tensor> {
        check_channels("a linear layer", x, self.c_in)?;
        if let Some(residual) = addends.residual
            && residual.elem_count() != x.elem_count() / self.c_in * self.c_out
        {
            bail!("a residual {:?} does not fit {:?} times {} channels", residual.dims(), x.dims(), self.c_out);
        }
        self.weight.apply(x, addends)
    }
}

/// Linear layers that share their input, and whose outputs are operands of further products: queries, keys and values.
pub struct Projections<const N: usize> {
    layers: Box<dyn backend::Projections>,
    c_in: usize,
}

/// Reads `weight` (C_out, C_in) and `bias` (C_out) of each layer.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn projections<const N: usize>(c_in: usize, c_out: usize, lbs: [LayerBuilder; N]) -> Result<Projections<N>> {
    Projections::read((c_out, c_in), true, lbs)
}

/// Reads `weight` (C_out, C_in) of each layer without bias.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn projections_no_bias<const N: usize>(
    c_in: usize,
    c_out: usize,
    lbs: [LayerBuilder; N],
) -> Result<Projections<N>> {
    Projections::read((c_out, c_in), false, lbs)
}

impl<const N: usize> Projections<N> {
    /// Reads layers of one width: `weight` of `shape`, and, if `bias`, `bias` (C_out).
    pub(super) fn read(shape: impl Into<Shape>, bias: bool, lbs: [LayerBuilder; N]) -> Result<Self> {
        let shape = shape.into();
        let Some(packer) = lbs.first().map(LayerBuilder::packer) else { bail!("there are no projections") };
        let layers = lbs.iter().map(|lb| read(shape.clone(), bias, lb)).collect::<Result<Vec<_>>>()?;
        Ok(Self { layers: packer.projections(&layers)?, c_in: shape.dims()[1] })
    }

    /// `x`: (…, C_in) → (…, C_out) of each layer, in the type that products take. Rows may be parts of longer rows.
    pub fn forward(&self, x: &Tensor) -> Result<[Tensor; N]> {
        check_channels("a projection", x, self.c_in)?;
        let ys = self.layers.apply(x)?;
        <[Tensor; N]>::try_from(ys).or_else(|ys| bail!("{} projections instead of {N}", ys.len()))
    }
}

/// Linear layers of different widths that share their input, computed as one product.
pub struct StackedLinears {
    layer: Linear,
    widths: Vec<usize>,
}

impl StackedLinears {
    /// Reads each layer's `weight` (C_out, C_in) and `bias` (C_out). `layers`: C_out and location, at least one.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(c_in: usize, layers: &[(usize, LayerBuilder)]) -> Result<Self> {
        let Some((_, first)) = layers.first() else { bail!("there are no linear layers") };
        let read = |(c_out, lb): &(usize, LayerBuilder)| read((*c_out, c_in), true, lb);
        let weights = layers.par_iter().map(read).collect::<Result<Vec<_>>>()?;
        let widths = layers.iter().map(|(c_out, _)| *c_out).collect();
        Ok(Self { layer: Linear::pack(&weights, first.packer())?, widths })
    }

    /// `x`: (…, C_in) → (…, C_out) of each layer, as parts of longer rows.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let all = self.layer.forward(x)?; // (…, ΣC_out)
        let mut start = 0;
        let part = |width: &usize| {
            let y = all.narrow(D::Minus1, start, *width);
            start += width;
            y
        };
        self.widths.iter().map(part).collect()
    }
}

/// A linear layer followed by the gated activation of Shazeer 2020 (arXiv 2002.05202): value · gelu(gate). The two
/// halves are never stored.
pub struct Geglu {
    weight: Box<dyn MatMul>,
    c_in: usize,
}

/// Reads `weight` (2C_out, C_in) and `bias` (2C_out): values first, then gates.
///
/// # Errors
/// If a tensor is missing or has another shape.
pub fn geglu(c_in: usize, c_out: usize, lb: LayerBuilder) -> Result<Geglu> {
    let (weight, bias) = (lb.weight((2 * c_out, c_in))?, lb.get(2 * c_out, "bias")?);
    Ok(Geglu { weight: lb.packer().geglu(lb.compute(), &weight, &bias)?, c_in })
}

impl Geglu {
    /// `weight`: (2C_out, C_in), `bias`: (2C_out), values before gates.
    ///
    /// # Errors
    /// If C_out is not a multiple of the kernel's vector width.
    pub fn new(compute: Compute, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let c_in = weight.dim(1)?;
        Ok(Self { weight: backend::of(weight.device())?.geglu(compute, weight, bias)?, c_in })
    }

    /// `x`: (…, C_in) → (…, C_out), in the type that products take.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        check_channels("GEGLU", x, self.c_in)?;
        self.weight.apply(x, Addends::default())
    }
}

/// Checks that the last dimension of `x` is `c_in`, the channels that `layer` takes.
fn check_channels(layer: &str, x: &Tensor, c_in: usize) -> Result<()> {
    if x.dims().last() != Some(&c_in) {
        bail!("{layer} takes {c_in} channels, not {:?}", x.dims());
    }
    Ok(())
}

/// Reorders the rows of GEGLU's weight and bias, (2C_out, …): `run` values, then their `run` gates, and so on.
pub(super) fn interleaved(rows: [&Tensor; 2], run: usize) -> Result<[Tensor; 2]> {
    let c_out = rows[0].dim(0)? / 2;
    if c_out % run != 0 {
        bail!("GEGLU takes a multiple of {run} channels, not {c_out}");
    }
    let order: Vec<u32> = (0..c_out)
        .step_by(run)
        .flat_map(|first| (first..first + run).chain(c_out + first..c_out + first + run))
        .map(|row| row as u32)
        .collect();
    let order = Tensor::new(order, rows[0].device())?;
    Ok([rows[0].index_select(&order, 0)?, rows[1].index_select(&order, 0)?])
}
