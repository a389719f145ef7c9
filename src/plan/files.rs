//! The pictures, and the files they would become.

use super::Row;
use crate::by_name::ByName;
use crate::job::{Batch, Job, Settings, Wish};
use crate::output::{Name, Named, Names, Numbering, Overview, Pattern};
use anyhow::Result;
use std::collections::BTreeMap;

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
    let names = Names::new(Numbering::look(&job.outdir, job.format)?, job.format, job.fname.clone());
    let path = |name: Name| job.outdir.join(name.after(0));
    let mut file = |what, path: std::path::PathBuf| rows.push(Row::new(what, path.display()));
    let has_hash = job.fname.as_ref().is_some_and(Pattern::has_hash);
    if job.saves_samples && !has_hash {
        let (first, last) = (job.batch(0), job.batch(batches - 1));
        let named =
            |batch: &Batch, wish: Option<&Wish>| Some(path(names.sample(wish?.number, &named(job, batch, wish?))));
        named(&first, first.wishes.first()).into_iter().for_each(|first| file("first file", first));
        named(&last, last.wishes.last()).into_iter().for_each(|last| file("last file", last));
    }
    match job.overview {
        None => (),
        Some(Overview::Grids(grids)) => {
            file("grid", path(names.grid(0)));
            let last = n.div_ceil(grids.every) - 1;
            if last > 0 {
                file("last grid", path(names.grid(last)));
            }
        }
        Some(Overview::Sweep) => {
            file("sheet", path(names.sheet()));
            file("page", path(names.page()));
        }
    }
    Ok(rows)
}

/// What `--fname` may tell of a picture.
fn named<'a>(job: &Job, batch: &Batch, wish: &'a Wish) -> Named<'a> {
    let Settings { scale, plan, .. } = batch.settings;
    let seed = wish.origin.map_or(job.seed, |origin| origin.seed);
    Named { seed, prompt: &wish.prompt, sampler: plan.kind.name(), steps: plan.steps, scale, hash: "" }
}

/// `512x512`, and how many of each where there are several.
fn sizes(job: &Job) -> String {
    let mut sizes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for line in job.lines.lines() {
        *sizes.entry((line.settings.latent_width, line.settings.latent_height)).or_default() += job.iterations;
    }
    let factor = job.config.vae.side_factor();
    let size = |&(w, h): &(usize, usize)| format!("{}x{}", factor * w, factor * h);
    if sizes.len() == 1 {
        return sizes.keys().map(size).collect();
    }
    let several = sizes.iter().take(MOST_SIZES).map(|(of, n)| format!("{n} of {}", size(of)));
    let more =
        if sizes.len() > MOST_SIZES { format!(", {} more sizes", sizes.len() - MOST_SIZES) } else { String::new() };
    several.collect::<Vec<_>>().join(", ") + &more
}
