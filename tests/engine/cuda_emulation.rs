//! The kernels for cards, computed by the processor and held against plain loops: `card.hpp` has what a card has for a
//! C++ compiler that knows nothing of it.

use std::env;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

#[test]
#[allow(clippy::explicit_write)] // what `eprintln` says is not shown where tests pass
fn every_kernel_equals_plain_loops() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        writeln!(stderr(), "skipped: the emulated card is written for Linux on x86-64").unwrap();
        return;
    }
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        writeln!(stderr(), "skipped: there is no C++ compiler {}", compiler.display()).unwrap();
        return;
    }
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("kernels");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/card/kernels.cpp");
    // Kernels look at memory as numbers of several types.
    let flags = ["-std=c++17", "-O2", "-march=native", "-fno-strict-aliasing", "-pthread"];
    let built = Command::new(&compiler).args(flags).arg(source).arg("-o").arg(&program).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let run = Command::new(program).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(run.status.success() && failed.is_empty(), "{failed:#?}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.lines().filter(|line| line.starts_with("ok")).count() > 100, "{said}");
}
