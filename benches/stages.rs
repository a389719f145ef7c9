//! The stages of one image with Stable Diffusion 1.5's sizes and made-up weights, which need no file: text, one guided
//! step, decoding and encoding, at 512×512.
//!
//! `cargo bench --bench stages [-- half] [compact] [cuda] [BATCH] [STAGE]`: `half` for products in half precision, which is
//! bf16 or on GPUs f16; `compact` for weights packed as with `--low_memory`; `cuda` for a GPU; BATCH images in a batch, by
//! default 1; only the STAGE text, step, decode, tiny (TAESD) or encode, more often.

mod support;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use support::{chosen, median, on_device, place, random, take};
use txt2img::config::ModelConfig;
use txt2img::diffusion::EpsModel;
use txt2img::diffusion::guidance::Guided;
use txt2img::diffusion::unet::UNet;
use txt2img::ops::{self, Compute, LayerBuilder, Packing};
use txt2img::text::{TextConfig, TextEncoder, Tokenizer};
use txt2img::vae::{Decoder, Encoder};

fn main() -> anyhow::Result<()> {
    ops::keep_memory();
    on_device(stages)
}

/// Measures the stages that `words` ask for.
fn stages(mut words: Vec<String>) -> anyhow::Result<()> {
    let compute = if take(&mut words, "half") { Compute::Half } else { Compute::F32 };
    let packing = if take(&mut words, "compact") { Packing::Compact } else { Packing::Fast };
    let batch = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1);
    let only = words.iter().find(|word| ["text", "step", "decode", "tiny", "encode"].contains(&word.as_str()));
    let calls = if only.is_some() { 9 } else { 3 };
    let wants = |stage: &str| only.is_none_or(|only| only == stage);
    let config = ModelConfig::v1();
    let vb = VarBuilder::from_backend(Box::new(Generated), DType::F32, chosen().clone());
    let layers = |network: &str| LayerBuilder::new(vb.pp(network), compute, packing);
    println!("512×512, batch of {batch}, {}\n\n| stage | seconds |\n| --- | ---: |", place());

    let text = TextEncoder::new(
        TextConfig { width: 768, intermediate: 3072, layers: 12, vocabulary: TextConfig::VOCABULARY },
        LayerBuilder::new(vb.pp("text"), Compute::F32, packing)?,
    )?;
    let tokens = [Tokenizer::new()?.encode("a photograph of an astronaut riding a horse")?];
    let context = text.encode(&tokens, 1)?; // (1, 77, 768)
    if wants("text") {
        println!("| text | {:.4} |", median(calls, || Ok(text.encode(&tokens, 1).expect("tokens are encoded")))?);
    }
    if wants("step") {
        let unet = UNet::new(&config.unet, layers("unet")?)?;
        let guided = Guided::new(&unet, &context, &context.repeat((batch, 1, 1))?, 7.5)?;
        let x = random(&[batch, 64, 64, 4])?;
        println!("| step | {:.4} |", median(calls, || guided.eps(&x, 500., 0.5))?);
    }
    if wants("decode") {
        let decoder = Decoder::new(&config.vae, config.scale_factor, layers("vae")?)?;
        let latents = random(&[1, 64, 64, 4])?;
        println!("| decode | {:.4} |", median(calls, || decoder.forward(&latents))?);
    }
    if wants("tiny") {
        let decoder = Decoder::tiny(layers("vae")?)?;
        let latents = random(&[1, 64, 64, 4])?;
        println!("| decode, TAESD | {:.4} |", median(calls, || decoder.forward(&latents))?);
    }
    if wants("encode") {
        let encoder = Encoder::new(&config.vae, config.scale_factor, layers("vae")?)?;
        let pixels = random(&[1, 512, 512, 3])?;
        println!("| encode | {:.4} |", median(calls, || encoder.forward(&pixels))?);
    }
    Ok(())
}

/// A backend that generates weights of any name and shape, such that activations stay near 1.
struct Generated;

impl SimpleBackend for Generated {
    fn get(&self, shape: Shape, name: &str, _: candle_nn::Init, _: DType, device: &Device) -> Result<Tensor> {
        let inputs: usize = shape.dims()[1..].iter().product();
        // Weights of norms are near 1, biases near 0, and matrices keep the variance.
        let (spread, centre) = match (shape.rank(), name.ends_with("weight")) {
            (1, true) => (0., 1.),
            (1, false) => (0.05, 0.),
            _ => (1.7 * (inputs as f32).powf(-0.5), 0.),
        };
        // The fractions of multiples of the golden ratio are random enough here, and quick to compute.
        let number = |i: usize| centre + spread * 2. * ((i as f32 * 0.618_034).fract() - 0.5);
        Tensor::from_iter((0..shape.elem_count()).map(number), device)?.reshape(shape)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.get(Shape::from(()), name, candle_nn::Init::Const(0.), dtype, device)
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}
