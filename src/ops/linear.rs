//! y = x·Wᵀ + b over the last dimension, alone or with what follows it.

use super::Products;
use super::cpu::{self, Act, Epilogue, Packed, Places};
use candle_core::{D, Result, Tensor, bail};
use candle_nn::VarBuilder;

/// A linear layer, its weight packed once, at load.
pub struct Linear {
    products: Products,
    weight: Packed, // (C_in, C_out)
    bias: Option<Vec<f32>>,
    c_in: usize,
    c_out: usize,
}

/// Reads `weight` (C_out, C_in) and `bias` (C_out).
pub fn linear(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Linear> {
    let (products, vb) = Products::of(vb);
    Linear::new(products, &vb.get((c_out, c_in), "weight")?, Some(&vb.get(c_out, "bias")?))
}

/// Reads `weight` (C_out, C_in).
pub fn linear_no_bias(c_in: usize, c_out: usize, vb: VarBuilder) -> Result<Linear> {
    let (products, vb) = Products::of(vb);
    Linear::new(products, &vb.get((c_out, c_in), "weight")?, None)
}

impl Linear {
    /// weight: (C_out, C_in), bias: (C_out).
    pub fn new(products: Products, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let (c_out, c_in) = weight.dims2()?;
        let packed = cpu::numbers(weight, |weight| Ok(Packed::from_rows(cpu::isa(), products, weight, c_in)))?;
        Ok(Self { products, weight: packed, bias: bias.map(Tensor::to_vec1).transpose()?, c_in, c_out })
    }

    /// x: (…, C_in) → (…, C_out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Epilogue::default())
    }

    /// The same, as an operand of the same products.
    pub fn forward_operand(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Epilogue { made_for: self.products.possible(cpu::isa(), self.c_out), ..Epilogue::default() })
    }

    /// The same, with a residual (…, C_out) added.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        cpu::numbers(residual, |residual| self.apply(x, Epilogue { residual: Some(residual), ..Epilogue::default() }))
    }

    fn apply<'a>(&'a self, x: &Tensor, mut epilogue: Epilogue<'a>) -> Result<Tensor> {
        epilogue.bias = self.bias.as_deref();
        let width = if epilogue.act == Act::Geglu { self.c_out / 2 } else { self.c_out };
        let mut shape = x.dims().to_vec();
        if shape.pop() != Some(self.c_in) {
            bail!("a linear layer takes {} channels, not {:?}", self.c_in, x.dims());
        }
        let n: usize = shape.iter().product();
        shape.push(width);
        if let Some(residual) = epilogue.residual
            && residual.len() != n * width
        {
            bail!("a residual of {} numbers does not fit {shape:?}", residual.len());
        }
        let rows: Vec<usize> = (0..n).map(|row| row * self.c_in).collect();
        let places = Places { rows: &rows, taps: &[0] };
        cpu::tensor(cpu::operand(x, |x| Ok(cpu::gemm(x, places, &self.weight, epilogue)))?, shape)
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
        let (c_out, lanes) = (weight.dim(0)? / 2, cpu::isa().lanes());
        if c_out % lanes != 0 {
            bail!("GEGLU takes a multiple of {lanes} channels, not {c_out}");
        }
        // A vector of values, a vector of gates, and so on.
        let order: Vec<u32> = (0..c_out)
            .step_by(lanes)
            .flat_map(|first| (first..first + lanes).chain(c_out + first..c_out + first + lanes))
            .map(|row| row as u32)
            .collect();
        let order = Tensor::new(order, weight.device())?;
        Ok(Self(Linear::new(products, &weight.index_select(&order, 0)?, Some(&bias.index_select(&order, 0)?))?))
    }

    /// x: (…, C_in) → (…, C_out), an operand of the same products.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let made_for = self.0.products.possible(cpu::isa(), self.0.c_out / 2);
        self.0.apply(x, Epilogue { act: Act::Geglu, made_for, ..Epilogue::default() })
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
