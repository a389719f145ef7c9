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
        let not = |what: &str| anyhow!("\"{key}\" must be {what}, not {value}");
        let whole = || whole(value).ok_or_else(|| not("a whole number"));
        let text = || value.as_str().map(ToOwned::to_owned).ok_or_else(|| not("a text"));
        match key.as_str() {
            "prompt" => prompt = Some(text()?),
            "negative_prompt" => ask.negative_prompt = Some(text()?.into()),
            "seed" => ask.seed = Some(seed(value).ok_or_else(|| not("a whole number"))?),
            "H" | "height" => ask.height = Some(whole()?),
            "W" | "width" => ask.width = Some(whole()?),
            "ddim_steps" | "steps" => ask.steps = Some(whole()?),
            "scale" => ask.scale = Some(value.as_f64().ok_or_else(|| not("a number"))?),
            "sampler" => ask.sampler = Some(sampler(value).ok_or_else(|| not(&format!("one of {}", Kind::names())))?),
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
    format!("column {}: this is not valid JSON ({what})", error.column())
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

/// Reads a whole number, which some programs write as `7.0`.
fn whole(value: &Value) -> Option<i64> {
    let float = || value.as_f64().filter(|number| number.fract() == 0. && number.abs() < 2f64.powi(53));
    value.as_i64().or_else(|| float().map(|number| number as i64))
}

/// Reads a seed; as on the command line, a number that torch does not take means any.
fn seed(value: &Value) -> Option<Seed> {
    let seed = whole(value).and_then(|number| number.try_into().ok()).map_or(Seed::Random, Seed::Given);
    value.as_f64().filter(|number| number.fract() == 0.).map(|_| seed)
}

fn sampler(value: &Value) -> Option<Kind> {
    Kind::from_name(value.as_str()?)
}
