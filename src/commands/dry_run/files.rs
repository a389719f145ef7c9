//! The images of a run, and their files.

use super::Row;
use crate::job::tasks::{self, Remaining, n_wanted};
use crate::job::{Batch, ImageRequest, Job, Request};
use crate::outdir::{Name, OutDir, Overview};
use crate::output::{NameFields, Pattern};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// The most sizes that are named.
const MAX_SIZES: usize = 6;

/// Returns the lines about the number, sizes and names of the images to be drawn, without creating anything.
/// `finished`: the images that need not be drawn.
pub fn rows(job: &Job, outdir: &OutDir, finished: &HashSet<usize>) -> Vec<Row> {
    let (tasks, n_batches) = (Remaining::new(job, finished), job.images.n_batches());
    let count = |left: usize, all: usize| if left == all { format!("{all}") } else { format!("{left} of {all}") };
    let mut rows = vec![
        Row::new("pictures", count(tasks.n_pictures, job.images.n_pictures())),
        Row::new("iterations", job.images.iterations),
        Row::new(
            "batches",
            count(tasks.n_tasks, n_batches) + &format!(", batch size up to {}", job.images.requests.longest()),
        ),
        Row::new("pixels", sizes(job)),
    ];
    let names = outdir.names();
    let path = |name: Name| job.output.outdir.join(name.after(0));
    let mut file = |what, path: PathBuf| rows.push(Row::new(what, path.display()));
    let has_hash = job.output.fname.as_ref().is_some_and(Pattern::has_hash);
    let wanted = || (0..n_batches).filter(|number| n_wanted(job, finished, *number) > 0);
    if let Some((first, last)) = wanted().next().zip(wanted().next_back())
        && job.output.saves_samples
        && !has_hash
    {
        let sample = |number: usize, which: fn(&[usize]) -> Option<&usize>| {
            let batch = job.images.batch(number);
            let image = &batch.images[*which(&tasks::wanted(job, finished, number))?];
            Some(path(names.sample(image.number, &name_fields(job, &batch, image))))
        };
        sample(first, <[_]>::first).into_iter().for_each(|first| file("first file", first));
        sample(last, <[_]>::last).into_iter().for_each(|last| file("last file", last));
    }
    match outdir.run().overview {
        Some(Overview::Grids(_)) => {
            let (first, last) = (outdir.missing_grids().next(), outdir.missing_grids().next_back());
            first.into_iter().for_each(|grid| file("grid", path(names.grid(grid))));
            last.filter(|_| last != first).into_iter().for_each(|grid| file("last grid", path(names.grid(grid))));
        }
        Some(Overview::Sweep) if !outdir.has_sweep() => {
            file("sheet", path(names.sheet()));
            file("page", path(names.page()));
        }
        _ => (),
    }
    if job.output.index && job.output.saves_samples {
        file("index page", path(names.index_page()));
    }
    rows.push(Row::new("file system", file_system(&job.output.outdir)));
    rows
}

/// Returns the capabilities of OUTDIR's file system, or the reason why OUTDIR cannot be written to.
fn file_system(outdir: &Path) -> String {
    match OutDir::probe(outdir) {
        Ok((folder, file_system)) if folder == outdir => file_system.to_string(),
        Ok((folder, file_system)) => {
            let folder = if folder.as_os_str().is_empty() { ".".into() } else { folder.display().to_string() };
            format!("{file_system} (of '{folder}', in which OUTDIR will be created)")
        }
        Err(error) => format!("{error:#}"),
    }
}

/// Returns the values of an image for `--fname`.
fn name_fields<'a>(job: &Job, batch: &Batch, image: &'a ImageRequest) -> NameFields<'a> {
    let seed = image.origin.map_or(job.images.seed, |origin| origin.seed);
    let params = batch.params.with_factor(job.model.config.vae.side_factor());
    NameFields { seed, prompt: &image.prompt, params, hash: "" }
}

/// Formats the sizes of all images: `512x512`, or the number of images of each size.
fn sizes(job: &Job) -> String {
    let mut sizes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for Request { params, .. } in job.images.requests.iter() {
        let (height, width) = params.final_latent_size();
        *sizes.entry((width, height)).or_default() += job.images.iterations;
    }
    let factor = job.model.config.vae.side_factor();
    let size = |&(w, h): &(usize, usize)| format!("{}x{}", factor * w, factor * h);
    if sizes.len() == 1 {
        return sizes.keys().map(size).collect();
    }
    let listed = sizes.iter().take(MAX_SIZES).map(|(wh, n)| format!("{n} of {}", size(wh)));
    let more = if sizes.len() > MAX_SIZES { format!(", and {} more", sizes.len() - MAX_SIZES) } else { String::new() };
    listed.collect::<Vec<_>>().join(", ") + &more
}
