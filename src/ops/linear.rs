//! y = x·Wᵀ + b over the last dimension, alone or with what follows it.

use super::Products;
use super::cpu::{self, Act, Epilogue, Packed, Places};
#[cfg(feature = "cuda")]
use super::cuda;
use super::products::{Added, Product, no_kernels};
use candle_core::{D, Device, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use rayon::prelude::*;

/// A linear layer, its weight packed once, at load, for the device that it came on.
pub struct Linear {
    product: Box<dyn Product>,
    c_in: usize,
    c_out: usize,
}

/// Reads `weight` (C_out, C_in) and `bias` (C_out).
pub fn linear(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Linear> {
    Weights::read((c_out, c_in), true, vb)?.linear()
}

/// Reads `weight` (C_out, C_in).
pub fn linear_no_bias(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Linear> {
    Weights::read((c_out, c_in), false, vb)?.linear()
}

/// A linear layer before it is packed.
pub(super) struct Weights {
    products: Products,
    weight: Tensor,       // (C_out, C_in)
    bias: Option<Tensor>, // (C_out)
}

impl Weights {
    /// shape: of the weight, (C_out, C_in) or (C_out, C_in, 1, 1).
    pub(super) fn read(shape: impl Into<Shape>, bias: bool, vb: VarBuilder) -> Result<Self> {
        let (products, vb) = Products::of(vb);
        let weight = vb.get(shape.into(), "weight")?.flatten_from(1)?;
        let bias = bias.then(|| vb.get(weight.dim(0)?, "bias")).transpose()?;
        Ok(Self { products, weight, bias })
    }

    pub(super) fn linear(&self) -> Result<Linear> {
        Linear::new(self.products, &self.weight, self.bias.as_ref())
    }

    /// Their rows one below the other, of at least one layer; all have biases, or none.
    fn together(layers: &[Self]) -> Result<Self> {
        let weight = Tensor::cat(&layers.iter().map(|layer| &layer.weight).collect::<Vec<_>>(), 0)?; // (ΣC_out, C_in)
        let biases: Option<Vec<&Tensor>> = layers.iter().map(|layer| layer.bias.as_ref()).collect();
        let bias = biases.map(|biases| Tensor::cat(&biases, 0)).transpose()?; // (ΣC_out)
        Ok(Self { products: layers[0].products, weight, bias })
    }
}

impl Linear {
    /// weight: (C_out, C_in), bias: (C_out).
    pub fn new(products: Products, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let (c_out, c_in) = weight.dims2()?;
        let product: Box<dyn Product> = match weight.device() {
            Device::Cpu => Box::new(OnProcessor::new(products, weight, bias, Act::None)?),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Box::new(cuda::Product::linear(products, weight, bias)?),
            device => no_kernels(device)?,
        };
        Ok(Self { product, c_in, c_out })
    }

    /// x: (…, C_in) → (…, C_out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Added::default(), false)
    }

    /// The same, as an operand of the same products.
    pub fn forward_operand(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Added::default(), true)
    }

    /// The same, with a residual (…, C_out) added.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.apply(x, Added { residual: Some(residual), ..Added::default() }, false)
    }

    fn apply(&self, x: &Tensor, added: Added, operand: bool) -> Result<Tensor> {
        if x.dims().last() != Some(&self.c_in) {
            bail!("a linear layer takes {} channels, not {:?}", self.c_in, x.dims());
        }
        if let Some(residual) = added.residual
            && residual.elem_count() != x.elem_count() / self.c_in * self.c_out
        {
            bail!("a residual {:?} does not fit {:?} times {} channels", residual.dims(), x.dims(), self.c_out);
        }
        self.product.apply(x, added, operand)
    }
}

/// Several linear layers of the same input, as wide as each other.
pub enum Linears<const N: usize> {
    /// Each by itself.
    Apart([Linear; N]),
    /// Their rows one below the other: on cards one large product is quicker than some small ones.
    Together(Linear),
}

/// Reads each layer's `weight` (C_out, C_in).
pub fn linears_no_bias<const N: usize>(c_in: usize, c_out: usize, vbs: [VarBuilder; N]) -> Result<Linears<N>> {
    Linears::new(vbs.map(|vb| Weights::read((c_out, c_in), false, vb)))
}

impl<const N: usize> Linears<N> {
    /// Layers that have biases, or that have none.
    pub(super) fn new(layers: [Result<Weights>; N]) -> Result<Self> {
        let layers = layers.into_iter().collect::<Result<Vec<_>>>()?;
        if layers.first().is_some_and(|layer| layer.weight.device().is_cuda()) {
            return Ok(Self::Together(Weights::together(&layers)?.linear()?));
        }
        let layers = <[Linear; N]>::try_from(layers.iter().map(Weights::linear).collect::<Result<Vec<_>>>()?);
        layers.map(Self::Apart).or_else(|layers| bail!("{} layers are not {N}", layers.len()))
    }

    /// x: (…, C_in) → (…, C_out) of each, operands of the same products. They may be parts of longer rows.
    pub fn forward_operands(&self, x: &Tensor) -> Result<[Tensor; N]> {
        let ys = match self {
            Self::Apart(layers) => layers.iter().map(|layer| layer.forward_operand(x)).collect::<Result<Vec<_>>>()?,
            Self::Together(layer) => layer.forward_operand(x)?.chunk(N, D::Minus1)?,
        };
        <[Tensor; N]>::try_from(ys).or_else(|ys| bail!("{} results are not {N}", ys.len()))
    }
}

/// Linear layers of the same input for which one large product is quicker than many small ones.
pub struct Stack {
    layer: Linear,
    widths: Vec<usize>,
}

impl Stack {
    /// Reads each layer's `weight` (C_out, C_in) and `bias` (C_out). layers: C_out, and where it is; at least one.
    pub fn new(c_in: usize, layers: &[(usize, VarBuilder)]) -> Result<Self> {
        let read = |(c_out, vb): &(usize, VarBuilder)| Weights::read((*c_out, c_in), true, vb.clone());
        let weights = layers.par_iter().map(read).collect::<Result<Vec<_>>>()?;
        let widths = layers.iter().map(|(c_out, _)| *c_out).collect();
        Ok(Self { layer: Weights::together(&weights)?.linear()?, widths })
    }

    /// x: (…, C_in) → (…, C_out) of each, parts of longer rows.
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

/// Linear, then the gated activation of Shazeer 2020 (arXiv 2002.05202): value · gelu(gate), never stored apart.
pub struct Geglu(Linear);

impl Geglu {
    /// Reads `weight` (2C_out, C_in) and `bias` (2C_out): values first, then gates.
    pub fn new(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Self> {
        let (products, vb) = Products::of(vb);
        Self::from_tensors(products, &vb.get((2 * c_out, c_in), "weight")?, &vb.get(2 * c_out, "bias")?)
    }

    /// weight: (2C_out, C_in), bias: (2C_out).
    pub fn from_tensors(products: Products, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (c_out, c_in) = (weight.dim(0)? / 2, weight.dim(1)?);
        let product: Box<dyn Product> = match weight.device() {
            Device::Cpu => {
                let [weight, bias] = interleaved([weight, bias], cpu::isa().lanes())?;
                Box::new(OnProcessor::new(products, &weight, Some(&bias), Act::Geglu)?)
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => {
                let [weight, bias] = interleaved([weight, bias], cuda::GEGLU_RUN)?;
                Box::new(cuda::Product::geglu(products, &weight, &bias)?)
            }
            device => no_kernels(device)?,
        };
        Ok(Self(Linear { product, c_in, c_out }))
    }

    /// x: (…, C_in) → (…, C_out), an operand of the same products.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward_operand(x)
    }
}

/// Rows, values first and then gates, in another order: `run` values, `run` gates, and so on.
fn interleaved(rows: [&Tensor; 2], run: usize) -> Result<[Tensor; 2]> {
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

/// A linear layer for the kernels of ops/cpu.
struct OnProcessor {
    products: Products,
    weight: Packed, // (C_in, C_out)
    bias: Option<Vec<f32>>,
    act: Act,
    c_in: usize,
    width: usize,
}

impl OnProcessor {
    fn new(products: Products, weight: &Tensor, bias: Option<&Tensor>, act: Act) -> Result<Self> {
        let (rows, c_in) = weight.dims2()?;
        let packed = cpu::numbers(weight, |weight| Ok(Packed::from_rows(cpu::isa(), products, weight, c_in)))?;
        let width = if act == Act::Geglu { rows / 2 } else { rows };
        Ok(Self { products, weight: packed, bias: bias.map(Tensor::to_vec1).transpose()?, act, c_in, width })
    }

    fn multiply(&self, x: &Tensor, residual: Option<&[f32]>, operand: bool) -> Result<Tensor> {
        let made_for = if operand { self.products.possible(cpu::isa(), self.width) } else { Products::F32 };
        let epilogue = Epilogue { bias: self.bias.as_deref(), act: self.act, made_for, residual };
        let mut shape = x.dims().to_vec();
        shape.pop();
        let n: usize = shape.iter().product();
        shape.push(self.width);
        let rows: Vec<usize> = (0..n).map(|row| row * self.c_in).collect();
        let places = Places { rows: &rows, taps: &[0] };
        cpu::tensor(cpu::operand(x, |x| Ok(cpu::gemm(x, places, &self.weight, epilogue)))?, shape)
    }
}

impl Product for OnProcessor {
    fn apply(&self, x: &Tensor, added: Added, operand: bool) -> Result<Tensor> {
        match added.residual {
            Some(residual) => cpu::numbers(residual, |residual| self.multiply(x, Some(residual), operand)),
            None => self.multiply(x, None, operand),
        }
    }
}

/// `Linear` in candle's own operations — weight: (C_out, C_in), bias: (C_out).
pub fn linear_plain(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.broadcast_matmul(&weight.t()?)?;
    bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
}

/// `Geglu` in candle's own operations — weight: (2C_out, C_in), bias: (2C_out).
pub fn geglu_plain(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let halves = linear_plain(x, weight, Some(bias))?.chunk(2, D::Minus1)?;
    // The exact GELU: torch's default, and not candle's `gelu`.
    &halves[0] * halves[1].contiguous()?.gelu_erf()?
}
