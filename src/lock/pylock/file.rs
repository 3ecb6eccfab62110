//! The text of a pylock.toml, as it is written. Keys that are not needed here are passed over.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/pylock-toml/> (PEP 751).

use std::collections::BTreeMap;

use pep440_rs::Version;
use serde::Deserialize;
use toml::Spanned;

use crate::python::PackageName;

/// What can be read of every version.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Header {
    pub(super) lock_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) lock_version: String,
    pub(super) requires_python: Option<String>,
    #[serde(default)]
    pub(super) environments: Vec<String>,
    #[serde(default)]
    pub(super) extras: Vec<PackageName>,
    #[serde(default)]
    pub(super) dependency_groups: Vec<PackageName>,
    #[serde(default)]
    pub(super) default_groups: Vec<PackageName>,
    #[serde(default)]
    pub(super) packages: Vec<Package>,
}

/// It has wheels or an sdist or both, or one of the others.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Package {
    pub(super) name: Spanned<PackageName>,
    pub(super) version: Option<Version>,
    pub(super) marker: Option<String>,
    pub(super) requires_python: Option<String>,
    pub(super) vcs: Option<Vcs>,
    pub(super) directory: Option<Directory>,
    pub(super) archive: Option<Artifact>,
    pub(super) sdist: Option<Artifact>,
    pub(super) wheels: Option<Vec<Artifact>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Vcs {
    pub(super) r#type: String,
    pub(super) url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) requested_revision: Option<String>,
    pub(super) commit_id: String,
    pub(super) subdirectory: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Directory {
    pub(super) path: String,
    pub(super) editable: Option<bool>,
    pub(super) subdirectory: Option<String>,
}

/// A wheel, an sdist, or an archive of either kind; only an archive has a subdirectory.
#[derive(Deserialize)]
pub(super) struct Artifact {
    pub(super) name: Option<String>,
    pub(super) url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) subdirectory: Option<String>,
    #[serde(default)]
    pub(super) hashes: BTreeMap<String, String>,
}
