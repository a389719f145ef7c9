//! Where to compute: `--device`, `--precision`, `--threads`.

mod cores;

use crate::by_name::ByName;
use crate::ops::{self, gpu};
use anyhow::{Context, Error, Result, bail, ensure};
use candle_core::{DType, Device};
use cores::Cores;
use std::error::Error as _;
use std::fmt;
use std::str::FromStr;
use std::{env, thread};

/// `--device`: one, or several that share the work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choices(pub Vec<Choice>);

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The fastest there is.
    Auto,
    /// The processor.
    Cpu,
    /// These cores of it, first and last.
    Cores(usize, usize),
    /// The CUDA card of this number.
    Cuda(usize),
}

impl FromStr for Choices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let choices: Vec<Choice> = text.split(',').map(choice).collect::<Option<_>>().ok_or(EXPECTED)?;
        if choices.len() > 1 && choices.contains(&Choice::Auto) {
            return Err("auto is one device; name all that are to share the work".into());
        }
        for (i, one) in choices.iter().enumerate() {
            if let Some(other) = choices[..i].iter().find(|other| other.overlaps(*one)) {
                return Err(format!("{other} and {one} are not two devices"));
            }
        }
        Ok(Self(choices))
    }
}

const EXPECTED: &str = "expected auto, cpu, cuda or cuda:N, or several: cuda:0,cuda:1 or cpu:0-3,cpu:4-7";

fn choice(text: &str) -> Option<Choice> {
    Some(match text.split_once(':') {
        None if text == "auto" => Choice::Auto,
        None if text == "cpu" => Choice::Cpu,
        None if text == "cuda" => Choice::Cuda(0),
        Some(("cuda", card)) => Choice::Cuda(card.parse::<u16>().ok()?.into()),
        Some(("cpu", cores)) => {
            let (first, last) = cores.split_once('-').unwrap_or((cores, cores));
            let (first, last) = (first.parse::<u16>().ok()?.into(), last.parse::<u16>().ok()?.into());
            (first <= last).then_some(Choice::Cores(first, last))?
        }
        _ => return None,
    })
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cores(first, last) if first == last => write!(f, "cpu:{first}"),
            Self::Cores(first, last) => write!(f, "cpu:{first}-{last}"),
            Self::Cuda(card) => write!(f, "cuda:{card}"),
        }
    }
}

impl Choice {
    fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::Cores(a, b), Self::Cores(c, d)) => a <= d && c <= b,
            (Self::Cpu, Self::Cores(..)) | (Self::Cores(..), Self::Cpu) => true,
            (one, other) => one == other,
        }
    }

    fn unit(self) -> Result<Unit> {
        let (device, cores) = match self {
            Self::Auto if gpu::count() > 0 => return Self::Cuda(0).unit(),
            Self::Auto | Self::Cpu => (Device::Cpu, None),
            Self::Cores(first, last) => {
                let cores = Cores::new(first..=last).with_context(|| format!("--device {self}"))?;
                (Device::Cpu, Some(cores))
            }
            Self::Cuda(card) => (gpu::open(card).with_context(|| format!("--device {self}"))?, None),
        };
        Ok(Unit { device, name: self.to_string(), cores })
    }
}

impl Choices {
    /// The devices themselves. threads: what `--threads` says.
    ///
    /// # Errors
    /// When this build cannot drive one, or this machine has none such.
    pub fn units(&self, threads: Option<usize>) -> Result<Vec<Unit>> {
        let units = self.0.iter().map(|choice| choice.unit()).collect::<Result<Vec<_>>>()?;
        ensure!(
            threads.is_none() || units.iter().all(|unit| unit.cores.is_none()),
            "--threads is for all cores, and --device names some, a thread for each; leave one of the two out"
        );
        Ok(units)
    }
}

/// A device that draws.
#[derive(Debug)]
pub struct Unit {
    /// Where its tensors are.
    pub device: Device,
    /// As `--device` names it.
    pub name: String,
    /// The only ones it computes with.
    cores: Option<Cores>,
}

impl Unit {
    /// What the networks multiply here: in autocast f16 as the original, but on processors bf16, if they have it.
    pub fn dtype(&self, precision: Precision) -> DType {
        match precision {
            Precision::Autocast if self.device.is_cuda() => DType::F16,
            Precision::Autocast if ops::has_bf16() => DType::BF16,
            Precision::Full | Precision::Autocast => DType::F32,
        }
    }

    /// Whether it is this error that comes of having no memory left; what is kept for later use is given back then.
    pub fn is_out_of_memory(&self, error: &Error) -> bool {
        let is_one = error.chain().filter_map(|cause| cause.downcast_ref()).any(gpu::out_of_memory);
        if is_one {
            gpu::release_memory(&self.device);
        }
        is_one
    }

    /// The device's memory, in words.
    pub fn memory(&self) -> String {
        match gpu::memory(&self.device) {
            Some(bytes) => format!("{}'s memory of {:.1} GB", self.name, bytes as f64 / 1e9),
            None => format!("{}'s memory", self.name),
        }
    }

    /// How many threads it has of its own.
    pub fn threads(&self) -> Option<usize> {
        self.cores.as_ref().map(Cores::count)
    }

    /// Does something with the device's own threads, if it has any.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.cores {
            Some(cores) => cores.run(work),
            None => work(),
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

impl ByName for Precision {
    const ALL: &'static [(&'static str, Self)] = &[("full", Precision::Full), ("autocast", Precision::Autocast)];
}

/// As many threads as `--threads` may ask for.
pub const MOST_THREADS: u16 = 1024;

/// How many threads compute: as many as are asked for, by a flag or else by rayon's variable, or one a core; never more
/// than `MOST_THREADS`.
pub fn n_threads(asked: Option<usize>) -> usize {
    let by_variable = || env::var("RAYON_NUM_THREADS").ok()?.parse().ok().filter(|&n| n > 0);
    let count = asked.or_else(by_variable).unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    count.min(MOST_THREADS.into())
}

/// Starts so many threads, unless there are as many already.
///
/// # Errors
/// When they cannot be started, or so many are asked for and others have started already.
pub fn use_threads(asked: Option<usize>) -> Result<()> {
    let count = n_threads(asked);
    match rayon::ThreadPoolBuilder::new().num_threads(count).build_global() {
        Ok(()) => Ok(()),
        // Only what the system refuses has a source.
        Err(error) if error.source().is_some() => bail!("cannot start {count} threads: {error}; --threads takes fewer"),
        Err(_) if asked.is_none() || rayon::current_num_threads() == count => Ok(()),
        Err(_) => bail!("{count} threads are asked for, and {} compute already", rayon::current_num_threads()),
    }
}
