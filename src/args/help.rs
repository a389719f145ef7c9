//! The texts of `-h`, `--help` and `--version`: which flags they list, in which groups, and what surrounds them.

use super::program::Program;
use crate::by_name::ByName;
use crate::ops;
use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, ValueHint};
use std::fmt::Write;
use std::sync::LazyLock;

/// The groups of `--help`, and the flags of each in order.
const GROUPS: [(&str, &[&str]); 9] = [
    (
        "Prompt",
        &[
            "prompt",
            "negative_prompt",
            "from-file",
            "emphasis",
            "long_prompt",
            "webui_prompts",
            "wildcards",
            "embedding",
            "embedding_dir",
            "clip_skip",
        ],
    ),
    (
        "Sampling",
        &[
            "ddim_steps",
            "sampler",
            "plms",
            "dpm_solver",
            "scale",
            "seed",
            "seed_mode",
            "rng",
            "fixed_code",
            "ddim_eta",
            "schedule",
            "guidance_rescale",
            "guidance_interval",
            "deepcache",
            "fast",
        ],
    ),
    (
        "Size and number",
        &[
            "H",
            "W",
            "n_samples",
            "n_iter",
            "hires",
            "hires_strength",
            "hires_steps",
            "hires_sampler",
            "hires_upscaler",
            "C",
            "f",
        ],
    ),
    (
        "Starting from a picture",
        &["init-img", "strength", "mask", "mask_blur", "mask_fill", "outpaint", "fit", "auto_orient"],
    ),
    (
        "Model",
        &[
            "ckpt",
            "config",
            "vae",
            "prediction",
            "lora",
            "lora_weight",
            "lora_dir",
            "precision",
            "low_memory",
            "device",
            "threads",
            "laion400m",
        ],
    ),
    (
        "Output",
        &[
            "outdir",
            "format",
            "fname",
            "skip_save",
            "skip_grid",
            "n_rows",
            "grid_every",
            "caption",
            "index",
            "show",
            "open",
            "save_intermediates",
            "no_metadata",
            "watermark",
            "skip_watermark",
            "safety",
            "safety_ckpt",
        ],
    ),
    ("Long runs", &["resume", "shard", "report", "progress", "quiet", "verbose", "color"]),
    ("Comparing", &["sweep", "compare_exact", "timings"]),
    (
        "Checks and other commands",
        &["dry_run", "collect", "replay", "verify_watermark", "completions", "man", "help", "version"],
    ),
];

/// The flags of `-h`, which has no groups, with shorter texts.
const COMMON: [(&str, &str); 17] = [
    ("prompt", "Text to draw"),
    ("negative_prompt", "What should not be in the picture"),
    ("from-file", "Draw every line of this file"),
    ("init-img", "Picture to start from"),
    ("ckpt", "Model: a file, a folder, hub, or OWNER/NAME"),
    ("outdir", "Output folder"),
    ("ddim_steps", "Number of sampling steps"),
    ("sampler", "Sampler, such as plms or dpmpp_2m"),
    ("scale", "How closely to follow the prompt"),
    ("seed", "Random seed; -1 picks one"),
    ("H", "Height in pixels"),
    ("W", "Width in pixels"),
    ("n_samples", "Pictures per batch"),
    ("n_iter", "Number of rounds"),
    ("sweep", "Compare values, such as scale=5,7.5,10"),
    ("help", "Print this help; --help prints all of it"),
    ("version", "Print the version"),
];

/// Examples of command lines, with their purposes.
const TXT2IMG_EXAMPLES: &[(&str, &str)] = &[
    ("txt2img --prompt \"a photo of a pink cube, black background\"", "Try the built-in demo model"),
    ("txt2img --ckpt hub --prompt \"an astronaut riding a horse\" --plms", "Draw with Stable Diffusion 1.5"),
    ("txt2img --ckpt model.safetensors --from-file prompts.txt --n_iter 1", "Draw every line of a file once"),
    ("txt2img --prompt \"a red ball\" --sweep sampler=ddim,euler --sweep steps=10,20", "Compare settings on one sheet"),
    ("txt2img --prompt \"a blue ball\" --init-img ball.png --strength 0.6", "Change a picture"),
    ("txt2img --from-file prompts.txt --outdir big --resume", "Continue an interrupted run"),
];

/// Examples of `img2img`.
const IMG2IMG_EXAMPLES: &[(&str, &str)] = &[
    ("img2img --ckpt hub --init-img sketch.png --prompt \"a castle\"", "Change a picture"),
    ("img2img --init-img photo.png --mask mask.png --prompt \"a hat\"", "Redraw the white part of a mask"),
    ("img2img --init-img a.png --prompt \"a castle\" --sweep strength=0.3..0.9:0.2", "Compare strengths on one sheet"),
];

/// The environment variables.
const VARIABLES: [(&str, &str); 10] = [
    ("TXT2IMG_CKPT", "The model, if --ckpt is not given"),
    ("TXT2IMG_OUTDIR", "The output folder, if --outdir is not given"),
    ("TXT2IMG_ISA", "Restrict the CPU code to an older instruction set"),
    ("HF_TOKEN", "Token for gated or private repositories of the Hugging Face hub"),
    ("HF_HOME", "Folder of downloaded models [default: ~/.cache/huggingface]"),
    ("XDG_CACHE_HOME", "Folder of caches; txt2img/sha256 keeps the hashes of large models [default: ~/.cache]"),
    ("HF_ENDPOINT", "Mirror of the Hugging Face hub"),
    ("HF_HUB_OFFLINE", "1: download nothing"),
    ("HTTPS_PROXY", "Proxy for downloads"),
    ("NO_COLOR", "Print without colours"),
];

/// The exit codes.
const EXIT_CODES: [(&str, &str); 4] = [
    ("0", "Success"),
    ("1", "A problem with a file, a model, the machine or the network"),
    ("2", "A mistake in the command line"),
    ("130", "Interrupted by Ctrl-C; --resume continues"),
];

/// The tables at the end of `--help` and of the manual page.
pub const TABLES: [(&str, &[(&str, &str)]); 2] = [("Environment variables", &VARIABLES), ("Exit codes", &EXIT_CODES)];

/// Adds the texts to the command of `program`: those of `-h` if `is_short`, else those of `--help`.
pub fn add(mut command: Command, program: Program, is_short: bool) -> Command {
    // Defined here, as those that clap adds have no group.
    command = command.disable_help_flag(true).disable_version_flag(true);
    command = command.arg(flag('h', "help", ArgAction::Help, "Print all flags; -h prints the most common ones"));
    command =
        command.arg(flag('V', "version", ArgAction::Version, "Print the version; --version also prints the build"));
    command = command.mut_args(with_hint);
    let epilogue = epilogue(&command, program);
    command = command.long_version(LONG_VERSION.as_str()).after_long_help(epilogue);
    if is_short {
        return short(command);
    }
    for (heading, flags) in GROUPS {
        for (order, flag) in flags.iter().enumerate() {
            command = mut_flag(command, flag, |arg| arg.help_heading(heading).display_order(order));
        }
    }
    command
}

/// Returns an argument that shells complete by files or folders, if its value is one.
fn with_hint(arg: Arg) -> Arg {
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
    match &*value {
        "FILE" | "FILE[=NAME]" | "NAME[=WEIGHT[,UNET_WEIGHT]]" => arg.value_hint(ValueHint::AnyPath),
        "DIR" | "FOLDER" => arg.value_hint(ValueHint::DirPath),
        _ => arg,
    }
}

/// Returns a flag without a value.
fn flag(short: char, long: &'static str, action: ArgAction, help: &'static str) -> Arg {
    Arg::new(long).short(short).long(long).action(action).help(help)
}

/// Applies `change` to the argument with this long name.
fn mut_flag(command: Command, name: &str, change: impl FnOnce(Arg) -> Arg) -> Command {
    let id = command.get_arguments().find(|arg| arg.get_long() == Some(name)).map(|arg| arg.get_id().clone());
    match id {
        Some(id) => command.mut_arg(id, change),
        None => command,
    }
}

/// Returns a command whose help has the common flags alone, on one screen.
fn short(mut command: Command) -> Command {
    command = command.mut_args(|arg| arg.hide_short_help(true).hide_possible_values(true));
    for (order, (name, help)) in COMMON.into_iter().enumerate() {
        command = mut_flag(command, name, |arg| {
            let hides_default = name == "prompt" || arg.is_hide_default_value_set();
            let arg = arg.help(help).hide_short_help(false).hide_default_value(hides_default);
            arg.visible_alias(None).display_order(order)
        });
    }
    command
}

/// Returns examples of command lines, with their purposes.
pub fn examples(program: Program) -> &'static [(&'static str, &'static str)] {
    if program == Program::Img2Img { IMG2IMG_EXAMPLES } else { TXT2IMG_EXAMPLES }
}

/// Returns the end of `--help`: examples, environment variables and exit codes.
fn epilogue(command: &Command, program: Program) -> StyledStr {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut text = StyledStr::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{header}Examples:{header:#}");
    for (example, purpose) in examples(program) {
        let _ = write!(text, "\n  {purpose}:\n      {literal}{example}{literal:#}");
    }
    for (title, rows) in TABLES {
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let _ = write!(text, "\n\n{header}{title}:{header:#}");
        for (name, meaning) in rows {
            let _ = write!(text, "\n  {literal}{name:width$}{literal:#}  {meaning}");
        }
    }
    text
}

/// The text of `--version` after the program's name: the version, the commit, the target, whether the program has CUDA, and the
/// instruction set in use.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("TXT2IMG_COMMIT").map_or(String::new(), |commit| format!(" ({commit})"));
    format!(
        "{}{commit}\ntarget: {}\nCUDA: {}\ninstruction set: {}",
        env!("CARGO_PKG_VERSION"),
        env!("TXT2IMG_TARGET"),
        if cfg!(feature = "cuda") { "yes" } else { "no" },
        ops::isa().name()
    )
});
