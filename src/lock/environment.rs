//! Whether a lock supports the interpreter at all.

use pep440_rs::VersionSpecifiers;

use super::{Target, marker};
use crate::error::{Error, Result};

/// Checks `requires-python`. As in uv, a pre-release of Python counts as its release.
///
/// # Errors
/// Another Python is required; a specifier that is not understood.
pub(super) fn check_python(requires: &str, target: Target<'_>) -> Result<()> {
    // Why not, the parser tells in several lines.
    let versions = requires.parse::<VersionSpecifiers>();
    let versions =
        versions.map_err(|_| Error::new(format!("`requires-python = \"{requires}\"` is not understood")))?;
    let python = &target.markers.python_full_version().version;
    if versions.contains(&python.only_release()) {
        return Ok(());
    }
    Err(Error::new(format!(
        "The current Python version ({python}) is not compatible with the locked Python requirement: `{requires}`"
    ))
    .with_help("make the environment with such a Python"))
}

/// Checks that one of the environments that a lock was made for is this one; no list means all.
///
/// # Errors
/// None of them is; a marker that is not understood.
pub(super) fn check_markers(environments: &[String], target: Target<'_>) -> Result<()> {
    for text in environments {
        if marker::parse(text)?.evaluate(target.markers, &[]) {
            return Ok(());
        }
    }
    if environments.is_empty() {
        return Ok(());
    }
    let environments: Vec<String> = environments.iter().map(|text| format!("`{text}`")).collect();
    Err(Error::new(format!(
        "The current Python platform is not compatible with the lockfile's supported environments: {}",
        environments.join(", ")
    )))
}
