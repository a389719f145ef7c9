//! The build script: what `--version` reports of a build, and the kernels of the feature `cuda`.

#[path = "ops/cuda/build.rs"]
mod cuda;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rustc-env=TXT2IMG_TARGET={}", env::var("TARGET").expect("cargo sets TARGET"));
    if let Some(commit) = commit() {
        println!("cargo::rustc-env=TXT2IMG_COMMIT={commit}");
    }
    cuda::build();
}

/// Names the commit where there is no repository, as in containers.
const VARIABLE: &str = "TXT2IMG_COMMIT";

/// Returns the short hash of the commit that is built, from the environment, from git, or from the file that `cargo package` adds.
fn commit() -> Option<String> {
    const PACKAGED: &str = ".cargo_vcs_info.json";
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    if let Some(commit) = env::var(VARIABLE).ok().filter(|commit| !commit.is_empty()) {
        return Some(commit);
    }
    if let Ok(text) = fs::read_to_string(PACKAGED) {
        let (_, hash) = text.split_once("\"sha1\": \"")?;
        return hash.get(..9).map(Into::into);
    }
    // Cargo would run this script at every build if it depended on a missing file.
    if !Path::new(".git").exists() {
        return None;
    }
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=9", "HEAD"])
}

/// Returns what git prints, or `None` if it is missing or fails.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
