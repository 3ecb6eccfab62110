//! What uv builds wheels with, besides their sources: settings of a project.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::toml_file;
use crate::error::Result;
use crate::python::PackageName;

/// What one distribution is built with. As JSON, it is the `uv_build.json` that uv writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BuildSettings {
    /// `config-settings`, for the build backend.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config_settings: BTreeMap<String, ConfigSetting>,
    /// `extra-build-variables`, in its environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_build_variables: BTreeMap<String, String>,
    /// Whether it has `extra-build-dependencies`.
    #[serde(skip)]
    pub has_extra_build_dependencies: bool,
}

/// One value for a build backend, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ConfigSetting {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl ConfigSetting {
    fn values(self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value],
            Self::Several(values) => values,
        }
    }
}

/// The settings of a project, for all distributions.
///
/// Source: <https://docs.astral.sh/uv/reference/settings/#config-settings> and the settings after it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct ProjectSettings {
    config_settings: BTreeMap<String, ConfigSetting>,
    config_settings_package: BTreeMap<PackageName, BTreeMap<String, ConfigSetting>>,
    extra_build_variables: BTreeMap<PackageName, BTreeMap<String, String>>,
    extra_build_dependencies: BTreeMap<PackageName, Vec<IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PyProject {
    tool: Tools,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tools {
    uv: ProjectSettings,
}

impl ProjectSettings {
    /// Those of a folder: of its uv.toml, or else of `[tool.uv]` in its pyproject.toml.
    ///
    /// # Errors
    /// A file that cannot be read, or is not understood.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let read = |path: &Path| match fs_err::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let path = folder.join("uv.toml");
        if let Some(text) = read(&path)? {
            return toml_file::parse(&path, &text);
        }
        let path = folder.join("pyproject.toml");
        match read(&path)? {
            Some(text) => toml_file::parse::<PyProject>(&path, &text).map(|project| project.tool.uv),
            None => Ok(Self::default()),
        }
    }

    /// What a distribution is built with: its own settings, then those for all.
    pub(super) fn for_package(&self, name: &PackageName) -> BuildSettings {
        let mut config_settings = self.config_settings_package.get(name).cloned().unwrap_or_default();
        for (key, setting) in &self.config_settings {
            let own = config_settings.remove(key);
            let merged = match own {
                Some(own) => ConfigSetting::Several([own.values(), setting.clone().values()].concat()),
                None => setting.clone(),
            };
            config_settings.insert(key.clone(), merged);
        }
        BuildSettings {
            config_settings,
            extra_build_variables: self.extra_build_variables.get(name).cloned().unwrap_or_default(),
            has_extra_build_dependencies: self
                .extra_build_dependencies
                .get(name)
                .is_some_and(|dependencies| !dependencies.is_empty()),
        }
    }
}
