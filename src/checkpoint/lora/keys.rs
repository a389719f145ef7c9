//! The names of tensors in LoRA files: a module and a part of its change.

/// A part of the change of a module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Part {
    /// LoRA's left factor (o, r).
    Up,
    /// LoRA's right factor (r, i, …).
    Down,
    /// The core of a Tucker decomposition, between `Up` and `Down`.
    Mid,
    /// LoHa's factors and cores, of the first matrix.
    HadaW1A,
    HadaW1B,
    HadaT1,
    /// LoHa's factors and cores, of the second matrix.
    HadaW2A,
    HadaW2B,
    HadaT2,
    /// LoKr's first matrix, or its factors.
    LokrW1,
    LokrW1A,
    LokrW1B,
    /// LoKr's second matrix, or its factors and their core.
    LokrW2,
    LokrW2A,
    LokrW2B,
    LokrT2,
    /// The difference of a weight.
    Diff,
    /// The difference of a bias.
    DiffBias,
    /// DoRA's norms.
    DoraScale,
    /// The numerator of the factor alpha / rank.
    Alpha,
    /// The number that replaces alpha / rank.
    Scale,
    /// An additional factor.
    Scalar,
    /// A part of a kind that is not supported.
    Glora,
    Oft,
    Ia3,
}

/// The endings of tensors' names.
const ENDINGS: [(&str, Part); 40] = [
    // kohya, and LyCORIS.
    (".lora_up.weight", Part::Up),
    (".lora_down.weight", Part::Down),
    (".lora_mid.weight", Part::Mid),
    // diffusers, between 0.17 and PEFT.
    (".lora.up.weight", Part::Up),
    (".lora.down.weight", Part::Down),
    (".lora_linear_layer.up.weight", Part::Up),
    (".lora_linear_layer.down.weight", Part::Down),
    // Older diffusers.
    ("_lora.up.weight", Part::Up),
    ("_lora.down.weight", Part::Down),
    (".hada_w1_a", Part::HadaW1A),
    (".hada_w1_b", Part::HadaW1B),
    (".hada_t1", Part::HadaT1),
    (".hada_w2_a", Part::HadaW2A),
    (".hada_w2_b", Part::HadaW2B),
    (".hada_t2", Part::HadaT2),
    (".lokr_w1", Part::LokrW1),
    (".lokr_w1_a", Part::LokrW1A),
    (".lokr_w1_b", Part::LokrW1B),
    (".lokr_w2", Part::LokrW2),
    (".lokr_w2_a", Part::LokrW2A),
    (".lokr_w2_b", Part::LokrW2B),
    (".lokr_t2", Part::LokrT2),
    (".diff", Part::Diff),
    (".diff_b", Part::DiffBias),
    (".w_norm", Part::Diff),
    (".b_norm", Part::DiffBias),
    (".dora_scale", Part::DoraScale),
    (".alpha", Part::Alpha),
    (".scale", Part::Scale),
    (".scalar", Part::Scalar),
    (".a1.weight", Part::Glora),
    (".a2.weight", Part::Glora),
    (".b1.weight", Part::Glora),
    (".b2.weight", Part::Glora),
    (".oft_blocks", Part::Oft),
    (".oft_diag", Part::Oft),
    (".oft_R.weight", Part::Oft),
    (".oft_r", Part::Oft),
    (".ia3_l", Part::Ia3),
    (".on_input", Part::Ia3),
];

/// PEFT's names of parts, which the name of an adapter may follow: `lora_A.default.weight`.
const PEFT: [(&str, Part); 3] =
    [(".lora_A", Part::Down), (".lora_B", Part::Up), (".lora_magnitude_vector", Part::DoraScale)];

impl Part {
    /// Parses a tensor's name. Returns the module and the part, or `None` if no LoRA has such a tensor.
    pub fn parse(name: &str) -> Option<(&str, Self)> {
        ENDINGS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part))).or_else(|| peft(name))
    }

    /// The name of a part of an unsupported kind.
    pub fn unsupported(self) -> Option<&'static str> {
        match self {
            Self::Glora => Some("GLoRA"),
            Self::Oft => Some("OFT"),
            Self::Ia3 => Some("IA3"),
            _ => None,
        }
    }

    /// The most usual name of the part, for messages.
    pub fn name(self) -> &'static str {
        ENDINGS.iter().find(|(_, part)| *part == self).map_or("?", |(ending, _)| &ending[1..])
    }
}

fn peft(name: &str) -> Option<(&str, Part)> {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let parsed = |(mark, part): &(&str, Part)| {
        let (module, adapter) = name.rsplit_once(mark)?;
        let is_name = |adapter: &str| adapter.strip_prefix('.').is_some_and(|name| !name.contains('.'));
        (adapter.is_empty() || is_name(adapter)).then_some((module, *part))
    };
    PEFT.iter().find_map(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_is_parsed() {
        let module = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
        for (ending, part) in [
            (".lora_down.weight", Part::Down),
            (".lora.up.weight", Part::Up),
            ("_lora.down.weight", Part::Down),
            (".lora_linear_layer.up.weight", Part::Up),
            (".lora_A.weight", Part::Down),
            (".lora_B.default.weight", Part::Up),
            (".lora_A.my_style.weight", Part::Down),
            (".lora_magnitude_vector", Part::DoraScale),
            (".lora_magnitude_vector.default.weight", Part::DoraScale),
            (".lokr_w1", Part::LokrW1),
            (".lokr_w1_a", Part::LokrW1A),
            (".b_norm", Part::DiffBias),
        ] {
            assert_eq!(Part::parse(&format!("{module}{ending}")), Some((module, part)), "{ending}");
        }
    }

    #[test]
    fn weights_of_models_are_not_parts() {
        for name in ["conv_in.weight", "time_embed.0.bias", "alphas_cumprod", "text_model.final_layer_norm.weight"] {
            assert_eq!(Part::parse(name), None, "{name}");
        }
    }
}
