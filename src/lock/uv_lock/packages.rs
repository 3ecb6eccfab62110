//! The packages of a uv.lock, and how they name each other.

use std::collections::HashMap;

use super::file::{Dependency, Package, Requirement};
use crate::error::{Error, Result};
use crate::lock::{Target, marker};
use crate::python::PackageName;

/// The place of a package in its lock.
pub(super) type Index = usize;

/// All packages of a lock, found by name.
pub(super) struct Packages {
    all: Vec<Package>,
    by_name: HashMap<PackageName, Vec<Index>>,
}

impl Packages {
    pub(super) fn new(all: Vec<Package>) -> Self {
        let mut by_name: HashMap<PackageName, Vec<Index>> = HashMap::with_capacity(all.len());
        for (index, package) in all.iter().enumerate() {
            by_name.entry(package.name.get_ref().clone()).or_default().push(index);
        }
        Self { all, by_name }
    }

    /// # Errors
    /// There is none; indices come from here, so this does not happen.
    pub(super) fn at(&self, index: Index) -> Result<&Package> {
        self.all.get(index).ok_or_else(|| Error::new(format!("there is no package {index}")))
    }

    /// The package at the lock's own folder.
    pub(super) fn root(&self) -> Option<(Index, &Package)> {
        let is_root = |path: &Option<String>| path.as_deref().is_some_and(|path| matches!(path, "." | ""));
        self.all
            .iter()
            .enumerate()
            .find(|(_, package)| is_root(&package.source.editable) || is_root(&package.source.r#virtual))
    }

    /// The only package of this name.
    ///
    /// # Errors
    /// There is none, or several.
    pub(super) fn named(&self, name: &PackageName) -> Result<Index> {
        match self.named_so(name) {
            [index] => Ok(*index),
            [] => Err(missing(&format!("`{name}`"))),
            _ => Err(Error::new(format!("the lock has several entries for `{name}`"))),
        }
    }

    /// The package that a dependency means: version and source are said where the name is not enough.
    ///
    /// # Errors
    /// There is none, or several.
    pub(super) fn meant_by(&self, dependency: &Dependency) -> Result<Index> {
        let Dependency { name, version, source, .. } = dependency;
        let candidates = self.named_so(name);
        // Among several, one that says no version has none: it is dynamic.
        let is_alone = candidates.len() == 1;
        let mut fitting = candidates.iter().filter(|&&index| {
            self.all.get(index).is_some_and(|package| {
                let has_version = version.is_none() && is_alone || *version == package.version;
                has_version && source.as_ref().is_none_or(|source| *source == package.source)
            })
        });
        let shown = match version {
            Some(version) => format!("`{name}=={version}`"),
            None => format!("`{name}`"),
        };
        match (fitting.next(), fitting.next()) {
            (Some(index), None) => Ok(*index),
            (None, _) => Err(missing(&shown)),
            _ => Err(Error::new(format!("the lock has several entries for {shown}"))),
        }
    }

    /// The package that a requirement of the manifest means, whose fork is that of the interpreter.
    ///
    /// # Errors
    /// There is none, or several; a marker that is not understood.
    pub(super) fn required_by(&self, requirement: &Requirement, target: Target<'_>) -> Result<Index> {
        let name = &requirement.name;
        let mut fitting = Vec::new();
        for &index in self.named_so(name) {
            let markers = &self.at(index)?.resolution_markers;
            let mut applies = markers.is_empty();
            for text in markers {
                applies |= marker::parse(text)?.evaluate(target.markers, &[]);
            }
            fitting.extend(applies.then_some(index));
        }
        match fitting.as_slice() {
            [index] => Ok(*index),
            [] => Err(missing(&format!("`{name}`"))),
            _ => Err(Error::new(format!("the lock has several entries for `{name}`"))),
        }
    }

    fn named_so(&self, name: &PackageName) -> &[Index] {
        self.by_name.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

fn missing(package: &str) -> Error {
    Error::new(format!("the lock has no entry for {package}")).with_help("make it anew: `uv lock`")
}
