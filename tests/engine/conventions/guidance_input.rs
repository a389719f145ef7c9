//! Latent consistency models whose guidance scale is an input of the UNet.

use super::{Model, Weights, weights};
use crate::support::{assert_close, channels_last, device, nano_config, sample, tensors};
use candle_core::{DType, Tensor};
use serde_json::{Value, json};
use txt2img::diffusion::guidance::Guidance;
use txt2img::diffusion::samplers::{Kind, SamplerConfig};
use txt2img::engine::{self, Evaluation};
use txt2img::rng::Rng;

const LAYER: &str = "model.diffusion_model.time_embed.cond_proj.weight";

/// Returns the small model's weights with the layer of `shortcuts.py`.
fn with_layer() -> Weights {
    let layer = &tensors("shortcuts.safetensors")["cond_proj"];
    let mut weights = weights();
    weights.insert(LAYER.into(), (layer.dims().to_vec(), layer.flatten_all().unwrap().to_vec1().unwrap()));
    weights
}

/// Samples the latents of `shortcuts.py`.
fn sampled(model: &Model, guidance: Guidance) -> Tensor {
    let checkpoint = model.checkpoint();
    let model =
        engine::Model::load(&checkpoint, &nano_config(), &Default::default(), &device(), DType::F32, &|| ()).unwrap();
    let contexts = &tensors("modules/modules.safetensors")["context"];
    let [cond, uncond] = [0, 1].map(|i| contexts.narrow(0, i, 1).unwrap());
    let denoiser = model.denoiser_of_each(&[uncond], &[cond], guidance, Evaluation::default()).unwrap();
    let x = channels_last(&tensors("shortcuts.safetensors")["x"]);
    let sampler = SamplerConfig { kind: Kind::Ddim, steps: 5, ..SamplerConfig::default() };
    sample(sampler, model.schedule(), &*denoiser, x, &mut *Rng::default().noise(1)).unwrap()
}

#[test]
fn the_latents_are_those_of_diffusers_in_one_pass() {
    let expected = channels_last(&tensors("shortcuts.safetensors")["guidance_input"]);
    for model in [Model::folder(&with_layer()), Model::file(&with_layer())] {
        assert_close("latents", &sampled(&model, Guidance::from(5.)), &expected, 1e-4);
    }
}

#[test]
fn guidance_is_not_rescaled() {
    let model = Model::file(&with_layer());
    let rescaled = sampled(&model, Guidance { scale: 5., rescale: 0.7 });
    assert_close("latents", &rescaled, &sampled(&model, Guidance::from(5.)), 0.);
}

#[test]
fn a_config_that_does_not_fit_the_weights_is_refused() {
    let with = |weights: &Weights, width: Value| {
        Model::folder(weights).with_json("unet/config.json", json!({"time_cond_proj_dim": width}))
    };
    with(&with_layer(), json!(16)).conventions();
    with(&weights(), Value::Null).conventions();
    with(&with_layer(), json!(256)).is_refused("has time_cond_proj_dim 256, which does not fit the weights");
    with(&weights(), json!(16)).is_refused("has time_cond_proj_dim 16, which does not fit the weights");
    for width in [json!(false), json!("x"), json!(-1)] {
        with(&weights(), width).is_refused("not a whole number");
    }
}

#[test]
fn layers_of_impossible_shapes_are_refused() {
    for (shape, expected) in [
        (vec![32, 5], "is 5 wide, not an even number of at least 4"),
        (vec![32, 2], "is 2 wide"),
        (vec![16, 16], "'model.diffusion_model.time_embed.cond_proj.weight' is 16×16, not 32×16"),
    ] {
        let mut weights = weights();
        weights.insert(LAYER.into(), (shape.clone(), vec![0.; shape.iter().product()]));
        let (model, device) = (Model::file(&weights), device());
        let loaded =
            engine::Model::load(&model.checkpoint(), &nano_config(), &Default::default(), &device, DType::F32, &|| ());
        let error = format!("{:#}", loaded.err().unwrap());
        assert!(error.contains(expected), "{error}");
    }
}
