//! Renaming entries.

use std::ffi::OsStr;
use std::path::Path;

use parking_lot::RwLockWriteGuard;
use rustix::io::Errno;

use super::nodes::{NodeId, Nodes};
use super::{Failure, View};
use crate::python::bytecode::CACHE;

/// What to do with an entry that has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacing {
    /// Replace it.
    Allowed,
    /// Refuse (`RENAME_NOREPLACE`).
    Refused,
    /// Exchange the two (`RENAME_EXCHANGE`).
    Exchange,
}

/// An entry that takes part in a rename.
struct Side<'a> {
    parent: NodeId,
    name: &'a OsStr,
    node: Option<NodeId>,
    path: std::path::PathBuf,
    is_directory: bool,
}

impl View {
    /// Renames an entry. What comes from an archive is copied up first; a directory that archives have is not, so that
    /// nobody waits for a deep copy.
    ///
    /// # Errors
    /// `EXDEV` for a directory of archives, and to exchange one of their bytecode: `mv`, pip and shutil then copy and remove.
    /// What else rename(2) says.
    pub fn rename(
        &self,
        from: (NodeId, &OsStr),
        to: (NodeId, &OsStr),
        replacing: Replacing,
    ) -> Result<(), Failure> {
        let (mut nodes, from, to) = loop {
            let mut nodes = self.nodes.write();
            let from = self.side(&mut nodes, from)?;
            let to = self.side(&mut nodes, to)?;
            let node = from.node.ok_or_else(|| Failure::new(Errno::NOENT, &from.path))?;
            let exchanged = to.node.filter(|_| replacing == Replacing::Exchange);
            self.check(&mut nodes, &from, &to, replacing)?;
            if to.node == Some(node) {
                return Ok(());
            }
            let lower =
                [Some(node), exchanged].into_iter().flatten().find(|node| !self.is_upper(&nodes, *node));
            match lower {
                None => break (nodes, from, to),
                // Not under the lock: it can take a while.
                Some(node) => {
                    drop(nodes);
                    self.copy_up(node, None)?;
                }
            }
        };
        self.copy_up_directory(&mut nodes, to.parent)?;
        // The step that decides is the upper's own rename; until then, each entry hides what these records remove.
        let renamed = match replacing {
            Replacing::Exchange => self.exchange(&mut nodes, &from, &to),
            Replacing::Refused if self.upper()?.stat(&to.path).is_ok() => {
                Err(Failure::new(Errno::EXIST, &to.path))
            }
            _ => self.replace(&mut nodes, &from, &to),
        };
        let renamed = self.look_again(&mut nodes, from.parent, renamed);
        self.look_again(&mut nodes, to.parent, renamed)
    }

    fn side<'a>(&self, nodes: &mut Nodes, (parent, name): (NodeId, &'a OsStr)) -> Result<Side<'a>, Failure> {
        super::check_name(name)?;
        self.expand_in(nodes, parent)?;
        let path = nodes.path(parent).ok_or_else(Failure::absent)?.join(name);
        if path == Path::new(super::upper::STAGING) {
            return Err(Failure::new(Errno::PERM, &path));
        }
        let node = nodes.child(parent, name);
        let is_directory = node.is_some_and(|node| nodes.directory(node).is_some());
        Ok(Side { parent, name, node, path, is_directory })
    }

    /// Whether it is a directory that is kept apart from the upper, in whose place there can be no other.
    fn is_of_bytecode(&self, side: &Side) -> bool {
        side.is_directory
            && side.name == CACHE
            && self.bytecode().is_some_and(|bytecode| bytecode.has(&side.path))
    }

    fn check(&self, nodes: &mut Nodes, from: &Side, to: &Side, replacing: Replacing) -> Result<(), Failure> {
        let has_lower = |nodes: &Nodes, side: &Side| {
            side.node.and_then(|node| nodes.directory(node)).is_some_and(|found| !found.lower.is_empty())
        };
        let is_below = |nodes: &Nodes, below: &Side, above: &Side| {
            above.node.is_some_and(|above| nodes.is_below(below.parent, above))
        };
        let refused = match (replacing, to.node) {
            (Replacing::Refused, Some(_)) => Some(Errno::EXIST),
            (Replacing::Exchange, None) => Some(Errno::NOENT),
            _ if from.node == to.node => None,
            _ if has_lower(nodes, from) || self.led_to.contains(&from.path) => Some(Errno::XDEV),
            _ if from.is_directory && is_below(nodes, to, from) => Some(Errno::INVAL),
            (Replacing::Exchange, Some(_)) if has_lower(nodes, to) => Some(Errno::XDEV),
            (Replacing::Exchange, Some(_)) if self.is_of_bytecode(from) || self.is_of_bytecode(to) => {
                Some(Errno::XDEV)
            }
            (Replacing::Exchange, Some(_)) if to.is_directory && is_below(nodes, from, to) => {
                Some(Errno::INVAL)
            }
            (Replacing::Allowed, Some(_)) if from.is_directory && !to.is_directory => Some(Errno::NOTDIR),
            (Replacing::Allowed, Some(_)) if to.is_directory && !from.is_directory => Some(Errno::ISDIR),
            _ => None,
        };
        if let Some(errno) = refused {
            return Err(Failure::new(errno, &from.path));
        }
        match to.node {
            Some(node) if to.is_directory && replacing == Replacing::Allowed && from.node != to.node => {
                self.check_empty(nodes, node, &to.path)
            }
            _ => Ok(()),
        }
    }

    fn replace(&self, nodes: &mut RwLockWriteGuard<Nodes>, from: &Side, to: &Side) -> Result<(), Failure> {
        let (Some(node), failed) = (from.node, |errno| Failure::new(errno, &from.path)) else {
            return Ok(());
        };
        self.hide(nodes, from.parent, &from.path)?;
        if from.is_directory {
            // What archives have under the new name must not join it.
            if let Some(replaced) = to.node {
                self.copy_up_directory(nodes, replaced)?;
            }
            self.hide(nodes, to.parent, &to.path)?;
        }
        let removed = match to.node.filter(|_| !to.is_directory) {
            Some(replaced) => self.removed(nodes, replaced)?,
            None => None,
        };
        self.upper()?.rename(&from.path, &to.path).map_err(failed)?;
        self.hide_bytecode(nodes, to.parent, to.name);
        if let Some(replaced) = to.node {
            self.remember_removed(nodes, replaced);
            self.let_go(nodes, replaced, removed);
            nodes.take_name(to.parent, to.name);
        }
        nodes.move_name(node, (from.parent, from.name), (to.parent, to.name));
        Ok(())
    }

    fn exchange(&self, nodes: &mut RwLockWriteGuard<Nodes>, from: &Side, to: &Side) -> Result<(), Failure> {
        let (Some(one), Some(other)) = (from.node, to.node) else { return Ok(()) };
        for (side, comes) in [(from, to.is_directory), (to, from.is_directory)] {
            if comes {
                self.hide(nodes, side.parent, &side.path)?;
            }
        }
        self.upper()?.exchange(&from.path, &to.path).map_err(|errno| Failure::new(errno, &from.path))?;
        self.hide_bytecode(nodes, from.parent, from.name);
        self.hide_bytecode(nodes, to.parent, to.name);
        nodes.exchange_names((one, from.parent, from.name), (other, to.parent, to.name));
        Ok(())
    }
}
