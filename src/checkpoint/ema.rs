//! The exponential moving average (EMA) of the UNet's weights, which training keeps beside them.

/// What LDM names the parameters of that the average is of.
const MODEL: &str = "model.";

/// Where the averages are.
const EMA: &str = "model_ema.";

/// The start of the names of the UNet's averages.
pub const UNET: &str = "model_ema.diffusion_model";

/// Returns the name of the average of the UNet's parameter `name`: torch takes no dots in a buffer's name.
pub fn name(name: &str) -> String {
    let parameter = name.strip_prefix(MODEL).unwrap_or(name);
    format!("{EMA}{}", parameter.replace('.', ""))
}
