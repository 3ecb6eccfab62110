//! The name of a distribution.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A distribution's name in its normalized form: lower case, runs of `-`, `_` and `.` as one `-`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/name-normalization/> (PEP 503).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PackageName(Box<str>);

impl PackageName {
    /// Normalizes `name`, whatever form it is written in.
    pub fn new(name: &str) -> Self {
        let mut normalized = String::with_capacity(name.len());
        for character in name.chars() {
            if matches!(character, '-' | '_' | '.') {
                if !normalized.ends_with('-') {
                    normalized.push('-');
                }
            } else {
                normalized.push(character.to_ascii_lowercase());
            }
        }
        Self(normalized.into())
    }

    /// The normalized name, as in `zope-interface`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<String> for PackageName {
    fn from(name: String) -> Self {
        Self::new(&name)
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::PackageName;

    #[test]
    fn every_spelling_is_one_name() {
        for spelling in ["zope.interface", "Zope_Interface", "zope--interface", "ZOPE-._interface"] {
            assert_eq!(PackageName::new(spelling).as_str(), "zope-interface");
        }
    }
}
