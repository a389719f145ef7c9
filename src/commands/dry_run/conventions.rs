//! The conventions of the model, with the source of each.

use super::Row;
use crate::checkpoint::Stated;
use crate::conventions::Conventions;
use std::fmt::Display;

/// Returns a line for each convention and each note.
pub fn rows(conventions: &Conventions) -> Vec<Row> {
    let Conventions { prediction, noise, use_ema, scale_factor, notes, .. } = conventions;
    let weights = Stated::new(if use_ema.value { "moving averages (EMA)" } else { "not averaged" }, &*use_ema.by);
    let mut rows = vec![
        Row::new("prediction", stated(prediction)),
        Row::new("noise", stated(noise)),
        Row::new("weights", stated(&weights)),
        Row::new("scaling", stated(scale_factor)),
    ];
    rows.extend(notes.iter().map(|note| Row::new("note", note)));
    rows
}

fn stated<T: Display>(Stated { value, by }: &Stated<T>) -> String {
    format!("{value} ({by})")
}
