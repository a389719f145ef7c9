//! The timings of a run (`--timings`).

use std::time::{Duration, Instant};

/// A stopwatch for one run.
pub struct Timings {
    start: Instant,
    loading: Duration,
    drawing: Duration,
    pictures: usize,
}

impl Timings {
    /// Starts the stopwatch, when the model begins to load.
    pub fn start() -> Self {
        Self { start: Instant::now(), loading: Duration::ZERO, drawing: Duration::ZERO, pictures: 0 }
    }

    /// Records that the model is loaded.
    pub fn loaded(&mut self) {
        self.loading = self.start.elapsed();
    }

    /// Records that all images, `pictures` in number, are saved.
    pub fn drawn(&mut self, pictures: usize) {
        self.drawing = self.start.elapsed() - self.loading;
        self.pictures = pictures;
    }

    /// Returns the timings as a Markdown table.
    pub fn table(&self) -> String {
        let loading = self.loading.as_secs_f64();
        let each = self.drawing.as_secs_f64() / self.pictures.max(1) as f64;
        let total = (self.loading + self.drawing).as_secs_f64();
        format!(
            "| Time to load the model | Processing time per image | Total time |\n\
             | ---: | ---: | ---: |\n\
             | {loading:.2} s | {each:.2} s | {total:.2} s |\n"
        )
    }
}
