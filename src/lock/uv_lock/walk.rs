//! The way through a uv.lock: from what is wanted along the dependencies that apply.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use pep508_rs::MarkerTree;

use super::conflicts::Active;
use super::file::{Dependency, File, Package};
use super::packages::{Index, Packages};
use super::wanted::Wanted;
use crate::error::{Context, Result};
use crate::lock::{Target, marker};
use crate::python::PackageName;

/// A package itself, or one of its extras.
pub(super) type Node<'a> = (Index, Option<&'a PackageName>);

/// A walk through a lock.
pub(super) struct Walk<'a> {
    pub(super) file: &'a File,
    pub(super) packages: &'a Packages,
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) target: Target<'a>,
}

/// Where a walk starts.
#[derive(Default)]
struct Starts<'a> {
    /// With the markers under which they are wanted.
    nodes: Vec<(Node<'a>, MarkerTree)>,
    /// The packages that are wanted whether or not something depends on them.
    packages: BTreeSet<Index>,
}

impl<'a> Walk<'a> {
    /// The packages to install, in the order of the lock.
    ///
    /// # Errors
    /// Extras or groups that exclude each other; a lock that contradicts itself.
    pub(super) fn packages(&self) -> Result<BTreeSet<Index>> {
        let mut active = Active::new(self)?;
        let starts = self.starts(&mut active)?;
        if !self.file.conflicts.is_empty() {
            self.activate_extras(&starts, &mut active)?;
            active.check(&self.file.conflicts)?;
        }
        let mut found = starts.packages;
        let mut queue: VecDeque<Node> = starts.nodes.iter().map(|(node, _)| *node).collect();
        let mut seen: HashSet<Node> = queue.iter().copied().collect();
        while let Some(node) = queue.pop_front() {
            for dependency in self.dependencies(node)? {
                if !active.allows(&self.marker(node.0, dependency)?, self.target, []) {
                    continue;
                }
                let package = self.packages.meant_by(dependency)?;
                found.insert(package);
                queue.extend(nodes_of(package, dependency).filter(|node| seen.insert(*node)));
            }
        }
        self.without_what_is_not_installed(found)
    }

    fn without_what_is_not_installed(&self, mut found: BTreeSet<Index>) -> Result<BTreeSet<Index>> {
        for index in found.clone() {
            if !self.wanted.installs(self.packages.at(index)?, &self.file.manifest.members) {
                found.remove(&index);
            }
        }
        Ok(found)
    }

    /// What is wanted of the roots. Extras that groups ask for are made active.
    fn starts(&self, active: &mut Active<'a>) -> Result<Starts<'a>> {
        let mut starts = Starts::default();
        for &root in self.wanted.roots.iter().filter(|_| self.wanted.selection.is_production()) {
            starts.packages.insert(root);
            starts.nodes.push(((root, None), MarkerTree::TRUE));
            let extras = self.packages.at(root)?.optional_dependencies.keys();
            let extras = extras.filter(|extra| self.wanted.selection.has_extra(extra));
            starts.nodes.extend(extras.map(|extra| ((root, Some(extra)), MarkerTree::TRUE)));
        }
        for &root in self.wanted.roots.iter().chain(&self.wanted.group_root) {
            for dependency in self.group_dependencies(root)? {
                let marker = self.marker(root, dependency)?;
                let extras = active.inactive_extras(dependency);
                if active.allows(&marker, self.target, extras.iter().copied()) {
                    active.add_extras(extras)?;
                    let package = self.packages.meant_by(dependency)?;
                    starts.packages.insert(package);
                    starts.nodes.extend(nodes_of(package, dependency).map(|node| (node, marker.clone())));
                }
            }
        }
        self.start_from_manifest(active, &mut starts)?;
        Ok(starts)
    }

    /// Adds what belongs to no package: of a script, of a workspace root that is no package.
    fn start_from_manifest(&self, active: &mut Active<'a>, starts: &mut Starts<'a>) -> Result<()> {
        let manifest = &self.file.manifest;
        let groups = manifest.dependency_groups.iter();
        let of_groups =
            groups.filter(|(group, _)| self.wanted.has_group(None, group)).flat_map(|(_, group)| group);
        let own = manifest.requirements.iter().filter(|_| self.wanted.selection.is_production());
        for requirement in own.chain(of_groups) {
            let marker = requirement.marker.as_deref().map_or(Ok(MarkerTree::TRUE), marker::parse)?;
            if !marker.evaluate(self.target.markers, &[]) {
                continue;
            }
            let package = self.packages.required_by(requirement, self.target)?;
            active.add_extras(requirement.extras.iter().map(|extra| (&requirement.name, extra)))?;
            starts.packages.insert(package);
            let extras = requirement.extras.iter().map(|extra| (package, Some(extra)));
            let nodes = std::iter::once((package, None)).chain(extras);
            starts.nodes.extend(nodes.map(|node| (node, MarkerTree::TRUE)));
        }
        Ok(())
    }

    /// Makes the extras active that dependencies ask for, wherever they are reached.
    ///
    /// Whether a dependency applies can depend on an extra that is only found to be active later. So each node keeps the
    /// marker under which it is reached, and is looked at again when that grows.
    fn activate_extras(&self, starts: &Starts<'a>, active: &mut Active<'a>) -> Result<()> {
        let mut reached: HashMap<Node, MarkerTree> = HashMap::new();
        let mut queue = VecDeque::new();
        for (node, marker) in &starts.nodes {
            reached.entry(*node).or_insert(MarkerTree::FALSE).or(marker.clone());
            queue.push_back(*node);
        }
        while let Some(node) = queue.pop_front() {
            let parent = reached.get(&node).cloned().unwrap_or(MarkerTree::FALSE);
            for dependency in self.dependencies(node)? {
                let mut marker = self.marker(node.0, dependency)?;
                marker.and(parent.clone());
                let extras = active.inactive_extras(dependency);
                if !active.allows(&marker, self.target, extras.iter().copied()) {
                    continue;
                }
                active.add_extras(extras)?;
                let package = self.packages.meant_by(dependency)?;
                for node in nodes_of(package, dependency) {
                    let before = reached.get(&node).unwrap_or(&MarkerTree::FALSE);
                    let mut now = before.clone();
                    now.or(marker.clone());
                    if *before != now {
                        reached.insert(node, now);
                        queue.push_back(node);
                    }
                }
            }
        }
        Ok(())
    }

    /// The packages that can be reached, whatever the markers say.
    pub(super) fn reachable(&self) -> Result<HashSet<Index>> {
        let mut queue: VecDeque<Node> = VecDeque::new();
        for &root in &self.wanted.roots {
            if self.wanted.selection.is_production() {
                queue.push_back((root, None));
                let extras = self.packages.at(root)?.optional_dependencies.keys();
                let extras = extras.filter(|extra| self.wanted.selection.has_extra(extra));
                queue.extend(extras.map(|extra| (root, Some(extra))));
            }
            for dependency in self.group_dependencies(root)? {
                queue.extend(nodes_of(self.packages.meant_by(dependency)?, dependency));
            }
        }
        let mut seen: HashSet<Node> = queue.iter().copied().collect();
        while let Some(node) = queue.pop_front() {
            for dependency in self.dependencies(node)? {
                let package = self.packages.meant_by(dependency)?;
                queue.extend(nodes_of(package, dependency).filter(|node| seen.insert(*node)));
            }
        }
        Ok(seen.into_iter().map(|(package, _)| package).chain(self.wanted.roots.iter().copied()).collect())
    }

    /// The dependencies of those groups of a package that are wanted.
    fn group_dependencies(&self, package: Index) -> Result<impl Iterator<Item = &'a Dependency>> {
        let groups = self.packages.at(package)?.dependency_groups.iter();
        let wanted = self.wanted;
        Ok(groups.filter(move |(group, _)| wanted.has_group(Some(package), group)).flat_map(|(_, all)| all))
    }

    fn dependencies(&self, (package, extra): Node<'a>) -> Result<&'a [Dependency]> {
        let package: &'a Package = self.packages.at(package)?;
        Ok(match extra {
            None => &package.dependencies,
            Some(extra) => package.optional_dependencies.get(extra).map(Vec::as_slice).unwrap_or_default(),
        })
    }

    fn marker(&self, package: Index, dependency: &Dependency) -> Result<MarkerTree> {
        let Some(text) = &dependency.marker else {
            return Ok(MarkerTree::TRUE);
        };
        let package = self.packages.at(package)?.name.get_ref();
        marker::parse(text).context(|| format!("`{package}` depends on `{}`", dependency.name))
    }
}

/// What a dependency asks for of a package: itself, and its extras.
fn nodes_of(package: Index, dependency: &Dependency) -> impl Iterator<Item = Node<'_>> {
    std::iter::once((package, None)).chain(dependency.extra.iter().map(move |extra| (package, Some(extra))))
}
