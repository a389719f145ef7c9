//! Compute devices, and the flags `--device`, `--precision` and `--threads`.

mod threads;

use crate::by_name::ByName;
use crate::ops::{self, Packing, gpu};
use anyhow::{Context, Error, Result, bail};
use candle_core::{DType, Device};
use std::error::Error as _;
use std::fmt;
use std::str::FromStr;
use std::{env, thread};
use threads::Threads;

/// The value of `--device`: one device, or several that share the work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceSpecs(pub Vec<DeviceSpec>);

/// One device in `--device`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceSpec {
    /// The first CUDA GPU, or else the CPU, of which both halves draw a picture each if pictures are small.
    Auto,
    /// The whole CPU.
    Cpu,
    /// A range of the CPU's cores: the first and the last.
    Cores(usize, usize),
    /// The CUDA GPU of this index.
    Cuda(usize),
}

impl FromStr for DeviceSpecs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let specs: Vec<DeviceSpec> = text.split(',').map(parse_spec).collect::<Option<_>>().ok_or(EXPECTED)?;
        for spec in &specs {
            if let DeviceSpec::Cores(first, last) = spec
                && first > last
            {
                return Err(format!("the range {spec} is reversed; write cpu:{last}-{first}"));
            }
        }
        if specs.len() > 1 && specs.contains(&DeviceSpec::Auto) {
            return Err("auto chooses the devices itself; to use several, name each of them".into());
        }
        for (i, spec) in specs.iter().enumerate() {
            if let Some(other) = specs[..i].iter().find(|other| other.overlaps(*spec)) {
                return Err(format!("{other} and {spec} overlap; name each device once"));
            }
        }
        Ok(Self(specs))
    }
}

/// The error for an invalid `--device`.
const EXPECTED: &str = "expected auto, cpu, cuda or cuda:N, or several: cuda:0,cuda:1 or cpu:0-3,cpu:4-7";

/// Parses one device.
fn parse_spec(text: &str) -> Option<DeviceSpec> {
    Some(match text.split_once(':') {
        None if text == "auto" => DeviceSpec::Auto,
        None if text == "cpu" => DeviceSpec::Cpu,
        None if text == "cuda" => DeviceSpec::Cuda(0),
        Some(("cuda", index)) => DeviceSpec::Cuda(index.parse::<u16>().ok()?.into()),
        Some(("cpu", cores)) => {
            let (first, last) = cores.split_once('-').unwrap_or((cores, cores));
            DeviceSpec::Cores(first.parse::<u16>().ok()?.into(), last.parse::<u16>().ok()?.into())
        }
        _ => return None,
    })
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cores(first, last) if first == last => write!(f, "cpu:{first}"),
            Self::Cores(first, last) => write!(f, "cpu:{first}-{last}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceSpec {
    /// Returns whether the devices have a GPU or cores in common.
    fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::Cores(a, b), Self::Cores(c, d)) => a <= d && c <= b,
            (Self::Cpu, Self::Cores(..)) | (Self::Cores(..), Self::Cpu) => true,
            (one, other) => one == other,
        }
    }

    /// Opens the device. `threads`: the value of `--threads`.
    fn open(self, threads: Option<usize>) -> Result<ComputeDevice> {
        let opened = match self {
            Self::Auto if gpu::count() > 0 => return Self::Cuda(0).open(threads),
            Self::Auto => return Self::Cpu.open(threads),
            Self::Cpu => Threads::new(n_threads(threads)).map(|threads| (Device::Cpu, Some(threads))),
            Self::Cores(first, last) => Threads::on_cores(first..=last).map(|threads| (Device::Cpu, Some(threads))),
            Self::Cuda(index) => gpu::open(index).map(|gpu| (gpu, None)),
        };
        let (device, threads) = opened.with_context(|| format!("--device {self}"))?;
        Ok(ComputeDevice { device, name: self.to_string(), saves_memory: false, threads })
    }
}

impl DeviceSpecs {
    /// Returns whether the only device is `auto`, and that is the CPU.
    pub fn is_cpu_by_default(&self) -> bool {
        self.0 == [DeviceSpec::Auto] && gpu::count() == 0
    }

    /// Returns whether a device is a range of cores.
    pub fn names_cores(&self) -> bool {
        self.0.iter().any(|spec| matches!(spec, DeviceSpec::Cores(..)))
    }

    /// Opens the devices. `threads`: the number of threads on the CPU, one per core if it is `None`; ranges of cores have one per
    /// core in any case.
    ///
    /// # Errors
    /// If this build does not support one of the devices, this machine lacks one, or threads cannot be started.
    pub fn open(&self, threads: Option<usize>) -> Result<Vec<ComputeDevice>> {
        self.0.iter().map(|spec| spec.open(threads)).collect()
    }
}

/// Opens the CPU as two devices, which share `n_threads` threads.
///
/// # Errors
/// If the threads cannot be started.
pub fn halves_of_cpu(n_threads: usize) -> Result<Vec<ComputeDevice>> {
    let half = |(name, count): (&str, usize)| {
        let threads = Some(Threads::new(count)?);
        Ok(ComputeDevice { device: Device::Cpu, name: name.into(), saves_memory: false, threads })
    };
    [("cpu (1 of 2)", n_threads.div_ceil(2)), ("cpu (2 of 2)", n_threads / 2)].into_iter().map(half).collect()
}

/// A device that computes images.
#[derive(Debug)]
pub struct ComputeDevice {
    /// The device of the tensors.
    pub device: Device,
    /// The name in `--device`.
    pub name: String,
    /// If true, less of its memory is used, although images take longer.
    pub saves_memory: bool,
    /// The threads of a CPU.
    threads: Option<Threads>,
}

impl ComputeDevice {
    /// Returns the type of the weights. With `--precision autocast` it is f16, as in the original, or bf16 on CPUs with
    /// instructions for it. Products are computed in the same type on GPUs and with bf16, else in f32.
    pub fn dtype(&self, precision: Precision) -> DType {
        match precision {
            Precision::Full => DType::F32,
            Precision::Autocast if !self.device.is_cuda() && ops::has_bf16() => DType::BF16,
            Precision::Autocast => DType::F16,
        }
    }

    /// Returns the packing of the networks' weights.
    pub fn packing(&self) -> Packing {
        if self.saves_memory { Packing::Compact } else { Packing::Fast }
    }

    /// Returns whether `error` is an out-of-memory error of this device; if so, frees the device's cached memory.
    pub fn is_out_of_memory(&self, error: &Error) -> bool {
        let out_of_memory = error.chain().filter_map(|cause| cause.downcast_ref()).any(gpu::out_of_memory);
        if out_of_memory {
            gpu::release_memory(&self.device);
        }
        out_of_memory
    }

    /// Describes the device's memory, for messages.
    pub fn memory(&self) -> String {
        match gpu::memory(&self.device) {
            Some(bytes) => format!("{}'s memory of {:.1} GB", self.name, bytes as f64 / 1e9),
            None => format!("{}'s memory", self.name),
        }
    }

    /// The number of threads of a CPU.
    pub fn threads(&self) -> Option<usize> {
        self.threads.as_ref().map(Threads::count)
    }

    /// Runs `work` on the threads of a CPU, or on the current thread for a GPU. On a CPU this is faster than handing every
    /// parallel section of `work` to the threads.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.threads {
            Some(threads) => threads.run(work),
            None => work(),
        }
    }
}

/// The value of `--precision`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// f32 throughout.
    Full,
    /// Weights in half precision, and matrix products on devices where they are faster with it.
    Autocast,
}

impl ByName for Precision {
    const ALL: &'static [(&'static str, Self)] = &[("full", Precision::Full), ("autocast", Precision::Autocast)];
}

/// The largest value of `--threads`.
pub const MAX_THREADS: u16 = 1024;

/// Returns the number of compute threads: `requested`, or else `RAYON_NUM_THREADS`, or else one per core; at most
/// `MAX_THREADS`.
pub fn n_threads(requested: Option<usize>) -> usize {
    let by_variable = || env::var("RAYON_NUM_THREADS").ok()?.parse().ok().filter(|&n| n > 0);
    let count =
        requested.or_else(by_variable).unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    count.min(MAX_THREADS.into())
}

/// Starts the global thread pool with [`n_threads`] threads. If `requested` is `None`, a pool that already exists is
/// kept.
///
/// # Errors
/// If the threads cannot be started, or a pool of another size than `requested` already exists.
pub fn use_threads(requested: Option<usize>) -> Result<()> {
    let count = n_threads(requested);
    match rayon::ThreadPoolBuilder::new().num_threads(count).build_global() {
        Ok(()) => Ok(()),
        // Only errors of the operating system have a source.
        Err(error) if error.source().is_some() => {
            bail!("cannot start {count} threads: {error}; use a smaller --threads")
        }
        Err(_) if requested.is_none() || rayon::current_num_threads() == count => Ok(()),
        Err(_) => bail!("cannot use {count} threads: {} have already been started", rayon::current_num_threads()),
    }
}
