//! Axes of a sweep.

use super::Picture;
use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// A swept parameter and its values, as the user wrote them.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Axis {
    /// The name of the parameter, without dashes.
    pub name: String,
    /// The value of each column or row.
    pub values: Vec<String>,
}

impl Axis {
    /// Returns the label of a value, such as `scale = 7.5`.
    pub fn label(&self, value: &str) -> String {
        format!("{} = {value}", self.name)
    }
}

/// Checks that `pictures` has a picture of the right length for every combination of values.
///
/// # Errors
/// If an axis has no values, or a picture is missing, superfluous or damaged.
pub fn ensure_complete(columns: &Axis, rows: Option<&Axis>, pictures: &[Picture]) -> Result<()> {
    for axis in [Some(columns), rows].into_iter().flatten() {
        ensure!(!axis.values.is_empty(), "a sweep over {} needs at least one value of it", axis.name);
    }
    let (n_columns, n_rows) = (columns.values.len(), rows.map_or(1, |rows| rows.values.len()));
    ensure!(
        n_columns.checked_mul(n_rows) == Some(pictures.len()),
        "a sweep of {n_columns} x {n_rows} values needs a picture for each, not {}",
        pictures.len()
    );
    pictures.iter().enumerate().try_for_each(|(i, picture)| {
        ensure_whole(picture).with_context(|| format!("picture {} of {} is damaged", i + 1, pictures.len()))
    })
}

fn ensure_whole(&Picture { width, height, ref rgb }: &Picture) -> Result<()> {
    let n_values = width.checked_mul(height).and_then(|n_pixels| n_pixels.checked_mul(3));
    ensure!(
        n_values == Some(rgb.len()) && !rgb.is_empty(),
        "a picture of {width}x{height} pixels has {} values",
        rgb.len()
    );
    Ok(())
}
