//! A view as the kernel uses it: paths are looked up name by name, and what is known is held, forgotten, and looked at again.

use super::*;

/// A view with what the kernel would know of it and hold open.
pub(super) struct Mounted {
    pub(super) view: View,
    pub(super) lookups: HashMap<NodeId, u64>,
    pub(super) held: [Option<(NodeId, Option<Handle>)>; SLOTS],
}

impl Mounted {
    pub(super) fn new(view: View) -> Self {
        Self { view, lookups: HashMap::new(), held: [None; SLOTS] }
    }

    /// Does what the kernel does for a system call.
    pub(super) fn apply(&mut self, operation: &Operation) -> Result<Told, Errno> {
        match operation {
            Operation::Create(path, mode, slot) => {
                let (parent, name) = self.free(path)?;
                let (made, handle) = self.view.create(parent, name, *mode, us()).map_err(told)?;
                self.hold(*slot, made.node, Some(handle));
            }
            Operation::Open(path, slot) => {
                let node = self.find(path)?;
                match self.attributes(node)?.file_type {
                    FileType::Symlink => return Err(Errno::LOOP),
                    _ => {
                        self.view.lookup_again(node);
                        self.hold(*slot, node, None);
                    }
                }
            }
            Operation::Write(path, offset, bytes) => {
                let node = self.file(path)?;
                self.view.write(node, None, *offset, bytes).map_err(told)?;
            }
            Operation::Truncate(path, size) => {
                let node = self.file(path)?;
                self.change(node, None, Changes { size: Some(*size), ..Changes::default() })?;
            }
            Operation::Rename(from, to, flag) => return self.rename(from, to, *flag),
            Operation::Remove(path) => {
                let (parent, name) = self.parent(path)?;
                self.view.remove_leaf(parent, name).map_err(told)?;
            }
            Operation::MakeDirectory(path, mode) => {
                let (parent, name) = self.free(path)?;
                let made = self.view.make_directory(parent, name, *mode, us()).map_err(told)?;
                self.count(made);
            }
            Operation::RemoveDirectory(path) => {
                let (parent, name) = self.parent(path)?;
                self.view.remove_directory(parent, name).map_err(told)?;
            }
            Operation::MakeLink(target, path) => {
                let (parent, name) = self.free(path)?;
                let made = self.view.make_link(parent, name, target.as_os_str(), us()).map_err(told)?;
                self.count(made);
            }
            Operation::Link(from, to) => {
                let (from, to) = (self.parent(from)?, self.parent(to)?);
                let node = self.lookup(from)?.ok_or(Errno::NOENT)?;
                let (parent, name) = to;
                if self.lookup(to)?.is_some() {
                    return Err(Errno::EXIST);
                }
                if self.attributes(node)?.file_type == FileType::Directory {
                    return Err(Errno::PERM);
                }
                let made = self.view.link(node, parent, name).map_err(told)?;
                self.count(made);
            }
            Operation::Chmod(path, mode) => {
                let node = self.find(path)?;
                if self.attributes(node)?.file_type == FileType::Symlink {
                    return Err(Errno::OPNOTSUPP);
                }
                self.change(node, None, Changes { mode: Some(*mode), ..Changes::default() })?;
            }
            Operation::SetTime(path, time) => {
                let node = self.find(path)?;
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.unsigned_abs());
                let time = Some(NewTime::At(time));
                self.change(node, None, Changes { accessed: time, modified: time, ..Changes::default() })?;
            }
            Operation::SetAttribute(path, value) => {
                let node = self.for_attribute(path, Errno::PERM)?;
                self.view.set_extended(node, OsStr::new(ATTRIBUTE), value, 0).map_err(told)?;
            }
            Operation::RemoveAttribute(path) => {
                let node = self.for_attribute(path, Errno::PERM)?;
                self.view.remove_extended(node, OsStr::new(ATTRIBUTE)).map_err(told)?;
            }
            Operation::Close(slot) => self.close(*slot),
            Operation::Forget => self.forget(),
            Operation::Remount => {}
            Operation::WriteHeld(slot, ..)
            | Operation::TruncateHeld(slot, _)
            | Operation::ChmodHeld(slot, _)
            | Operation::ReadHeld(slot) => {
                let held = self.held.get(*slot).copied().flatten();
                return held.map_or(Ok(Told::default()), |held| self.to_held(held, operation));
            }
        }
        Ok(Told::default())
    }

    pub(super) fn to_held(
        &self,
        (node, handle): (NodeId, Option<Handle>),
        operation: &Operation,
    ) -> Result<Told, Errno> {
        let known = self.attributes(node)?;
        let is_file = known.file_type == FileType::RegularFile;
        match operation {
            Operation::WriteHeld(_, offset, bytes) if is_file => {
                self.view.write(node, handle, *offset, bytes).map(drop).map_err(told)?;
            }
            Operation::TruncateHeld(_, size) if is_file => {
                self.change(node, handle, Changes { size: Some(*size), ..Changes::default() })?;
            }
            Operation::ChmodHeld(_, mode) => {
                self.change(node, handle, Changes { mode: Some(*mode), ..Changes::default() })?;
            }
            Operation::ReadHeld(_) if is_file => {
                let content = self.view.read(node, handle, 0, 4096).map_err(told)?;
                return Ok(Told(Some((content, known.links.into()))));
            }
            _ => {}
        }
        Ok(Told::default())
    }

    /// What the kernel checks before it asks a file system to rename.
    pub(super) fn rename(&mut self, from: &Path, to: &Path, flag: Flag) -> Result<Told, Errno> {
        let (from_parent, to_parent) = (self.parent(from)?, self.parent(to)?);
        let (old, new) = (self.lookup(from_parent)?, self.lookup(to_parent)?);
        let old = old.ok_or(Errno::NOENT)?;
        match flag {
            Flag::NoReplace if new.is_some() => return Err(Errno::EXIST),
            Flag::Exchange if new.is_none() => return Err(Errno::NOENT),
            _ if from != to && to.starts_with(from) => return Err(Errno::INVAL),
            Flag::Exchange if from != to && from.starts_with(to) => return Err(Errno::INVAL),
            _ if from != to && from.starts_with(to) => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        let replacing = match flag {
            Flag::Plain => Replacing::Allowed,
            Flag::NoReplace => Replacing::Refused,
            Flag::Exchange => Replacing::Exchange,
        };
        if new != Some(old) {
            self.view.rename(from_parent, to_parent, replacing).map_err(told)?;
        }
        Ok(Told::default())
    }

    pub(super) fn change(&self, node: NodeId, handle: Option<Handle>, changes: Changes) -> Result<(), Errno> {
        self.view.change(node, handle, changes).map(drop).map_err(told)
    }

    pub(super) fn attributes(&self, node: NodeId) -> Result<Attributes, Errno> {
        self.view.attributes(node).map_err(told)
    }

    /// A regular file, to be written to.
    pub(super) fn file(&mut self, path: &Path) -> Result<NodeId, Errno> {
        let node = self.find(path)?;
        match self.attributes(node)?.file_type {
            FileType::Directory => Err(Errno::ISDIR),
            FileType::Symlink => Err(Errno::LOOP),
            _ => Ok(node),
        }
    }

    /// User attributes are for files and directories only.
    pub(super) fn for_attribute(&mut self, path: &Path, refused: Errno) -> Result<NodeId, Errno> {
        let node = self.find(path)?;
        if self.attributes(node)?.file_type == FileType::Symlink { Err(refused) } else { Ok(node) }
    }

    pub(super) fn find(&mut self, path: &Path) -> Result<NodeId, Errno> {
        let at = self.parent(path)?;
        self.lookup(at)?.ok_or(Errno::NOENT)
    }

    pub(super) fn free<'a>(&mut self, path: &'a Path) -> Result<(NodeId, &'a OsStr), Errno> {
        let at = self.parent(path)?;
        if self.lookup(at)?.is_some() { Err(Errno::EXIST) } else { Ok(at) }
    }

    pub(super) fn parent<'a>(&mut self, path: &'a Path) -> Result<(NodeId, &'a OsStr), Errno> {
        let mut at = NodeId::ROOT;
        for name in path.parent().into_iter().flatten() {
            at = self.lookup((at, name))?.ok_or(Errno::NOENT)?;
            match self.attributes(at)?.file_type {
                FileType::Directory => {}
                FileType::Symlink => return Err(Errno::LOOP),
                _ => return Err(Errno::NOTDIR),
            }
        }
        Ok((at, path.file_name().unwrap()))
    }

    pub(super) fn lookup(&mut self, (parent, name): (NodeId, &OsStr)) -> Result<Option<NodeId>, Errno> {
        let found = self.view.lookup(parent, name).map_err(told)?;
        Ok(found.map(|found| self.count(found)))
    }

    pub(super) fn count(&mut self, told: Attributes) -> NodeId {
        *self.lookups.entry(told.node).or_default() += 1;
        told.node
    }

    /// The lookup that came with it is held, too.
    pub(super) fn hold(&mut self, slot: usize, node: NodeId, handle: Option<Handle>) {
        self.close(slot);
        if let Some(held) = self.held.get_mut(slot) {
            *held = Some((node, handle));
        }
    }

    pub(super) fn close(&mut self, slot: usize) {
        if let Some((node, handle)) = self.held.get_mut(slot).and_then(Option::take) {
            handle.into_iter().for_each(|handle| self.view.release(handle));
            self.view.forget(node, 1);
        }
    }

    pub(super) fn forget(&mut self) {
        for (node, lookups) in self.lookups.drain() {
            self.view.forget(node, lookups);
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.collect(NodeId::ROOT, Path::new(""), &mut snapshot);
        snapshot
    }

    pub(super) fn collect(&self, directory: NodeId, path: &Path, snapshot: &mut Snapshot) {
        for listed in self.view.entries(directory, 0).unwrap() {
            let path = path.join(&listed.name);
            let known = self.view.attributes(listed.node).unwrap();
            assert_eq!(known.file_type, listed.file_type);
            let content = match known.file_type {
                FileType::RegularFile => self.view.read(listed.node, None, 0, 4096).unwrap(),
                FileType::Symlink => self.view.read_link(listed.node).unwrap().into_encoded_bytes(),
                _ => Vec::new(),
            };
            if known.file_type != FileType::Directory {
                assert_eq!(known.size, content.len() as u64, "the size of {}", path.display());
            }
            let is_link = known.file_type == FileType::Symlink;
            let seconds = known.modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let seconds = i64::try_from(seconds).unwrap();
            let entry = Entry {
                file_type: known.file_type,
                content,
                mode: if is_link { 0 } else { known.mode.into() },
                links: if known.file_type == FileType::Directory { 1 } else { known.links.into() },
                time: Some(seconds)
                    .filter(|time| (operations::SET_TIME..operations::SET_TIME + 10).contains(time)),
                attribute: self.view.extended(listed.node, OsStr::new(ATTRIBUTE)).ok(),
            };
            snapshot.entries.insert(path.clone(), entry);
            snapshot.numbers.insert(path.clone(), listed.node.0);
            if known.file_type == FileType::Directory {
                self.collect(listed.node, &path, snapshot);
            }
        }
    }
}
