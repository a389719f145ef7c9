//! Enlarging latents for the second pass (`--hires`), as torch's `interpolate` does.

use crate::params::Upscaler;
use candle_core::{Device, Result, Tensor};

/// The parameter of torch's cubic convolution.
const CUBIC: f64 = -0.75;

/// Enlarges `latents` (B, h, w, C) → (B, height, width, C). `upscaler`: one that enlarges latents; others are bilinear.
///
/// # Errors
/// If the device fails.
pub fn enlarged(latents: &Tensor, (height, width): (usize, usize), upscaler: Upscaler) -> Result<Tensor> {
    let (b, h, w, c) = latents.dims4()?;
    let weights = |from: usize, to: usize| weights(from, to, upscaler);
    // On the CPU, as this is little work.
    let rows = latents.to_device(&Device::Cpu)?.reshape((b, h, w * c))?;
    let x = weights(h, height)?.unsqueeze(0)?.broadcast_matmul(&rows)?; // (B, height, w · C)
    let columns = x.reshape((b, height, w, c))?.transpose(1, 2)?.contiguous()?.reshape((b, w, height * c))?;
    let x = weights(w, width)?.unsqueeze(0)?.broadcast_matmul(&columns)?; // (B, width, height · C)
    x.reshape((b, width, height, c))?.transpose(1, 2)?.contiguous()?.to_device(latents.device())
}

/// Returns the shares of the old rows in each new one: (`to`, `from`).
fn weights(from: usize, to: usize, upscaler: Upscaler) -> Result<Tensor> {
    let mut weights = vec![0f32; to * from];
    for (i, row) in weights.chunks_exact_mut(from).enumerate() {
        let centre = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let mut add = |at: i64, weight: f64| row[at.clamp(0, from as i64 - 1) as usize] += weight as f32;
        match upscaler {
            Upscaler::LatentNearest => add((i as f32 * (from as f32 / to as f32)) as i64, 1.),
            Upscaler::LatentBicubic => {
                let first = centre.floor() as i64 - 1;
                (first..first + 4).for_each(|at| add(at, cubic(centre - at as f64)));
            }
            Upscaler::Latent | Upscaler::Lanczos => {
                let centre = centre.max(0.);
                let low = centre.floor();
                add(low as i64, 1. - (centre - low));
                add(low as i64 + 1, centre - low);
            }
        }
    }
    Tensor::from_vec(weights, (to, from), &Device::Cpu)
}

/// The cubic convolution of Keys 1981.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    match x {
        ..=1. => ((CUBIC + 2.) * x - (CUBIC + 3.)) * x * x + 1.,
        ..2. => (((x - 5.) * x + 8.) * x - 4.) * CUBIC,
        _ => 0.,
    }
}

/// Cuts the middle out of `latents` (B, h, w, C) that has the proportions of `size` (height, width).
///
/// # Errors
/// If the device fails.
pub fn cropped(latents: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    let (_, h, w, _) = latents.dims4()?;
    let scale = (size.0 as f64 / h as f64).max(size.1 as f64 / w as f64);
    let kept = |side: usize, of: usize| ((side as f64 / scale).round() as usize).clamp(1, of);
    let (height, width) = (kept(size.0, h), kept(size.1, w));
    latents.narrow(1, (h - height) / 2, height)?.narrow(2, (w - width) / 2, width)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_name::ByName;

    #[test]
    fn latents_are_enlarged_as_torch_does() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/enlarge.safetensors");
        let fixture = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let channels_last = |name: &str| fixture[name].permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let mut n_compared = 0;
        for name in fixture.keys().filter(|name| name.contains('.')) {
            let [mode, height, width] = name.split('.').collect::<Vec<_>>()[..] else { panic!("{name}") };
            let upscaler = match mode {
                "bilinear" => Upscaler::Latent,
                mode => Upscaler::from_name(&format!("latent-{mode}")).unwrap(),
            };
            let size = (height.parse().unwrap(), width.parse().unwrap());
            let ours = enlarged(&channels_last("x"), size, upscaler).unwrap();
            let error = (ours - channels_last(name)).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            assert!(error.to_scalar::<f32>().unwrap() < 3e-6, "{name}: {error}");
            n_compared += 1;
        }
        assert_eq!(n_compared, 9);
    }

    #[test]
    fn latents_of_other_proportions_lose_their_borders() {
        let x = Tensor::arange(0f32, 4. * 6., &Device::Cpu).unwrap().reshape((1, 4, 6, 1)).unwrap();
        let dims = |size| cropped(&x, size).unwrap().dims().to_vec();
        assert_eq!(dims((8, 12)), [1, 4, 6, 1]);
        assert_eq!(dims((8, 8)), [1, 4, 4, 1]);
        assert_eq!(dims((4, 12)), [1, 2, 6, 1]);
        let middle = cropped(&x, (8, 8)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(middle[..4], [1., 2., 3., 4.]);
    }
}
