//! Values that flags, prompts files and records call by their names.

/// A few values, each with a name.
pub trait ByName: Copy + PartialEq + 'static {
    /// Every one of them, with its name.
    const ALL: &'static [(&'static str, Self)];

    /// The one of this name.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// Its name.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
    }

    /// All names, as they stand in a sentence.
    fn names() -> String {
        Self::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}
