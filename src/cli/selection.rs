//! What a person takes of a lock.

use clap::Args;

use crate::lock::{InstallFilter, Selection};
use crate::python::PackageName;

/// The heading of [`SelectionOptions`].
const SELECTION: &str = "What to take of a lock, as `uv sync` and `uv pip install` do";

/// What is wanted of a lock: uv's names, with uv's meaning.
#[derive(Debug, Args)]
pub struct SelectionOptions {
    /// Include the dependencies of an extra (uv.lock, pylock.toml)
    #[arg(help_heading = SELECTION, long, value_name = "EXTRA", value_delimiter = ',', value_parser = PackageName::parse, conflicts_with_all = ["all_extras", "only_group"])]
    pub extra: Vec<PackageName>,
    /// Include the dependencies of all extras (uv.lock, pylock.toml)
    #[arg(help_heading = SELECTION, long, conflicts_with = "only_group")]
    pub all_extras: bool,
    /// Leave out an extra of --all-extras (uv.lock, pylock.toml)
    #[arg(help_heading = SELECTION, long, value_name = "EXTRA", value_parser = PackageName::parse)]
    pub no_extra: Vec<PackageName>,
    /// Include a dependency group (uv.lock, pylock.toml)
    #[arg(help_heading = SELECTION, long, value_name = "GROUP", value_parser = PackageName::parse, conflicts_with_all = ["only_group", "only_dev"])]
    pub group: Vec<PackageName>,
    /// Leave out a dependency group, whatever else includes it (uv.lock, pylock.toml)
    #[arg(help_heading = SELECTION, long, value_name = "GROUP", value_delimiter = ' ', value_parser = PackageName::parse)]
    pub no_group: Vec<PackageName>,
    /// Include all dependency groups (uv.lock, pylock.toml)
    #[arg(help_heading = SELECTION, long, conflicts_with_all = ["only_group", "only_dev"])]
    pub all_groups: bool,
    /// Leave out the default dependency groups (uv.lock, pylock.toml)
    #[arg(help_heading = SELECTION, long)]
    pub no_default_groups: bool,
    /// Only a dependency group, without the project and its dependencies (uv.lock)
    #[arg(help_heading = SELECTION, long, value_name = "GROUP", value_parser = PackageName::parse)]
    pub only_group: Vec<PackageName>,
    /// Leave out the dependency group dev (uv.lock)
    #[arg(help_heading = SELECTION, long, conflicts_with = "only_dev")]
    pub no_dev: bool,
    /// Only the dependency group dev (uv.lock)
    #[arg(help_heading = SELECTION, long)]
    pub only_dev: bool,
    /// A package of the workspace, instead of the project (uv.lock)
    #[arg(help_heading = SELECTION, long, value_name = "PACKAGE", value_parser = PackageName::parse, conflicts_with = "all_packages")]
    pub package: Vec<PackageName>,
    /// All packages of the workspace (uv.lock)
    #[arg(help_heading = SELECTION, long)]
    pub all_packages: bool,
    /// Leave out the project itself, with its dependencies included (uv.lock)
    #[arg(help_heading = SELECTION, long, conflicts_with = "only_install_project")]
    pub no_install_project: bool,
    /// Leave out the project and all packages of the workspace, with their dependencies included (uv.lock)
    #[arg(help_heading = SELECTION, long, conflicts_with = "only_install_workspace")]
    pub no_install_workspace: bool,
    /// Leave out what lies on this machine: the project, the workspace, and other folders, wheels and source archives (uv.lock)
    #[arg(help_heading = SELECTION, long, conflicts_with = "only_install_local")]
    pub no_install_local: bool,
    /// Leave out a package, with its dependencies included (uv.lock)
    #[arg(help_heading = SELECTION, long, value_name = "PACKAGE", value_parser = PackageName::parse, conflicts_with = "only_install_package")]
    pub no_install_package: Vec<PackageName>,
    /// Only the project itself, without its dependencies (uv.lock)
    #[arg(help_heading = SELECTION, long)]
    pub only_install_project: bool,
    /// Only the project and the packages of the workspace (uv.lock)
    #[arg(help_heading = SELECTION, long)]
    pub only_install_workspace: bool,
    /// Only what lies on this machine (uv.lock)
    #[arg(help_heading = SELECTION, long)]
    pub only_install_local: bool,
    /// Only a package, if it is wanted at all (uv.lock)
    #[arg(help_heading = SELECTION, long, value_name = "PACKAGE", value_parser = PackageName::parse)]
    pub only_install_package: Vec<PackageName>,
    /// Take what is editable as not editable (uv.lock, pylock.toml, requirements.txt)
    #[arg(help_heading = SELECTION, long)]
    pub no_editable: bool,
    /// Take a package that is editable as not editable (uv.lock, pylock.toml, requirements.txt)
    #[arg(help_heading = SELECTION, long, value_name = "PACKAGE", value_delimiter = ' ', value_parser = PackageName::parse)]
    pub no_editable_package: Vec<PackageName>,
}

impl SelectionOptions {
    /// The same as a value, with names normalized.
    pub fn selection(&self) -> Selection {
        Selection {
            extras: self.extra.clone(),
            all_extras: self.all_extras,
            no_extras: self.no_extra.clone(),
            groups: self.group.clone(),
            no_groups: self.no_group.clone(),
            only_groups: self.only_group.clone(),
            all_groups: self.all_groups,
            no_default_groups: self.no_default_groups,
            no_dev: self.no_dev,
            only_dev: self.only_dev,
            packages: self.package.clone(),
            all_packages: self.all_packages,
            install: InstallFilter {
                no_install_project: self.no_install_project,
                no_install_workspace: self.no_install_workspace,
                no_install_local: self.no_install_local,
                no_install_packages: self.no_install_package.clone(),
                only_install_project: self.only_install_project,
                only_install_workspace: self.only_install_workspace,
                only_install_local: self.only_install_local,
                only_install_packages: self.only_install_package.clone(),
            },
            no_editable: self.no_editable,
            no_editable_packages: self.no_editable_package.clone(),
        }
    }
}
