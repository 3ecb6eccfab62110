//! What an entry is, in the words of stat(2), and changing it.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid,
    chmodat, chownat, fstat, ftruncate, utimensat,
};
use rustix::io::Errno;

use super::nodes::{NodeId, Origin};
use super::upper::{self, path_of};
use super::{Failure, Generated, Handle, View};

/// What an entry is, in the words of stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The entry; its number plus one is its inode number.
    pub node: NodeId,
    /// What it is.
    pub file_type: FileType,
    /// Permission bits.
    pub mode: u16,
    /// How many names it has.
    pub links: u32,
    /// Size in bytes.
    pub size: u64,
    /// Room that it takes, in units of 512 bytes.
    pub blocks: u64,
    /// Time of the last access.
    pub accessed: SystemTime,
    /// Time of the last change of its content.
    pub modified: SystemTime,
    /// Time of the last change of any kind.
    pub changed: SystemTime,
    /// The owner's user id.
    pub user: u32,
    /// The owner's group id.
    pub group: u32,
    /// For a device, its number.
    pub device: u64,
}

/// What to change of an entry; `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner's user id.
    pub user: Option<u32>,
    /// The owner's group id.
    pub group: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Time of the last access.
    pub accessed: Option<NewTime>,
    /// Time of the last change of its content.
    pub modified: Option<NewTime>,
}

/// A time to set.
#[derive(Clone, Copy, Debug)]
pub enum NewTime {
    /// The time when it is set.
    Now,
    /// This one.
    At(SystemTime),
}

impl View {
    /// What an entry is.
    ///
    /// # Errors
    /// `ENOENT` for an entry that is gone; what stat(2) says of the upper.
    pub fn attributes(&self, node: NodeId) -> Result<Attributes, Failure> {
        let nodes = self.nodes.read();
        let found = nodes.get(node).ok_or_else(Failure::absent)?;
        self.check_presence(&nodes, node, found)?;
        let path = nodes.path(node);
        let place = || path.clone().unwrap_or_default();
        match &found.origin {
            Origin::Upper => self.of_upper(node, &path.clone().ok_or_else(Failure::absent)?),
            Origin::Directory(directory) if directory.in_upper && path.is_some() => {
                self.of_upper(node, &place())
            }
            Origin::Directory(directory) => {
                let made = self.of_made(node, FileType::Directory, 0o755, 0);
                let changed = directory.changed.unwrap_or(self.made);
                Ok(Attributes { links: u32::from(path.is_some()), modified: changed, changed, ..made })
            }
            Origin::Archive(layer) if found.file_type == FileType::Symlink => {
                let size = self.layer(*layer)?.target_length(place().as_os_str().len());
                Ok(self.of_made(node, FileType::Symlink, 0o777, size as u64))
            }
            Origin::Archive(layer) => {
                let path = place();
                let layer = self.layer(*layer)?;
                let stat = layer.stat(&path).map_err(|errno| gone(errno, &layer.path(&path)))?;
                Ok(self.of_archived(node, &stat))
            }
            Origin::RemovedArchive(path) if found.file_type == FileType::Symlink => {
                let size = self.shown(path.clone()).len() as u64;
                let link = self.of_made(node, FileType::Symlink, 0o777, size);
                Ok(Attributes { links: 0, ..link })
            }
            Origin::RemovedArchive(path) => {
                let stat = rustix::fs::lstat(path).map_err(|errno| gone(errno, path))?;
                Ok(Attributes { links: 0, ..self.of_archived(node, &stat) })
            }
            Origin::Removed(file) => {
                let stat = fstat(file).map_err(|errno| Failure::new(errno, Path::new("a removed file")))?;
                let target = upper::target(file).unwrap_or_default();
                Ok(self.resized(of_stat(node, &stat), target))
            }
            &Origin::Generated { distribution, file, size } => {
                drop(nodes);
                let size = match size {
                    Some(size) => size,
                    None => self.generated_size(node, distribution, file)?,
                };
                let links = u32::from(path.is_some());
                Ok(Attributes { links, ..self.of_made(node, FileType::RegularFile, 0o644, size as u64) })
            }
        }
    }

    /// Changes what an entry is. What comes from an archive is copied up first.
    ///
    /// # Errors
    /// What truncate(2), chown(2), chmod(2) and utimensat(2) say.
    pub fn change(
        &self,
        node: NodeId,
        handle: Option<Handle>,
        changes: Changes,
    ) -> Result<Attributes, Failure> {
        self.copy_up(node, changes.size)?;
        let failed = |errno| Failure::new(errno, &self.nodes.read().path(node).unwrap_or_default());
        if let Some(size) = changes.size {
            match handle.and_then(|handle| self.handle(handle)) {
                Some(file) => ftruncate(&*file, size).map_err(failed)?,
                None => ftruncate(self.open(node, OFlags::WRONLY)?, size).map_err(failed)?,
            }
        }
        let held = self.open(node, OFlags::PATH)?;
        let crash = &self.upper()?.crash;
        let path = path_of(&held);
        // Changing the owner takes the set-user-id bit away, so the mode comes after it.
        if changes.user.is_some() || changes.group.is_some() {
            crash.point().map_err(failed)?;
            let (user, group) = (changes.user.map(Uid::from_raw), changes.group.map(Gid::from_raw));
            chownat(&held, "", user, group, AtFlags::EMPTY_PATH).map_err(failed)?;
        }
        if let Some(mode) = changes.mode {
            crash.point().map_err(failed)?;
            let _alone = self.upper()?.modes.lock();
            chmodat(CWD, &path, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty()).map_err(failed)?;
        }
        if changes.accessed.is_some() || changes.modified.is_some() {
            crash.point().map_err(failed)?;
            let times = Timestamps {
                last_access: timespec(changes.accessed),
                last_modification: timespec(changes.modified),
            };
            utimensat(CWD, &path, &times, AtFlags::empty()).map_err(failed)?;
        }
        self.attributes(node)
    }

    fn generated_size(&self, node: NodeId, distribution: usize, file: Generated) -> Result<usize, Failure> {
        let made = self.generate(distribution, file)?.len();
        if let Some(Origin::Generated { size, .. }) =
            self.nodes.write().get_mut(node).map(|node| &mut node.origin)
        {
            *size = Some(made);
        }
        Ok(made)
    }

    fn of_upper(&self, node: NodeId, path: &Path) -> Result<Attributes, Failure> {
        let stat = self.upper()?.stat(path).map_err(|errno| Failure::new(errno, path))?;
        let attributes = of_stat(node, &stat);
        if attributes.file_type != FileType::Symlink || self.cache_mount.is_none() {
            return Ok(attributes);
        }
        let target = self.upper()?.read_link(path).map_err(|errno| Failure::new(errno, path))?;
        Ok(self.resized(attributes, target))
    }

    /// The size of a link is the length of its target, as it is shown.
    fn resized(&self, attributes: Attributes, target: OsString) -> Attributes {
        match attributes.file_type {
            FileType::Symlink => Attributes { size: self.shown(target).len() as u64, ..attributes },
            _ => attributes,
        }
    }

    /// A file of an archive, as it will be when it is copied up.
    fn of_archived(&self, node: NodeId, stat: &Stat) -> Attributes {
        let attributes = of_stat(node, stat);
        Attributes {
            mode: attributes.mode & 0o777 | 0o200,
            links: 1,
            user: self.owner.user,
            group: self.owner.group,
            ..attributes
        }
    }

    /// What is not on disk looks as if it was made when the view was, by the owner of site-packages.
    fn of_made(&self, node: NodeId, file_type: FileType, mode: u16, size: u64) -> Attributes {
        Attributes {
            node,
            file_type,
            mode,
            links: 1,
            size,
            blocks: size.div_ceil(512),
            accessed: self.made,
            modified: self.made,
            changed: self.made,
            user: self.owner.user,
            group: self.owner.group,
            device: 0,
        }
    }
}

/// What was in an archive and is gone is a broken cache, not an absent name.
fn gone(errno: Errno, path: &Path) -> Failure {
    Failure { errno: Errno::IO, reason: format!("{} is in the cache no more: {errno}", path.display()) }
}

fn of_stat(node: NodeId, stat: &Stat) -> Attributes {
    Attributes {
        node,
        file_type: FileType::from_raw_mode(stat.st_mode),
        mode: (stat.st_mode & 0o7777) as u16,
        links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        accessed: time(stat.st_atime, stat.st_atime_nsec),
        modified: time(stat.st_mtime, stat.st_mtime_nsec),
        changed: time(stat.st_ctime, stat.st_ctime_nsec),
        user: stat.st_uid,
        group: stat.st_gid,
        device: stat.st_rdev,
    }
}

fn time(seconds: i64, nanoseconds: impl TryInto<u32>) -> SystemTime {
    let nanoseconds = nanoseconds.try_into().unwrap_or(0);
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::new(seconds, nanoseconds),
        Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + Duration::new(0, nanoseconds),
    }
}

pub(super) fn timespec(time: Option<NewTime>) -> Timespec {
    let at = match time {
        None => return Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(NewTime::Now) => return Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(NewTime::At(at)) => at,
    };
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => Timespec { tv_sec: seconds(after), tv_nsec: after.subsec_nanos().into() },
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => Timespec { tv_sec: -seconds(before), tv_nsec: 0 },
                nanoseconds => {
                    Timespec { tv_sec: -seconds(before) - 1, tv_nsec: (1_000_000_000 - nanoseconds).into() }
                }
            }
        }
    }
}
