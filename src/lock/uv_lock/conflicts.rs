//! Extras and groups that exclude each other: which are active, and what that means for markers.

use std::collections::HashSet;

use pep508_rs::{ExtraName, MarkerTree};

use super::file::{ConflictItem, Dependency};
use super::walk::Walk;
use crate::error::{Context, Error, Result};
use crate::lock::Target;
use crate::python::PackageName;

/// An extra, and the package that has it.
pub(super) type Extra<'a> = (&'a PackageName, &'a PackageName);

/// The extras, groups and projects that are active, as far as markers ask for them.
///
/// In locks with conflicts, a dependency can apply with some of them only. uv writes that into the marker as if it were
/// an extra: `extra == 'extra-3-foo-bar'` is the extra `bar` of `foo`, whose name has three letters; `group-3-foo-bar`
/// is a group, `project-3-foo` the package itself.
pub(super) struct Active<'a> {
    has_conflicts: bool,
    extras: HashSet<Extra<'a>>,
    names: Vec<ExtraName>,
}

impl<'a> Active<'a> {
    /// What is active from the start.
    ///
    /// # Errors
    /// What is wanted excludes itself.
    pub(super) fn new(walk: &Walk<'a>) -> Result<Self> {
        let has_conflicts = !walk.file.conflicts.is_empty();
        let mut active = Self { has_conflicts, extras: HashSet::new(), names: Vec::new() };
        if !has_conflicts {
            return Ok(active);
        }
        check_wanted(walk)?;
        let (packages, wanted) = (walk.packages, walk.wanted);
        for &root in wanted.roots.iter().filter(|_| wanted.selection.is_production()) {
            let package = packages.at(root)?;
            let name = package.name.get_ref();
            active.add_name(&format!("project-{}-{name}", name.as_str().len()))?;
            let extras = package.optional_dependencies.keys();
            active.add_extras(
                extras.filter(|extra| wanted.selection.has_extra(extra)).map(|extra| (name, extra)),
            )?;
        }
        for &root in wanted.roots.iter().chain(&wanted.group_root) {
            let package = packages.at(root)?;
            let name = package.name.get_ref();
            let groups = package.dependency_groups.keys();
            for group in groups.filter(|group| wanted.has_group(Some(root), group)) {
                active.add_name(&format!("group-{}-{name}-{group}", name.as_str().len()))?;
            }
        }
        Ok(active)
    }

    /// The extras that a dependency asks for, as far as they are not active.
    pub(super) fn inactive_extras(&self, dependency: &'a Dependency) -> Vec<Extra<'a>> {
        if !self.has_conflicts {
            return Vec::new();
        }
        let extras = dependency.extra.iter().map(|extra| (&dependency.name, extra));
        extras.filter(|extra| !self.extras.contains(extra)).collect()
    }

    pub(super) fn add_extras(&mut self, extras: impl IntoIterator<Item = Extra<'a>>) -> Result<()> {
        for (package, extra) in extras {
            if self.has_conflicts && self.extras.insert((package, extra)) {
                self.add_name(&encoded((package, extra)))?;
            }
        }
        Ok(())
    }

    /// Whether a marker applies, with further extras being active.
    pub(super) fn allows(
        &self,
        marker: &MarkerTree,
        target: Target<'_>,
        further: impl IntoIterator<Item = Extra<'a>>,
    ) -> bool {
        let further = further.into_iter().filter_map(|extra| ExtraName::new(encoded(extra)).ok());
        let mut names = self.names.iter().cloned().chain(further).peekable();
        match names.peek() {
            None => marker.evaluate(target.markers, &[]),
            Some(_) => marker.evaluate(target.markers, &names.collect::<Vec<_>>()),
        }
    }

    /// # Errors
    /// Two of the active extras exclude each other.
    pub(super) fn check(&self, conflicts: &[Vec<ConflictItem>]) -> Result<()> {
        for set in conflicts {
            let items = set.iter().filter_map(|item| Some((&item.package, item.extra.as_ref()?)));
            let active: Vec<Extra> = items.filter(|extra| self.extras.contains(extra)).collect();
            if let [(package, extra), (other, other_extra), ..] = active.as_slice() {
                return Err(Error::new(format!(
                    "Found conflicting extras `{package}[{extra}]` and `{other}[{other_extra}]` enabled simultaneously"
                )));
            }
        }
        Ok(())
    }

    fn add_name(&mut self, name: &str) -> Result<()> {
        let extra = ExtraName::new(name.to_owned());
        self.names.push(extra.context(|| format!("`{name}` is no name of an extra"))?);
        Ok(())
    }
}

fn encoded((package, extra): Extra<'_>) -> String {
    format!("extra-{}-{package}-{extra}", package.as_str().len())
}

/// # Errors
/// Two of what is wanted exclude each other.
fn check_wanted(walk: &Walk<'_>) -> Result<()> {
    let reachable = walk.reachable()?;
    let mut names = HashSet::new();
    for index in reachable {
        names.insert(walk.packages.at(index)?.name.get_ref());
    }
    for set in &walk.file.conflicts {
        let items = set.iter().filter(|item| names.contains(&item.package));
        let wanted: Vec<&ConflictItem> = items.filter(|item| is_wanted(item, walk)).collect();
        if wanted.len() >= 2 {
            let set: Vec<String> = set.iter().map(shown).collect();
            return Err(Error::new(format!(
                "{} are incompatible with the declared conflicts: {{{}}}",
                described(&wanted, walk),
                set.join(", ")
            )));
        }
    }
    Ok(())
}

fn is_wanted(item: &ConflictItem, walk: &Walk<'_>) -> bool {
    let wanted = walk.wanted;
    match (&item.extra, &item.group) {
        (Some(extra), _) => wanted.selection.has_extra(extra),
        (None, Some(group)) => wanted.has_group(wanted.roots.first().copied(), group),
        (None, None) => wanted.selection.is_production(),
    }
}

/// As uv says it: "Extras `a` and `b`", "Groups `a` and `b`", "Extra `a` and group `b`".
fn described(items: &[&ConflictItem], walk: &Walk<'_>) -> String {
    let name = |item: &ConflictItem| match (&item.extra, &item.group) {
        (Some(extra), _) => ("extra ", format!("`{extra}`")),
        (None, Some(group)) if walk.wanted.is_default_group(group) => {
            ("group ", format!("`{group}` (enabled by default)"))
        }
        (None, Some(group)) => ("group ", format!("`{group}`")),
        (None, None) => ("package ", format!("`{}`", item.package)),
    };
    let join = |names: Vec<String>| match names.split_last() {
        Some((last, [first])) => format!("{first} and {last}"),
        Some((last, others)) => format!("{}, and {last}", others.join(", ")),
        None => String::new(),
    };
    let named: Vec<(&str, String)> = items.iter().map(|item| name(item)).collect();
    for (kind, kinds) in [("extra ", "Extras"), ("group ", "Groups")] {
        if named.iter().all(|(other, _)| *other == kind) {
            return format!("{kinds} {}", join(named.into_iter().map(|(_, name)| name).collect()));
        }
    }
    let text = join(named.into_iter().map(|(kind, name)| format!("{kind}{name}")).collect());
    text.get(..1).unwrap_or_default().to_uppercase() + text.get(1..).unwrap_or_default()
}

fn shown(item: &ConflictItem) -> String {
    let package = &item.package;
    match (&item.extra, &item.group) {
        (Some(extra), _) => format!("`{package}[{extra}]`"),
        (None, Some(group)) => format!("`{package}:{group}`"),
        (None, None) => package.to_string(),
    }
}
