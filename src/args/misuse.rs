//! Errors in the command line: one sentence, the flag that it is about, and a suggestion if there is a good one.

use super::expand::{find, names};
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};
use std::fmt::Write;

/// The similarity, from 0 to 1, from which a flag is suggested for an unknown one: one wrong letter in three, or two swapped.
const MIN_SIMILARITY: f64 = 0.66;

/// The names that other programs have for our flags: diffusers, AUTOMATIC1111's web UI, InvokeAI and stable-diffusion.cpp.
const OTHER_NAMES: [(&str, &str); 22] = [
    ("model", "ckpt"),
    ("model-path", "ckpt"),
    ("checkpoint", "ckpt"),
    ("output", "outdir"),
    ("output-dir", "outdir"),
    ("output-path", "outdir"),
    ("guidance-scale", "scale"),
    ("num-inference-steps", "steps"),
    ("sampling-steps", "steps"),
    ("iterations", "n_iter"),
    ("batch-count", "n_iter"),
    ("num-images", "n_samples"),
    ("num-images-per-prompt", "n_samples"),
    ("sampler-name", "sampler"),
    ("sampling-method", "sampler"),
    ("scheduler", "sampler"),
    ("image", "init-img"),
    ("init-image", "init-img"),
    ("denoising-strength", "strength"),
    ("prompts-file", "from-file"),
    ("lora-model-dir", "lora_dir"),
    ("upscale", "hires"),
];

/// Returns an error with a message of its own.
pub fn error(command: &Command, kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::raw(kind, message.into() + "\n").with_cmd(command)
}

/// Returns an error that ends with the flag that it is about, instead of the usage of the whole program, and has another
/// suggestion than clap's.
pub fn explain(mut error: Error, command: &Command) -> Error {
    error.remove(ContextKind::Usage);
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg).cloned() else { return error };
    if error.kind() == ErrorKind::UnknownArgument {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::Suggested);
        if !word.starts_with('-') {
            let tip = match word.starts_with(['–', '—']) {
                true => "flags begin with two hyphens, which some programs turn into a dash",
                false => "texts that contain spaces need quotes, as in --prompt \"a red ball\"",
            };
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.to_owned().into()]));
        } else if let Some(name) = suggestion(command, &word) {
            error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{name}")));
        }
    }
    let about = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(suggested)) => suggested,
        _ => &word,
    };
    let name = about.split(' ').next().and_then(|flag| flag.strip_prefix("--"));
    if let Some(arg) = name.and_then(|name| find(command, name)) {
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(command, arg)));
    }
    error
}

/// Returns the name of the flag that an unknown one stands for or resembles.
fn suggestion<'a>(command: &'a Command, unknown: &str) -> Option<&'a str> {
    let name = unknown.trim_start_matches('-').split('=').next().unwrap_or_default().replace('_', "-");
    if let Some((_, ours)) = OTHER_NAMES.iter().find(|(other, _)| *other == name) {
        return Some(ours);
    }
    let similarity = |flag: &str| strsim::normalized_damerau_levenshtein(&name, &flag.replace('_', "-"));
    let rated = command.get_arguments().flat_map(names).map(|flag| (similarity(flag), flag));
    let similar = rated.filter(|(similarity, _)| *similarity >= MIN_SIMILARITY);
    similar.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, flag)| flag)
}

/// Returns the usage of one flag, with its help.
fn usage(command: &Command, arg: &Arg) -> StyledStr {
    let styles = command.get_styles();
    let (header, literal) = (styles.get_usage(), styles.get_literal());
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut usage = StyledStr::new();
    // Writing to a string does not fail.
    let _ = write!(usage, "{header}Usage:{header:#} {literal}{arg}{literal:#}\n  {help}");
    usage
}
