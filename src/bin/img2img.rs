//! The command `img2img`.

use std::process::ExitCode;
use txt2img::args::Program;

fn main() -> ExitCode {
    txt2img::commands::main(Program::Img2Img)
}
