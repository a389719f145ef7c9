//! Every command in a README runs as written, or is listed here with the reason why no test runs it.

use crate::support::{TestRun, stderr};
use std::fs::{self, read_to_string};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands that are not run here, and the reason.
const NOT_RUN: [(&str, &str); 37] = [
    (
        "cargo run --release -- --prompt \"a photo of a pink cube, black background\" --plms --skip_grid --n_samples 1",
        ".ci/run runs it",
    ),
    (
        "cargo run --release -- --prompt \"a photo of a pink cube, black background\" --n_iter 1 \
         --n_samples 1 --lora models/demo/lcm.safetensors --fast auto --skip_grid",
        ".ci/run runs it",
    ),
    ("cargo test --release", ".ci/run runs it"),
    ("cargo install --path .", "it compiles for minutes, and installs into the user's home"),
    (
        "txt2img --ckpt hub --prompt \"a photograph of an astronaut riding a horse\" --plms",
        "it downloads 4 GB; tests/hub downloads from a local server",
    ),
    (
        "txt2img --lora latent-consistency/lcm-lora-sdv1-5 --fast auto --prompt \"a photograph of an astronaut riding a \
         horse\"",
        "it downloads 135 MB; tests/hub downloads from a local server",
    ),
    (
        "txt2img --ckpt demo --init-img models/demo/pink-cube.png --outpaint 128,0,128,0 --prompt \"a photo of a pink cube, black \
         background\"",
        "the borders have no room in small pictures; tests/cli/inpainting.rs draws borders",
    ),
    (
        "sbatch deploy/slurm.sbatch --from-file prompts.txt --outdir /shared/big",
        "it needs Slurm; tests/cluster/slurm.sh runs it",
    ),
    ("txt2img --outdir /shared/big --collect", "it needs the pictures of the Slurm run; tests/cli/resume collects"),
    ("kubectl apply -f deploy/kubernetes.yaml", "it needs Kubernetes"),
    ("kubectl patch job/txt2img-collect --patch '{\"spec\": {\"suspend\": false}}'", "it needs Kubernetes"),
    ("cargo build --release --features cuda", "it needs CUDA's toolkit"),
    ("cargo clippy --features cuda --all-targets", "it needs CUDA's toolkit"),
    ("deploy/cuda.sh cuda && source cuda/env.sh", "it downloads 1.5 GB"),
    ("cargo doc --open", "it opens a browser"),
    ("deploy/release.sh", "it compiles for minutes"),
    ("cargo bench --bench ops [-- half] [cuda] [WORD]", "it takes minutes"),
    ("cargo bench --bench stages [-- half] [compact] [cuda] [BATCH] [STAGE]", "it takes minutes"),
    ("cargo bench --bench stages -- tiny", "it takes minutes"),
    ("cargo bench --bench ops -- attention", "it takes minutes"),
    ("cargo bench --bench ops -- half conv", "it takes minutes"),
    ("cargo bench --bench stages -- half [compact]", "it takes minutes"),
    ("cargo bench --bench bulk [-- PICTURES]", "it takes minutes"),
    ("cargo bench --bench bulk", "it takes minutes"),
    ("cargo bench --bench demo", "it takes minutes"),
    ("cargo bench --bench demo [-- FOLDER]", "it takes minutes"),
    ("cargo bench --bench hires", "it takes minutes"),
    ("cargo bench --bench hires [-- PICTURES [SIZE]]", "it takes minutes"),
    ("cargo bench --bench shortcuts", "it takes minutes"),
    ("cargo bench --features cuda --bench stages -- half cuda", "it needs an NVIDIA GPU"),
    (
        "TXT2IMG_GRAPH=1 TXT2IMG_WAY=gemm_f16_64x64_4:2 cargo bench --features cuda --bench ops -- half cuda linear",
        "it needs an NVIDIA GPU",
    ),
    ("benches/peers/run.py [ROUNDS] [BATCH]", "it needs PyTorch and OpenVINO"),
    ("benches/peers/few_steps.py PROGRAM [ROUNDS]", "it needs PyTorch and OpenVINO"),
    ("benches/peers/few_steps.py", "it needs PyTorch and OpenVINO"),
    ("benches/peers/closeness.py PROGRAM", "it needs PyTorch"),
    ("benches/peers/closeness.py", "it needs PyTorch"),
    ("tests/card/run.sh", "it takes minutes"),
];

/// Flags appended to every command to draw small pictures; full-sized ones take a minute. The last of repeated flags
/// wins.
const SMALL: &str = "--H 64 --W 64 --ddim_steps 2";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every README below `folder`.
fn readmes(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ignored = ["target", ".git", "cuda", "outputs"].map(|name| root().join(name));
    let is_source = |path: &PathBuf| !ignored.contains(path) && !path.is_symlink();
    let found = entries.filter(is_source).flat_map(|path| match path.is_dir() {
        true => readmes(&path),
        false => {
            if path.ends_with("README.md") {
                vec![path]
            } else {
                vec![]
            }
        }
    });
    found.collect()
}

/// Returns the commands of a README: the lines of its `sh` blocks, and what looks like a command in indented lines and
/// in code within sentences.
fn commands(readme: &str) -> Vec<String> {
    let (mut commands, mut prose) = (vec![], String::new());
    for (i, block) in readme.split("```").enumerate() {
        match block.strip_prefix("sh\n").filter(|_| i % 2 == 1) {
            Some(script) => commands.extend(script.replace("\\\n", " ").lines().map(one_line)),
            None if i % 2 == 0 => prose += block,
            None => (),
        }
    }
    let (indented, flowing): (Vec<_>, Vec<_>) = prose.lines().partition(|line| line.starts_with("    "));
    // A description may follow the command.
    let indented = indented.into_iter().map(|line| one_line(line.trim().split("   ").next().unwrap_or_default()));
    let flowing = flowing.join("\n");
    let code = flowing.split('`').skip(1).step_by(2).map(one_line);
    commands.extend(indented.chain(code).filter(|code| is_command(code)));
    commands.retain(|command| !command.is_empty());
    commands
}

/// Returns a command without its comment, and with one space between words.
fn one_line(command: &str) -> String {
    let command = command.split(" #").next().unwrap_or_default();
    command.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_command(code: &str) -> bool {
    let is_setting = |word: &&str| {
        word.split_once('=')
            .is_some_and(|(name, _)| !name.contains(|c: char| !c.is_ascii_uppercase() && !"_0123456789".contains(c)))
    };
    let mut words = code.split(' ').skip_while(is_setting);
    let (program, has_more) = (words.next().unwrap_or_default(), words.next().is_some());
    match program {
        "txt2img" | "img2img" | "cargo" | "sbatch" | "kubectl" | "srun" | "pip" | "python" | "python3" => has_more,
        script => {
            // cuda/ is created by deploy/cuda.sh.
            script.contains('/')
                && !script.starts_with("cuda/")
                && root().join(script).is_file()
                && (script.ends_with(".sh") || script.ends_with(".py"))
        }
    }
}

/// Creates a folder like a user's checkout, with the programs in `bin`.
fn checkout() -> TestRun {
    let run = TestRun::new();
    for entry in fs::read_dir(root()).unwrap().map(Result::unwrap) {
        if entry.file_name() != "target" && entry.file_name() != ".git" {
            symlink(entry.path(), run.path(entry.file_name().to_str().unwrap())).unwrap();
        }
    }
    // The demo model takes the place of the user's model and of the default config.
    fs::create_dir_all(run.path("configs/stable-diffusion")).unwrap();
    symlink(root().join("models/demo/demo.yaml"), run.path("configs/stable-diffusion/v1-inference.yaml")).unwrap();
    symlink(root().join("models/demo/demo.safetensors"), run.path("v1-5-pruned-emaonly.safetensors")).unwrap();
    fs::create_dir(run.path("bin")).unwrap();
    for (name, program) in [("txt2img", env!("CARGO_BIN_EXE_txt2img")), ("img2img", env!("CARGO_BIN_EXE_img2img"))] {
        let file = run.path("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\nexec '{program}' \"$@\" {SMALL}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    run
}

#[track_caller]
fn succeeds(run: &TestRun, command: &str) {
    let path = format!("{}:{}", run.path("bin").display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-c", command]).current_dir(run.path("")).env("PATH", path).env_remove("TXT2IMG").env_remove("CKPT");
    let output = shell.env("HF_HUB_OFFLINE", "1").env("HF_HOME", run.path("hub")).output().unwrap();
    assert!(output.status.success(), "{command}\n{}", stderr(&output));
}

fn all_commands() -> Vec<String> {
    let mut commands: Vec<String> =
        readmes(root()).iter().flat_map(|readme| commands(&read_to_string(readme).unwrap())).collect();
    commands.sort();
    commands.dedup();
    commands
}

#[test]
fn every_command_runs_or_has_a_reason_not_to() {
    let commands = all_commands();
    for (command, _) in NOT_RUN {
        assert!(commands.iter().any(|other| other == command), "no README has the command\n{command}");
    }
    let run: Vec<_> = commands.iter().filter(|command| NOT_RUN.iter().all(|(other, _)| other != command)).collect();
    assert!(run.len() >= 7, "{run:#?}");
    let checkout = checkout();
    run.into_iter().for_each(|command| succeeds(&checkout, command));
}

#[test]
fn every_script_of_the_article_runs_without_variables() {
    let checkout = checkout();
    for script in ["single.sh", "wide.sh", "scale.sh", "wording.sh"] {
        succeeds(&checkout, &format!("tests/article/{script} --outdir {script}"));
        assert!(checkout.path(script).join("samples/00000.png").is_file(), "{script}");
    }
    succeeds(&checkout, "STEPS=1,2 tests/article/samplers.sh --outdir samplers");
    succeeds(&checkout, "WIDTHS=64 HEIGHTS=64,72 tests/article/size.sh --outdir sizes");
    succeeds(&checkout, "tests/article/bulk.sh --outdir bulk");
    succeeds(&checkout, "tests/article/benchmark.sh --outdir benchmark");
}

#[test]
fn commands_are_found_anywhere_in_the_text() {
    let text = "Draw `txt2img --plms`, or `FOO=1 cargo\ntest`, not `--plms` nor `txt2img`:\n\n    cargo build    what it does\n    src/   no\n\n\
                ```sh\na \\\n    b  # comment\nc\n```\n\n```json\nd\n```\n";
    assert_eq!(commands(text), ["a b", "c", "cargo build", "txt2img --plms", "FOO=1 cargo test"]);
}
