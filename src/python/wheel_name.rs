//! The file name of a wheel.

use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;

use super::PackageName;
use crate::error::{Error, Result};

/// A wheel's file name: `{name}-{version}(-{build})?-{python}-{abi}-{platform}.whl`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/#file-name-convention>
/// (PEP 427).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelName {
    /// The distribution's name.
    pub name: PackageName,
    /// The distribution's version.
    pub version: Version,
    /// The build tag: its leading number, then the rest; none sorts before any.
    pub build: Option<(u64, String)>,
    /// The python tags, as `cp311` or `py2.py3`, split at the dots.
    pub python: Vec<String>,
    /// The abi tags, split at the dots.
    pub abi: Vec<String>,
    /// The platform tags, split at the dots.
    pub platform: Vec<String>,
}
impl FromStr for WheelName {
    type Err = Error;
    fn from_str(_file_name: &str) -> Result<Self> {
        todo!()
    }
}
impl fmt::Display for WheelName {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
