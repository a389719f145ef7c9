//! What is different if the demo model draws.

use super::{ModelSource, Requests};
use crate::args::Args;
use crate::demo;
use std::borrow::Cow;

/// The most unknown words in a note.
const MAX_WORDS: usize = 5;

/// The most prompts that are searched for unknown words.
const MAX_PROMPTS: usize = 1000;

/// Returns the command line with the size of the demo model's pictures where the demo model draws and no size is given: in the command
/// line or in cells of its sweep.
pub fn with_its_size(args: &Args) -> Cow<'_, Args> {
    let needs_size =
        |args: &Args| ModelSource::of(args) == ModelSource::Demo && !args.is_given("H") && !args.is_given("W");
    let cells = args.swept.iter().flat_map(|swept| &swept.cells);
    if !cells.chain([args]).any(needs_size) {
        return Cow::Borrowed(args);
    }
    let mut sized = args.clone();
    let mut swept = sized.swept.take();
    for args in swept.iter_mut().flat_map(|swept| &mut swept.cells).chain([&mut sized]) {
        if needs_size(args) {
            (args.sampling.height, args.sampling.width) = (demo::SIDE as i64, demo::SIDE as i64);
        }
    }
    sized.swept = swept;
    Cow::Owned(sized)
}

/// Returns a note on the words in prompts that the demo model has never seen, if it draws. LoRAs and embeddings may add words.
pub fn note_unknown_words(args: &Args, model: &ModelSource, requests: &Requests) -> Option<String> {
    let has_additions = !args.embedding.is_empty() || args.embedding_dir.is_some();
    if *model != ModelSource::Demo || has_additions || requests.params().iter().any(|params| !params.loras.is_empty()) {
        return None;
    }
    let mut words: Vec<String> = vec![];
    for word in requests.prompts().take(MAX_PROMPTS).flat_map(demo::unknown_words) {
        if !words.contains(&word) {
            words.push(word);
        }
        if words.len() > MAX_WORDS {
            words.truncate(MAX_WORDS);
            words.push("…".into());
            break;
        }
    }
    (!words.is_empty()).then(|| format!("the demo model knows only coloured solids, not: {}", words.join(", ")))
}
