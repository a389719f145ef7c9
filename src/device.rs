//! Where to compute: `--device`, `--precision`, `--threads`.

use crate::ops;
use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use std::str::FromStr;

/// `--device`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The fastest there is.
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA card of this number.
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", card)) if card.parse::<u16>().is_ok() => Ok(Self::Cuda(card.parse().unwrap_or(0))),
            _ => Err("expected auto, cpu, cuda or cuda:N".into()),
        }
    }
}

impl Choice {
    /// The device itself.
    ///
    /// # Errors
    /// When this build cannot drive it.
    pub fn device(self) -> Result<Device> {
        match self {
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(card) => bail!("--device cuda:{card}: this txt2img was built without CUDA; use --device cpu"),
        }
    }
}

/// `--precision`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// f32 throughout.
    Full,
    /// Half precision where the original has it.
    Autocast,
}

impl Precision {
    /// What the networks multiply: in autocast bf16, on processors that have it, where the original has f16.
    pub fn dtype(self) -> DType {
        match self {
            Self::Autocast if ops::has_bf16() => DType::BF16,
            Self::Full | Self::Autocast => DType::F32,
        }
    }
}

/// How many threads compute; before any of them has started.
///
/// # Errors
/// When they have started already, or cannot be.
pub fn use_threads(count: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .build_global()
        .with_context(|| format!("--threads {count}: starting the threads"))
}
