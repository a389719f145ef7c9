//! Compiles the kernels of the feature `cuda`: to machine code for current GPUs and to PTX for later ones, so that
//! nothing is compiled at run time. Also translates the constants that kernels share with Rust.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: &str = "src/ops/cuda/kernels";

/// Ampere (A100, RTX 30), Ada (RTX 40), Hopper (H100, H200).
const GPUS: [&str; 4] = ["80", "86", "89", "90"];

/// The PTX that the driver compiles for later GPUs.
const PTX: &str = "80";

/// Compiles the kernels, if the feature is on.
pub fn build() {
    println!("cargo::rerun-if-changed=src/ops/cuda/build.rs");
    println!("cargo::rerun-if-changed={KERNELS}");
    println!("cargo::rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let header = fs::read_to_string(Path::new(KERNELS).join("abi.cuh")).expect("abi.cuh is part of the sources");
    fs::write(out.join("abi.rs"), rust_constants(&header)).expect("OUT_DIR is writable");
    compile(env::var_os("NVCC").unwrap_or_else(|| "nvcc".into()), &out.join("kernels.fatbin"));
}

/// Compiles all kernels to `fatbin`.
fn compile(nvcc: OsString, fatbin: &Path) {
    let mut command = Command::new(&nvcc);
    command.args(["-std=c++17", "-O3", "--fatbin", "--threads", "0"]);
    for gpu in GPUS {
        command.arg(format!("-gencode=arch=compute_{gpu},code=sm_{gpu}"));
    }
    command.arg(format!("-gencode=arch=compute_{PTX},code=compute_{PTX}"));
    match command.arg(format!("{KERNELS}/all.cu")).arg("-o").arg(fatbin).status() {
        Ok(status) if status.success() => (),
        Ok(status) => panic!("nvcc failed to compile the kernels: {status}"),
        Err(error) => {
            panic!("the feature `cuda` needs NVIDIA's compiler, and {} does not start: {error}", nvcc.display())
        }
    }
}

/// Translates `header`, which is `abi.cuh`, to Rust.
fn rust_constants(header: &str) -> String {
    let code: Vec<&str> = header.lines().filter(|line| !line.starts_with("//")).collect();
    let code = code.join("\n").replace("\\\n", "");
    let definitions = code.lines().filter(|line| !line.is_empty() && *line != "#pragma once");
    definitions.map(|line| constant(line).unwrap_or_else(|| panic!("abi.cuh: cannot translate '{line}'"))).collect()
}

/// Translates `constexpr int NAME = VALUE;` to a `usize`, and a table of rows `X(…)` to an array of tuples.
fn constant(line: &str) -> Option<String> {
    if let Some(definition) = line.strip_prefix("constexpr int ") {
        let (name, value) = definition.strip_suffix(';')?.split_once(" = ")?;
        return Some(format!("pub const {name}: usize = {value};\n"));
    }
    let (name, rows) = line.strip_prefix("#define ")?.split_once("(X)")?;
    let rows = rows.split("X(").skip(1).map(|row| Some(row.split_once(')')?.0.split(", ").collect()));
    let rows: Vec<Vec<&str>> = rows.collect::<Option<_>>()?;
    let is_number = |field: &str| field.parse::<usize>().is_ok();
    let types = tuple(rows.first()?, |field| if is_number(field) { "usize".into() } else { "&str".into() });
    let values =
        rows.iter().map(|row| tuple(row, |field| if is_number(field) { field.into() } else { format!("{field:?}") }));
    let values: Vec<String> = values.collect();
    Some(format!("pub const {name}: [{types}; {}] = [{}];\n", rows.len(), values.join(", ")))
}

/// A Rust tuple of `element` of each field.
fn tuple(fields: &[&str], element: impl Fn(&str) -> String) -> String {
    fields.iter().fold("(".to_string(), |tuple, field| tuple + &element(field) + ", ") + ")"
}
