//! The command `txt2img`.

use std::process::ExitCode;
use txt2img::args::Program;

fn main() -> ExitCode {
    txt2img::commands::main(Program::Txt2Img)
}
