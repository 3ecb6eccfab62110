//! What is installed of what is wanted: `--no-install-...`, and `--only-install-...`.

use serde::{Deserialize, Serialize};

use super::selection::{flag, named};
use crate::python::PackageName;

/// Which of the packages that are wanted are left out, though what they depend on is not.
///
/// Source: <https://docs.astral.sh/uv/reference/cli/#uv-sync--no-install-project>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstallFilter {
    /// `--no-install-project`
    pub no_install_project: bool,
    /// `--no-install-workspace`
    pub no_install_workspace: bool,
    /// `--no-install-local`
    pub no_install_local: bool,
    /// `--no-install-package`
    pub no_install_packages: Vec<PackageName>,
    /// `--only-install-project`
    pub only_install_project: bool,
    /// `--only-install-workspace`
    pub only_install_workspace: bool,
    /// `--only-install-local`
    pub only_install_local: bool,
    /// `--only-install-package`
    pub only_install_packages: Vec<PackageName>,
}

/// A package, as far as an [`InstallFilter`] looks at it.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) name: &'a PackageName,
    /// Whether it is the one project that is wanted.
    pub(super) is_project: bool,
    /// Whether it is a package of the workspace.
    pub(super) is_member: bool,
    /// Whether it lies on this machine, outside an index.
    pub(super) is_local: bool,
}

impl InstallFilter {
    /// The options that say this, as a person types them.
    pub(super) fn arguments(&self) -> impl Iterator<Item = String> {
        let flags = [
            flag("--no-install-project", self.no_install_project),
            flag("--no-install-workspace", self.no_install_workspace),
            flag("--no-install-local", self.no_install_local),
            flag("--only-install-project", self.only_install_project),
            flag("--only-install-workspace", self.only_install_workspace),
            flag("--only-install-local", self.only_install_local),
        ];
        let packages = named("--no-install-package", &self.no_install_packages);
        let only = named("--only-install-package", &self.only_install_packages);
        flags.into_iter().flatten().chain(packages).chain(only)
    }

    /// As in uv, of several `--only-install-...` the narrowest counts, and nothing beside it.
    pub(super) fn includes(&self, candidate: Candidate<'_>) -> bool {
        let Candidate { name, is_project, is_member, is_local } = candidate;
        if !self.only_install_packages.is_empty() {
            self.only_install_packages.contains(name)
        } else if self.only_install_local {
            is_local
        } else if self.only_install_workspace {
            is_project || is_member
        } else if self.only_install_project {
            is_project
        } else {
            let is_left_out = is_project && (self.no_install_project || self.no_install_workspace)
                || is_member && self.no_install_workspace
                || is_local && self.no_install_local
                || self.no_install_packages.contains(name);
            !is_left_out
        }
    }
}
