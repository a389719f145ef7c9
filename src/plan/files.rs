//! The pictures, and the files they would become.

use super::Row;
use super::work::side_factor;
use crate::job::{Batch, Job, Settings, Wish};
use crate::output::{Folder, Named, Pattern};
use anyhow::Result;
use std::collections::BTreeMap;
use std::num::NonZero;

/// Sizes that are named.
const MOST_SIZES: usize = 6;

/// How many pictures of which sizes, and what they would be called; nothing is created.
pub fn rows(job: &Job) -> Result<Vec<Row>> {
    let (n, batches) = (job.n_pictures(), job.n_batches());
    let mut rows = vec![
        Row::new("pictures", n),
        Row::new("iterations", job.iterations),
        Row::new("batches", format_args!("{batches}, of up to {} pictures", job.lines.longest())),
        Row::new("pixels", sizes(job)),
    ];
    let folder = Folder::look(&job.outdir, job.format, job.fname.clone())?;
    let mut file = |what, path: std::path::PathBuf| rows.push(Row::new(what, path.display()));
    if let (true, Some(pattern)) = (job.saves_samples, &job.fname) {
        let samples = job.outdir.join("samples");
        let (first, last) = (job.batches().next(), job.batches().last());
        let first = first.and_then(|batch| named(job, &folder, pattern, &batch, batch.wishes.first()?));
        let last = last.and_then(|batch| named(job, &folder, pattern, &batch, batch.wishes.last()?));
        file("first file", samples.join(first.unwrap_or_default()));
        file("last file", samples.join(last.unwrap_or_default()));
    } else if let (true, Some(n)) = (job.saves_samples, NonZero::new(n)) {
        let (first, last) = folder.samples(n)?;
        file("first file", first);
        file("last file", last);
    }
    match (job.grid_columns, &job.sweep) {
        (None, _) => (),
        (_, None) => file("grid", folder.grid()?),
        (_, Some(_)) => {
            let (sheet, page) = folder.sheet_and_page()?;
            file("sheet", sheet);
            file("page", page);
        }
    }
    Ok(rows)
}

/// What `--fname` makes of a picture; none where the model's hash is in it.
fn named(job: &Job, folder: &Folder, pattern: &Pattern, batch: &Batch, wish: &Wish) -> Option<String> {
    let Settings { scale, plan, .. } = batch.settings;
    let seed = wish.origin.map_or(job.seed, |origin| origin.seed);
    let named = Named { seed, prompt: &wish.prompt, sampler: plan.kind.name(), steps: plan.steps, scale, hash: "" };
    (!pattern.has_hash())
        .then(|| format!("{}.{}", pattern.name(folder.next_index() + wish.number, &named), job.format.name()))
}

/// `512x512`, and how many of each where there are several.
fn sizes(job: &Job) -> String {
    let mut sizes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for line in job.lines.lines() {
        *sizes.entry((line.settings.latent_width, line.settings.latent_height)).or_default() += job.iterations;
    }
    let factor = side_factor(&job.config);
    let size = |&(w, h): &(usize, usize)| format!("{}x{}", factor * w, factor * h);
    if sizes.len() == 1 {
        return sizes.keys().map(size).collect();
    }
    let several = sizes.iter().take(MOST_SIZES).map(|(of, n)| format!("{n} of {}", size(of)));
    let more =
        if sizes.len() > MOST_SIZES { format!(", {} more sizes", sizes.len() - MOST_SIZES) } else { String::new() };
    several.collect::<Vec<_>>().join(", ") + &more
}
