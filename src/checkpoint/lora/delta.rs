//! The changes of one module, by the kind of the file: LoRA, LoCon, LoHa, LoKr, full differences and norms, each
//! possibly with DoRA (LyCORIS: Yeh et al. 2023, arXiv 2309.14859; DoRA: Liu et al. 2024, arXiv 2402.09353).

use super::super::tensor::Tensor;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{D, DType, Device, Tensor as Candle};
use std::collections::BTreeMap;

/// The largest rank that is believed; more is a damaged file.
const MAX_RANK: usize = 4096;

/// The tensors of a module in a LoRA file.
pub struct Change {
    parts: BTreeMap<&'static str, Tensor>,
    kind: Kind,
    /// alpha / rank, or what takes its place.
    scale: f64,
    /// The rank; `None` for changes that are not factored.
    pub rank: Option<usize>,
    /// The alpha that the file states.
    pub alpha: Option<f64>,
    /// Whether the changes are normalised (DoRA).
    pub is_dora: bool,
}

/// The way in which a change of a weight is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// up · down.
    Lora,
    /// up · mid · down, Tucker's decomposition of a convolution.
    LoraTucker,
    /// (w1_a · w1_b) ∘ (w2_a · w2_b), the Hadamard product.
    LoHa,
    /// w1 ⊗ w2, the Kronecker product.
    LoKr,
    /// The difference itself.
    Full,
    /// Nothing but a bias.
    Bias,
}

impl Kind {
    /// The name of the kind in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lora => "LoRA",
            Kind::LoraTucker => "LoCon",
            Kind::LoHa => "LoHa",
            Kind::LoKr => "LoKr",
            Kind::Full | Kind::Bias => "full difference",
        }
    }
}

impl Change {
    /// Checks the tensors of a module against each other and against the shapes of the weight and the bias.
    ///
    /// # Errors
    /// A clause that says what does not fit.
    pub fn new(
        parts: BTreeMap<&'static str, Tensor>,
        alpha: Option<f64>,
        weight: Option<&[usize]>,
        bias: Option<&[usize]>,
    ) -> Result<Self> {
        let kind = kind(&parts)?;
        let shape = |part: &str| parts.get(part).map(|tensor| &tensor.view.shape[..]);
        let rank = match kind {
            Kind::Lora | Kind::LoraTucker => shape("down").and_then(|shape| shape.first()),
            Kind::LoHa => shape("hada_w1_b").and_then(|shape| shape.first()),
            Kind::LoKr => shape("lokr_w1_b").or(shape("lokr_w2_b")).and_then(|shape| shape.first()),
            Kind::Full | Kind::Bias => None,
        };
        let rank = rank.copied();
        ensure!(rank.is_none_or(|rank| (1..=MAX_RANK).contains(&rank)), "has rank {}", rank.unwrap_or(0));
        let alpha = number(&parts, "alpha")?.or(alpha);
        let scale = match (number(&parts, "scale")?, alpha, rank) {
            (Some(scale), ..) => scale,
            (None, Some(alpha), Some(rank)) => alpha / rank as f64,
            _ => 1.,
        };
        let scale = scale * number(&parts, "scalar")?.unwrap_or(1.);
        ensure!(scale.is_finite(), "has an alpha that is infinite or NaN");
        let is_dora = parts.contains_key("dora_scale");
        let change = Self { kind, scale, rank, alpha, is_dora, parts };
        change.check(weight, bias)?;
        Ok(change)
    }

    /// The kind of the change to the weight.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns whether the weight or the bias (`kind`) is changed.
    pub fn has(&self, kind: &str) -> bool {
        match kind {
            "weight" => self.kind != Kind::Bias,
            "bias" => self.bias().is_some(),
            _ => false,
        }
    }

    fn bias(&self) -> Option<&Tensor> {
        self.parts.get("diff_b").or(self.parts.get("b_norm"))
    }

    /// Checks the shapes before anything is computed.
    fn check(&self, weight: Option<&[usize]>, bias: Option<&[usize]>) -> Result<()> {
        if let Some(change) = self.bias() {
            let bias = bias.context("changes a bias that the model lacks")?;
            ensure!(change.view.shape == bias, "changes a bias of {:?}, which is {bias:?}", change.view.shape);
        }
        if self.kind == Kind::Bias {
            return Ok(());
        }
        let weight = weight.context("changes a weight that the model lacks")?;
        let change = self.shape()?;
        // 1×1 convolutions are also written as linear layers, and the other way round.
        let fits = change.0 == weight[0] && change.1 == weight[1..].iter().product::<usize>();
        ensure!(fits, "is changed by {}×{} numbers, but has the shape {weight:?}", change.0, change.1);
        if let Some(scale) = self.parts.get("dora_scale") {
            let n: usize = scale.view.shape.iter().product();
            let inputs = weight.get(1).copied().unwrap_or(1);
            ensure!(n == weight[0] || n == inputs, "has {n} DoRA scales for a weight of {weight:?}");
        }
        Ok(())
    }

    /// Returns the rows and columns of the change.
    fn shape(&self) -> Result<(usize, usize)> {
        let of = |part: &str| {
            let shape = &self.parts.get(part).with_context(|| format!("lacks '{part}'"))?.view.shape;
            ensure!(!shape.is_empty() && shape.iter().all(|&n| n > 0), "has an empty '{part}'");
            Ok((shape[0], shape[1..].iter().product::<usize>(), &shape[..]))
        };
        let product = |a: &str, b: &str| {
            let ((rows, inner, _), (other, columns, _)) = (of(a)?, of(b)?);
            ensure!(inner == other, "has factors that do not fit: {rows}×{inner} and {other}×{columns}");
            Ok((rows, columns))
        };
        let tucker = |core: &str, a: &str, b: &str, a_is_transposed: bool| {
            let (core, a, b) = (of(core)?.2, of(a)?, of(b)?);
            ensure!(core.len() > 2, "has a core of the shape {core:?}");
            let (rows, p) = if a_is_transposed { (a.1, a.0) } else { (a.0, a.1) };
            ensure!(core[0] == p && core[1] == b.0, "has factors that do not fit its core of the shape {core:?}");
            Ok((rows, b.1.saturating_mul(core[2..].iter().product())))
        };
        match self.kind {
            Kind::Lora => product("up", "down"),
            Kind::LoraTucker => tucker("mid", "up", "down", false),
            Kind::LoHa => {
                let half = |n: usize| {
                    let [a, b, t] = [format!("hada_w{n}_a"), format!("hada_w{n}_b"), format!("hada_t{n}")];
                    if self.parts.contains_key(&*t) { tucker(&t, &a, &b, true) } else { product(&a, &b) }
                };
                let (one, two) = (half(1)?, half(2)?);
                ensure!(one == two, "has factors that do not fit: {}×{} and {}×{}", one.0, one.1, two.0, two.1);
                Ok(one)
            }
            Kind::LoKr => {
                let w1 = if self.parts.contains_key("lokr_w1") {
                    let (rows, columns, _) = of("lokr_w1")?;
                    (rows, columns)
                } else {
                    product("lokr_w1_a", "lokr_w1_b")?
                };
                let w2 = if self.parts.contains_key("lokr_w2") {
                    let (rows, columns, _) = of("lokr_w2")?;
                    (rows, columns)
                } else if self.parts.contains_key("lokr_t2") {
                    tucker("lokr_t2", "lokr_w2_a", "lokr_w2_b", true)?
                } else {
                    product("lokr_w2_a", "lokr_w2_b")?
                };
                Ok((w1.0.saturating_mul(w2.0), w1.1.saturating_mul(w2.1)))
            }
            Kind::Full => {
                let part = if self.parts.contains_key("diff") { "diff" } else { "w_norm" };
                of(part).map(|(rows, columns, _)| (rows, columns))
            }
            Kind::Bias => Ok((0, 0)),
        }
    }

    /// Returns `x`, the weight or the bias (`kind`) of the module, changed with a factor of `strength`.
    pub fn apply(&self, kind: &str, x: &Candle, strength: f64) -> Result<Candle> {
        if kind == "bias" {
            let bias = self.bias().context("changes no bias")?;
            return Ok((x + (read(bias)? * strength)?.reshape(x.shape())?)?);
        }
        let delta = (self.delta(x.dims())? * self.scale)?.reshape(x.shape())?;
        let Some(dora) = self.parts.get("dora_scale") else {
            return Ok((x + (delta * strength)?)?);
        };
        let whole = (x + delta)?;
        let normalized = normalized(&whole, &read(dora)?)?;
        Ok((x + ((normalized - x)? * strength)?)?)
    }

    /// Returns the unscaled change of a weight of shape `weight`, with as many elements.
    fn delta(&self, weight: &[usize]) -> Result<Candle> {
        let part = |name: &str| read(self.parts.get(name).with_context(|| format!("lacks '{name}'"))?);
        match self.kind {
            Kind::Lora => Ok(part("up")?.flatten_from(1)?.matmul(&part("down")?.flatten_from(1)?)?),
            Kind::LoraTucker => tucker(&part("mid")?, &part("up")?.flatten_from(1)?, &part("down")?.flatten_from(1)?),
            Kind::LoHa => {
                let half = |n: usize| {
                    let (a, b) = (part(&format!("hada_w{n}_a"))?, part(&format!("hada_w{n}_b"))?);
                    match self.parts.get(&*format!("hada_t{n}")) {
                        Some(core) => tucker(&read(core)?, &a.t()?.contiguous()?, &b),
                        None => Ok(a.matmul(&b.flatten_from(1)?)?),
                    }
                };
                Ok((half(1)? * half(2)?)?)
            }
            Kind::LoKr => {
                let w1 = match self.parts.get("lokr_w1") {
                    Some(w1) => read(w1)?,
                    None => part("lokr_w1_a")?.matmul(&part("lokr_w1_b")?)?,
                };
                let w2 = match (self.parts.get("lokr_w2"), self.parts.get("lokr_t2")) {
                    (Some(w2), _) => read(w2)?.flatten_from(1)?,
                    (None, Some(core)) => {
                        tucker(&read(core)?, &part("lokr_w2_a")?.t()?.contiguous()?, &part("lokr_w2_b")?)?
                    }
                    (None, None) => part("lokr_w2_a")?.matmul(&part("lokr_w2_b")?.flatten_from(1)?)?,
                };
                kronecker(&w1, &w2, weight)
            }
            Kind::Full => part(if self.parts.contains_key("diff") { "diff" } else { "w_norm" }),
            Kind::Bias => bail!("changes no weight"),
        }
    }
}

/// Returns the kind of a module's change, by the tensors that it has.
fn kind(parts: &BTreeMap<&'static str, Tensor>) -> Result<Kind> {
    let has = |part: &str| parts.contains_key(part);
    Ok(match () {
        () if has("mid") => Kind::LoraTucker,
        () if has("up") || has("down") => Kind::Lora,
        () if has("hada_w1_a") => Kind::LoHa,
        () if has("lokr_w1") || has("lokr_w1_a") => Kind::LoKr,
        () if has("diff") || has("w_norm") => Kind::Full,
        () if has("diff_b") || has("b_norm") => Kind::Bias,
        () => bail!("has a change of an unsupported kind"),
    })
}

/// Returns a number that is stored as a tensor, if it is there.
fn number(parts: &BTreeMap<&'static str, Tensor>, part: &str) -> Result<Option<f64>> {
    let Some(tensor) = parts.get(part) else { return Ok(None) };
    let numbers = tensor.to_f32().with_context(|| format!("has a '{part}' of {}", tensor.dtype))?;
    ensure!(numbers.len() == 1, "has {} numbers in '{part}'", numbers.len());
    Ok(Some(f64::from(numbers[0])))
}

fn read(tensor: &Tensor) -> Result<Candle> {
    let numbers = tensor.to_f32().with_context(|| format!("holds {}, not floating point numbers", tensor.dtype))?;
    Ok(Candle::from_vec(numbers, &tensor.view.shape[..], &Device::Cpu)?)
}

/// Returns Σₚ,q a[o, p] · core[p, q, k, k] · b[q, i]: (o, i·k·k). a: (o, p), b: (q, i).
fn tucker(core: &Candle, a: &Candle, b: &Candle) -> Result<Candle> {
    let b = b.flatten_from(1)?;
    let (p, q) = (core.dim(0)?, core.dim(1)?);
    let core = core.reshape((p, q, ()))?; // (p, q, k·k)
    let kernel = core.dim(D::Minus1)?;
    let rows = a.matmul(&core.flatten_from(1)?)?; // (o, q·k·k)
    let o = rows.dim(0)?;
    let rows = rows.reshape((o, q, kernel))?.transpose(1, 2)?.contiguous()?.reshape((o * kernel, q))?;
    let all = rows.matmul(&b)?.reshape((o, kernel, b.dim(1)?))?; // (o, k·k, i)
    Ok(all.transpose(1, 2)?.contiguous()?.flatten_from(1)?)
}

/// Returns w1 ⊗ w2 as a weight of shape (o, i, …). w1: (a, b). w2: (c, d·k·k) with o = a·c and i = b·d.
fn kronecker(w1: &Candle, w2: &Candle, weight: &[usize]) -> Result<Candle> {
    let (a, b) = w1.flatten_from(1)?.dims2()?;
    let c = w2.dim(0)?;
    let kernel: usize = weight[2..].iter().product();
    let w2 = w2.reshape((c, (), kernel))?;
    let d = w2.dim(1)?;
    let product = w1.reshape((a, 1, b, 1, 1))?.broadcast_mul(&w2.reshape((1, c, 1, d, kernel))?)?; // (a, c, b, d, k·k)
    Ok(product.reshape((a * c, b * d * kernel))?)
}

/// Returns `x` (o, i, …) with the norms `scale`: one for each row, if `scale` has as many in its first dimension, else
/// one for each column (input).
fn normalized(x: &Candle, scale: &Candle) -> Result<Candle> {
    let (o, i) = (x.dim(0)?, x.dim(1).unwrap_or(1));
    let by_row = x.reshape((o, i, ()))?;
    let is_by_row = scale.dims().first() == Some(&o) && (scale.rank() == 1 || scale.elem_count() == o);
    let squares = by_row.sqr()?;
    let norms =
        if is_by_row { squares.sum_keepdim(2)?.sum_keepdim(1)? } else { squares.sum_keepdim(2)?.sum_keepdim(0)? };
    let norms = (norms.sqrt()? + f64::from(f32::EPSILON))?;
    let scale = scale.flatten_all()?.to_dtype(DType::F32)?.reshape(norms.shape())?;
    Ok(by_row.broadcast_mul(&(scale / norms)?)?.reshape(x.shape())?)
}
