//! What a run must have in common with one that it goes on with.

use super::{Line, Lines};
use crate::args::Args;
use crate::by_name::ByName;
use crate::config::ModelConfig;
use crate::hexadecimal::hexadecimal;
use crate::output::{Terms, sha256_of};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// All that decides how pictures come out and what is written of them, but for the model. seed: the one taken.
pub fn terms(args: &Args, seed: u32, lines: &Lines, config: &ModelConfig) -> Terms {
    let terms = [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        prompts(args, lines),
        ("--n_iter", json!(args.n_iter)),
        ("--n_samples", json!(args.n_samples)),
        ("--ddim_steps", json!(args.ddim_steps)),
        ("--ddim_eta", json!(args.ddim_eta)),
        ("--sampler", json!(args.sampler.map_or("ddim", |kind| kind.name()))),
        ("--schedule", json!(args.schedule.name())),
        ("--scale", json!(args.scale)),
        ("--H", json!(args.height)),
        ("--W", json!(args.width)),
        ("--f", json!(args.factor)),
        ("--fixed_code", json!(args.fixed_code)),
        ("--seed", json!(seed)),
        ("--seed_mode", json!(args.seed_mode.name())),
        ("--rng", json!(args.rng.to_string())),
        ("--negative_prompt", json!(args.negative_prompt)),
        ("--emphasis", json!(args.emphasis)),
        ("--long_prompt", json!(args.long_prompt)),
        ("--wildcards", json!(args.wildcards)),
        ("--sweep", json!(args.sweep)),
        ("--config", json!(sha256_of(format!("{config:?}").as_bytes()))),
        ("--format", json!(args.format.name())),
        ("--fname", json!(args.fname.as_ref().map(|fname| format!("{fname:?}")))),
        ("--no_metadata", json!(args.no_metadata)),
        ("--save_intermediates", json!(args.save_intermediates)),
        ("--skip_save", json!(args.skip_save)),
        ("--skip_grid", json!(args.skip_grid)),
        ("--n_rows", json!(args.n_rows)),
        ("--grid_every", json!(args.grid_every)),
        ("--skip_watermark", json!(args.skip_watermark)),
    ];
    terms.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The prompt; of a file of them the hash, with all that its lines ask for.
fn prompts(args: &Args, lines: &Lines) -> (&'static str, Value) {
    if args.from_file.is_none() && args.swept.is_none() {
        return ("--prompt", json!(args.prompt));
    }
    let mut hash = Sha256::new();
    let mut last = None;
    for Line { prompt, negative, seed, settings } in lines.lines() {
        hash.update(format!("{}\n{prompt}\n{}\n{negative}\n{seed:?}\n", prompt.len(), negative.len()));
        // Most lines have those of the line before.
        if last != Some(settings) {
            hash.update(format!("{settings:?}\n"));
            last = Some(settings);
        }
    }
    (if args.swept.is_some() { "what is swept" } else { "--from-file" }, json!(hexadecimal(hash)))
}
