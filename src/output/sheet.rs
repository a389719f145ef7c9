//! The labelled contact sheet of a sweep.

use super::Picture;
use super::axis::{Axis, ensure_complete};
use super::grid::paste;
use super::shrink::{shrunk, shrunk_length};
use super::text::Text;
use anyhow::{Context, Result};
use std::ops::Range;

/// The largest side, in pixels. Many programs cannot display larger pictures.
const MAX_SIDE: usize = 20_000;
/// The largest number of pixels: 0.9 GB of memory.
const MAX_PIXELS: usize = 300_000_000;

/// The level of the background.
const PAPER: u8 = 255;
/// The largest number of lines of the title.
const TITLE_LINES: usize = 3;
/// The largest width of row labels, in line heights.
const ROW_LABEL: usize = 12;

/// Returns the contact sheet: a column for every value of `columns`, a row for every value of `rows`.
///
/// `pictures` are in row-major order and may differ in size: a column is as wide as its widest picture, a row as high
/// as its highest, and each picture is centred in its cell. The title is on top, on three lines at most. A label is
/// `name = value`; if that is too long for its column, the value alone, shortened if necessary.
///
/// If the sheet would be more than 20,000 pixels wide or high, or have more than 300 million pixels, all pictures are
/// reduced by the same factor.
///
/// # Errors
/// If a picture is missing or damaged, or the sheet is too large even for pictures of one pixel.
pub fn sheet(title: &str, columns: &Axis, rows: Option<&Axis>, pictures: &[Picture]) -> Result<Picture> {
    ensure_complete(columns, rows, pictures)?;
    let cells = Cells::new(columns.values.len(), pictures);
    let mut layouts = (1..=cells.longest()).map(|factor| Layout::new(title, rows, &cells, factor));
    let layout = layouts.find(Layout::fits).with_context(|| {
        let (n_columns, n_rows) = (cells.widths.len(), cells.heights.len());
        format!("{n_columns} x {n_rows} pictures do not fit on a sheet of {MAX_SIDE} pixels: sweep fewer values")
    })?;
    let mut sheet = layout.paper();
    layout.write_title(&mut sheet);
    layout.write_columns(&mut sheet, columns);
    if let Some(rows) = rows {
        layout.write_rows(&mut sheet, rows);
    }
    layout.paste(&mut sheet, pictures);
    Ok(sheet)
}

/// The widths of the columns and the heights of the rows, in pixels.
struct Cells {
    widths: Vec<usize>,
    heights: Vec<usize>,
}

impl Cells {
    fn new(n_columns: usize, pictures: &[Picture]) -> Self {
        let mut widths = vec![0; n_columns];
        let mut heights = vec![0; pictures.len() / n_columns];
        for (i, picture) in pictures.iter().enumerate() {
            let (width, height) = (&mut widths[i % n_columns], &mut heights[i / n_columns]);
            *width = picture.width.max(*width);
            *height = picture.height.max(*height);
        }
        Self { widths, heights }
    }

    fn longest(&self) -> usize {
        self.widths.iter().chain(&self.heights).copied().max().unwrap_or(0)
    }
}

/// The layout of a sheet.
struct Layout {
    /// The factor by which pictures are reduced.
    factor: usize,
    text: Text,
    title: Vec<String>,
    /// The margin around the sheet, in pixels.
    margin: usize,
    columns: Vec<Range<usize>>,
    rows: Vec<Range<usize>>,
}

impl Layout {
    fn new(title: &str, rows: Option<&Axis>, cells: &Cells, factor: usize) -> Self {
        let height = shrunk_length(cells.heights.iter().copied().max().unwrap_or(0), factor);
        let text = Text::new((height as f32 / 24.).clamp(12., 32.));
        // No gap between pictures of a few pixels, so that any reasonable number of them fits.
        let gap = (height / 16).min(8);
        let (margin, pad) = (text.line(), text.line() / 2);

        let label = rows.map_or(0, |rows| widest_label(&text, rows) + pad);
        let columns = ranges(&cells.widths, factor, margin + label, gap);
        let title = text.wrapped(title, (end(&columns) - margin) as f32, TITLE_LINES);
        let title_height = if title.is_empty() { 0 } else { title.len() * text.line() + pad };
        let rows = ranges(&cells.heights, factor, margin + title_height + text.line() + pad / 2, gap);
        Self { factor, text, title, margin, columns, rows }
    }

    fn width(&self) -> usize {
        end(&self.columns) + self.margin
    }

    fn height(&self) -> usize {
        end(&self.rows) + self.margin
    }

    fn fits(&self) -> bool {
        let (width, height) = (self.width(), self.height());
        width.max(height) <= MAX_SIDE && width * height <= MAX_PIXELS
    }

    fn paper(&self) -> Picture {
        let (width, height) = (self.width(), self.height());
        Picture { width, height, rgb: vec![PAPER; 3 * width * height] }
    }

    fn write_title(&self, sheet: &mut Picture) {
        for (i, line) in self.title.iter().enumerate() {
            self.text.draw(sheet, line, self.margin, self.margin + i * self.text.line());
        }
    }

    /// Writes the column labels above the first row.
    fn write_columns(&self, sheet: &mut Picture, axis: &Axis) {
        let top = self.rows[0].start - self.text.line() - self.text.line() / 4;
        for (column, value) in self.columns.iter().zip(&axis.values) {
            let label = label(&self.text, axis, value, column.len() as f32);
            let left = (column.start + column.end) as f32 / 2. - self.text.width(&label) / 2.;
            self.text.draw(sheet, &label, left as usize, top);
        }
    }

    /// Writes the row labels to the left of the first column.
    fn write_rows(&self, sheet: &mut Picture, axis: &Axis) {
        let right = self.columns[0].start - self.text.line() / 2;
        for (row, value) in self.rows.iter().zip(&axis.values) {
            // Labels of rows lower than a line would overlap.
            if row.len() >= self.text.line() {
                let label = label(&self.text, axis, value, (right - self.margin) as f32);
                let left = right as f32 - self.text.width(&label);
                self.text.draw(sheet, &label, left as usize, (row.start + row.end - self.text.line()) / 2);
            }
        }
    }

    fn paste(&self, sheet: &mut Picture, pictures: &[Picture]) {
        for (row, pictures) in self.rows.iter().zip(pictures.chunks(self.columns.len())) {
            for (column, picture) in self.columns.iter().zip(pictures) {
                let picture = shrunk(picture, self.factor);
                let (left, top) = (column.len() - picture.width, row.len() - picture.height);
                paste(sheet, &picture, column.start + left / 2, row.start + top / 2);
            }
        }
    }
}

/// Returns the ranges of cells of the given `lengths`, reduced by `factor`, from `start` on with `gap` between them.
fn ranges(lengths: &[usize], factor: usize, start: usize, gap: usize) -> Vec<Range<usize>> {
    let mut start = start;
    let range = |&length: &usize| {
        let range = start..start + shrunk_length(length, factor);
        start = range.end + gap;
        range
    };
    lengths.iter().map(range).collect()
}

/// Returns the end of the last range.
fn end(ranges: &[Range<usize>]) -> usize {
    ranges.last().map_or(0, |last| last.end)
}

/// Returns the label `name = value`, or if it does not fit, the value alone, which distinguishes the columns.
fn label(text: &Text, axis: &Axis, value: &str, width: f32) -> String {
    let label = axis.label(value);
    if text.width(&label) <= width { label } else { text.shortened(value, width) }
}

fn widest_label(text: &Text, axis: &Axis) -> usize {
    let widths = axis.values.iter().map(|value| text.width(&axis.label(value)).ceil() as usize);
    widths.max().unwrap_or(0).min(ROW_LABEL * text.line())
}
