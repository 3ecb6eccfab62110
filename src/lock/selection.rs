//! What is wanted of a lock that holds more than one set: extras, groups, packages of a workspace.

use serde::{Deserialize, Serialize};

use super::install::InstallFilter;
use super::kind::Kind;
use super::{Pin, Source};
use crate::error::{Error, Result};
use crate::python::PackageName;

/// What is wanted of a lock, in uv's terms; the default is what `uv sync` installs.
///
/// The names of extras and groups are normalized as those of distributions are (PEP 685, PEP 735).
///
/// Source: <https://docs.astral.sh/uv/reference/cli/#uv-sync>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// `--extra`
    pub extras: Vec<PackageName>,
    /// `--all-extras`
    pub all_extras: bool,
    /// `--no-extra`
    pub no_extras: Vec<PackageName>,
    /// `--group`
    pub groups: Vec<PackageName>,
    /// `--no-group`
    pub no_groups: Vec<PackageName>,
    /// `--only-group`
    pub only_groups: Vec<PackageName>,
    /// `--all-groups`
    pub all_groups: bool,
    /// `--no-default-groups`
    pub no_default_groups: bool,
    /// `--no-dev`
    pub no_dev: bool,
    /// `--only-dev`
    pub only_dev: bool,
    /// `--package`
    pub packages: Vec<PackageName>,
    /// `--all-packages`
    pub all_packages: bool,
    /// `--no-install-...` and `--only-install-...`
    #[serde(flatten)]
    pub install: InstallFilter,
    /// `--no-editable`
    pub no_editable: bool,
    /// `--no-editable-package`
    pub no_editable_packages: Vec<PackageName>,
}

/// The groups that a lock or a project asks for unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DefaultGroups {
    All,
    Some(Vec<PackageName>),
}

impl Selection {
    /// The options that say this, as a person types them.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = named("--extra", &self.extras).collect();
        arguments.extend(flag("--all-extras", self.all_extras));
        arguments.extend(named("--no-extra", &self.no_extras));
        arguments.extend(named("--group", &self.groups));
        arguments.extend(named("--no-group", &self.no_groups));
        arguments.extend(named("--only-group", &self.only_groups));
        arguments.extend(flag("--all-groups", self.all_groups));
        arguments.extend(flag("--no-default-groups", self.no_default_groups));
        arguments.extend(flag("--no-dev", self.no_dev));
        arguments.extend(flag("--only-dev", self.only_dev));
        arguments.extend(named("--package", &self.packages));
        arguments.extend(flag("--all-packages", self.all_packages));
        arguments.extend(self.install.arguments());
        arguments.extend(flag("--no-editable", self.no_editable));
        arguments.extend(named("--no-editable-package", &self.no_editable_packages));
        arguments
    }

    /// Those of the options that `uv pip install` has, too; of extras and groups where a pylock.toml may have them.
    pub fn arguments_of_pip(&self, has_pylock: bool) -> Vec<String> {
        let has = |argument: &String| match argument.split(' ').next() {
            Some("--extra" | "--all-extras" | "--group") => has_pylock,
            option => matches!(option, Some("--no-editable" | "--no-editable-package")),
        };
        self.arguments().into_iter().filter(has).collect()
    }

    /// Whether nothing is asked for beyond the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what no lock of these kinds knows.
    pub(super) fn check(&self, kinds: &[Kind]) -> Result<()> {
        for argument in self.arguments() {
            let option = argument.split(' ').next().unwrap_or_default();
            if kinds.iter().any(|kind| kind.knows(option)) {
                continue;
            }
            let given = kinds.first().unwrap_or(&Kind::Requirements);
            let known: Vec<String> = [Kind::Uv, Kind::Pylock]
                .iter()
                .filter(|kind| kind.knows(option))
                .map(ToString::to_string)
                .collect();
            return Err(Error::new(format!("{option} does not apply to a {given}"))
                .with_help(format!("leave it out, or give a {}", known.join(" or a "))));
        }
        Ok(())
    }

    pub(super) fn has_extra(&self, extra: &PackageName) -> bool {
        (self.all_extras || self.extras.contains(extra)) && !self.no_extras.contains(extra)
    }

    /// The extras that must be there.
    pub(super) fn named_extras(&self) -> impl Iterator<Item = &PackageName> {
        self.extras.iter().chain(&self.no_extras)
    }

    /// Makes a folder that is wanted so a plain one. As in uv, one that is plain anyway is noted as such, too.
    pub(super) fn without_editable(&self, mut pin: Pin) -> Pin {
        if let Source::Directory { editable, .. } = &mut pin.source
            && self.refuses_editable(&pin.name)
        {
            *editable = Some(false);
        }
        pin
    }

    pub(super) fn refuses_editable(&self, name: &PackageName) -> bool {
        self.no_editable || self.no_editable_packages.contains(name)
    }

    /// Whether the project and its dependencies are wanted, not only groups.
    pub(super) fn is_production(&self) -> bool {
        self.only_groups.is_empty() && !self.only_dev
    }

    pub(super) fn has_group(&self, group: &PackageName, defaults: &DefaultGroups) -> bool {
        self.names_group(group) || self.has_group_by_default(group, defaults)
    }

    pub(super) fn has_group_by_default(&self, group: &PackageName, defaults: &DefaultGroups) -> bool {
        let is_default = match defaults {
            DefaultGroups::All => true,
            DefaultGroups::Some(groups) => groups.contains(group),
        };
        let wants_defaults = self.is_production() && !self.no_default_groups;
        is_default && wants_defaults && !self.refuses(group) && !self.names_group(group)
    }

    /// As in uv, `dev` may be named by `--no-dev` and `--only-dev` although no such group is there.
    pub(super) fn named_groups(&self) -> impl Iterator<Item = &PackageName> {
        self.groups.iter().chain(&self.no_groups).chain(&self.only_groups)
    }

    fn names_group(&self, group: &PackageName) -> bool {
        let is_dev = group.as_str() == DEV;
        let is_named = self.all_groups
            || self.groups.contains(group)
            || self.only_groups.contains(group)
            || self.only_dev && is_dev;
        is_named && !self.refuses(group)
    }

    /// What is refused is left out whoever else asks for it.
    fn refuses(&self, group: &PackageName) -> bool {
        self.no_groups.contains(group) || self.no_dev && group.as_str() == DEV
    }
}

/// An option that names something, for each name.
pub(super) fn named(option: &str, names: &[PackageName]) -> impl Iterator<Item = String> {
    names.iter().map(move |name| format!("{option} {name}"))
}

/// An option that is given or not.
pub(super) fn flag(option: &str, is_set: bool) -> Option<String> {
    is_set.then(|| option.to_owned())
}

/// The group of `--dev`, and the only default one where a project does not say.
pub(super) const DEV: &str = "dev";

impl Kind {
    fn knows(self, option: &str) -> bool {
        const OF_ALL: [&str; 2] = ["--no-editable", "--no-editable-package"];
        const OF_PYLOCK: [&str; 7] = [
            "--extra",
            "--all-extras",
            "--no-extra",
            "--group",
            "--no-group",
            "--all-groups",
            "--no-default-groups",
        ];
        match self {
            Self::Uv => true,
            Self::Pylock => OF_ALL.contains(&option) || OF_PYLOCK.contains(&option),
            Self::Requirements => OF_ALL.contains(&option),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DefaultGroups, Selection};
    use crate::lock::kind::Kind;
    use crate::python::PackageName;

    fn names(text: &str) -> Vec<PackageName> {
        text.split_whitespace().map(PackageName::new).collect()
    }

    #[test]
    fn groups_are_chosen_as_uv_chooses_them() {
        let defaults = DefaultGroups::Some(names("dev test"));
        let plain = Selection::default();
        for (selection, expected) in [
            (plain.clone(), "dev test"),
            (Selection { no_dev: true, ..plain.clone() }, "test"),
            (Selection { no_default_groups: true, ..plain.clone() }, ""),
            (Selection { groups: names("docs"), ..plain.clone() }, "dev docs test"),
            (Selection { groups: names("docs"), no_groups: names("docs"), ..plain.clone() }, "dev test"),
            (Selection { only_groups: names("docs"), ..plain.clone() }, "docs"),
            (Selection { only_dev: true, ..plain.clone() }, "dev"),
            (Selection { all_groups: true, no_dev: true, ..plain }, "docs test"),
        ] {
            let chosen: Vec<_> = names("dev docs test")
                .into_iter()
                .filter(|group| selection.has_group(group, &defaults))
                .collect();
            assert_eq!(chosen, names(expected), "{selection:?}");
        }
        assert!(Selection::default().has_group(&PackageName::new("x"), &DefaultGroups::All));
    }

    #[test]
    fn an_option_that_does_not_apply_says_where_it_does() {
        let package = Selection { packages: names("a"), ..Selection::default() };
        package.check(&[Kind::Requirements, Kind::Uv]).unwrap();
        let error = package.check(&[Kind::Pylock]).unwrap_err();
        assert_eq!(error.to_string(), "--package does not apply to a pylock.toml");
        assert_eq!(error.help(), Some("leave it out, or give a uv.lock"));
        let extra = Selection { extras: names("a"), ..Selection::default() };
        let error = extra.check(&[Kind::Requirements]).unwrap_err();
        assert_eq!(error.help(), Some("leave it out, or give a uv.lock or a pylock.toml"));
    }
}
