//! The two programs, which take the same flags with other defaults.

use clap::Command;
use std::ffi::OsStr;
use std::path::Path;

/// A program of this crate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Program {
    /// A drop-in for the original's `scripts/txt2img.py`.
    #[default]
    Txt2Img,
    /// A drop-in for the original's `scripts/img2img.py`.
    Img2Img,
}

/// The flags of `txt2img.py`.
const TXT2IMG_FLAGS: &[&str] = &[
    "prompt",
    "outdir",
    "skip_grid",
    "skip_save",
    "ddim_steps",
    "plms",
    "dpm_solver",
    "laion400m",
    "fixed_code",
    "ddim_eta",
    "n_iter",
    "H",
    "W",
    "C",
    "f",
    "n_samples",
    "n_rows",
    "scale",
    "from-file",
    "config",
    "ckpt",
    "seed",
    "precision",
];

/// The flags of `img2img.py`.
const IMG2IMG_FLAGS: &[&str] = &[
    "prompt",
    "init-img",
    "outdir",
    "skip_grid",
    "skip_save",
    "ddim_steps",
    "plms",
    "fixed_code",
    "ddim_eta",
    "n_iter",
    "C",
    "f",
    "n_samples",
    "n_rows",
    "scale",
    "strength",
    "from-file",
    "config",
    "ckpt",
    "seed",
    "precision",
];

/// The help of flags that `img2img` treats in another way, by the names of fields.
const IMG2IMG_HELP: [(&str, &str); 8] = [
    ("plms", "Not supported, as in the original; use --sampler plms"),
    ("fixed_code", "No effect, as in the original"),
    ("factor", "No effect, as in the original"),
    ("height", "Height of a picture in pixels [default: that of the input, rounded down to a multiple of 32]"),
    ("width", "Width of a picture in pixels [default: that of the input, rounded down to a multiple of 32]"),
    (
        "safety",
        "What to do with pictures that the safety checker flags: make them black (replace, black), blur them, only report \
         them (flag), or do not check (off) [default: off]",
    ),
    ("watermark", "Add the invisible watermark"),
    ("skip_watermark", "Do not add the invisible watermark (the default)"),
];

/// The flags that `img2img` does not list, as they do not go with a picture to start from, by the names of fields.
const NOT_IN_IMG2IMG: [&str; 5] = ["hires", "hires_strength", "hires_steps", "hires_sampler", "hires_upscaler"];

/// The defaults of `img2img.py` that differ from those of `txt2img.py`, by the names of fields.
const IMG2IMG_DEFAULTS: [(&str, &str); 4] =
    [("outdir", "outputs/img2img-samples"), ("n_iter", "1"), ("n_samples", "2"), ("scale", "5")];

impl Program {
    /// Returns the program that [`Self::adapt`] has made of a command.
    pub fn of(command: &Command) -> Self {
        Self::of_file(OsStr::new(command.get_name()))
    }

    /// Returns the program in a file with this path, by its name.
    pub fn of_file(path: &OsStr) -> Self {
        if Path::new(path).file_stem() == Some(OsStr::new("img2img")) { Self::Img2Img } else { Self::Txt2Img }
    }

    /// Returns the name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Txt2Img => "txt2img",
            Self::Img2Img => "img2img",
        }
    }

    /// Returns the command of `txt2img` with the name, the help and the defaults of this program.
    pub fn adapt(self, mut command: Command) -> Command {
        if self == Self::Img2Img {
            command = command.name("img2img").about(
                "Generates pictures from a picture and text with Stable Diffusion 1.x. A drop-in for the original's scripts/img2img.py",
            );
            for (id, value) in IMG2IMG_DEFAULTS {
                command = command.mut_arg(id, |arg| arg.default_value(value));
            }
            for id in NOT_IN_IMG2IMG {
                command = command.mut_arg(id, |arg| arg.hide(true));
            }
            for (id, help) in IMG2IMG_HELP {
                command = command.mut_arg(id, |arg| arg.help(help).hide_default_value(true));
            }
        }
        command
    }

    /// Returns the flags of the original program.
    pub fn originals(self) -> &'static [&'static str] {
        if self == Self::Img2Img { IMG2IMG_FLAGS } else { TXT2IMG_FLAGS }
    }
}
