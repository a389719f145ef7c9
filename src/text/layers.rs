//! The text encoder layer by layer, without weights.

use super::{TextConfig, Tokens};
use crate::ops::layer::{Layer, Op};

/// Every layer of CLIP's text model in the order of work, for one prompt of so many chunks; their names below
/// `text_model`.
pub fn layers(config: TextConfig, chunks: usize) -> Vec<Layer> {
    let (c, rows) = (config.width, chunks * Tokens::LENGTH);
    let mut layers = vec![
        Layer::new("embeddings.token_embedding", Op::Table { n: config.vocabulary, c }, rows),
        Layer::new("embeddings.position_embedding", Op::Table { n: Tokens::LENGTH, c }, rows),
    ];
    for i in 0..config.layers {
        layers.extend(layer(config, rows).map(|part| part.below(&format!("encoder.layers.{i}"))));
    }
    layers.push(Layer::new("final_layer_norm", Op::Norm { c }, rows));
    layers
}

fn layer(TextConfig { width: c, intermediate, .. }: TextConfig, rows: usize) -> [Layer; 9] {
    let linear = |c_in, c_out| Op::Linear { c_in, c_out, bias: true };
    [
        ("layer_norm1", Op::Norm { c }),
        ("self_attn.q_proj", linear(c, c)),
        ("self_attn.k_proj", linear(c, c)),
        ("self_attn.v_proj", linear(c, c)),
        ("self_attn", Op::Attention { m: Tokens::LENGTH, c }),
        ("self_attn.out_proj", linear(c, c)),
        ("layer_norm2", Op::Norm { c }),
        ("mlp.fc1", linear(c, intermediate)),
        ("mlp.fc2", linear(intermediate, c)),
    ]
    .map(|(name, op)| Layer::new(name, op, rows))
}
