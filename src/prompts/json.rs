//! Prompts as JSON: an object on each line, or one array of objects.

use super::Ask;
use crate::args::Seed;
use crate::by_name::ByName;
use crate::diffusion::samplers::Kind;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value};

/// The keys of an object. Keys in brackets are other names of the one before.
const KEYS: &str = "prompt, negative_prompt, seed, H (height), W (width), ddim_steps (steps), scale and sampler";

/// Returns whether a text begins as a JSON object does: `{"` is how no prompt begins.
pub fn is_lines(text: &str) -> bool {
    text.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// Returns whether a text begins as an array of JSON objects does.
pub fn is_array(text: &str) -> bool {
    text.trim_start().strip_prefix('[').is_some_and(is_lines)
}

/// Reads an array.
///
/// # Errors
/// When the text is not JSON; the error says where in the file.
pub fn array(text: &str) -> Result<Vec<Value>> {
    serde_json::from_str(text).map_err(|error| anyhow!("line {}, {}", error.line(), problem(&error)))
}

/// Reads a line.
///
/// # Errors
/// When it is not a JSON object with the keys of a prompt; the error says where in the line.
pub fn line(line: &str) -> Result<Ask<'static>> {
    ask(serde_json::from_str(line).map_err(|error| anyhow!(problem(&error)))?)
}

/// Reads an object.
///
/// # Errors
/// When the value is not an object with the keys of a prompt.
pub fn ask(value: Value) -> Result<Ask<'static>> {
    let Value::Object(object) = value else { bail!("{value} is not a JSON object with a \"prompt\"") };
    let mut ask = Ask::default();
    let mut prompt = None;
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let named = || format!("\"{key}\" is {value}");
        match key.as_str() {
            "prompt" => prompt = Some(text(value).with_context(named)?),
            "negative_prompt" => ask.negative_prompt = Some(text(value).with_context(named)?.into()),
            "seed" => ask.seed = Some(seed(value).with_context(named)?),
            "H" | "height" => ask.height = Some(whole(value).with_context(named)?),
            "W" | "width" => ask.width = Some(whole(value).with_context(named)?),
            "ddim_steps" | "steps" => ask.steps = Some(whole(value).with_context(named)?),
            "scale" => ask.scale = Some(value.as_f64().context("which is not a number").with_context(named)?),
            "sampler" => ask.sampler = Some(sampler(value).with_context(named)?),
            _ => bail!("\"{key}\" is not known; use {KEYS}"),
        }
    }
    check_aliases(&object)?;
    ask.prompt = prompt.context("\"prompt\" is missing")?.into();
    Ok(ask)
}

/// What is wrong with a text that is not JSON, and in which column.
fn problem(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let what = said.split(" at line ").next().unwrap_or_default();
    format!("column {}: it is not valid JSON ({what})", error.column())
}

fn check_aliases(object: &Map<String, Value>) -> Result<()> {
    for [name, alias] in [["H", "height"], ["W", "width"], ["ddim_steps", "steps"]] {
        ensure!(
            !object.contains_key(name) || !object.contains_key(alias),
            "\"{name}\" and \"{alias}\" are the same; give one of them"
        );
    }
    Ok(())
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("which is not a text")?.to_owned())
}

/// Reads a whole number, which some programs write as `7.0`.
fn whole(value: &Value) -> Result<i64> {
    let float = || value.as_f64().filter(|number| number.fract() == 0. && number.abs() < 2f64.powi(53));
    let number = value.as_i64().or_else(|| float().map(|number| number as i64));
    number.context("which is not a whole number")
}

/// Reads a seed; as on the command line, what torch does not take means any.
fn seed(value: &Value) -> Result<Seed> {
    // Beyond 64 bits JSON has no whole numbers.
    let is_large = value.as_u64().is_some() || value.as_f64().is_some_and(|number| number.fract() == 0.);
    match whole(value) {
        Ok(number) => Ok(u32::try_from(number).map_or(Seed::Random, Seed::Given)),
        Err(_) if is_large => Ok(Seed::Random),
        Err(error) => Err(error),
    }
}

fn sampler(value: &Value) -> Result<Kind> {
    let name = value.as_str().unwrap_or_default();
    Kind::from_name(name).with_context(|| format!("which is not a sampler: use {}", Kind::names()))
}
