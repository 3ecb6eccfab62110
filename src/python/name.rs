//! The name of a distribution.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A distribution's name in its normalized form: lower case, runs of `-`, `_` and `.` as one `-`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/name-normalization/> (PEP 503).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

    /// Reads a name that somebody wrote.
    ///
    /// Source: <https://packaging.python.org/en/latest/specifications/name-normalization/#name-format>
    ///
    /// # Errors
    /// Text that is no name.
    pub fn parse(text: &str) -> Result<Self> {
        let at_ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if at_ends(bytes.first()) && at_ends(bytes.last()) && bytes.iter().all(Self::may_contain) {
            Ok(Self::new(text))
        } else {
            Err(Error::new(format!("`{text}` is not the name of a distribution")))
        }
    }

    /// Whether a name, normalized or not, may contain this byte.
    pub fn may_contain(byte: &u8) -> bool {
        byte.is_ascii_alphanumeric() || b"-_.".contains(byte)
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

impl TryFrom<String> for PackageName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::parse(&name)
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
