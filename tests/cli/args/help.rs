//! `-h`, `--help`, `--version`, `--completions` and `--man`.

use crate::support::{TestRun, stdout};
use clap::CommandFactory;
use txt2img::args::Args;

/// The groups of `--help`.
const GROUPS: [&str; 9] = [
    "Prompt",
    "Sampling",
    "Size and number",
    "Starting from a picture",
    "Model",
    "Output",
    "Long runs",
    "Comparing",
    "Checks and other commands",
];

/// Returns what a program prints with one flag.
#[track_caller]
fn printed(flags: &[&str]) -> String {
    stdout(&TestRun::new().alone(flags).ok())
}

/// Returns the flags that a help text lists, without dashes, in order.
fn listed(help: &str) -> Vec<&str> {
    let is_flag = |line: &&str| line.starts_with("  -") || line.starts_with("      --");
    let flags = help.lines().filter(is_flag).filter_map(|line| line.split_once("--"));
    flags.map(|(_, rest)| rest.split([' ', '[', '=']).next().unwrap()).collect()
}

#[test]
fn help_lists_every_flag_once_in_a_group() {
    let help = printed(&["--help"]);
    let mut flags = listed(&help);
    assert_eq!(flags.first(), Some(&"prompt"));
    flags.sort_unstable();
    let command = Args::command();
    let mut all: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
    all.extend(["help", "version"]);
    all.sort_unstable();
    assert_eq!(flags, all);
    let headings = help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' '));
    let headings: Vec<&str> = headings.map(|line| line.trim_end_matches(':')).collect();
    assert_eq!(headings[..GROUPS.len()], GROUPS);
    assert_eq!(headings[GROUPS.len()..], ["Examples", "Environment variables", "Exit codes"]);
}

#[test]
fn short_help_is_one_screen() {
    for program in [env!("CARGO_BIN_EXE_txt2img"), env!("CARGO_BIN_EXE_img2img")] {
        let output = std::process::Command::new(program).arg("-h").env("COLUMNS", "80").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.lines().count() <= 24, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        let flags = listed(&help);
        for flag in ["prompt", "from-file", "ckpt", "outdir", "seed", "H", "n_iter", "help"] {
            assert!(flags.contains(&flag), "{flag}");
        }
    }
}

#[test]
fn help_explains_each_sampler() {
    let help = printed(&["--help"]);
    assert!(help.contains("- ddim:       the original's default; 30 to 50 steps"));
    assert!(help.contains("- lcm:        for LCM models and LoRAs;"));
}

#[test]
fn help_names_defaults_and_second_spellings() {
    let help = printed(&["--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" "); // lines may be broken anywhere
    for words in ["[default: 7.5]", "[alias: --height]", "[alias: --downsampling_factor]", "[alias: --from_file]"] {
        assert!(help.contains(words), "{words}");
    }
}

#[test]
fn the_version_is_the_crates() {
    let first = format!("txt2img {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["-V"]), format!("{first}\n"));
    for word in ["--version", "--v"] {
        let version = printed(&[word]);
        let lines: Vec<&str> = version.lines().collect();
        assert!(lines.len() == 4 && lines[0].starts_with(&first), "{version}");
        for (line, name) in lines[1..].iter().zip(["target: ", "CUDA: ", "instruction set: "]) {
            assert!(line.strip_prefix(name).is_some_and(|value| !value.is_empty()), "{version}");
        }
    }
}

#[test]
fn completions_and_the_manual_page_name_the_flags() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = printed(&["--completions", shell]);
        assert!(script.contains("n_samples"), "{shell}");
        assert_eq!(script.contains("dpmpp_2m"), shell != "powershell", "{shell}");
    }
    let page = printed(&["--man"]);
    assert!(page.starts_with(".ie") && page.contains(".TH txt2img 1") && page.contains("n_samples"), "{page:.200}");
    TestRun::new().alone(["--completions", "tcsh"]).is_misuse("invalid value 'tcsh'");
}
