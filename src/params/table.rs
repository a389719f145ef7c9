//! The table of sampling parameters.

use super::{MAX_SIDE, MaskFill, ParamValue, SamplingParams, Upscaler};
use crate::by_name::ByName;
use crate::diffusion::samplers::{Kind, Spacing};
use anyhow::{Result, anyhow, bail, ensure};

/// The largest plausible number of steps; [`SamplerConfig::check`] reports the actual limit.
const MAX_STEPS: i64 = 1_000_000;

/// The number of layers of CLIP's text encoder. Those of a smaller model are checked when it is loaded.
const TEXT_LAYERS: i64 = 12;

/// One sampling parameter.
#[derive(Clone, Copy)]
pub struct Param {
    /// The name of its flag, which is also its key in a JSON prompts file and its axis in `--sweep`.
    pub flag: &'static str,
    /// The name of its field in metadata, which is also its placeholder in `--fname` and its other key in JSON.
    pub name: &'static str,
    /// The type of its value, with functions that access its field.
    pub field: Field,
}

/// The type of a parameter, with functions that read and set its field of [`SamplingParams`].
#[derive(Clone, Copy)]
pub enum Field {
    /// A whole number. Setting fails if it is out of range.
    Whole {
        /// Returns the value.
        get: fn(&SamplingParams) -> usize,
        /// Sets the value.
        set: fn(&mut SamplingParams, i64) -> Result<()>,
    },
    /// A finite number.
    Number {
        /// Returns the value.
        get: fn(&SamplingParams) -> f64,
        /// Sets the value.
        set: fn(&mut SamplingParams, f64),
    },
    /// The name of a variant of an enumeration.
    Name {
        /// Returns all names, separated by commas.
        names: fn() -> String,
        /// Returns the value.
        get: fn(&SamplingParams) -> &'static str,
        /// Sets the value; returns `None` if there is no such name.
        set: fn(&mut SamplingParams, &str) -> Option<()>,
    },
    /// A text of a form of its own.
    Text {
        /// Returns the value.
        get: fn(&SamplingParams) -> String,
        /// Sets the value. If the text is invalid, the error is a clause that says what it is not.
        set: fn(&mut SamplingParams, &str) -> Result<()>,
    },
    /// The path of a file; empty if there is none.
    Path {
        /// Returns the value.
        get: fn(&SamplingParams) -> String,
        /// Sets the value.
        set: fn(&mut SamplingParams, &str),
    },
    /// A list of texts.
    List {
        /// Returns the texts.
        get: fn(&SamplingParams) -> Vec<String>,
        /// Sets the list. Fails if a text is invalid.
        set: fn(&mut SamplingParams, &[String]) -> Result<()>,
    },
}

/// All sampling parameters, in the order in which messages list them.
///
/// Prompts files, sweeps, file names, metadata, replay and resume are all driven by this table.
pub const PARAMS: [Param; 24] = [
    Param {
        flag: "H",
        name: "height",
        field: Field::Whole {
            get: |params| params.height,
            set: |params, height| side("--H", height, params.factor).map(|height| params.height = height),
        },
    },
    Param {
        flag: "W",
        name: "width",
        field: Field::Whole {
            get: |params| params.width,
            set: |params, width| side("--W", width, params.factor).map(|width| params.width = width),
        },
    },
    Param {
        flag: "ddim_steps",
        name: "steps",
        field: Field::Whole {
            get: |params| params.sampler.steps,
            set: |params, n| steps(n).map(|n| params.sampler.steps = n),
        },
    },
    Param {
        flag: "scale",
        name: "scale",
        field: Field::Number { get: |params| params.scale, set: |params, scale| params.scale = scale },
    },
    Param {
        flag: "guidance_rescale",
        name: "guidance_rescale",
        field: Field::Number {
            get: |params| params.guidance_rescale,
            set: |params, rescale| params.guidance_rescale = rescale,
        },
    },
    Param {
        flag: "guidance_interval",
        name: "guidance_interval",
        field: Field::Text {
            get: |params| params.guidance_interval.to_string(),
            set: |params, text| text.parse().map(|interval| params.guidance_interval = interval),
        },
    },
    Param {
        flag: "deepcache",
        name: "deepcache",
        field: Field::Text {
            get: |params| params.deepcache.to_string(),
            set: |params, text| text.parse().map(|deepcache| params.deepcache = deepcache),
        },
    },
    Param {
        flag: "clip_skip",
        name: "clip_skip",
        field: Field::Whole {
            get: |params| params.clip_skip,
            set: |params, layer| text_layer(layer).map(|layer| params.clip_skip = layer),
        },
    },
    Param {
        flag: "init-img",
        name: "init_img",
        field: Field::Path {
            get: |params| params.init_img.clone().unwrap_or_default(),
            set: |params, path| params.init_img = (!path.is_empty()).then(|| path.to_owned()),
        },
    },
    Param {
        flag: "strength",
        name: "strength",
        field: Field::Number {
            // Without an input picture, everything is drawn anew.
            get: |params| params.sampler.strength.unwrap_or(1.),
            set: |params, strength| params.sampler.strength = Some(strength),
        },
    },
    Param {
        flag: "mask",
        name: "mask",
        field: Field::Path {
            get: |params| params.mask.clone().unwrap_or_default(),
            set: |params, path| params.mask = (!path.is_empty()).then(|| path.to_owned()),
        },
    },
    Param {
        flag: "mask_blur",
        name: "mask_blur",
        field: Field::Number { get: |params| params.mask_blur, set: |params, blur| params.mask_blur = blur },
    },
    Param {
        flag: "mask_fill",
        name: "mask_fill",
        field: Field::Name {
            names: MaskFill::names,
            get: |params| params.mask_fill.name(),
            set: |params, name| MaskFill::from_name(name).map(|fill| params.mask_fill = fill),
        },
    },
    Param {
        flag: "outpaint",
        name: "outpaint",
        field: Field::Text {
            get: |params| params.outpaint.to_string(),
            set: |params, text| text.parse().map(|borders| params.outpaint = borders),
        },
    },
    Param {
        flag: "sampler",
        name: "sampler",
        field: Field::Name {
            names: Kind::names,
            get: |params| params.sampler.kind.name(),
            set: |params, name| Kind::from_name(name).map(|kind| params.sampler.kind = kind),
        },
    },
    Param {
        flag: "ddim_eta",
        name: "eta",
        field: Field::Number { get: |params| params.sampler.eta, set: |params, eta| params.sampler.eta = eta },
    },
    Param {
        flag: "schedule",
        name: "schedule",
        field: Field::Name {
            names: Spacing::names,
            get: |params| params.sampler.spacing.name(),
            set: |params, name| Spacing::from_name(name).map(|spacing| params.sampler.spacing = spacing),
        },
    },
    Param {
        flag: "hires",
        name: "hires",
        field: Field::Text {
            get: |params| params.hires.size.to_string(),
            set: |params, text| text.parse().map(|size| params.hires.size = size),
        },
    },
    Param {
        flag: "hires_strength",
        name: "hires_strength",
        field: Field::Number {
            get: |params| params.hires.strength,
            set: |params, strength| params.hires.strength = strength,
        },
    },
    Param {
        flag: "hires_steps",
        name: "hires_steps",
        field: Field::Whole {
            get: |params| params.hires.steps,
            set: |params, n| hires_steps(n).map(|n| params.hires.steps = n),
        },
    },
    Param {
        flag: "hires_sampler",
        name: "hires_sampler",
        field: Field::Name {
            names: Kind::names,
            get: |params| params.hires.sampler.unwrap_or(params.sampler.kind).name(),
            set: |params, name| Kind::from_name(name).map(|kind| params.hires.sampler = Some(kind)),
        },
    },
    Param {
        flag: "hires_upscaler",
        name: "hires_upscaler",
        field: Field::Name {
            names: Upscaler::names,
            get: |params| params.hires.upscaler.name(),
            set: |params, name| Upscaler::from_name(name).map(|upscaler| params.hires.upscaler = upscaler),
        },
    },
    Param {
        flag: "lora",
        name: "loras",
        field: Field::List {
            get: |params| params.loras.iter().map(ToString::to_string).collect(),
            set: |params, items| {
                items.iter().map(|item| item.parse()).collect::<Result<_>>().map(|loras| params.loras = loras)
            },
        },
    },
    Param {
        flag: "lora_weight",
        name: "lora_weight",
        field: Field::Number { get: |params| params.lora_weight, set: |params, weight| params.lora_weight = weight },
    },
];

impl Param {
    /// Returns the value of the parameter in `params`.
    pub fn get(&self, params: &SamplingParams) -> ParamValue {
        match self.field {
            Field::Whole { get, .. } => ParamValue::Whole(get(params) as i64),
            Field::Number { get, .. } => ParamValue::Number(get(params)),
            Field::Name { get, .. } => ParamValue::Text(get(params).to_owned()),
            Field::Text { get, .. } | Field::Path { get, .. } => ParamValue::Text(get(params)),
            Field::List { get, .. } => ParamValue::List(get(params)),
        }
    }

    /// Sets the parameter in `params`.
    ///
    /// # Errors
    /// If the value is out of range or of another type.
    pub fn set(&self, params: &mut SamplingParams, value: &ParamValue) -> Result<()> {
        match (self.field, value) {
            (Field::Whole { set, .. }, ParamValue::Whole(number)) => set(params, *number),
            (Field::Number { set, .. }, ParamValue::Number(number)) => {
                set(params, *number);
                Ok(())
            }
            (Field::Name { set, names, .. }, ParamValue::Text(name)) => {
                set(params, name).ok_or_else(|| anyhow!("--{} '{name}' is not one of {}", self.flag, names()))
            }
            (Field::Text { set, .. }, ParamValue::Text(text)) => {
                set(params, text).map_err(|clause| anyhow!("--{} '{text}' is {clause}", self.flag))
            }
            (Field::Path { set, .. }, ParamValue::Text(path)) => {
                set(params, path);
                Ok(())
            }
            (Field::List { set, .. }, ParamValue::List(items)) => set(params, items),
            _ => bail!("--{} does not take '{value}'", self.flag),
        }
    }
}

/// Checks the size of a side.
fn side(flag: &str, size: i64, factor: usize) -> Result<usize> {
    let range = factor as i64..=MAX_SIDE;
    ensure!(range.contains(&size), "{flag} {size} is not between {factor} and {MAX_SIDE}");
    Ok(size as usize)
}

/// Checks a number of steps.
fn steps(n: i64) -> Result<usize> {
    ensure!(n > 0, "--ddim_steps {n} draws nothing; give at least 1");
    ensure!(n <= MAX_STEPS, "--ddim_steps {n} is more than {MAX_STEPS}");
    Ok(n as usize)
}

/// Checks a number of steps of the second pass, of which 0 is that of the first.
fn hires_steps(n: i64) -> Result<usize> {
    ensure!((0..=1000).contains(&n), "--hires_steps {n} is not between 0, which is as many as --ddim_steps, and 1000");
    Ok(n as usize)
}

fn text_layer(layer: i64) -> Result<usize> {
    ensure!(
        (1..=TEXT_LAYERS).contains(&layer),
        "--clip_skip {layer} is not between 1, which skips nothing, and {TEXT_LAYERS}"
    );
    Ok(layer as usize)
}
