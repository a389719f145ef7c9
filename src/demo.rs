//! The bundled demo model, which draws coloured solids. It is a checkpoint and a config like any other.

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use anyhow::{Context, Result};

/// The name of the demo model in `--ckpt`.
pub const NAME: &str = "demo";

/// The side in pixels of the pictures that it was trained on.
pub const SIDE: usize = 256;

/// The words of its captions (`models/demo/train/scenes.py`), except single letters.
const WORDS: &str = "3d 4k 8k against an and art artstation backdrop background ball beautiful beside big black block blue box \
    brown can center centre cinematic cone cube cyan cylinder detailed digital donut drawing dull engine focus front \
    glossy gray green grey hd high highly huge illustration image in large left light lighting masterpiece matte \
    middle minimalist next octane of on one orange orb painting photo photograph picture pink polished product \
    purple pyramid quality realistic red render right ring sharp shiny side simple small soft sphere studio teal the \
    tiny to torus trending tube turquoise unreal violet wallpaper white with yellow";

/// The checkpoint, a `.safetensors` file.
pub static WEIGHTS: &[u8] = include_bytes!("../models/demo/demo.safetensors");
/// The text of the config.
const CONFIG: &str = include_str!("../models/demo/demo.yaml");

/// Returns the config.
///
/// # Errors
/// If the bundled file is damaged.
pub fn config() -> Result<ModelConfig> {
    ModelConfig::parse(CONFIG).context("the demo model's config")
}

/// Opens the checkpoint.
///
/// # Errors
/// If the bundled file is damaged.
pub fn checkpoint() -> Result<Checkpoint> {
    Checkpoint::built_in(NAME.as_ref(), WEIGHTS)
}

/// Returns the words of a prompt that the demo model has never seen, in lower case. Numbers and single letters do not count.
pub fn unknown_words(prompt: &str) -> impl Iterator<Item = String> {
    let words = prompt.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    words.filter(|word| {
        let is_known = |word: &str| WORDS.split(' ').any(|known| known == word);
        let counts = word.chars().count() > 1 && !word.chars().all(|c| c.is_ascii_digit());
        counts && !is_known(word) && !word.strip_suffix('s').is_some_and(is_known)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_outside_of_the_captions_are_unknown() {
        let unknown = |prompt: &str| unknown_words(prompt).collect::<Vec<_>>();
        assert_eq!(unknown("A photo of 2 pink cubes, (black:1.2) background."), [""; 0]);
        assert_eq!(unknown("a Horse on an astronaut's ball"), ["horse", "astronaut"]);
    }
}
