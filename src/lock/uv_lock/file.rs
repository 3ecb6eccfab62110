//! The text of a uv.lock, as it is written. Keys that are not known here are passed over: each revision adds some.

use std::collections::BTreeMap;

use pep440_rs::Version;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::python::PackageName;

/// What can be read of every version.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) version: i64,
    pub(super) revision: Option<i64>,
    pub(super) requires_python: String,
    #[serde(default)]
    pub(super) supported_markers: Vec<String>,
    #[serde(default)]
    pub(super) conflicts: Vec<Vec<ConflictItem>>,
    #[serde(default)]
    pub(super) manifest: Manifest,
    #[serde(rename = "package", alias = "distribution", default)]
    pub(super) packages: Vec<Package>,
}

/// An extra, a group, or the package itself, of those that cannot be installed together.
#[derive(Deserialize)]
pub(super) struct ConflictItem {
    pub(super) package: PackageName,
    pub(super) extra: Option<PackageName>,
    pub(super) group: Option<PackageName>,
}

/// What does not belong to any package.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Manifest {
    /// The packages of the workspace; none if it has but one.
    pub(super) members: Vec<PackageName>,
    /// Of scripts.
    pub(super) requirements: Vec<Requirement>,
    /// Of a workspace root that is no package.
    pub(super) dependency_groups: BTreeMap<PackageName, Vec<Requirement>>,
}

#[derive(Deserialize)]
pub(super) struct Requirement {
    pub(super) name: PackageName,
    #[serde(default)]
    pub(super) extras: Vec<PackageName>,
    pub(super) marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Package {
    pub(super) name: Spanned<PackageName>,
    pub(super) version: Option<Version>,
    pub(super) source: Source,
    #[serde(default)]
    pub(super) resolution_markers: Vec<String>,
    #[serde(default)]
    pub(super) dependencies: Vec<Dependency>,
    #[serde(default)]
    pub(super) optional_dependencies: BTreeMap<PackageName, Vec<Dependency>>,
    #[serde(rename = "dev-dependencies", alias = "dependency-groups", default)]
    pub(super) dependency_groups: BTreeMap<PackageName, Vec<Dependency>>,
    #[serde(default)]
    pub(super) metadata: Metadata,
    pub(super) sdist: Option<Sdist>,
    #[serde(default)]
    pub(super) wheels: Vec<Wheel>,
}

/// What the package declares, which may be empty or apply nowhere.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Metadata {
    pub(super) provides_extras: Vec<PackageName>,
    #[serde(rename = "requires-dev", alias = "dependency-groups")]
    pub(super) dependency_groups: BTreeMap<PackageName, IgnoredAny>,
}

/// One of its keys is there; `subdirectory` only with `url`.
#[derive(Deserialize, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) registry: Option<String>,
    pub(super) git: Option<String>,
    pub(super) url: Option<String>,
    pub(super) subdirectory: Option<String>,
    pub(super) path: Option<String>,
    pub(super) directory: Option<String>,
    pub(super) editable: Option<String>,
    pub(super) r#virtual: Option<String>,
}

impl Source {
    /// Whether it lies on this machine, outside an index.
    pub(super) fn is_local(&self) -> bool {
        [&self.path, &self.directory, &self.editable, &self.r#virtual].into_iter().any(Option::is_some)
    }
}

/// Version and source are there where the name alone is not enough.
#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) name: PackageName,
    pub(super) version: Option<Version>,
    pub(super) source: Option<Source>,
    #[serde(default)]
    pub(super) extra: Vec<PackageName>,
    pub(super) marker: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Sdist {
    pub(super) hash: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Wheel {
    pub(super) url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) filename: Option<String>,
    pub(super) hash: Option<String>,
}
