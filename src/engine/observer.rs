//! Callbacks of the engine.

use super::Pass;
use crate::output::Picture;
use anyhow::Result;
use candle_core::Tensor;

/// Returns a preview of the image with an index.
pub type Preview<'a> = dyn Fn(usize) -> Result<Picture> + 'a;

/// Watches an engine at work. All methods do nothing by default.
pub trait Observer {
    /// Called before a model's `tensors` tensors are loaded; the function it returns is called after each of them.
    fn on_load(&mut self, tensors: usize) -> Box<dyn Fn() + Sync + '_> {
        let _ = tensors;
        Box::new(|| ())
    }

    /// Called before each pass of sampling a batch.
    fn on_start(&mut self, pass: &Pass) {
        let _ = pass;
    }

    /// Called after step `i` of all passes, from 0, with the latents and the clean latents x₀: (B, h, w, 4) both. `preview` returns a
    /// preview of x₀ of the image with an index, which is quick.
    ///
    /// # Errors
    /// An error ends the sampling and becomes that of the engine.
    fn on_step(&mut self, i: usize, x: &Tensor, x0: &Tensor, preview: &Preview) -> Result<()> {
        let _ = (i, x, x0, preview);
        Ok(())
    }

    /// Called when the sampling of a batch that was started ends in an error.
    fn on_fail(&mut self) {}

    /// Called when a batch that was sampled is to be sampled again in f32.
    fn on_repeat(&mut self) {}

    /// Called with a sentence that the user should read.
    fn on_note(&mut self, note: &str) {
        let _ = note;
    }
}

/// Ignores everything.
impl Observer for () {}
