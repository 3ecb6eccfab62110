//! Making and removing entries. Names change only here and in `rename.rs`.
//!
//! Each change is one step on disk that decides, with what prepares it before: so after a kill at any point the view is as
//! it was before or as it is after. What an archive has is removed by a record; where the upper has the entry too, the
//! record comes first, and the step that removes it there decides.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::RwLockWriteGuard;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::leave::MODE;
use super::nodes::{Directory, NodeId, Nodes, Origin};
use super::upper::{STAGING, Upper};
use super::{Attributes, Failure, Handle, LayerId, View, What, check_name};
use crate::python::bytecode::CACHE;
use crate::sys::identity::Owner;

impl View {
    /// Creates a file, and opens it.
    ///
    /// # Errors
    /// `EEXIST`, and what else open(2) says.
    pub fn create(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        owner: Owner,
    ) -> Result<(Attributes, Handle), Failure> {
        let mut created = None;
        let attributes = self.make(parent, name, FileType::RegularFile, |upper, path| {
            created = Some(upper.create(path, Mode::from_raw_mode(mode), owner)?);
            Ok(())
        })?;
        let file = created.ok_or_else(|| Failure::new(Errno::IO, Path::new(name)))?;
        Ok((attributes, self.keep_open(attributes.node, file)))
    }

    /// Opens a file that another server has created, and empties it if that is wanted.
    ///
    /// # Errors
    /// What open(2) and ftruncate(2) say.
    pub fn open_created(
        &self,
        parent: NodeId,
        name: &OsStr,
        is_to_be_empty: bool,
    ) -> Result<(Attributes, Handle), Failure> {
        let attributes = self.lookup(parent, name)?.ok_or_else(Failure::absent)?;
        let size = is_to_be_empty.then_some(0);
        let opened = self.open(attributes.node, OFlags::RDWR).and_then(|file| {
            let handle = self.keep_open(attributes.node, file);
            let changes = super::Changes { size, ..super::Changes::default() };
            Ok((self.change(attributes.node, Some(handle), changes)?, handle))
        });
        opened.inspect_err(|_| self.forget(attributes.node, 1))
    }

    /// Makes a directory. Where a directory of archives was removed, the new one is empty.
    ///
    /// # Errors
    /// `EEXIST`, and what else mkdir(2) says.
    pub fn make_directory(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        owner: Owner,
    ) -> Result<Attributes, Failure> {
        self.make(parent, name, FileType::Directory, |upper, path| {
            upper.make_directory(path, Mode::from_raw_mode(mode), owner)
        })
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// `EEXIST`, and what else symlink(2) says.
    pub fn make_link(
        &self,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
        owner: Owner,
    ) -> Result<Attributes, Failure> {
        let target = match &self.cache_mount {
            Some((mount, _)) => mount.stored(target.into()),
            None => target.into(),
        };
        self.make(parent, name, FileType::Symlink, |upper, path| {
            upper.make_link(path, target.as_os_str(), owner)
        })
    }

    /// Makes a file, FIFO, socket or device.
    ///
    /// # Errors
    /// `EEXIST`, and what else mknod(2) says.
    pub fn make_node(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        device: u64,
        owner: Owner,
    ) -> Result<Attributes, Failure> {
        let file_type = FileType::from_raw_mode(mode);
        let mode = Mode::from_raw_mode(mode & 0o7777);
        self.make(parent, name, file_type, |upper, path| {
            upper.make_node(path, file_type, mode, device, owner)
        })
    }

    /// Gives a leaf a second name. What comes from an archive is copied up first.
    ///
    /// # Errors
    /// `EEXIST`, and what else link(2) says.
    pub fn link(&self, node: NodeId, parent: NodeId, name: &OsStr) -> Result<Attributes, Failure> {
        self.copy_up(node, None)?;
        {
            let mut nodes = self.nodes.write();
            let path = self.new_path(&mut nodes, parent, name)?;
            self.copy_up_directory(&mut nodes, parent)?;
            let from = nodes.path(node).ok_or_else(Failure::absent)?;
            self.upper()?.link(&from, &path).map_err(|errno| Failure::new(errno, &path))?;
            self.hide_bytecode(&mut nodes, parent, name);
            nodes.give_name(node, parent, name);
            nodes.get(node).inspect(|node| node.count());
        }
        self.attributes(node).inspect_err(|_| self.forget(node, 1))
    }

    /// Removes a leaf.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, and what else unlink(2) says.
    pub fn remove_leaf(&self, parent: NodeId, name: &OsStr) -> Result<(), Failure> {
        let mut nodes = self.nodes.write();
        let removed = self.remove_leaf_in(&mut nodes, parent, name);
        self.look_again(&mut nodes, parent, removed)
    }

    fn remove_leaf_in(
        &self,
        nodes: &mut RwLockWriteGuard<Nodes>,
        parent: NodeId,
        name: &OsStr,
    ) -> Result<(), Failure> {
        let (node, path) = self.present(nodes, parent, name)?;
        if nodes.directory(node).is_some() {
            return Err(Failure::new(Errno::ISDIR, &path));
        }
        self.hide(nodes, parent, &path)?;
        self.remember_removed(nodes, node);
        let removed = self.removed(nodes, node)?;
        if self.is_upper(nodes, node) {
            self.upper()?.remove_leaf(&path).map_err(|errno| Failure::new(errno, &path))?;
        } else {
            self.touch(nodes, parent);
        }
        self.let_go(nodes, node, removed);
        nodes.take_name(parent, name);
        Ok(())
    }

    /// Removes an empty directory. Where the environment has a link to it, there is a new one at once: nobody could make
    /// a directory in the place of a link that leads nowhere.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, and what else rmdir(2) says.
    pub fn remove_directory(&self, parent: NodeId, name: &OsStr) -> Result<(), Failure> {
        if !self.led_to.contains(&self.take_directory(parent, name)?) {
            return Ok(());
        }
        let made = self.make_directory(parent, name, MODE.bits(), self.owner)?;
        self.forget(made.node, 1);
        Ok(())
    }

    /// Removes an empty directory, and tells its path.
    fn take_directory(&self, parent: NodeId, name: &OsStr) -> Result<PathBuf, Failure> {
        let mut nodes = self.nodes.write();
        let (node, path) = self.present(&mut nodes, parent, name)?;
        if self.check_empty(&mut nodes, node, &path).is_err() {
            // Another server may have emptied it, or it is gone with the environment.
            self.expand_again(&mut nodes, node)?;
            self.present(&mut nodes, parent, name)?;
            self.check_empty(&mut nodes, node, &path)?;
        }
        self.hide(&nodes, parent, &path)?;
        if self.is_upper(&nodes, node) {
            let removed = self.upper()?.remove_directory(&path).map_err(|errno| Failure::new(errno, &path));
            self.look_again(&mut nodes, node, removed)?;
        } else {
            self.touch(&mut nodes, parent);
        }
        nodes.take_name(parent, name);
        Ok(path)
    }

    fn make(
        &self,
        parent: NodeId,
        name: &OsStr,
        file_type: FileType,
        mut make: impl FnMut(&Upper, &Path) -> Result<(), Errno>,
    ) -> Result<Attributes, Failure> {
        let node = {
            let mut nodes = self.nodes.write();
            let made = self.make_in_upper(&mut nodes, parent, name, file_type, &mut make);
            let made = match self.look_again(&mut nodes, parent, made) {
                Err(failure) if failure.errno == Errno::NOENT => {
                    self.make_in_upper(&mut nodes, parent, name, file_type, &mut make)
                }
                made => made,
            };
            made?;
            self.hide_bytecode(&mut nodes, parent, name);
            let origin = match file_type {
                FileType::Directory => {
                    Origin::Directory(Directory::new(Box::default(), true, Some(Box::default())))
                }
                _ => Origin::Upper,
            };
            let node = nodes.add(file_type, origin);
            nodes.give_name(node, parent, name);
            nodes.get(node).inspect(|node| node.count());
            node
        };
        self.attributes(node).inspect_err(|_| self.forget(node, 1))
    }

    /// Where the upper is not as it was known, another server has changed it: then a directory is listed again.
    pub(super) fn look_again<T>(
        &self,
        nodes: &mut Nodes,
        directory: NodeId,
        result: Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Err(failure) = &result
            && matches!(failure.errno, Errno::NOENT | Errno::EXIST | Errno::NOTEMPTY)
        {
            self.expand_again(nodes, directory)?;
        }
        result
    }

    fn make_in_upper(
        &self,
        nodes: &mut Nodes,
        parent: NodeId,
        name: &OsStr,
        file_type: FileType,
        make: &mut impl FnMut(&Upper, &Path) -> Result<(), Errno>,
    ) -> Result<(), Failure> {
        let path = self.new_path(nodes, parent, name)?;
        self.prepare_parent(nodes, parent, &path, file_type)?;
        make(self.upper()?, &path).map_err(|errno| {
            if let Some(bytecode) = self.bytecode() {
                bytecode.forget(&path);
            }
            Failure::new(errno, &path)
        })
    }

    /// Has the upper have the directory in which an entry is about to be made. Where that is a directory for bytecode of
    /// archives' modules, it is kept apart from the upper.
    pub(super) fn prepare_parent(
        &self,
        nodes: &mut Nodes,
        parent: NodeId,
        path: &Path,
        file_type: FileType,
    ) -> Result<(), Failure> {
        let is_of_archives = nodes.directory(parent).is_some_and(|found| !found.lower.is_empty());
        match self.bytecode() {
            Some(bytecode) if is_of_archives && file_type == FileType::Directory && path.ends_with(CACHE) => {
                bytecode.make_parents(path, self.owner).map_err(|errno| Failure::new(errno, path))?;
                bytecode.show(path);
                Ok(())
            }
            _ => self.copy_up_directory(nodes, parent),
        }
    }

    /// The path of an entry that is to be made.
    fn new_path(&self, nodes: &mut Nodes, parent: NodeId, name: &OsStr) -> Result<PathBuf, Failure> {
        check_name(name)?;
        self.expand_in(nodes, parent)?;
        let path = nodes.path(parent).ok_or_else(Failure::absent)?.join(name);
        if path == Path::new(STAGING) {
            return Err(Failure::new(Errno::PERM, &path));
        }
        if nodes.child(parent, name).is_some() {
            return Err(Failure::new(Errno::EXIST, &path));
        }
        Ok(path)
    }

    /// An entry that is there, with its path.
    pub(super) fn present(
        &self,
        nodes: &mut Nodes,
        parent: NodeId,
        name: &OsStr,
    ) -> Result<(NodeId, PathBuf), Failure> {
        check_name(name)?;
        self.expand_in(nodes, parent)?;
        let path = nodes.path(parent).ok_or_else(Failure::absent)?.join(name);
        let node = nodes.child(parent, name).ok_or_else(|| Failure::new(Errno::NOENT, &path))?;
        Ok((node, path))
    }

    pub(super) fn check_empty(&self, nodes: &mut Nodes, node: NodeId, path: &Path) -> Result<(), Failure> {
        self.expand_in(nodes, node)?;
        let children = nodes.directory(node).and_then(|directory| directory.children.as_ref());
        match children.is_none_or(|children| children.is_empty()) {
            true => Ok(()),
            false => Err(Failure::new(Errno::NOTEMPTY, path)),
        }
    }

    /// Whether the upper has this entry itself.
    pub(super) fn is_upper(&self, nodes: &Nodes, node: NodeId) -> bool {
        match nodes.get(node).map(|node| &node.origin) {
            Some(Origin::Directory(directory)) => directory.in_upper,
            origin => matches!(origin, Some(Origin::Upper)),
        }
    }

    /// Writes down that what archives have under a path is removed. Where the upper has an entry there, nothing else shows.
    pub(super) fn hide(&self, nodes: &Nodes, parent: NodeId, path: &Path) -> Result<(), Failure> {
        let Some(directory) = nodes.directory(parent) else { return Ok(()) };
        let mut hidden = Vec::new();
        for &layer in &directory.lower {
            // Bytecode that was removed may come back with the next mount.
            if self.source_layer(layer).is_none()
                && self.brings(layer, path)?
                && let Some(distribution) = self.distribution_of(layer)
            {
                hidden.push(distribution.label().to_owned());
            }
        }
        hidden.dedup();
        self.whiteouts.lock().add(What::Removed, hidden, path).map_err(|errno| Failure::new(errno, path))
    }

    /// A directory has changed, and the upper's own does not show it.
    fn touch(&self, nodes: &mut Nodes, node: NodeId) {
        let path = nodes.path(node).unwrap_or_default();
        match nodes.directory_mut(node) {
            Some(directory) if !directory.in_upper => directory.changed = Some(SystemTime::now()),
            // That something is removed was decided before.
            _ => {
                if let Some(Err(errno)) = self.upper.as_ref().map(|upper| upper.set_modified(&path, None)) {
                    ::log::warn!("{}: its time cannot be set: {errno}", path.display());
                }
            }
        }
    }

    /// Whether a layer's distribution has something under a path, or has it made up there.
    fn brings(&self, layer: LayerId, path: &Path) -> Result<bool, Failure> {
        let generated = || {
            let (index, distribution) = self.dist_info(path.parent()?)?;
            let is_its = self.owners.get(layer.0 as usize) == Some(&index);
            let name = path.file_name()?;
            is_its.then(|| distribution.generated().any(|(made, _)| name == made))
        };
        let found = self.layer(layer)?.has(path).map_err(|errno| Failure::new(errno, path))?;
        Ok(found || generated().unwrap_or(false))
    }

    /// What a leaf is once its last name is gone, if somebody still uses it.
    pub(super) fn removed(&self, nodes: &Nodes, node: NodeId) -> Result<Option<Origin>, Failure> {
        let Some(found) = nodes.get(node).filter(|node| node.has_one_name() && node.is_in_use()) else {
            return Ok(None);
        };
        let path = nodes.path(node).unwrap_or_default();
        Ok(match &found.origin {
            Origin::Upper => {
                let upper = self.upper()?;
                let flags = match found.file_type {
                    FileType::RegularFile => [OFlags::RDWR, OFlags::RDONLY, OFlags::PATH],
                    _ => [OFlags::PATH; 3],
                };
                let mut opened = Err(Errno::ACCESS);
                for flags in flags {
                    if matches!(opened, Err(Errno::ACCESS | Errno::ROFS | Errno::TXTBSY)) {
                        opened = upper.open(&path, flags);
                    }
                }
                Some(Origin::Removed(opened.map_err(|errno| Failure::new(errno, &path))?))
            }
            Origin::Archive(layer) => Some(Origin::RemovedArchive(self.layer(*layer)?.path(&path))),
            _ => None,
        })
    }

    pub(super) fn let_go(&self, nodes: &mut RwLockWriteGuard<Nodes>, node: NodeId, removed: Option<Origin>) {
        if let (Some(removed), Some(node)) = (removed, nodes.get_mut(node)) {
            node.origin = removed;
        }
    }
}
