//! The arithmetic of each kind, against sums in f64.

use super::{DIFFUSERS, LDM, Lora, SHAPE, difference, nano_checkpoint, weight};

/// The module of a 3×3 convolution of 64×32, and its kernel's size.
const CONV: &str = "lora_unet_down_blocks_1_resnets_0_conv1";
const CONV_LDM: &str = "model.diffusion_model.input_blocks.3.0.in_layers.2.weight";
const KERNEL: usize = 9;

const LIMIT: f64 = 1e-6;

/// A matrix of a `Lora` as f64, with its columns.
struct Matrix(Vec<f64>, usize);

impl Matrix {
    fn new(lora: &Lora, name: &str, columns: usize) -> Self {
        Self(lora.numbers(name).into_iter().map(f64::from).collect(), columns)
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.0[row * self.1 + column]
    }
}

fn linear() -> String {
    format!("lora_unet_{}", DIFFUSERS.replace('.', "_"))
}

/// Asserts that the weight `name` (o, i, …) becomes that in the model plus `delta`, times the strength.
#[track_caller]
fn adds(lora: &Lora, name: &str, columns: usize, delta: impl Fn(usize, usize) -> f64) {
    let base = nano_checkpoint().read_f32(name).unwrap();
    for strength in [1., 0.3, -2.] {
        let expected: Vec<f64> = base
            .iter()
            .enumerate()
            .map(|(i, base)| f64::from(*base) + strength * delta(i / columns, i % columns))
            .collect();
        let error = difference(&lora.merged(name, strength), &expected);
        assert!(error <= LIMIT, "{error:e} at {strength}");
    }
}

#[test]
fn a_lora_adds_up_times_down_times_alpha_over_rank() {
    let lora = Lora::kohya().with_number(format!("{}.alpha", linear()), 1.);
    let up = Matrix::new(&lora, &format!("{}.lora_up.weight", linear()), 4);
    let down = Matrix::new(&lora, &format!("{}.lora_down.weight", linear()), SHAPE[1]);
    let delta = |o: usize, i: usize| (0..4).map(|r| up.at(o, r) * down.at(r, i)).sum::<f64>();
    adds(&lora, &weight(LDM), SHAPE[1], |o, i| delta(o, i) / 4.);
    adds(&Lora::kohya(), &weight(LDM), SHAPE[1], delta);
    // A stated scale replaces alpha / rank, and a scalar multiplies it.
    let scaled = lora.clone().with_number(format!("{}.scale", linear()), 0.5);
    adds(&scaled, &weight(LDM), SHAPE[1], |o, i| delta(o, i) * 0.5);
    let scaled = scaled.with_number(format!("{}.scalar", linear()), 3.);
    adds(&scaled, &weight(LDM), SHAPE[1], |o, i| delta(o, i) * 1.5);
}

#[test]
fn the_lora_of_a_convolution_has_its_kernel_in_down() {
    let lora = Lora::default()
        .with(format!("{CONV}.lora_down.weight"), &[2, 32, 3, 3])
        .with(format!("{CONV}.lora_up.weight"), &[64, 2, 1, 1]);
    let up = Matrix::new(&lora, &format!("{CONV}.lora_up.weight"), 2);
    let down = Matrix::new(&lora, &format!("{CONV}.lora_down.weight"), 32 * KERNEL);
    adds(&lora, CONV_LDM, 32 * KERNEL, |o, i| (0..2).map(|r| up.at(o, r) * down.at(r, i)).sum());
}

/// Σₚ,q left[o, p]·core[p, q, k]·right[q, i].
fn tucker(
    left: &dyn Fn(usize, usize) -> f64,
    core: &Matrix,
    right: &Matrix,
    [p, q]: [usize; 2],
    o: usize,
    i: usize,
) -> f64 {
    let (i, k) = (i / KERNEL, i % KERNEL);
    let terms = (0..p).flat_map(|p| (0..q).map(move |q| (p, q)));
    terms.map(|(p, r)| left(o, p) * core.at(p * q + r, k) * right.at(r, i)).sum()
}

#[test]
fn a_mid_is_the_core_of_a_tucker_decomposition() {
    let lora = Lora::default()
        .with(format!("{CONV}.lora_down.weight"), &[2, 32, 1, 1])
        .with(format!("{CONV}.lora_mid.weight"), &[3, 2, 3, 3])
        .with(format!("{CONV}.lora_up.weight"), &[64, 3, 1, 1])
        .with_number(format!("{CONV}.alpha"), 1.);
    let up = Matrix::new(&lora, &format!("{CONV}.lora_up.weight"), 3);
    let mid = Matrix::new(&lora, &format!("{CONV}.lora_mid.weight"), KERNEL);
    let down = Matrix::new(&lora, &format!("{CONV}.lora_down.weight"), 32);
    adds(&lora, CONV_LDM, 32 * KERNEL, |o, i| tucker(&|o, p| up.at(o, p), &mid, &down, [3, 2], o, i) / 2.);
}

#[test]
fn a_loha_adds_the_elementwise_product_of_two_products() {
    let module = linear();
    let lora = Lora::default()
        .with(format!("{module}.hada_w1_a"), &[64, 2])
        .with(format!("{module}.hada_w1_b"), &[2, 32])
        .with(format!("{module}.hada_w2_a"), &[64, 3])
        .with(format!("{module}.hada_w2_b"), &[3, 32])
        .with_number(format!("{module}.alpha"), 1.);
    let matrix = |name: &str, columns| Matrix::new(&lora, &format!("{module}.hada_{name}"), columns);
    let (a1, b1, a2, b2) = (matrix("w1_a", 2), matrix("w1_b", 32), matrix("w2_a", 3), matrix("w2_b", 32));
    let product = |a: &Matrix, b: &Matrix, o: usize, i: usize| (0..a.1).map(|r| a.at(o, r) * b.at(r, i)).sum::<f64>();
    adds(&lora, &weight(LDM), 32, |o, i| product(&a1, &b1, o, i) * product(&a2, &b2, o, i) / 2.);
}

#[test]
fn a_loha_with_cores_is_a_product_of_tucker_decompositions() {
    let mut lora = Lora::default().with_number(format!("{CONV}.alpha"), 4.);
    for (part, shape) in
        [("w1_a", &[2, 64][..]), ("w1_b", &[2, 32]), ("t1", &[2, 2, 3, 3]), ("w2_a", &[2, 64]), ("w2_b", &[2, 32])]
    {
        lora = lora.with(format!("{CONV}.hada_{part}"), shape);
    }
    let lora = lora.with(format!("{CONV}.hada_t2"), &[2, 2, 3, 3]);
    let matrix = |name: &str, columns| Matrix::new(&lora, &format!("{CONV}.hada_{name}"), columns);
    let (a1, b1, t1) = (matrix("w1_a", 64), matrix("w1_b", 32), matrix("t1", KERNEL));
    let (a2, b2, t2) = (matrix("w2_a", 64), matrix("w2_b", 32), matrix("t2", KERNEL));
    adds(&lora, CONV_LDM, 32 * KERNEL, |o, i| {
        let one = tucker(&|o, p| a1.at(p, o), &t1, &b1, [2, 2], o, i);
        2. * one * tucker(&|o, p| a2.at(p, o), &t2, &b2, [2, 2], o, i)
    });
}

#[test]
fn a_lokr_adds_a_kronecker_product_and_divides_alpha_only_by_the_rank_of_factors() {
    let module = linear();
    let whole = Lora::default()
        .with(format!("{module}.lokr_w1"), &[4, 2])
        .with(format!("{module}.lokr_w2"), &[16, 16])
        .with_number(format!("{module}.alpha"), 1.);
    let matrix = |lora: &Lora, name: &str, columns| Matrix::new(lora, &format!("{module}.lokr_{name}"), columns);
    let (w1, w2) = (matrix(&whole, "w1", 2), matrix(&whole, "w2", 16));
    adds(&whole, &weight(LDM), 32, |o, i| w1.at(o / 16, i / 16) * w2.at(o % 16, i % 16));
    let factored = Lora::default()
        .with(format!("{module}.lokr_w1"), &[4, 2])
        .with(format!("{module}.lokr_w2_a"), &[16, 5])
        .with(format!("{module}.lokr_w2_b"), &[5, 16])
        .with_number(format!("{module}.alpha"), 1.);
    let (w1, a, b) = (matrix(&factored, "w1", 2), matrix(&factored, "w2_a", 5), matrix(&factored, "w2_b", 16));
    let w2 = |o: usize, i: usize| (0..5).map(|r| a.at(o, r) * b.at(r, i)).sum::<f64>();
    adds(&factored, &weight(LDM), 32, |o, i| w1.at(o / 16, i / 16) * w2(o % 16, i % 16) / 5.);
}

#[test]
fn a_lokr_with_a_core_has_the_kernel_in_it() {
    let lora = Lora::default()
        .with(format!("{CONV}.lokr_w1_a"), &[2, 2])
        .with(format!("{CONV}.lokr_w1_b"), &[2, 4])
        .with(format!("{CONV}.lokr_w2_a"), &[3, 32])
        .with(format!("{CONV}.lokr_w2_b"), &[3, 8])
        .with(format!("{CONV}.lokr_t2"), &[3, 3, 3, 3])
        .with_number(format!("{CONV}.alpha"), 6.);
    let matrix = |name: &str, columns| Matrix::new(&lora, &format!("{CONV}.lokr_{name}"), columns);
    let (a1, b1) = (matrix("w1_a", 2), matrix("w1_b", 4));
    let (a2, b2, t2) = (matrix("w2_a", 32), matrix("w2_b", 8), matrix("t2", KERNEL));
    adds(&lora, CONV_LDM, 32 * KERNEL, |o, i| {
        let (row, column) = (o / 32, i / (8 * KERNEL));
        let w1 = (0..2).map(|r| a1.at(row, r) * b1.at(r, column)).sum::<f64>();
        2. * w1 * tucker(&|o, p| a2.at(p, o), &t2, &b2, [3, 3], o % 32, i % (8 * KERNEL))
    });
}

/// Asserts the formula of DoRA with norms of `shape`.
#[track_caller]
fn normalizes(shape: &[usize], per_output: bool) {
    let (module, name) = (linear(), weight(LDM));
    let lora = Lora::kohya().with(format!("{module}.dora_scale"), shape);
    let norms = lora.numbers(&format!("{module}.dora_scale"));
    let base: Vec<f64> = nano_checkpoint().read_f32(&name).unwrap().into_iter().map(f64::from).collect();
    let full: Vec<f64> = Lora::kohya().merged(&name, 1.).into_iter().map(f64::from).collect();
    let index = |i: usize| if per_output { i / SHAPE[1] } else { i % SHAPE[1] };
    let mut squares = vec![0.; norms.len()];
    full.iter().enumerate().for_each(|(i, x)| squares[index(i)] += x * x);
    let normalized = |i: usize| f64::from(norms[index(i)]) * full[i] / squares[index(i)].sqrt();
    for strength in [1., 0.5, -1.] {
        let expected: Vec<f64> = (0..base.len()).map(|i| base[i] + strength * (normalized(i) - base[i])).collect();
        let error = difference(&lora.merged(&name, strength), &expected);
        assert!(error <= LIMIT, "{error:e} at {strength}");
    }
}

#[test]
fn a_dora_normalizes_along_the_axis_of_its_shape_and_its_strength_interpolates() {
    normalizes(&[64, 1], true);
    normalizes(&[64], true);
    normalizes(&[1, 32], false);
}

#[test]
fn differences_and_norms_are_added() {
    let lora = Lora::default()
        .with(format!("{}.diff", linear()), &[64, 32])
        .with_number(format!("{}.alpha", linear()), 9.)
        .with("lora_unet_conv_norm_out.w_norm", &[32])
        .with("lora_unet_conv_norm_out.b_norm", &[32]);
    let diff = Matrix::new(&lora, &format!("{}.diff", linear()), 32);
    adds(&lora, &weight(LDM), 32, |o, i| diff.at(o, i));
    let (w, b) = ("lora_unet_conv_norm_out.w_norm", "lora_unet_conv_norm_out.b_norm");
    let (w, b) = (Matrix::new(&lora, w, 1), Matrix::new(&lora, b, 1));
    adds(&lora, "model.diffusion_model.out.0.weight", 1, |o, _| w.at(o, 0));
    adds(&lora, "model.diffusion_model.out.0.bias", 1, |o, _| b.at(o, 0));
}

#[test]
fn a_bias_changes_beside_the_factors_of_a_weight() {
    let module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_2";
    let lora = Lora::default()
        .with(format!("{module}.lora_down.weight"), &[1, 256])
        .with(format!("{module}.lora_up.weight"), &[64, 1])
        .with_number(format!("{module}.alpha"), 5.)
        .with(format!("{module}.diff_b"), &[64]);
    let bias = Matrix::new(&lora, &format!("{module}.diff_b"), 1);
    let name = "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.ff.net.2.bias";
    adds(&lora, name, 1, |o, _| bias.at(o, 0));
}

#[test]
fn one_by_one_convolutions_and_linear_layers_take_each_others_shapes() {
    let module = "lora_unet_down_blocks_1_attentions_0_proj_in";
    let name = "model.diffusion_model.input_blocks.3.1.proj_in.weight";
    let merged = |down: &[usize], up: &[usize], module: &str, name: &str| {
        let lora = Lora::default().with(format!("{module}.lora_down.weight"), down);
        lora.with(format!("{module}.lora_up.weight"), up).merged(name, 1.)
    };
    let linear_in_conv = merged(&[4, 64], &[64, 4], module, name);
    assert_eq!(linear_in_conv, merged(&[4, 64, 1, 1], &[64, 4, 1, 1], module, name));
    assert_ne!(linear_in_conv, nano_checkpoint().read_f32(name).unwrap());
    let (module, name) = (linear(), weight(LDM));
    let plain = merged(&[4, 32], &[64, 4], &module, &name);
    assert_eq!(plain, merged(&[4, 32, 1, 1], &[64, 4, 1, 1], &module, &name));
}
