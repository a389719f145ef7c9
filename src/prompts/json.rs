//! Prompts as JSON: an object on each line, or an array of objects.

use super::PromptLine;
use crate::args::Seed;
use crate::human::truncated;
use crate::params::{Field, PARAMS, Param, ParamValue, SamplingParams};
use anyhow::{Result, anyhow, ensure};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use std::fmt;
use std::mem::take;

/// The keys of an object besides those of the sampling parameters.
const TEXTS_AND_SEED: [&str; 3] = ["prompt", "negative_prompt", "seed"];

/// Returns the keys of an object, each with its other name if it has one.
fn keys() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    let params = PARAMS.iter().map(|param| (param.flag, (param.name != param.flag).then_some(param.name)));
    TEXTS_AND_SEED.iter().map(|key| (*key, None)).chain(params)
}

/// The maximum number of characters of an invalid value that an error quotes.
const MAX_QUOTED: usize = 40;

/// The expected value of an integer key.
const WHOLE: &str = "a whole number";

/// Returns whether a text begins like a JSON object, with `{"`, as no prompt does.
pub fn is_lines(text: &str) -> bool {
    text.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// Returns whether a text begins like an array of JSON objects, or is an empty array.
pub fn is_array(text: &str) -> bool {
    text.trim_start().strip_prefix('[').is_some_and(|rest| is_lines(rest) || rest.trim() == "]")
}

/// Parses an array of objects.
///
/// # Errors
/// If the text is not a valid array of objects; the error names the object or the line.
pub fn array(text: &str) -> Result<Vec<PromptLine<'static>>> {
    let mut lines = vec![];
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Objects(&mut lines).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| match error.classify() {
        Category::Data => anyhow!("object {} (line {}): {}", lines.len() + 1, error.line(), message(&error)),
        Category::Eof => anyhow!("the JSON array does not end; close it with ']'"),
        _ => anyhow!("line {}, column {}: not valid JSON: {}", error.line(), error.column(), message(&error)),
    })?;
    ensure!(!lines.is_empty(), "the JSON array is empty; write an object with a \"prompt\" in it");
    Ok(lines)
}

/// Parses a line with one object.
///
/// # Errors
/// If the line is not a valid object.
pub fn line(line: &str) -> Result<PromptLine<'static>> {
    ensure!(
        line.trim_start().starts_with('{'),
        "not a JSON object, though the first line is one; write {{\"prompt\": \"…\"}}"
    );
    serde_json::from_str(line).map_err(|error| match error.classify() {
        Category::Data => anyhow!(message(&error)),
        Category::Eof => anyhow!(
            "the JSON object does not end on this line; write each object on one line, or all of them as an array, in [ ] and \
             with commas between them"
        ),
        _ => anyhow!("column {}: not valid JSON: {}", error.column(), message(&error)),
    })
}

/// Returns the message of an error, without its position.
fn message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&position).unwrap_or(&message).to_owned()
}

/// Collects the objects of an array while parsing, so that their number is known after an error.
struct Objects<'a>(&'a mut Vec<PromptLine<'static>>);

impl<'de> DeserializeSeed<'de> for Objects<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<(), A::Error> {
        while let Some(object) = objects.next_element()? {
            self.0.push(object);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for PromptLine<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Object)
    }
}

/// Parses an object, with errors that name the key.
struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = PromptLine<'static>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with a \"prompt\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut line = PromptLine::default();
        let mut given = [None; TEXTS_AND_SEED.len() + PARAMS.len()];
        while let Some(key) = object.next_key()? {
            let Key { index, spelling } = key;
            if let Some(before) = given[index].replace(spelling) {
                return Err(A::Error::custom(twice(before, spelling)));
            }
            // serde_json recognises the position at the end of the message, and does not add another.
            let named = |error: A::Error| A::Error::custom(format!("\"{spelling}\": {error}"));
            let mut value: Value = object.next_value().map_err(named)?;
            line.set(index, &mut value).map_err(|expected| {
                A::Error::custom(format!("\"{spelling}\" must be {expected}, not {}", quoted(&value)))
            })?;
        }
        if given[0].is_some() { Ok(line) } else { Err(A::Error::custom("\"prompt\" is missing")) }
    }
}

/// A key of an object.
struct Key {
    /// The index in [`keys`].
    index: usize,
    /// The name or the alias, as written.
    spelling: &'static str,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(AnyKey)
    }
}

/// Parses a key without copying it.
struct AnyKey;

impl Visitor<'_> for AnyKey {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Key, E> {
        let spellings =
            |(index, (name, other))| [Some(name), other].into_iter().flatten().map(move |spelling| (index, spelling));
        let mut all = keys().enumerate().flat_map(spellings);
        let found = all.find(|(_, spelling)| *spelling == text);
        found.map(|(index, spelling)| Key { index, spelling }).ok_or_else(|| E::custom(unknown(text)))
    }
}

impl PromptLine<'_> {
    /// Sets the value of the key with this `index`, taking texts out of `value`; `null` leaves it out. The error is what
    /// the value must be.
    fn set(&mut self, index: usize, value: &mut Value) -> Result<(), String> {
        if value.is_null() && index > 0 {
            return Ok(());
        }
        match index {
            0 => self.prompt = text(value)?.into(),
            1 => self.negative_prompt = Some(text(value)?.into()),
            2 => self.seed = Some(Seed::from(whole(value)?)),
            _ => {
                let param = &PARAMS[index - TEXTS_AND_SEED.len()];
                self.params.push((param, param_value(param, value)?));
            }
        }
        Ok(())
    }
}

/// Returns the error for an unknown key.
fn unknown(key: &str) -> String {
    let keys: Vec<String> =
        keys().map(|(name, other)| other.map_or(name.to_string(), |other| format!("{name} (or {other})"))).collect();
    format!("\"{key}\" is not a known key; use {}", keys.join(", "))
}

/// Returns the error for a key that is given twice.
fn twice(before: &str, key: &str) -> String {
    if before == key {
        format!("\"{key}\" is given twice")
    } else {
        format!("\"{before}\" and \"{key}\" mean the same; give one of them")
    }
}

/// Formats a value for an error, and shortens it.
fn quoted(value: &Value) -> String {
    truncated(&value.to_string(), MAX_QUOTED)
}

fn text(value: &mut Value) -> Result<String, &'static str> {
    if let Value::String(text) = value { Ok(take(text)) } else { Err("text in quotes") }
}

/// Returns a whole number, which may be written as `7.0`.
fn whole(value: &Value) -> Result<i128, &'static str> {
    let integer = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
    let float = || value.as_f64().filter(|number| number.fract() == 0.).map(|number| number as i128);
    integer.or_else(float).ok_or(WHOLE)
}

fn small(value: &Value) -> Result<i64, &'static str> {
    i64::try_from(whole(value)?).map_err(|_| "a whole number of at most 18 digits")
}

fn param_value(param: &Param, value: &Value) -> Result<ParamValue, String> {
    match param.field {
        Field::Whole { .. } => Ok(ParamValue::Whole(small(value)?)),
        Field::Number { .. } => Ok(ParamValue::Number(value.as_f64().ok_or("a number")?)),
        Field::List { .. } => Ok(ParamValue::List(texts(value).ok_or("text in quotes, or a list of texts")?)),
        Field::Path { .. } => Ok(ParamValue::Text(value.as_str().ok_or("text in quotes")?.to_owned())),
        Field::Text { .. } => {
            Ok(ParamValue::Text(numbers(value).ok_or("a number, a list of numbers, or text as for the flag")?))
        }
        Field::Name { names, set, .. } => {
            let name = value.as_str().filter(|name| set(&mut SamplingParams::default(), name).is_some());
            name.map(|name| ParamValue::Text(name.to_owned())).ok_or_else(|| format!("one of {}", names()))
        }
    }
}

/// Returns a text, or a number or numbers as a flag takes them.
fn numbers(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => {
            let items = items.iter().map(|item| item.as_number().map(ToString::to_string));
            Some(items.collect::<Option<Vec<_>>>()?.join(","))
        }
        _ => None,
    }
}

/// Returns the texts of a list, or a text alone as a list.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}
