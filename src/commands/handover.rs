//! The way from a program without CUDA to one with it, which does not start on machines without NVIDIA's driver.

use crate::args::{Args, Program};
use crate::device::DeviceSpec;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The name of the program with CUDA, in the folder of the others.
const CUDA_PROGRAM: &str = "txt2img-cuda";

/// Replaces this process by the program with CUDA, if that is installed beside this one and starts, and `--device` may be a GPU.
/// Otherwise returns.
pub fn to_cuda(args: &Args) {
    let may_be_gpu = args.device.0.iter().any(|spec| matches!(spec, DeviceSpec::Auto | DeviceSpec::Cuda(_)));
    if cfg!(feature = "cuda") || !may_be_gpu {
        return;
    }
    let Some(program) = beside(CUDA_PROGRAM) else { return };
    // Without a driver, the loader does not find its library.
    let start = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
    if start.is_ok_and(|output| output.status.success()) {
        replace(program, args.program);
    }
}

/// Returns the path of a program in the folder of this one, if it is there.
fn beside(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(name);
    path.is_file().then_some(path)
}

/// Replaces this process. Returns if that fails.
#[cfg(unix)]
fn replace(path: PathBuf, program: Program) {
    use std::os::unix::process::CommandExt;
    let _ = Command::new(path).arg0(program.name()).args(std::env::args_os().skip(1)).exec();
}

/// Runs the other program to its end, as processes cannot be replaced here.
#[cfg(not(unix))]
fn replace(path: PathBuf, _program: Program) {
    if let Ok(status) = Command::new(path).args(std::env::args_os().skip(1)).status() {
        std::process::exit(status.code().unwrap_or(1));
    }
}
