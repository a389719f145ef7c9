//! The exponential moving average (EMA) of the UNet's weights, which training keeps beside them.

/// The prefix of LDM's parameters of which averages are kept.
const MODEL: &str = "model.";

/// The prefix of the averages.
const EMA: &str = "model_ema.";

/// The prefix of the averages of the UNet's parameters, which lacks a final dot.
pub const UNET: &str = "model_ema.diffusion_model";

/// Returns the name of the average of the UNet's parameter `name`. It has no further dots, since torch allows none in
/// the name of a buffer.
pub fn name(name: &str) -> String {
    let parameter = name.strip_prefix(MODEL).unwrap_or(name);
    format!("{EMA}{}", parameter.replace('.', ""))
}
