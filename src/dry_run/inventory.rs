//! Every tensor that drawing reads.

use crate::config::ModelConfig;
use crate::diffusion::unet::layers::Pass;
use crate::engine::{TEXT, UNET, VAE};
use crate::text::TextConfig;
use crate::{diffusion::unet, text, vae};

/// Names and shapes, in the order of work.
pub fn inventory(config: &ModelConfig, text: TextConfig) -> Vec<(String, Vec<usize>)> {
    // What a layer reads does not depend on what it is given.
    let pass = Pass { batch: 1, height: 1, width: 1, contexts: 1, tokens: 1 };
    let networks = [
        (TEXT, text::layers::layers(text, 1)),
        (UNET, unet::layers::layers(&config.unet, pass)),
        (VAE, vae::layers::layers(&config.vae, 1, 1)),
    ];
    let layers = networks.into_iter().flat_map(|(name, layers)| layers.into_iter().map(|layer| layer.below(name)));
    layers.flat_map(|layer| layer.tensors()).collect()
}
