//! The name of a source tree, from what it declares; nothing is built.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Context, Error, Result};
use crate::python::PackageName;

use crate::lock::toml_file;

/// The `[project]` name of pyproject.toml, else its `[tool.poetry]` name, else the `[metadata]` name of setup.cfg.
///
/// # Errors
/// A folder that is not there; files that do not say a name.
pub(super) fn name(folder: &Path) -> Result<PackageName> {
    if !folder.is_dir() {
        return Err(Error::new(format!("`{}` is not a directory", folder.display()))
            .with_help("as with pip and uv, a relative path counts from the current directory"));
    }
    let declared = match from_pyproject(&folder.join("pyproject.toml"))? {
        Some(name) => Some(name),
        None => from_setup_cfg(&folder.join("setup.cfg"))?,
    };
    match declared {
        Some(name) => PackageName::parse(&name).context(|| format!("in `{}`", folder.display())),
        None => Err(Error::new(format!(
            "the name of `{}` cannot be known: neither its pyproject.toml nor its setup.cfg says one",
            folder.display()
        ))
        .with_help("say it in the lock: `NAME @ file:///PATH`, or `-e PATH#egg=NAME`")),
    }
}

#[derive(Deserialize, Default)]
struct PyProject {
    project: Option<Named>,
    #[serde(default)]
    tool: Tools,
}

#[derive(Deserialize, Default)]
struct Tools {
    poetry: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

fn from_pyproject(path: &Path) -> Result<Option<String>> {
    let Some(text) = read_if_there(path)? else {
        return Ok(None);
    };
    let declared: PyProject = toml_file::parse(path, &text)?;
    let tables = [declared.project, declared.tool.poetry];
    Ok(tables.into_iter().flatten().find_map(|table| table.name))
}

fn from_setup_cfg(path: &Path) -> Result<Option<String>> {
    let text = read_if_there(path)?.unwrap_or_default();
    let mut in_metadata = false;
    for line in text.lines() {
        if line.starts_with('[') {
            in_metadata = line.trim_end() == "[metadata]";
        } else if let Some((key, value)) = line.split_once(['=', ':'])
            && in_metadata
            && key.trim_end() == "name"
        {
            return Ok(Some(value.trim().to_owned()));
        }
    }
    Ok(None)
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    fn name_of(files: &[(&str, &str)]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            fs_err::write(folder.path().join(path), text).unwrap();
        }
        match name(folder.path()) {
            Ok(name) => Ok(name.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_project_is_named_by_what_it_declares() {
        let build_only = ("pyproject.toml", "[build-system]\nrequires = []\n");
        let setup = ("setup.cfg", "[options]\nname = no\n[metadata]\nversion: 1\nname = My_Setup\n");
        assert_eq!(
            name_of(&[("pyproject.toml", "[project]\nname = 'My.Proj'\n"), setup]).unwrap(),
            "my-proj"
        );
        assert_eq!(name_of(&[("pyproject.toml", "[tool.poetry]\nname = 'poem'\n")]).unwrap(), "poem");
        assert_eq!(name_of(&[build_only, setup]).unwrap(), "my-setup");
    }

    #[test]
    fn a_project_without_a_name_is_an_error() {
        assert!(name_of(&[]).unwrap_err().contains("cannot be known"));
        assert!(name_of(&[("pyproject.toml", "[project\n")]).unwrap_err().contains("pyproject.toml:1: "));
        assert!(name_of(&[("setup.cfg", "[metadata]\nname = a/b\n")]).unwrap_err().contains("a/b"));
    }
}
