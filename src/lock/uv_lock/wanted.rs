//! What is wanted of a uv.lock: from which packages to start, with which extras and groups.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::file::{File, Package};
use super::packages::{Index, Packages};
use super::project::{self, Project};
use crate::error::{Error, Result};
use crate::lock::artifact::absolute;
use crate::lock::install::Candidate;
use crate::lock::selection::{DefaultGroups, Selection};
use crate::python::PackageName;

/// Where to start in a lock, and what to take along.
pub(super) struct Wanted<'a> {
    pub(super) selection: &'a Selection,
    /// The packages that are wanted with their dependencies, in the order of the lock.
    pub(super) roots: Vec<Index>,
    /// The one project that is wanted, if it is but one.
    pub(super) project: Option<PackageName>,
    /// What `--no-install-project` and `--only-install-project` mean: of a whole workspace, its root.
    install_project: Option<PackageName>,
    /// The workspace's root, of which a member inherits the groups that are asked for by name.
    pub(super) group_root: Option<Index>,
    defaults: DefaultGroups,
    /// Whether the default groups are wanted, and no pyproject.toml says what they are.
    pub(super) guesses_groups: bool,
    /// The package that is wanted, if it is but one and not the workspace.
    one: Option<Index>,
    /// The groups that it declares.
    own_groups: HashSet<PackageName>,
}

impl<'a> Wanted<'a> {
    /// What `uv sync` would take in the folder of the lock.
    ///
    /// # Errors
    /// A package, extra or group that is asked for and not there; a pyproject.toml that is not understood.
    pub(super) fn new(
        file: &File,
        packages: &Packages,
        folder: &Path,
        selection: &'a Selection,
    ) -> Result<Self> {
        let pyproject = Project::of(folder)?;
        let is_script = is_script(file, packages, pyproject.as_ref());
        let pyproject = pyproject.filter(|_| !is_script);
        let names = Self::names(file, packages, pyproject.as_ref(), selection)?;
        let mut roots = names.iter().map(|name| packages.named(name)).collect::<Result<Vec<_>>>()?;
        roots.sort_unstable();
        let is_one = !selection.all_packages
            && (selection.packages.len() == 1
                || is_project(pyproject.as_ref(), packages) && names.len() == 1);
        let is_root_alone = selection.all_packages && file.manifest.members.is_empty();
        let project = names.into_iter().next().filter(|_| is_one || is_root_alone);
        let root = || packages.root().map(|(_, root)| root.name.get_ref().clone());
        let install_project = if selection.all_packages { root() } else { project.clone() };
        let (defaults, is_guess) = match (selection.packages.as_slice(), roots.as_slice()) {
            ([_], [member]) => match source_tree(packages.at(*member)?) {
                Some(path) => default_groups(&absolute(folder, path)?)?,
                None => (project::dev(), false),
            },
            _ if is_script => (project::dev(), false),
            _ => default_groups(folder)?,
        };
        let wants_defaults =
            selection.is_production() && !selection.no_default_groups && !selection.all_groups;
        let mut wanted = Self {
            selection,
            one: roots.first().copied().filter(|_| is_one),
            roots,
            project,
            install_project,
            group_root: None,
            defaults,
            guesses_groups: is_guess && wants_defaults,
            own_groups: HashSet::new(),
        };
        wanted.find_group_root(packages)?;
        wanted.check(file, packages, pyproject.as_ref())?;
        Ok(wanted)
    }

    fn names(
        file: &File,
        packages: &Packages,
        pyproject: Option<&Project>,
        selection: &Selection,
    ) -> Result<Vec<PackageName>> {
        let members = &file.manifest.members;
        let root = packages.root().map(|(_, package)| package.name.get_ref());
        for name in &selection.packages {
            if !members.contains(name) && root != Some(name) {
                return Err(Error::new(format!("Package `{name}` not found in workspace")));
            }
        }
        let all = || match members.as_slice() {
            [] => root.cloned().into_iter().collect(),
            members => members.to_vec(),
        };
        Ok(match (selection.packages.as_slice(), pyproject) {
            (_, _) if selection.all_packages => all(),
            ([], None) => root.cloned().map_or_else(all, |root| vec![root]),
            ([], Some(pyproject)) => pyproject.name().cloned().map_or_else(all, |name| vec![name]),
            (names, _) => names.to_vec(),
        })
    }

    fn find_group_root(&mut self, packages: &Packages) -> Result<()> {
        let Some(one) = self.one else {
            return Ok(());
        };
        self.own_groups = declared_groups(packages.at(one)?).cloned().collect();
        let root = packages.root().filter(|(root, _)| *root != one);
        self.group_root = root
            .filter(|(_, root)| declared_groups(root).any(|group| self.inherits_group(group)))
            .map(|(index, _)| index);
        Ok(())
    }

    /// Whether a group of a package is wanted; of the workspace's own, if it is no package.
    pub(super) fn has_group(&self, package: Option<Index>, group: &PackageName) -> bool {
        match self.one {
            Some(one) if package != Some(one) => self.inherits_group(group),
            _ => self.selection.has_group(group, &self.defaults),
        }
    }

    /// Default groups are those of the member itself, and its own of a name go before those of the root.
    fn inherits_group(&self, group: &PackageName) -> bool {
        self.selection.has_group(group, &self.defaults)
            && !self.is_default_group(group)
            && !self.own_groups.contains(group)
    }

    pub(super) fn is_default_group(&self, group: &PackageName) -> bool {
        self.selection.has_group_by_default(group, &self.defaults)
    }

    /// The default groups of the one package that is wanted.
    pub(super) fn own_default_groups(&self) -> BTreeSet<PackageName> {
        self.own_groups.iter().filter(|group| self.is_default_group(group)).cloned().collect()
    }

    /// Whether a package that is reached is also installed.
    pub(super) fn installs(&self, package: &Package, members: &[PackageName]) -> bool {
        let name = package.name.get_ref();
        self.selection.install.includes(Candidate {
            name,
            is_project: self.install_project.as_ref() == Some(name),
            is_member: members.contains(name),
            is_local: package.source.is_local(),
        })
    }

    fn check(&self, file: &File, packages: &Packages, pyproject: Option<&Project>) -> Result<()> {
        let roots = self.roots.iter().map(|&root| packages.at(root)).collect::<Result<Vec<_>>>()?;
        // Locks of the first revision do not tell extras that are empty.
        for extra in self.selection.named_extras().filter(|_| file.revision.unwrap_or(0) >= 1) {
            let is_declared = |package: &&Package| {
                package.metadata.provides_extras.contains(extra)
                    || package.optional_dependencies.contains_key(extra)
            };
            if !roots.iter().any(is_declared)
                && !pyproject.is_some_and(|own| own.extras().any(|own| own == extra))
            {
                let table = match &self.project {
                    Some(project) => format!("the `optional-dependencies` table for `{project}`"),
                    None => "any project's `optional-dependencies` table".to_owned(),
                };
                return Err(Error::new(format!("Extra `{extra}` is not defined in {table}")));
            }
        }
        let root = packages.root().map(|(_, package)| package);
        let of_packages: HashSet<&PackageName> =
            roots.iter().copied().chain(root).flat_map(declared_groups).collect();
        for group in self.selection.named_groups() {
            let is_declared = of_packages.contains(group)
                || file.manifest.dependency_groups.contains_key(group)
                || pyproject.is_some_and(|pyproject| pyproject.has_group(group));
            if !is_declared {
                let table = match &self.project {
                    Some(_) => "the project's",
                    None => "any project's",
                };
                return Err(Error::new(format!(
                    "Group `{group}` is not defined in {table} `dependency-groups` table"
                )));
            }
        }
        Ok(())
    }
}

/// Whether the lock is that of a script: then a pyproject.toml beside it is about something else.
fn is_script(file: &File, packages: &Packages, pyproject: Option<&Project>) -> bool {
    let is_locked = |name: &PackageName| packages.named(name).is_ok();
    packages.root().is_none()
        && file.manifest.members.is_empty()
        && file.manifest.dependency_groups.is_empty()
        && !pyproject.and_then(Project::name).is_some_and(is_locked)
}

/// Whether the folder of the lock is itself a package, and not only a workspace of others.
fn is_project(pyproject: Option<&Project>, packages: &Packages) -> bool {
    match pyproject {
        Some(pyproject) => pyproject.name().is_some(),
        None => packages.root().is_some(),
    }
}

/// The default groups of the project in a folder, and whether that is a guess.
fn default_groups(folder: &Path) -> Result<(DefaultGroups, bool)> {
    let Some(pyproject) = Project::of(folder)? else {
        return Ok((project::dev(), true));
    };
    let groups = pyproject.default_groups();
    let path = folder.join("pyproject.toml");
    Ok((groups.map_err(|error| Error::new(format!("`{}`", path.display())).because(error))?, false))
}

/// The folder of a package that is a source tree on this machine.
fn source_tree(package: &Package) -> Option<&str> {
    let source = &package.source;
    let paths = [&source.editable, &source.r#virtual, &source.directory];
    paths.into_iter().find_map(Option::as_deref)
}

fn declared_groups(package: &Package) -> impl Iterator<Item = &PackageName> {
    package.metadata.dependency_groups.keys().chain(package.dependency_groups.keys())
}
