//! With the feature `cuda`: compiles the kernels for the cards there are, and as PTX for those to come, so that nothing
//! is compiled when the program starts.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const KERNELS: &str = "src/ops/cuda/kernels";

/// Ampere (A100, RTX 30), Ada (RTX 40), Hopper (H100, H200).
const GPUS: [&str; 4] = ["80", "86", "89", "90"];

/// What newer ones compile for themselves.
const PTX: &str = "80";

fn main() {
    println!("cargo::rerun-if-changed=src/ops/cuda/build.rs");
    println!("cargo::rerun-if-changed={KERNELS}");
    println!("cargo::rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let nvcc = env::var_os("NVCC").unwrap_or_else(|| "nvcc".into());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where")).join("kernels.fatbin");
    let mut command = Command::new(&nvcc);
    command.args(["-std=c++17", "-O3", "--fatbin", "--threads", "0"]);
    for card in GPUS {
        command.arg(format!("-gencode=arch=compute_{card},code=sm_{card}"));
    }
    command.arg(format!("-gencode=arch=compute_{PTX},code=compute_{PTX}"));
    let status = command.arg(format!("{KERNELS}/all.cu")).arg("-o").arg(out).status();
    match status {
        Ok(status) if status.success() => (),
        Ok(status) => panic!("nvcc did not compile the kernels: {status}"),
        Err(error) => {
            panic!("the feature `cuda` takes NVIDIA's compiler, and {} does not start: {error}", nvcc.display())
        }
    }
}
