//! `--dry_run`: describes a run without loading weights, drawing images or writing files.

mod conventions;
mod estimate;
mod files;
mod networks;
mod prompts;
mod steps;
mod weights;

use crate::by_name::ByName;
use crate::checkpoint::weights::remedy;
use crate::config::ModelConfig;
use crate::conventions::Conventions;
use crate::device::{self, ComputeDevice};
use crate::engine;
use crate::human::{counted, listed};
use crate::job::{ComputeOptions, Job};
use crate::ops::{self, Compute, Packing};
use crate::outdir::OutDir;
use crate::params::SamplingParams;
use crate::progress::Progress;
use crate::terminal;
use crate::text::TextConfig;
use crate::txt2img::{End, OpenModel, inspect};
use anyhow::{Result, bail};
use candle_core::DType;
use networks::{Inventory, Networks, VaeUse};
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Display};
use std::sync::Arc;

/// The description of a run.
pub struct Report {
    rows: Vec<Row>,
    /// The advice to print if the checkpoint does not fit the config.
    remedy: Option<&'static str>,
}

/// A line of a report.
pub(crate) struct Row {
    what: &'static str,
    value: String,
}

impl Row {
    fn new(what: &'static str, value: impl Display) -> Self {
        Self { what, value: value.to_string() }
    }
}

/// Describes the part of a job that remains for this process. The checkpoint's files are read once, for their hash,
/// which takes about 3 s for 4 GB.
///
/// # Errors
/// If the checkpoint cannot be read or lacks its text encoder, or OUTDIR cannot be used. Tensors that do not fit the config
/// are not an error but lines of the report, which then has no estimate of memory.
pub fn dry_run(job: &Job) -> Result<Report> {
    let models = job.models().map(|files| OpenModel::inspect(job, files)).collect::<Result<Vec<_>>>()?;
    let outdir = inspect(job, &models)?;
    let hashes = weights::hashes(job, &models[0].checkpoint)?;
    describe(job, &models, &outdir, hashes)
}

/// Describes the part of a job that remains for this process, with opened models and the output folder; of several models, the
/// first one in detail. `hashes`: the lines about the hashes of the model's files, if they are known.
///
/// # Errors
/// If the networks that the checkpoint and the config describe do not exist.
pub(crate) fn describe(job: &Job, models: &[OpenModel], outdir: &OutDir, hashes: Vec<Row>) -> Result<Report> {
    let OpenModel { checkpoint, loras, .. } = &models[0];
    let text = engine::text_config(checkpoint, &job.model.config)?;
    let conventions = Conventions::new(checkpoint, &job.model.config)?;
    let config = ModelConfig { unet: checkpoint.unet_config(&job.model.config), ..job.model.config.clone() };
    let vae = VaeUse {
        is_tiny: checkpoint.has_tiny_vae(),
        encodes: job.images.are_encoded(),
        compares: job.output.compares_exact,
    };
    let networks = Networks::new(
        &config,
        text,
        vae,
        estimate::compute(job),
        job.compute.devices.first().map(ComputeDevice::packing).unwrap_or_default(),
        &f16_names(job, &models[0]),
    )?;
    let inventory = conventions.stored(networks.inventory());
    let mismatches = weights::mismatches(checkpoint, &inventory);
    let prompts = prompts::Prompts::read(job)?;
    let finished = outdir.finished();
    let estimate = estimate::rows(job, mismatches.is_empty().then_some(&networks), outdir, &finished)?;
    let mut rows = weights::model_rows(job, checkpoint)?;
    rows.extend(hashes);
    rows.extend(weights::rows(checkpoint, &inventory));
    rows.extend(conventions::rows(&conventions));
    let remedy = (!mismatches.is_empty()).then(|| remedy(checkpoint, mismatches.iter().map(|(name, _)| *name)));
    let mismatches: Vec<String> = mismatches.into_iter().map(|(_, clause)| clause).collect();
    rows.extend(list_rows("does not fit", &mismatches));
    rows.extend(list_rows("LoRA", &loras.summaries().collect::<Vec<_>>()));
    let others: Vec<String> = job.other_models.iter().map(|files| files.ckpt.to_string()).collect();
    rows.extend(list_rows("also draws", &others));
    rows.extend(input_rows(job));
    rows.extend(steps::rows(job));
    rows.extend(prompts.rows());
    rows.extend(files::rows(job, outdir, &finished));
    rows.push(Row::new("computes", compute_text(job)));
    rows.extend(estimate);
    Ok(Report { rows, remedy })
}

/// Returns the names of the weights that are f16 when the first image is drawn. Those that LoRAs change are f32.
fn f16_names(job: &Job, model: &OpenModel) -> Arc<HashSet<String>> {
    let loras = job.images.requests.params().first().map(|params| model.loras.of(params)).unwrap_or_default();
    let names = model.checkpoint.f16_names().filter(|name| !loras.changes(name));
    Arc::new(names.map(str::to_owned).collect())
}

/// Returns the devices, the arithmetic, and, on CPUs, the instruction set and the threads.
fn compute_text(job: &Job) -> String {
    let ComputeOptions { devices, precision, threads } = &job.compute;
    let arithmetic = |device: &ComputeDevice| {
        let (dtype, isa) = (device.dtype(*precision), ops::isa().name());
        match (device.device.is_cpu(), dtype) {
            (true, DType::F16) => format!("f32 with weights in f16, {isa}"),
            (true, _) => format!("{}, {isa}", dtype.as_str()),
            (false, _) => dtype.as_str().into(),
        }
    };
    let alike = devices.chunk_by(|one, other| arithmetic(one) == arithmetic(other));
    let text = |devices: &[ComputeDevice]| {
        let names: Vec<String> = devices.iter().map(|device| device.name.clone()).collect();
        format!("{} in {}", listed(&names), arithmetic(&devices[0]))
    };
    let devices: Vec<String> = alike.map(text).collect();
    format!("on {}, {}", listed(&devices), counted(device::n_threads(*threads), "thread"))
}

/// Returns the lines about the pictures that images start from, and the regions of them that are drawn.
fn input_rows(job: &Job) -> Vec<Row> {
    let mut inputs = job.images.inputs.paths();
    let Some(first) = inputs.next() else { return vec![] };
    let mut rows = vec![match inputs.len() {
        0 => Row::new("starts from", first),
        others => Row::new("starts from", format!("{} pictures", others + 1)),
    }];
    let mut regions = BTreeSet::new();
    for SamplingParams { mask, mask_blur, outpaint, .. } in job.images.requests.params() {
        let blur = if *mask_blur == 0. { String::new() } else { format!(", blurred by {mask_blur} pixels") };
        regions.extend(mask.iter().map(|mask| format!("{mask}{blur}")));
        regions.extend((!outpaint.is_empty()).then(|| format!("borders {outpaint}")));
    }
    rows.extend(list_rows("region", &regions.into_iter().collect::<Vec<_>>()));
    rows
}

/// Prints the description of a job, after its notes.
///
/// # Errors
/// As [`dry_run`], or if the checkpoint does not fit the config.
pub fn print_dry_run(job: &Job) -> Result<End> {
    let report = dry_run(job)?;
    let progress = Progress::new(job.run.progress, job.run.quiet);
    job.run.notes.iter().for_each(|note| progress.note(note));
    terminal::write_results(report.to_string().as_bytes())?;
    report.check_fit()?;
    Ok(End::Finished)
}

/// Returns the names and shapes of all tensors that loading a model with its own autoencoder reads.
///
/// # Errors
/// If there are no networks of these shapes.
pub fn inventory(config: &ModelConfig, text: TextConfig) -> Result<Inventory> {
    Ok(Networks::new(config, text, VaeUse::default(), Compute::F32, Packing::Fast, &Arc::default())?.inventory())
}

impl Report {
    /// Whether the checkpoint has everything the model needs.
    pub fn fits(&self) -> bool {
        self.remedy.is_none()
    }

    /// Checks that the checkpoint has everything the model needs.
    ///
    /// # Errors
    /// If tensors are missing or have another shape.
    pub fn check_fit(&self) -> Result<()> {
        match self.remedy {
            Some(remedy) => bail!("the checkpoint does not fit the model's config; {remedy}"),
            None => Ok(()),
        }
    }

    /// Returns the values of the lines with the heading `what`.
    pub fn values(&self, what: &str) -> Vec<&str> {
        self.rows.iter().filter(|row| row.what == what).map(|row| &*row.value).collect()
    }
}

impl Display for Report {
    /// Writes lines of `what  value`, with the values aligned.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
        for Row { what, value } in &self.rows {
            // Control characters of a path or a prompt must not break the line.
            writeln!(f, "{what:width$}  {}", value.replace(char::is_control, " "))?;
        }
        Ok(())
    }
}

/// The most lines with one heading; more are only counted.
const MAX_ROWS: usize = 20;

/// Returns lines with the heading `what`: at most `MAX_ROWS` of `values`, and one that counts the others.
fn list_rows(what: &'static str, values: &[String]) -> Vec<Row> {
    let mut rows: Vec<Row> = values.iter().take(MAX_ROWS).map(|value| Row::new(what, value)).collect();
    if values.len() > MAX_ROWS {
        rows.push(Row::new(what, format_args!("and {} more", values.len() - MAX_ROWS)));
    }
    rows
}
