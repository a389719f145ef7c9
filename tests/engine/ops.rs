//! Every kernel against its definition in candle's own operations, with every instruction set of this CPU.

use crate::support::assert_close;
use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use std::collections::HashMap;
use txt2img::ops::{
    self, Compute, Conv2d, ConvOptions, Geglu, GroupNorm, LayerBuilder, LayerNorm, Linear, Packing, Product,
    add_products, f16_to_f32,
};
use txt2img::rng::Rng;

/// The tolerance of kernels in f32, which differ in the order of sums only.
const EXACT: f64 = 2e-6;
/// The tolerance of Winograd convolutions: the transforms of F(4×4) lose a digit.
const WINOGRAD: f64 = 1e-5;

/// The tolerance of products in bf16 and f16, with sums in f32: three digits.
const HALF: f64 = 4e-3;
/// The tolerance of results that are rounded once to bf16.
const BF16: f64 = 2e-3;

fn random(shape: &[usize], seed: u64) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_vec(Rng::default().noise(seed).randn(n), shape, &crate::support::device()).unwrap()
}

/// Random weights, scaled so that products have a standard deviation near 1.
fn weight(shape: &[usize], seed: u64) -> Tensor {
    let inputs: usize = shape[1..].iter().product();
    (random(shape, seed) * (inputs as f64).powf(-0.5)).unwrap()
}

#[test]
fn linear_layers_equal_their_definition() {
    for [n, c_in, c_out] in
        [[1, 1, 1], [1, 320, 1280], [13, 5, 3], [77, 768, 320], [97, 33, 47], [4096, 40, 16], [2, 7, 49]]
    {
        let (x, w, b) = (random(&[2, n, c_in], 1), weight(&[c_out, c_in], 2), random(&[c_out], 3));
        let residual = random(&[2, n, c_out], 4);
        let linear = Linear::new(Compute::F32, &w, Some(&b)).unwrap();
        let plain = ops::plain::linear(&x, &w, Some(&b)).unwrap();
        let name = format!("linear {n}×{c_in}→{c_out}");
        assert_close(&name, &linear.forward(&x).unwrap(), &plain, EXACT);
        let sum = (plain + &residual).unwrap();
        assert_close(&name, &linear.forward_add(&x, &residual).unwrap(), &sum, EXACT);
        let unbiased = Linear::new(Compute::F32, &w, None).unwrap().forward(&x).unwrap();
        assert_close(&name, &unbiased, &ops::plain::linear(&x, &w, None).unwrap(), EXACT);
    }
}

#[test]
fn sums_of_products_equal_their_definition() {
    // The last panel of 33 vectors is three vectors wide, for vectors of 16 as of 8 elements.
    for (m, n, ranks) in
        [(1, 1, vec![1]), (13, 33, vec![4]), (96, 528, vec![64, 1]), (50, 264, vec![7]), (320, 11520, vec![8])]
    {
        let w = random(&[m, n], 1);
        let factors: Vec<_> = ranks.iter().map(|&r| (random(&[m, r], 2), random(&[r, n], 3))).collect();
        let plain = ops::plain::add_products(&w, &factors.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>()).unwrap();
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let product = |(a, b): &(Tensor, Tensor)| Product { left: numbers(a), right: numbers(b) };
        let mut products: Vec<_> = factors.iter().map(product).collect();
        let mut w = numbers(&w);
        let sum = |w: &[f32], products: &[Product]| {
            add_products((m, n), |start, row| row.copy_from_slice(&w[start..][..row.len()]), products)
        };
        let ours = Tensor::from_vec(sum(&w, &products).unwrap(), (m, n), plain.device()).unwrap();
        assert_close(&format!("{m}×{n} + {ranks:?}"), &ours, &plain, EXACT);
        for extreme in [f32::MAX, f32::INFINITY] {
            *w.last_mut().unwrap() = extreme;
            assert_eq!(sum(&w, &products).unwrap().last(), Some(&extreme));
        }
        // A factor so large that a sum might not be finite, or that is not finite itself.
        for extreme in [1e38, f32::INFINITY, f32::NAN] {
            *products[0].left.last_mut().unwrap() = extreme;
            assert!(sum(&w, &products).is_none());
        }
    }
}

#[test]
fn every_f16_is_converted_exactly() {
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    // From an odd address, and in pieces shorter than any vector, too.
    let shifted = [&[0], &halves[..]].concat();
    let (mut whole, mut pieces) = (vec![0.; 1 << 16], vec![0.; 1 << 16]);
    f16_to_f32(&shifted[1..], &mut whole);
    pieces.chunks_mut(5).zip(halves.chunks(10)).for_each(|(out, halves)| f16_to_f32(halves, out));
    for (bits, (x, piece)) in (0..=u16::MAX).zip(whole.into_iter().zip(pieces)) {
        let expected = half::f16::from_bits(bits).to_f32();
        assert!(x.to_bits() == expected.to_bits() || x.is_nan() && expected.is_nan(), "{bits:#06x}: {x}, {expected}");
        assert!(x.to_bits() == piece.to_bits() || piece.is_nan() && expected.is_nan(), "{bits:#06x}: {x}, {piece}");
    }
}

#[test]
fn geglu_equals_its_definition() {
    for [n, c_in, c_out] in [[1, 32, 128], [77, 320, 1280], [50, 40, 16]] {
        let (x, w, b) = (random(&[1, n, c_in], 1), weight(&[2 * c_out, c_in], 2), random(&[2 * c_out], 3));
        let ours = Geglu::new(Compute::F32, &w, &b).unwrap().forward(&x).unwrap();
        assert_close("geglu", &ours, &ops::plain::geglu(&x, &w, &b).unwrap(), EXACT);
    }
}

#[test]
fn convolutions_equal_their_definition() {
    for (stride, limit) in [(1, WINOGRAD), (2, EXACT)] {
        for [b, h, w, c_in, c_out] in [
            [2, 64, 64, 32, 48],
            [1, 16, 16, 320, 64],
            [2, 8, 8, 64, 1280], // transformed in each call
            [1, 3, 9, 96, 1288],
            [1, 1, 1, 16, 16],
            [3, 3, 5, 17, 19],
            [1, 7, 2, 33, 1285],
            [1, 9, 30, 4, 40],
            [2, 5, 6, 40, 3],
        ] {
            let (x, k, bias) = (random(&[b, h, w, c_in], 1), weight(&[c_out, c_in, 3, 3], 2), random(&[c_out], 3));
            let conv = Conv2d::new(Compute::F32, &k, &bias, stride).unwrap();
            let plain = ops::plain::conv3x3(&x, &k, &bias, stride).unwrap();
            let name = format!("convolution of {b}×{h}×{w}×{c_in} to {c_out}, stride {stride}");
            assert_close(&name, &conv.forward(&x).unwrap(), &plain, limit);
            let residual = random(plain.dims(), 4);
            let sum = (&plain + &residual).unwrap();
            assert_close(&name, &conv.forward_add(&x, &residual).unwrap(), &sum, limit);
            let rectified = Conv2d::new(Compute::F32, &k, &bias, ConvOptions { relu: true, ..stride.into() }).unwrap();
            let (ours, expected) = (rectified.forward_add(&x, &residual).unwrap(), sum.relu().unwrap());
            assert_close(&format!("{name}, ReLU"), &ours, &expected, limit);
            let shift = random(&[1, c_out], 5);
            let shifted = plain.broadcast_add(&shift.flatten_all().unwrap()).unwrap();
            assert_close(&name, &conv.forward_shift(&x, &shift).unwrap(), &shifted, limit);
        }
    }
}

#[test]
fn convolutions_of_large_maps_equal_their_definition() -> Result<()> {
    for [b, h, w, c_in, c_out] in [[2, 64, 64, 32, 48], [1, 37, 50, 256, 128], [1, 1, 7, 64, 256], [1, 9, 6, 48, 40]] {
        let (x, k, bias) = (random(&[b, h, w, c_in], 1), weight(&[c_out, c_in, 3, 3], 2), random(&[c_out], 3));
        let sum = ops::plain::conv3x3(&x, &k, &bias, 1)?;
        let residual = random(sum.dims(), 4);
        let expected = (sum + &residual)?.relu()?;
        for (compute, limit) in [(Compute::F32, WINOGRAD), (Compute::Half, HALF)] {
            let options = ConvOptions { stride: 1, relu: true, large_maps: true };
            let conv = Conv2d::new(compute, &k, &bias, options)?;
            let name = format!("convolution of {b}×{h}×{w}×{c_in} to {c_out} in {compute:?}");
            assert_close(&name, &conv.forward_add(&x, &residual)?, &expected, limit);
        }
    }
    Ok(())
}

#[test]
fn compact_convolutions_equal_their_definition() -> Result<()> {
    // Several blocks of channels, tasks and batches of tiles, and panels of one and of three vectors.
    for [b, h, w, c_in, c_out] in [[1, 35, 34, 512, 528], [2, 1, 5, 544, 552], [1, 30, 40, 1280, 264]] {
        let (x, k, bias) = (random(&[b, h, w, c_in], 1), weight(&[c_out, c_in, 3, 3], 2), random(&[c_out], 3));
        let plain = ops::plain::conv3x3(&x, &k, &bias, 1)?;
        let tensors = HashMap::from([("weight".to_string(), k), ("bias".to_string(), bias)]);
        for (compute, limit) in [(Compute::F32, WINOGRAD), (Compute::Half, HALF)] {
            let vb = VarBuilder::from_tensors(tensors.clone(), DType::F32, x.device());
            let conv = ops::conv3x3(c_in, c_out, LayerBuilder::new(vb, compute, Packing::Compact)?)?;
            let name = format!("convolution of {b}×{h}×{w}×{c_in} to {c_out} in {compute:?}");
            assert_close(&name, &conv.forward(&x)?, &plain, limit);
        }
    }
    Ok(())
}

#[test]
fn norms_equal_their_definition() {
    for [b, h, w, c] in [[2, 64, 64, 320], [1, 8, 8, 2560], [1, 3, 5, 32], [3, 1, 1, 64], [1, 17, 31, 96]] {
        // A large mean, which E[x²] − E[x]² would not survive; but not for groups of two elements, whose own rounding
        // would show.
        let x = (random(&[b, h, w, c], 1) + if h * w > 1 { 30. } else { 0. }).unwrap();
        let (weight, bias) = (random(&[c], 2), random(&[c], 3));
        let plain = ops::plain::group_norm(&x, &weight, &bias, 1e-5).unwrap();
        let norm = GroupNorm::new(Compute::F32, &weight, &bias, 1e-5).unwrap();
        assert_close("group norm", &norm.forward(&x).unwrap(), &plain, 5e-6);
        assert_close("group norm, silu", &norm.forward_silu(&x).unwrap(), &plain.silu().unwrap(), 5e-6);
        let x = random(&[b, h * w, c], 4);
        let ours = LayerNorm::new(Compute::F32, &weight, &bias).unwrap().forward(&x).unwrap();
        assert_close("layer norm", &ours, &ops::plain::layer_norm(&x, &weight, &bias).unwrap(), EXACT);
    }
}

#[test]
fn group_norms_of_the_decoder_are_as_exact_as_small_ones() {
    // Half a million and a million numbers in each group.
    for [h, c] in [[256, 256], [512, 128]] {
        let (x, weight, bias) = ((random(&[1, h, h, c], 1) + 30.).unwrap(), random(&[c], 2), random(&[c], 3));
        let ours = GroupNorm::new(Compute::F32, &weight, &bias, 1e-5).unwrap().forward(&x).unwrap();
        assert_close("group norm", &ours, &ops::plain::group_norm(&x, &weight, &bias, 1e-5).unwrap(), 5e-6);
    }
}

#[test]
fn attention_equals_its_definition() {
    for [b, n, m, heads, d] in [
        [2, 1024, 1024, 2, 40],
        [1, 300, 77, 8, 80],
        [2, 300, 154, 8, 40], // this and the next two: prompts of 2, 3 and 20 chunks
        [1, 97, 231, 8, 80],
        [1, 64, 1540, 8, 160],
        [1, 64, 64, 8, 160],
        [1, 1000, 1000, 1, 512],
        [3, 1, 1, 4, 8],
        [1, 97, 257, 1, 3],
    ] {
        let c = heads * d;
        // Large enough scores for the subtraction of the maximum to matter.
        let q = (random(&[b, n, c], 1) * 3.).unwrap();
        let (k, v) = (random(&[b, m, c], 2), random(&[b, m, c], 3));
        let ours = ops::attention(Compute::F32, &q, &k, &v, heads).unwrap();
        let plain = ops::plain::attention(&q, &k, &v, heads).unwrap();
        assert_close(&format!("attention {n}×{m}, {heads} heads of {d}"), &ours, &plain, 5e-6);
    }
}

#[test]
fn causal_attention_equals_its_definition() -> Result<()> {
    // The text encoder's, then several blocks of queries and keys; with small scores, and with large ones.
    for [b, n, heads, d] in [[2, 77, 12, 64], [1, 700, 2, 40], [1, 193, 1, 3], [1, 1, 2, 8]] {
        for scale in [1., 30.] {
            let [q, k, v] = [1, 2, 3].map(|seed| random(&[b, n, heads * d], seed));
            let q = (q * scale)?;
            let ours = ops::causal_attention(&q, &k, &v, heads)?;
            let plain = ops::plain::causal_attention(&q, &k, &v, heads)?;
            assert_close(&format!("causal attention of {n}, {heads} heads of {d}, {scale}"), &ours, &plain, 2e-5);
        }
    }
    Ok(())
}

#[test]
fn quick_gelu_equals_its_definition() -> Result<()> {
    let x = (random(&[3, 11, 1000], 1) * 20.)?;
    assert_close("quick GELU", &ops::quick_gelu(&x)?, &ops::plain::quick_gelu(&x)?, EXACT);
    Ok(())
}

#[test]
fn norms_before_half_precision_products_are_rounded() -> Result<()> {
    let (x, weight, bias) = (random(&[2, 7, 5, 96], 1), random(&[96], 2), random(&[96], 3));
    let norm = GroupNorm::new(Compute::Half, &weight, &bias, 1e-5)?;
    let plain = ops::plain::group_norm(&x, &weight, &bias, 1e-5)?;
    assert_close("group norm", &norm.forward(&x)?, &plain, BF16);
    // On CPUs, the input of convolutions is f32.
    let limit = if crate::support::device().is_cuda() { BF16 } else { 5e-6 };
    assert_close("group norm, silu", &norm.forward_silu(&x)?, &plain.silu()?, limit);
    let ours = LayerNorm::new(Compute::Half, &weight, &bias)?.forward(&x)?;
    assert_close("layer norm", &ours, &ops::plain::layer_norm(&x, &weight, &bias)?, BF16);
    Ok(())
}

/// CPUs without bf16 instructions compute in f32, with weights in f16.
#[test]
fn half_precision_products_keep_three_digits() -> Result<()> {
    for [n, c_in, c_out] in [[13, 320, 48], [97, 33, 47], [200, 1280, 320]] {
        let (x, w) = (random(&[n, c_in], 1), weight(&[c_out, c_in], 2));
        let linear = Linear::new(Compute::Half, &w, None)?;
        let plain = ops::plain::linear(&x, &w, None)?;
        assert_close("linear", &linear.forward(&x)?, &plain, HALF);
        let tensors = HashMap::from([("weight".to_string(), w)]);
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &crate::support::device());
        let lb = LayerBuilder::new(vb, Compute::Half, Packing::Fast)?;
        for y in ops::projections_no_bias(c_in, c_out, [lb.clone(), lb])?.forward(&x)? {
            assert_close("projection", &y, &plain, HALF);
        }
    }
    let (x, w, b) = (random(&[1, 50, 320], 1), weight(&[256, 320], 2), random(&[256], 3));
    let ours = Geglu::new(Compute::Half, &w, &b)?.forward(&x)?;
    assert_close("geglu", &ours, &ops::plain::geglu(&x, &w, &b)?, HALF);
    for (c_in, c_out, stride) in [(320, 330, 1), (64, 1280, 1), (64, 64, 1), (64, 64, 2), (321, 320, 1)] {
        let (x, k, b) = (random(&[2, 5, 7, c_in], 1), weight(&[c_out, c_in, 3, 3], 2), random(&[c_out], 3));
        let ours = Conv2d::new(Compute::Half, &k, &b, stride)?.forward(&x)?;
        assert_close("convolution", &ours, &ops::plain::conv3x3(&x, &k, &b, stride)?, HALF);
    }
    // The operands are exact in bf16, and so are the scores: small ones, and some far above the largest exponent.
    for scale in [1., 50.] {
        for [n, m, heads, d] in [[300, 300, 8, 40], [100, 77, 2, 80], [97, 513, 1, 160], [5, 9, 1, 4], [5, 9, 1, 3]] {
            let [q, k, v] = [n, m, m].map(|rows| random(&[2, rows, heads * d], rows as u64).to_dtype(DType::BF16));
            let (q, k, v) = ((q? * scale)?, k?, v?);
            let ours = ops::attention(Compute::Half, &q, &k, &v, heads)?;
            let [q, k, v] = [q, k, v].map(|x| x.to_dtype(DType::F32));
            let plain = ops::plain::attention(&q?, &k?, &v?, heads)?;
            assert_close(&format!("attention {n}×{m}, {heads} heads of {d}, {scale}"), &ours, &plain, HALF);
        }
    }
    Ok(())
}

/// A checkpoint's f16 is packed as it is stored.
#[test]
fn layers_of_f16_weights_equal_those_of_the_same_weights_in_f32() -> Result<()> {
    let device = crate::support::device();
    if device.is_cuda() {
        return Ok(());
    }
    let (x, map) = (random(&[3, 320], 1), random(&[1, 9, 7, 320], 2));
    for (packing, compute) in [
        (Packing::Fast, Compute::F32),
        (Packing::Fast, Compute::Half),
        (Packing::Compact, Compute::F32),
        (Packing::Compact, Compute::Half),
    ] {
        // With 640 channels, compact packing keeps the weight untransformed; with 1280, fast packing does, too.
        for c_out in [48, 320, 640, 1280] {
            let tensors = HashMap::from([
                ("linear.weight".to_string(), weight(&[c_out, 320], 3).to_dtype(DType::F16)?),
                ("linear.bias".to_string(), random(&[c_out], 4)),
                ("conv.weight".to_string(), weight(&[c_out, 320, 3, 3], 5).to_dtype(DType::F16)?),
                ("conv.bias".to_string(), random(&[c_out], 6)),
            ]);
            let outputs = |dtype: DType| -> Result<Vec<Tensor>> {
                let vb = VarBuilder::from_tensors(tensors.clone(), dtype, &device);
                let lb = LayerBuilder::new(vb, compute, packing)?;
                let (linear, conv) = (lb.pp("linear"), lb.pp("conv"));
                assert_eq!(linear.weight((c_out, 320))?.dtype(), dtype);
                let [projected] = ops::projections(320, c_out, [linear.clone()])?.forward(&x)?;
                Ok(vec![
                    ops::linear(320, c_out, linear.clone())?.forward(&x)?,
                    projected.to_dtype(DType::F32)?,
                    ops::geglu(320, c_out / 2, linear)?.forward(&x)?.to_dtype(DType::F32)?,
                    ops::conv3x3(320, c_out, conv.clone())?.forward(&map)?,
                    ops::conv3x3_stride2(320, c_out, conv.clone())?.forward(&map)?,
                    ops::conv3x3_upsampled(320, c_out, conv)?.forward(&map, 18, 13)?,
                ])
            };
            for (i, (halves, floats)) in outputs(DType::F16)?.iter().zip(outputs(DType::F32)?).enumerate() {
                let [halves, floats] = [halves, &floats].map(|y| y.flatten_all()?.to_vec1::<f32>());
                assert!(halves? == floats?, "layer {i} to {c_out} channels, {packing:?}, {compute:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn attention_to_huge_scores_is_finite() {
    let q = Tensor::full(1e4f32, (1, 5, 16), &crate::support::device()).unwrap();
    let k = random(&[1, 300, 16], 1);
    let y = ops::attention(Compute::F32, &q, &k, &k, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(y.iter().all(|y| y.is_finite()));
}

/// Images that overflow in half precision are redrawn in f32, which requires that NaN is propagated.
#[test]
fn attention_propagates_nan() -> Result<()> {
    let one_nan = |rows: usize, scale: f64| -> Result<Tensor> {
        let mut numbers: Vec<f32> = (random(&[rows, 16], 1) * scale)?.flatten_all()?.to_vec1()?;
        numbers[16 * 3 + 5] = f32::NAN; // row 3
        Tensor::from_vec(numbers, (1, rows, 16), &crate::support::device())
    };
    let nan_rows = |y: Tensor| -> Result<Vec<bool>> {
        let rows: Vec<Vec<f32>> = y.to_dtype(DType::F32)?.squeeze(0)?.to_vec2()?;
        Ok(rows.iter().map(|row| row.iter().all(|y| y.is_nan())).collect())
    };
    for compute in [Compute::F32, Compute::Half] {
        for scale in [1., 100.] {
            let [q, k] = [20, 70].map(|rows| random(&[1, rows, 16], 2) * scale);
            let (q, k) = (q?, k?);
            let nan_query = ops::attention(compute, &one_nan(20, scale)?, &k, &k, 1)?;
            assert_eq!(nan_rows(nan_query)?, (0..20).map(|row| row == 3).collect::<Vec<_>>(), "{compute:?}, {scale}");
            let nan_key = ops::attention(compute, &q, &one_nan(70, scale)?, &k, 1)?;
            assert!(nan_rows(nan_key)?.iter().all(|&is_nan| is_nan), "{compute:?}, {scale}");
        }
    }
    Ok(())
}

#[test]
fn convolutions_of_upsampled_maps_equal_their_definition() {
    // Too few channels for transforms; one and several panels; columns that do not fill a vector.
    for (c_in, c_out) in [(7, 5), (32, 32), (64, 100), (66, 48)] {
        let (x, k, bias) = (random(&[2, 3, 5, c_in], 1), weight(&[c_out, c_in, 3, 3], 2), random(&[c_out], 3));
        for (compute, limit) in [(Compute::F32, EXACT), (Compute::Half, HALF)] {
            let conv = ops::UpsampledConv2d::new(compute, &k, &bias, false).unwrap();
            for (h, w) in [(6, 10), (5, 10), (6, 9), (5, 9)] {
                let plain = ops::plain::conv3x3_upsampled(&x, &k, &bias, h, w).unwrap();
                assert_close("upsampled convolution", &conv.forward(&x, h, w).unwrap(), &plain, limit);
            }
        }
    }
}

#[test]
fn convolutions_of_large_upsampled_maps_equal_their_definition() -> Result<()> {
    // Whole tiles and cut ones; too few channels for transforms.
    for [b, h, w, c_in, c_out] in [[2, 30, 34, 64, 100], [1, 2, 4, 96, 32], [1, 6, 12, 320, 64], [1, 8, 8, 16, 40]] {
        let (x, k) = (random(&[b, h / 2, w / 2, c_in], 1), weight(&[c_out, c_in, 3, 3], 2));
        let bias = random(&[c_out], 3);
        let plain = ops::plain::conv3x3_upsampled(&x, &k, &bias, h, w)?;
        for (compute, limit) in [(Compute::F32, WINOGRAD), (Compute::Half, HALF)] {
            let conv = ops::UpsampledConv2d::new(compute, &k, &bias, true)?;
            let name = format!("upsampled convolution to {b}×{h}×{w}×{c_out} in {compute:?}");
            assert_close(&name, &conv.forward(&x, h, w)?, &plain, limit);
        }
    }
    Ok(())
}

#[test]
fn a_map_is_upsampled_to_twice_its_size_at_most_one_less() {
    let (weight, bias, x) = (random(&[32, 32, 3, 3], 1), random(&[32], 2), random(&[1, 3, 5, 32], 3));
    for (large_maps, (h, w)) in
        [(false, (7, 10)), (false, (4, 10)), (false, (6, 11)), (false, (6, 8)), (true, (5, 10)), (true, (6, 9))]
    {
        let conv = ops::UpsampledConv2d::new(Compute::F32, &weight, &bias, large_maps).unwrap();
        let error = conv.forward(&x, h, w).unwrap_err().to_string();
        assert!(error.contains(&format!("to {h}×{w}")), "{error}");
    }
}

#[test]
fn concatenation_equals_its_definition() {
    let x = random(&[4, 3, 5, 7], 1);
    for b in [1, 2, 4] {
        let skip = random(&[b, 3, 5, 3], 2);
        let plain = ops::plain::concat(&x, &skip).unwrap();
        assert_close("concat", &ops::concat(&x, &skip).unwrap(), &plain, 0.);
    }
}

#[test]
fn weighted_sums_equal_their_definition() {
    // Parts of larger tensors, like the two halves of a guided batch.
    let x: Vec<_> = (0..8).map(|seed| random(&[3, 3, 5, 4], seed).narrow(0, 1, 2).unwrap()).collect();
    for n in [1, 2, 5, 8] {
        // Weights of different magnitudes and signs.
        let terms: Vec<_> = x[..n].iter().enumerate().map(|(i, x)| (x, (-3f64).powi(i as i32) / 7.)).collect();
        let plain = ops::plain::weighted_sum(&terms).unwrap();
        assert_close("sum", &ops::weighted_sum(&terms).unwrap(), &plain, 1e-7);
    }
}

#[test]
fn mismatched_shapes_are_errors() -> Result<()> {
    let linear = Linear::new(Compute::F32, &weight(&[4, 3], 1), None)?;
    assert!(linear.forward(&random(&[2, 4], 1)).is_err());
    assert!(linear.forward_add(&random(&[2, 3], 1), &random(&[2, 3], 1)).is_err());
    let conv = Conv2d::new(Compute::F32, &weight(&[32, 32, 3, 3], 1), &random(&[32], 1), 1)?;
    assert!(conv.forward(&random(&[1, 4, 4, 16], 1)).is_err());
    assert!(conv.forward_add(&random(&[1, 4, 4, 32], 1), &random(&[1, 2, 4, 32], 1)).is_err());
    let norm = GroupNorm::new(Compute::F32, &random(&[32], 1), &random(&[32], 1), 1e-5)?;
    assert!(norm.forward(&random(&[1, 4, 4, 64], 1)).is_err());
    assert!(ops::concat(&random(&[3, 4, 4, 2], 1), &random(&[2, 4, 4, 2], 1)).is_err());
    assert!(ops::concat(&random(&[1, 4, 4, 2], 1), &random(&[1, 4, 5, 2], 1)).is_err());
    let x = &random(&[1, 4, 4, 2], 1);
    for terms in [vec![], vec![(x, 1.); 9], vec![(x, 1.), (&random(&[1, 4, 2, 4], 1), 1.)]] {
        assert!(ops::weighted_sum(&terms).is_err());
    }
    let q = random(&[1, 4, 32], 1);
    assert!(ops::attention(Compute::F32, &q, &random(&[1, 4, 16], 1), &q, 2).is_err());
    let k = random(&[1, 5, 32], 1);
    assert!(ops::causal_attention(&q, &k, &k, 2).is_err());
    Ok(())
}

#[test]
fn every_instruction_set_passes_these_tests() {
    crate::support::pass_with_every_instruction_set(module_path!());
}

#[test]
fn a_gpu_passes_these_tests() {
    crate::support::pass_on_a_gpu(module_path!());
}
