//! The images of a run, batch by batch.

use super::checks;
use super::fast;
use super::inputs::{self, Inputs};
use super::loras;
use super::seeds::{Seeds, seed};
use super::{Batch, ImageRequest, Replay, Request, Requests};
use crate::args::{self, Args, Seed, SeedMode};
use crate::output::Axis;
use crate::params::{SamplingParams, Upscaler};
use crate::prompts::{PromptLine, PromptsFile, wildcards};
use crate::rng::{self, Rng};
use crate::text::{Reading, check_weights};
use crate::usage::OrUsage;
use anyhow::{Context, Result};
use std::iter::repeat_n;
use std::path::Path;

/// The images of a run.
#[derive(Debug)]
pub struct Images {
    /// The requests of one iteration.
    pub requests: Requests,
    /// The number of times to draw all requests.
    pub iterations: usize,
    /// The size of the longest batch, whose start noise all batches share, with `--fixed_code`.
    pub fixed_code: Option<usize>,
    /// The random number generator to reproduce.
    pub rng: Rng,
    /// The run's seed.
    pub seed: u32,
    /// Whether images continue one stream of random numbers or have seeds of their own.
    pub seed_mode: SeedMode,
    /// The options for reading prompts.
    pub reading: Reading,
    /// Whether braces in prompts are wildcards.
    pub wildcards: bool,
    /// The sweep, if the requests are its cells.
    pub sweep: Option<Sweep>,
    /// The picture to redraw.
    pub replay: Option<Replay>,
    /// The pictures that images start from.
    pub inputs: Inputs,
}

/// A comparison of pictures, one request for each cell, row by row.
#[derive(Debug)]
pub struct Sweep {
    /// The title of the sheet and the page.
    pub title: String,
    /// The parameter that changes from left to right.
    pub columns: Axis,
    /// The parameter that changes from top to bottom, if there are two.
    pub rows: Option<Axis>,
    /// The number of each cell's model.
    pub models: Vec<usize>,
}

impl Images {
    /// `models`: the number of the model of each cell of a sweep.
    pub(super) fn new(
        args: &Args,
        requests: Requests,
        inputs: Inputs,
        iterations: usize,
        seed: u32,
        models: Vec<usize>,
    ) -> Self {
        let sweep = args.swept.as_ref().map(|args::Sweep { columns, rows, .. }| Sweep {
            title: args.prompt.clone(),
            columns: columns.clone(),
            rows: rows.clone(),
            models,
        });
        Self {
            iterations: if sweep.is_some() { 1 } else { iterations },
            fixed_code: args.fixed_code.then(|| requests.longest()),
            requests,
            rng: args.rng,
            seed,
            seed_mode: args.seed_mode,
            reading: reading(args),
            wildcards: args.wildcards,
            sweep,
            replay: None,
            inputs,
        }
    }

    /// Returns whether pictures are encoded: those that images start from, or those that a second pass enlarges.
    pub fn are_encoded(&self) -> bool {
        let enlarges_pixels =
            |params: &SamplingParams| params.second_pass().is_some() && params.hires.upscaler == Upscaler::Lanczos;
        !self.inputs.is_empty() || self.requests.params().iter().any(enlarges_pixels)
    }

    /// Returns the number of pictures of the run.
    pub fn n_pictures(&self) -> usize {
        self.iterations * self.requests.n_requests()
    }

    /// Returns the number of batches of the run.
    pub fn n_batches(&self) -> usize {
        self.iterations * self.requests.n_batches()
    }

    /// Returns the batches of the run, in order.
    pub fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        (0..self.n_batches()).map(|number| self.batch(number))
    }

    /// Returns the images of the run, in order, with their sampling parameters.
    pub fn with_params(&self) -> impl Iterator<Item = (ImageRequest<'_>, SamplingParams)> {
        self.batches().flat_map(|batch| batch.images.into_iter().map(move |image| (image, batch.params.clone())))
    }

    /// Returns batch `number` of the run, from 0.
    pub fn batch(&self, number: usize) -> Batch<'_> {
        let mut batch = self.requests.batch(number, self.counts_seeds().then_some(self.seed));
        if let Some(replay) = &self.replay {
            batch.images[0].origin = Some(replay.record.origin);
        }
        if self.wildcards {
            batch.images.iter_mut().for_each(|image| self.expand_wildcards(image));
        }
        batch
    }

    /// Returns the number of the model that draws batch `number`.
    pub fn model_of(&self, number: usize) -> usize {
        // A sweep has a batch for each cell.
        self.sweep.as_ref().map_or(0, |sweep| sweep.models[number])
    }

    /// Returns the number of contexts that the UNet evaluates for batch `number`.
    pub fn n_contexts(&self, number: usize) -> usize {
        if self.reading.web_ui {
            self.batch(number).n_contexts(self.reading)
        } else {
            self.requests.params_of(number).n_contexts(1) * self.requests.len_of(number)
        }
    }

    /// Whether the images of a batch have random numbers of their own instead of the run's stream.
    pub fn has_own_seeds(&self, number: usize) -> bool {
        self.counts_seeds() || self.replay.is_some() || self.requests.has_own_seeds(number)
    }

    fn counts_seeds(&self) -> bool {
        self.seed_mode == SeedMode::PerImage
    }

    /// Replaces the wildcards of a prompt. The choices of an image with its own seed depend on that seed alone.
    fn expand_wildcards(&self, image: &mut ImageRequest) {
        let mut choices = match image.origin {
            Some(origin) => rng::choices(u64::from(origin.seed), 0),
            None => rng::choices(u64::from(self.seed), image.number as u64),
        };
        // Unmatched braces were rejected when the requests were made.
        if let Ok(prompt) = wildcards::expand(&image.prompt, &mut choices) {
            image.prompt = prompt.into();
        }
    }
}

/// Returns the options for reading prompts.
fn reading(args: &Args) -> Reading {
    match args.webui_prompts {
        true => Reading::WEB_UI,
        false => Reading { emphasis: args.emphasis, long: args.long_prompt, web_ui: false },
    }
}

/// Returns the requests of one iteration, in batches of up to `n_samples`. `params`: the parameters that apply unless a
/// prompts file or a sweep sets them. The pictures that they start from are added to `inputs`.
///
/// # Errors
/// If a prompts file or a picture cannot be read, or a prompt or a parameter is invalid.
pub fn requests(
    args: &Args,
    params: &SamplingParams,
    n_samples: usize,
    seeds: &mut Seeds,
    inputs: &mut Inputs,
    notes: &mut Vec<String>,
) -> Result<Requests> {
    match (&args.swept, &args.from_file) {
        (Some(swept), _) => Requests::new(cells(swept, args, seeds.run, inputs, notes)?.into_iter().map(Ok), 1),
        (None, Some(file)) => file_requests(args, params, file, n_samples, seeds, inputs),
        (None, None) => {
            let pictures = params.init_img.as_deref().map(inputs::paths).transpose()?;
            // Without a picture to start from, one request has none.
            let pictures = pictures.map_or(vec![None], |paths| paths.into_iter().map(Some).collect());
            let requests = pictures.into_iter().map(|init_img| {
                request(args, &SamplingParams { init_img, ..params.clone() }, command_line(args), inputs)
            });
            let requests = requests.collect::<Result<Vec<_>>>()?.into_iter();
            Requests::new(requests.flat_map(|request| repeat_n(request, n_samples)).map(Ok), n_samples)
        }
    }
}

/// Returns the requests of a prompts file.
fn file_requests(
    args: &Args,
    params: &SamplingParams,
    file: &Path,
    n_samples: usize,
    seeds: &mut Seeds,
    inputs: &mut Inputs,
) -> Result<Requests> {
    // Once for all prompts that share it.
    check_weights(("", &args.negative_prompt), reading(args), &params.prompt_steps()).or_usage()?;
    let file = PromptsFile::read(file)?;
    let requests = file.map(|at, line| {
        let seed = line.seed.map(|seed| seeds.of_prompt(at, seed));
        Ok(Request { seed, ..request(args, params, line, inputs)? })
    });
    Requests::new(requests, n_samples)
}

/// Returns the requests of a sweep's cells. Cells with a random seed share `run_seed`, unless the sweep is over seeds.
fn cells<'a>(
    swept: &'a args::Sweep,
    args: &Args,
    run_seed: u32,
    inputs: &mut Inputs,
    notes: &mut Vec<String>,
) -> Result<Vec<Request<'a>>> {
    let cell = |(i, cell): (usize, &'a Args)| {
        let is_random = args.seed == Seed::Random && cell.seed == Seed::Random;
        let seed = Some(if is_random { run_seed } else { seed(cell.seed, notes) });
        let request = fast::params(cell).and_then(|(params, _)| request(cell, &params, command_line(cell), inputs));
        let request = request.with_context(|| format!("--sweep {}", swept.label(i)))?;
        Ok(Request { seed, ..request })
    };
    swept.cells.iter().enumerate().map(cell).collect()
}

/// Returns the prompt and the negative prompt of the command line.
fn command_line(args: &Args) -> PromptLine<'_> {
    let (prompt, negative) = (&*args.prompt, &*args.negative_prompt);
    PromptLine { prompt: prompt.into(), negative_prompt: Some(negative.into()), ..PromptLine::default() }
}

/// Returns the request of a prompt, without its seed. `default_params`: the parameters that the line does not set.
fn request<'a>(
    args: &'a Args,
    default_params: &SamplingParams,
    line: PromptLine<'a>,
    inputs: &mut Inputs,
) -> Result<Request<'a>> {
    let mut params = default_params.clone();
    line.params.iter().try_for_each(|(param, value)| param.set(&mut params, value))?;
    // The metadata of a picture to redraw state everything.
    let is_stated = |flag: &str| {
        let in_line = || line.params.iter().any(|(param, _)| param.flag == flag);
        args.replay.is_some() || args.is_given(flag) || in_line()
    };
    let are_flags = args.from_file.is_none();
    checks::input(args, &line, &params).or_usage_if(are_flags)?;
    inputs.complete(&mut params, is_stated)?;
    if !is_stated("ddim_eta") && params.sampler.kind != default_params.sampler.kind {
        params.sampler.eta = params.sampler.kind.default_eta();
    }
    params.check().or_usage_if(are_flags)?;
    let mut prompt = line.prompt;
    if args.lora_dir.is_some() && loras::has_tag(&prompt) {
        checks::tags(args, &prompt).or_usage_if(are_flags)?;
        let (text, loras) = loras::without_tags(&prompt).or_usage_if(are_flags)?;
        prompt = text.into();
        params.loras.extend(loras);
    }
    if args.wildcards {
        wildcards::expand(&prompt, &mut |_| 0).or_usage_if(are_flags)?;
    }
    let negative = line.negative_prompt.as_deref().unwrap_or("");
    check_weights((&prompt, negative), reading(args), &params.prompt_steps()).or_usage_if(are_flags)?;
    let negative = line.negative_prompt.unwrap_or_else(|| (&*args.negative_prompt).into());
    Ok(Request { prompt, negative, seed: None, params })
}
