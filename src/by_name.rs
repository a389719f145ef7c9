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

/// Optional values that records contain as their names; for `#[serde(with = "by_name::option")]`.
pub(crate) mod option {
    use super::{ByName, Deserialize, Deserializer, Serializer};

    /// Serializes a value as its name.
    pub(crate) fn serialize<T: ByName, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(value.name()),
            None => serializer.serialize_none(),
        }
    }

    /// Deserializes a value from its name.
    pub(crate) fn deserialize<'de, T: ByName, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        super::from_name(&name).map(Some)
    }
}

/// Returns the value called `name`, for deserializers.
fn from_name<T: ByName, E: Error>(name: &str) -> Result<T, E> {
    T::from_name(name).ok_or_else(|| E::custom(format!("'{name}' is not one of {}", T::names())))
}

/// Deserializes a value from its name; for `#[serde(with = "by_name")]`.
pub(crate) fn deserialize<'de, T: ByName, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    from_name(&String::deserialize(deserializer)?)
}
