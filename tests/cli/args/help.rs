//! `--help` and `--version`.

use crate::support::{TestRun, stdout};

const ORIGINALS: [&str; 23] = [
    "--prompt",
    "--outdir",
    "--skip_grid",
    "--skip_save",
    "--ddim_steps",
    "--plms",
    "--dpm_solver",
    "--laion400m",
    "--fixed_code",
    "--ddim_eta",
    "--n_iter",
    "--H",
    "--W",
    "--C",
    "--f",
    "--n_samples",
    "--n_rows",
    "--scale",
    "--from-file",
    "--config",
    "--ckpt",
    "--seed",
    "--precision",
];

const OURS: [&str; 57] = [
    "--guidance_rescale",
    "--guidance_interval",
    "--deepcache",
    "--clip_skip",
    "--init-img",
    "--strength",
    "--mask",
    "--mask_blur",
    "--mask_fill",
    "--outpaint",
    "--sampler",
    "--schedule",
    "--hires",
    "--hires_strength",
    "--hires_steps",
    "--hires_sampler",
    "--hires_upscaler",
    "--fast",
    "--lora",
    "--lora_weight",
    "--negative_prompt",
    "--emphasis",
    "--long_prompt",
    "--webui_prompts",
    "--auto_orient",
    "--fit",
    "--wildcards",
    "--rng",
    "--seed_mode",
    "--vae",
    "--prediction",
    "--embedding",
    "--embedding_dir",
    "--lora_dir",
    "--device",
    "--threads",
    "--sweep",
    "--safety",
    "--safety_ckpt",
    "--format",
    "--fname",
    "--save_intermediates",
    "--no_metadata",
    "--replay",
    "--grid_every",
    "--resume",
    "--shard",
    "--collect",
    "--dry_run",
    "--verify_watermark",
    "--progress",
    "--quiet",
    "--report",
    "--compare_exact",
    "--watermark",
    "--skip_watermark",
    "--timings",
];

/// Returns the flags below a heading, in order.
fn flags_below(help: &str, heading: &str) -> Vec<String> {
    let (_, section) = help.split_once(&format!("\n{heading}:\n")).unwrap();
    let lines = section.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    // A short flag stands before a long one.
    let flags = lines.filter(|line| line.starts_with("  -") || line.starts_with("      --"));
    let flags = flags.filter_map(|line| line.split_once("--"));
    flags.map(|(_, name)| format!("--{}", name.split(' ').next().unwrap())).collect()
}

#[test]
fn help_lists_the_originals_flags_first() {
    for word in ["--help", "-h"] {
        let help = stdout(&TestRun::new().alone([word]).ok());
        assert_eq!(flags_below(&help, "Options of the original"), ORIGINALS);
        assert_eq!(flags_below(&help, "Options that the original lacks"), OURS);
        assert!(help.find("Options of the original") < help.find("Options that the original lacks"));
    }
}

#[test]
fn help_names_defaults_and_second_spellings() {
    let help = stdout(&TestRun::new().alone(["--help"]).ok());
    let help = help.split_whitespace().collect::<Vec<_>>().join(" "); // lines may be broken anywhere
    for words in ["[default: 7.5]", "[alias: --height]", "[alias: --downsampling_factor]", "[alias: --from_file]"] {
        assert!(help.contains(words), "{words}");
    }
}

#[test]
fn the_version_is_the_crates() {
    for word in ["--version", "-V", "--v"] {
        let version = stdout(&TestRun::new().alone([word]).ok());
        assert_eq!(version, format!("txt2img {}\n", env!("CARGO_PKG_VERSION")));
    }
}
