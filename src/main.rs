//! The command `txt2img`, which is `img2img` if its file is called so: releases have the program once, under both names.

use std::process::ExitCode;
use txt2img::args::Program;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    txt2img::commands::main(Program::of_file(&name))
}
