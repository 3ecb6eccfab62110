//! One requirement: a name with a version, or a URL or path.

use std::path::Path;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::MarkerTree;

use crate::error::{Context, Error, Result};
use crate::python::PackageName;

use super::{project, source};
use crate::lock::{Source, marker};

/// A requirement as read, before it is known to be a pin or a constraint.
#[derive(Debug)]
pub(super) struct Requirement {
    pub(super) name: PackageName,
    pub(super) wanted: Wanted,
    pub(super) marker: MarkerTree,
    /// `algorithm:digest`, from the fragment of a URL.
    pub(super) hashes: Vec<String>,
}

/// What a requirement asks for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// `== 1.0` or `=== 1.0`.
    Version(Version),
    /// Anything else about versions; it may be empty.
    Range(VersionSpecifiers),
    /// `@ URL`, a URL or a path, with the version that its file name says.
    Source(Source, Option<Version>),
}

/// Reads a requirement without its options; a relative path counts from `directory`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/dependency-specifiers/> (PEP 508), without its
/// regular expressions: nearly every line is `name==version`.
///
/// # Errors
/// Text that is not understood; a source whose name cannot be known.
pub(super) fn parse(text: &str, editable: bool, directory: &Path) -> Result<Requirement> {
    let (name, rest) = split_name(text);
    let rest = after_extras(rest.trim_start())?.trim_start();
    if let Some(address) = rest.strip_prefix('@') {
        return direct(Some(PackageName::parse(name)?), address.trim_start(), editable, directory);
    }
    let before_marker = text.split(';').next().unwrap_or_default();
    let compares = !name.is_empty() && rest.starts_with(['=', '<', '>', '!', '~', '(']);
    if editable || source::is_direct(before_marker) && !compares {
        return direct(None, text, editable, directory);
    }
    let (versions, marker) = match rest.split_once(';') {
        Some((versions, marker)) => (versions, marker::parse(marker)?),
        None => (rest, MarkerTree::TRUE),
    };
    Ok(Requirement {
        name: PackageName::parse(name)?,
        wanted: wanted(versions.trim())?,
        marker,
        hashes: Vec::new(),
    })
}

fn split_name(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !PackageName::may_contain(&byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// Extras are read and dropped: a lock lists what they bring.
fn after_extras(text: &str) -> Result<&str> {
    match text.strip_prefix('[') {
        Some(extras) => {
            extras.split_once(']').map(|(_, after)| after).ok_or_else(|| Error::new("`[` is not closed"))
        }
        None => Ok(text),
    }
}

fn wanted(versions: &str) -> Result<Wanted> {
    let versions = match versions.strip_prefix('(').and_then(|versions| versions.strip_suffix(')')) {
        Some(inner) => inner.trim(),
        None => versions,
    };
    let exact = versions.strip_prefix("===").or_else(|| versions.strip_prefix("=="));
    match exact.map(str::trim) {
        Some(version) if !version.ends_with(".*") && !version.contains(',') => {
            let version = version.parse::<Version>();
            Ok(Wanted::Version(version.context(|| "the version is not understood".to_owned())?))
        }
        _ => match versions.parse() {
            Ok(versions) => Ok(Wanted::Range(versions)),
            Err(_) => Err(Error::new("this is not a requirement")),
        },
    }
}

fn direct(name: Option<PackageName>, text: &str, editable: bool, directory: &Path) -> Result<Requirement> {
    let (address, marker) = split_marker(text);
    if address.is_empty() {
        return Err(Error::new("a URL or a path is missing"));
    }
    let mut located = source::locate(address, editable, directory)?;
    let marker = marker.map_or(Ok(MarkerTree::TRUE), marker::parse)?;
    let name = match (name, located.name.take()) {
        // An archive of a repository is named after that.
        (Some(name), Some(other)) if name != other && located.is_source_archive() => {
            located.version = None;
            name
        }
        (Some(name), Some(other)) if name != other => {
            return Err(Error::new(format!("the name is `{name}`, but the source is named `{other}`")));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => name_of(&located.source)?,
    };
    Ok(Requirement {
        name,
        wanted: Wanted::Source(located.source, located.version),
        marker,
        hashes: located.hashes,
    })
}

/// A URL may hold `;`, so a marker needs white space on one side of it.
fn split_marker(text: &str) -> (&str, Option<&str>) {
    for (position, _) in text.match_indices(';') {
        let (before, after) = text.split_at(position);
        let after = after.trim_start_matches(';');
        if before.ends_with(char::is_whitespace) || after.starts_with(char::is_whitespace) {
            return (before.trim_end(), Some(after));
        }
    }
    (text, None)
}

fn name_of(source: &Source) -> Result<PackageName> {
    match source {
        Source::Directory { path, .. } => project::name(path),
        _ => Err(Error::new("the name of the distribution cannot be known from this")
            .with_help("say it: `NAME @ URL`, or `#egg=NAME` after the URL")),
    }
}
