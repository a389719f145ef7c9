//! Enumerations whose values have names in flags, prompts files and records.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

/// An enumeration whose values have names.
pub trait ByName: Copy + PartialEq + 'static {
    /// All values with their names.
    const ALL: &'static [(&'static str, Self)];

    /// Returns the value called `name`.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// Returns the value's name.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
    }

    /// Returns all names, separated by commas.
    fn names() -> String {
        Self::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// Serializes a value as its name; for `#[serde(with = "by_name")]`.
pub(crate) fn serialize<T: ByName, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

/// Deserializes a value from its name; for `#[serde(with = "by_name")]`.
pub(crate) fn deserialize<'de, T: ByName, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let name = String::deserialize(deserializer)?;
    T::from_name(&name).ok_or_else(|| D::Error::custom(format!("'{name}' is not one of {}", T::names())))
}
