//! Bringing what comes from an archive into the upper, so that it can change.
//!
//! A file is made ready in the staging directory, with its data on disk, and then gets its name: so the upper has all of
//! it or nothing, whatever moment the server is killed at.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, Timespec, Timestamps, fstat, fsync, futimens};
use rustix::io::Errno;

use super::attributes::timespec;
use super::layer::open_archived;
use super::leave::MODE;
use super::nodes::{NodeId, Nodes, Origin};
use super::upper::{Staged, Upper, reopen};
use super::{Failure, Generated, NewTime, View, What};

/// What is to be copied up.
enum Source {
    Directory,
    Link(PathBuf),
    File(PathBuf),
    Generated(usize, Generated),
}

impl View {
    /// Brings an entry into the upper, unless it is there. Of a file that is about to be cut to `size`, no more is copied.
    ///
    /// # Errors
    /// What the upper's disk says: `ENOSPC`, `EDQUOT`, `EROFS`. Then nothing has changed.
    pub(super) fn copy_up(&self, node: NodeId, size: Option<u64>) -> Result<(), Failure> {
        let upper = self.upper()?;
        let failed = |errno| self.failed(errno, node);
        let staged = match self.source(node)? {
            None => return Ok(()),
            Some(Source::Directory) => return self.copy_up_directory(&mut self.nodes.write(), node),
            Some(Source::Link(target)) => return self.copy_up_link(node, &target),
            Some(Source::File(path)) => {
                let source = open_archived(&path).map_err(failed)?;
                let stat = fstat(&source).map_err(failed)?;
                let mode = Mode::from_raw_mode(stat.st_mode & 0o777 | 0o200);
                let source = File::from(source).take(size.unwrap_or(u64::MAX));
                self.stage(upper, mode, source, Some(&stat)).map_err(failed)?
            }
            Some(Source::Generated(distribution, file)) => {
                let bytes = self.generate(distribution, file)?;
                let cut = io::Cursor::new(bytes).take(size.unwrap_or(u64::MAX));
                self.stage(upper, Mode::from_raw_mode(0o644), cut, None).map_err(failed)?
            }
        };
        let mut nodes = self.nodes.write();
        let committed = self.give_its_name(&mut nodes, node, &staged);
        drop(nodes);
        match committed {
            Ok(true) => Ok(()),
            Ok(false) => {
                upper.give_up(&staged);
                Ok(())
            }
            Err(failure) => {
                upper.give_up(&staged);
                Err(failure)
            }
        }
    }

    /// Makes a directory of archives one of the upper, too, with those above it.
    pub(super) fn copy_up_directory(&self, nodes: &mut Nodes, node: NodeId) -> Result<(), Failure> {
        if nodes.directory(node).is_none_or(|directory| directory.in_upper) {
            return Ok(());
        }
        let path = nodes.path(node).ok_or_else(Failure::absent)?;
        self.prepare_parent(nodes, nodes.parent(node), &path, FileType::Directory)?;
        let upper = self.upper()?;
        let made = upper.unseen(&path, || {
            match upper.make_directory(&path, MODE, self.owner) {
                // It has taken the set-group-id bit of the one above.
                Ok(()) => upper.set_mode(&path, MODE),
                Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(errno),
            }
        });
        made.map_err(|errno| Failure::new(errno, &path))?;
        if let Some(directory) = nodes.directory_mut(node) {
            directory.in_upper = true;
            let changed = directory.changed.unwrap_or(self.made);
            upper.keep_modified(&path, timespec(Some(NewTime::At(changed))));
        }
        Ok(())
    }

    fn copy_up_link(&self, node: NodeId, target: &Path) -> Result<(), Failure> {
        let mut nodes = self.nodes.write();
        let Some(Origin::Archive(_)) = nodes.get(node).map(|node| &node.origin) else {
            return Ok(());
        };
        let path = nodes.path(node).ok_or_else(Failure::absent)?;
        let parent = nodes.parent(node);
        self.copy_up_directory(&mut nodes, parent)?;
        self.remember_removed(&nodes, node);
        let upper = self.upper()?;
        let made = upper.unseen(&path, || upper.make_link(&path, target.as_os_str(), self.owner));
        made.map_err(|errno| Failure::new(errno, &path))?;
        if let Some(node) = nodes.get_mut(node) {
            node.origin = Origin::Upper;
        }
        if let Some(name) = path.file_name() {
            self.hide_bytecode(&mut nodes, parent, name);
        }
        Ok(())
    }

    fn source(&self, node: NodeId) -> Result<Option<Source>, Failure> {
        let nodes = self.nodes.read();
        let found = nodes.get(node).ok_or_else(Failure::absent)?;
        Ok(match &found.origin {
            Origin::Upper | Origin::Removed(_) => None,
            Origin::Directory(directory) if directory.in_upper => None,
            Origin::Directory(_) => Some(Source::Directory),
            &Origin::Generated { distribution, file, .. } => Some(Source::Generated(distribution, file)),
            Origin::RemovedArchive(_) if found.file_type == FileType::Symlink => {
                return Err(Failure::absent());
            }
            Origin::RemovedArchive(path) => Some(Source::File(path.clone())),
            Origin::Archive(layer) => {
                let path = self.layer(*layer)?.path(&nodes.path(node).unwrap_or_default());
                Some(match found.file_type {
                    FileType::Symlink => Source::Link(path),
                    _ => Source::File(path),
                })
            }
        })
    }

    fn stage(
        &self,
        upper: &Upper,
        mode: Mode,
        mut source: impl Read,
        stat: Option<&Stat>,
    ) -> Result<Staged, Errno> {
        let mut staged = upper.stage(mode, self.owner)?;
        match fill(upper, &mut staged.file, &mut source, stat) {
            Ok(()) => Ok(staged),
            Err(errno) => {
                upper.give_up(&staged);
                Err(errno)
            }
        }
    }

    /// Says whether the staged file took the entry's place: somebody else may have been first.
    fn give_its_name(&self, nodes: &mut Nodes, node: NodeId, staged: &Staged) -> Result<bool, Failure> {
        let found = nodes.get(node).ok_or_else(Failure::absent)?;
        let distribution = match &found.origin {
            // None for bytecode.
            Origin::Archive(layer) => self.owners.get(layer.0 as usize).copied(),
            Origin::Generated { distribution, .. } => Some(*distribution),
            Origin::RemovedArchive(_) => None,
            _ => return Ok(false),
        };
        let upper = self.upper()?;
        let origin = match nodes.path(node) {
            None => {
                let failed = |errno| Failure::new(errno, &staged.path);
                let file = reopen(&staged.file, OFlags::RDWR).map_err(failed)?;
                upper.remove_leaf(&staged.path).map_err(failed)?;
                Origin::Removed(file)
            }
            Some(path) => {
                self.copy_up_directory(nodes, nodes.parent(node))?;
                let failed = |errno| Failure::new(errno, &path);
                let label = distribution.and_then(|index| self.distributions.get(index));
                let label = label.map(|distribution| distribution.label().to_owned());
                self.whiteouts.lock().add(What::Copied, label, &path).map_err(failed)?;
                upper.unseen(&path, || upper.rename(&staged.path, &path)).map_err(failed)?;
                if let Some(name) = path.file_name() {
                    self.hide_bytecode(nodes, nodes.parent(node), name);
                }
                Origin::Upper
            }
        };
        if let Some(node) = nodes.get_mut(node) {
            node.origin = origin;
        }
        Ok(true)
    }
}

/// Gives a staged file its content, and the times of what it is a copy of.
fn fill(upper: &Upper, file: &mut File, source: &mut impl Read, stat: Option<&Stat>) -> Result<(), Errno> {
    upper.crash.point()?;
    io::copy(source, file).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if let Some(stat) = stat {
        let times = Timestamps {
            last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
            last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
        };
        futimens(&*file, &times)?;
    }
    fsync(&*file)
}
