//! What is in a directory, by name and in the order of listing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;

use super::nodes::NodeId;

/// The children of a directory. Each has a position, which no other gets after it: so whoever lists a directory while it
/// changes sees each entry once.
#[derive(Debug, Default)]
pub(super) struct Children {
    by_name: BTreeMap<Arc<OsStr>, u64>,
    by_position: BTreeMap<u64, (Arc<OsStr>, NodeId)>,
    next: u64,
}

impl Children {
    pub(super) fn get(&self, name: &OsStr) -> Option<NodeId> {
        self.by_position.get(self.by_name.get(name)?).map(|(_, node)| *node)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Those from a position on, each with the position after it.
    pub(super) fn from(&self, position: u64) -> impl Iterator<Item = (NodeId, &OsStr, u64)> {
        self.by_position.range(position..).map(|(position, (name, node))| (*node, &**name, position + 1))
    }

    /// Adds one, at the end of the listing.
    pub(super) fn insert(&mut self, name: &Arc<OsStr>, node: NodeId) {
        self.remove(name);
        self.by_name.insert(Arc::clone(name), self.next);
        self.by_position.insert(self.next, (Arc::clone(name), node));
        self.next += 1;
    }

    /// Puts another entry in the place of one, under its name, which it gives.
    pub(super) fn replace(&mut self, name: &OsStr, node: NodeId) -> Option<Arc<OsStr>> {
        let (name, there) = self.by_position.get_mut(self.by_name.get(name)?)?;
        *there = node;
        Some(Arc::clone(name))
    }

    pub(super) fn remove(&mut self, name: &OsStr) -> Option<NodeId> {
        let position = self.by_name.remove(name)?;
        self.by_position.remove(&position).map(|(_, node)| node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(children: &Children, from: u64) -> Vec<String> {
        children.from(from).map(|(_, name, _)| name.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn who_lists_while_others_change_the_directory_sees_each_entry_once() {
        let mut children = Children::default();
        for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            children.insert(&OsStr::new(name).into(), NodeId(number as u64));
        }
        let (_, _, after_b) = children.from(0).nth(1).unwrap();
        children.remove(OsStr::new("a"));
        children.remove(OsStr::new("c"));
        children.insert(&OsStr::new("a").into(), NodeId(9));
        assert_eq!(names(&children, after_b), ["d", "a"]);
    }
}
