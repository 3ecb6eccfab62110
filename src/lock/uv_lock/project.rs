//! What the pyproject.toml beside a uv.lock says, and the lock does not.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Error, Result};
use crate::lock::selection::{DEV, DefaultGroups};
use crate::lock::toml_file;
use crate::python::PackageName;

/// What a pyproject.toml declares.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Project {
    project: Option<Table>,
    dependency_groups: BTreeMap<PackageName, IgnoredAny>,
    tool: Tools,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    name: PackageName,
    #[serde(default)]
    optional_dependencies: BTreeMap<PackageName, IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tools {
    uv: Uv,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Uv {
    default_groups: Option<Defaults>,
    dev_dependencies: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Defaults {
    Word(String),
    List(Vec<PackageName>),
}

impl Project {
    /// Reads the pyproject.toml of a folder, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or is not understood.
    pub(super) fn of(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("pyproject.toml");
        match fs_err::read_to_string(&path) {
            Ok(text) => toml_file::parse(&path, &text).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The name of the package, if it is one.
    pub(super) fn name(&self) -> Option<&PackageName> {
        self.project.as_ref().map(|project| &project.name)
    }

    pub(super) fn extras(&self) -> impl Iterator<Item = &PackageName> {
        self.project.iter().flat_map(|project| project.optional_dependencies.keys())
    }

    pub(super) fn has_group(&self, group: &PackageName) -> bool {
        self.dependency_groups.contains_key(group)
            || group.as_str() == DEV && self.tool.uv.dev_dependencies.is_some()
    }

    /// `tool.uv.default-groups`, or else `dev`.
    ///
    /// # Errors
    /// A default group that is not there.
    pub(super) fn default_groups(&self) -> Result<DefaultGroups> {
        match &self.tool.uv.default_groups {
            None => Ok(dev()),
            Some(Defaults::Word(word)) if word == "all" => Ok(DefaultGroups::All),
            Some(Defaults::Word(word)) => {
                Err(Error::new(format!("`tool.uv.default-groups` is `{word}`, and may be a list or `all`")))
            }
            Some(Defaults::List(groups)) => {
                match groups.iter().find(|group| !self.dependency_groups.contains_key(group)) {
                    None => Ok(DefaultGroups::Some(groups.clone())),
                    Some(group) => Err(Error::new(format!(
                        "Default group `{group}` (from `tool.uv.default-groups`) is not defined in the project's \
                         `dependency-groups` table"
                    ))),
                }
            }
        }
    }
}

/// The default groups where nothing says otherwise.
pub(super) fn dev() -> DefaultGroups {
    DefaultGroups::Some(vec![PackageName::new(DEV)])
}
