//! The pictures, and the files they would become.

use super::Row;
use super::work::{n_pictures, side_factor};
use crate::job::Job;
use crate::output::Folder;
use anyhow::Result;
use std::collections::BTreeMap;
use std::num::NonZero;

/// Sizes that are named.
const MOST_SIZES: usize = 6;

/// How many pictures of which sizes, and what they would be called; nothing is created.
pub fn rows(job: &Job) -> Result<Vec<Row>> {
    let n = n_pictures(job);
    let batches = job.iterations * job.lines.n_batches();
    let mut rows = vec![
        Row::new("pictures", n),
        Row::new("iterations", job.iterations),
        Row::new("batches", format_args!("{batches}, of up to {} pictures", job.lines.longest())),
        Row::new("pixels", sizes(job)),
    ];
    let folder = Folder::look(&job.outdir, job.format, job.fname.clone())?;
    let mut file = |what, path: std::path::PathBuf| rows.push(Row::new(what, path.display()));
    if job.fname.is_some() && job.saves_samples {
        file("files named by --fname", job.outdir.join("samples"));
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
