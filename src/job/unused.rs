//! Notes on flags and settings that have no effect.

use super::{Requests, fast, loras};
use crate::args::{Args, Program, SeedMode};
use crate::by_name::ByName;
use crate::diffusion::samplers::Kind;
use crate::human;
use crate::ops::Isa;
use crate::params::{LoraChoice, SamplingParams};
use crate::safety::Action;
use std::collections::BTreeMap;

/// Returns a note for each reason why given flags have no effect.
pub fn flags(args: &Args, requests: &Requests) -> impl Iterator<Item = String> {
    let all =
        |is: &dyn Fn(Kind, f64) -> bool| requests.params().iter().all(|params| is(params.sampler.kind, params.scale));
    let is_swept = args.swept.is_some();
    let has_file = args.from_file.is_some();
    let reasons = [
        (
            ["negative_prompt"].as_slice(),
            // The weights of subprompts may be guidance, too.
            all(&|_, scale| scale == 1.) && !args.webui_prompts,
            "at --scale 1, which turns guidance off",
        ),
        (
            &["guidance_rescale", "guidance_interval"],
            all(&|_, scale| scale == 1.),
            "at --scale 1, which turns guidance off",
        ),
        (
            &["negative_prompt", "guidance_rescale"],
            fast::takes_guidance(args),
            "with this model, whose UNet takes the scale as an input",
        ),
        (&["prompt"], has_file, "with --from-file"),
        (&["emphasis", "long_prompt"], args.webui_prompts, "with --webui_prompts, which includes them"),
        (&["n_rows", "grid_every", "caption"], args.skip_grid, "with --skip_grid"),
        (
            &["n_iter", "n_samples", "n_rows", "grid_every", "caption", "seed_mode", "fixed_code"],
            is_swept,
            "with --sweep",
        ),
        (&["format", "fname", "no_metadata", "index"], args.skip_save, "with --skip_save"),
        (&["safety_ckpt"], args.safety == Some(Action::Off), "with --safety off"),
        (&["ddim_eta"], all(&|kind, _| !kind.takes_eta()), "with samplers other than ddim and tcd"),
        (&["schedule"], all(&|kind, _| kind.spacings().len() == 1), "with this sampler"),
        (&["lora_weight"], requests.params().iter().all(|params| params.loras.is_empty()), "without a LoRA"),
        (
            &["hires_strength", "hires_steps", "hires_sampler", "hires_upscaler"],
            requests.params().iter().all(|params| params.second_pass().is_none()),
            "without a second pass (--hires)",
        ),
        (
            &["mask_blur", "mask_fill"],
            requests.params().iter().all(|params| params.mask.is_none() && params.outpaint.is_empty()),
            "without --mask or --outpaint",
        ),
        (
            &["strength", "auto_orient", "fit"],
            requests.params().iter().all(|params| params.init_img.is_none()),
            "without --init-img",
        ),
        (&["fixed_code", "f"], args.program == Program::Img2Img, "with img2img, as in the original"),
        (&["plms"], args.sampling.dpm_solver, "with --dpm_solver"),
        (&["fixed_code"], args.seed_mode == SeedMode::PerImage, "with --seed_mode per_image"),
    ];
    let axes = args.swept.iter().flat_map(|swept| [Some(&swept.columns), swept.rows.as_ref()]).flatten();
    let axes: Vec<&str> = axes.map(|axis| &*axis.name).collect();
    let is_given = |flag: &str| args.is_given(flag) || axes.contains(&flag);
    let unused = reasons.into_iter().filter(|(_, holds, _)| *holds).filter_map(|(flags, _, reason)| {
        let given: Vec<String> = flags.iter().filter(|flag| is_given(flag)).map(|flag| format!("--{flag}")).collect();
        let has = if given.len() == 1 { "has" } else { "have" };
        (!given.is_empty()).then(|| format!("{} {has} no effect {reason}", human::listed(&given)))
    });
    let overridden = axes.iter().filter(|axis| args.is_given(axis));
    let overridden = overridden.map(|axis| format!("--{axis} has no effect with --sweep, which sets it"));
    unused.chain(overridden).collect::<Vec<_>>().into_iter()
}

/// Returns a note on tags of LoRAs in prompts that are text, because `--lora_dir` is missing.
pub fn lora_tags(args: &Args, requests: &Requests) -> Option<String> {
    let has_tag = || requests.prompts().any(loras::has_tag);
    (args.lora_dir.is_none() && args.replay.is_none() && has_tag()).then(|| {
        "a <lora:…> tag in a prompt is treated as text, as in the original; give --lora_dir DIR to load LoRAs by tag"
            .into()
    })
}

/// Returns notes on LoRAs whose weight is 0 in all requests.
pub fn weightless_loras(requests: &Requests) -> Vec<String> {
    let mut has_weight: BTreeMap<&str, bool> = BTreeMap::new();
    for SamplingParams { loras, lora_weight, .. } in requests.params() {
        for LoraChoice { name, text, unet } in loras {
            *has_weight.entry(name).or_default() |= *lora_weight != 0. && (*text != 0. || *unet != 0.);
        }
    }
    let weightless = has_weight.into_iter().filter(|(_, has_weight)| !has_weight);
    weightless.map(|(name, _)| format!("LoRA '{name}' has weight 0, so it does not change the model")).collect()
}

/// Returns a note on blank prompts in the prompts file, which draw pictures like any other.
pub fn blank_prompts(args: &Args, requests: &Requests) -> Option<String> {
    let file = args.from_file.as_ref()?.display();
    match requests.prompts().filter(|prompt| prompt.trim().is_empty()).count() {
        0 => None,
        1 => Some(format!("1 prompt in '{file}' is blank; it is drawn like the others, as in the original")),
        n => Some(format!("{n} prompts in '{file}' are blank; they are drawn like the others, as in the original")),
    }
}

/// Returns a note on a value of `TXT2IMG_ISA` that is not an instruction set of this processor.
pub fn instruction_set() -> Option<String> {
    let name = std::env::var_os("TXT2IMG_ISA").filter(|name| !name.is_empty())?;
    let name = name.to_string_lossy();
    let problem = match Isa::from_name(&name) {
        Some(isa) if Isa::best().includes(isa) => return None,
        Some(_) => "is not an instruction set of this processor".to_owned(),
        None => format!("is not an instruction set (use {})", Isa::names()),
    };
    Some(format!("TXT2IMG_ISA '{name}' {problem} and is ignored; {} is used", Isa::best().name()))
}
