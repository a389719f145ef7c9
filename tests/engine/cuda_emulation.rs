//! Compares every CUDA kernel with plain loops on the emulated GPU of `tests/card/card.hpp`, which a C++ compiler runs
//! on the CPU. `tests/card/kernels.cpp` says how to run the same checks on a real GPU.

use std::env;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

#[test]
#[allow(clippy::explicit_write)] // `eprintln` is captured in tests that pass
fn every_kernel_equals_plain_loops() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        writeln!(stderr(), "skipped: the emulated GPU requires Linux on x86-64").unwrap();
        return;
    }
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        writeln!(stderr(), "skipped: the C++ compiler {} is missing", compiler.display()).unwrap();
        return;
    }
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("kernels");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/card/kernels.cpp");
    // Kernels access memory through several types.
    let flags = ["-std=c++17", "-O2", "-march=native", "-fno-strict-aliasing", "-pthread"];
    let built = Command::new(&compiler).args(flags).arg(source).arg("-o").arg(&program).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let run = Command::new(program).output().unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    let failed: Vec<&str> = output.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(run.status.success() && failed.is_empty(), "{failed:#?}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(output.lines().filter(|line| line.starts_with("ok")).count() > 100, "{output}");
}
