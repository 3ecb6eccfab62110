//! Random operations on a file system, and a plain directory to do them on: the reference for whatever must behave as one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, XattrFlags,
    chmodat, fchmod, fstat, ftruncate, getxattr, linkat, mkdirat, openat, openat2, readlinkat, removexattr,
    renameat_with, setxattr, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, pread, pwrite};

/// How many files a sequence can hold open at once.
pub const SLOTS: usize = 3;

/// Times that operations set are this many seconds and a few more: only such times are compared.
pub const SET_TIME: i64 = 1_000_000_000;

/// The one extended attribute.
pub const ATTRIBUTE: &str = "user.test";

/// What can be done to a file system. Paths are relative to its top, and no link in them is followed.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Create a file, and hold it open in a slot.
    Create(PathBuf, u32, usize),
    /// Open a file or a directory, and hold it open in a slot.
    Open(PathBuf, usize),
    Write(PathBuf, u64, Vec<u8>),
    Truncate(PathBuf, u64),
    Rename(PathBuf, PathBuf, Flag),
    Remove(PathBuf),
    MakeDirectory(PathBuf, u32),
    RemoveDirectory(PathBuf),
    MakeLink(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Chmod(PathBuf, u32),
    SetTime(PathBuf, i64),
    SetAttribute(PathBuf, Vec<u8>),
    RemoveAttribute(PathBuf),
    /// These are done to what is open.
    WriteHeld(usize, u64, Vec<u8>),
    TruncateHeld(usize, u64),
    ChmodHeld(usize, u32),
    ReadHeld(usize),
    Close(usize),
    /// Nothing is remembered that need not be.
    Forget,
    /// The file system is mounted anew.
    Remount,
}

/// How to rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    Plain,
    NoReplace,
    Exchange,
}

/// What an operation tells: of what is open, its content and how many names it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told(pub Option<(Vec<u8>, u64)>);

/// An entry of a tree, as far as it can be compared.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub file_type: FileType,
    /// The content of a file, the target of a link.
    pub content: Vec<u8>,
    /// Permission bits, save of links.
    pub mode: u32,
    /// How many names it has, save of directories.
    pub links: u64,
    /// Time of the last change of its content, if it was set.
    pub time: Option<i64>,
    pub attribute: Option<Vec<u8>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file_type, content, mode, links, time, attribute } = self;
        let content = String::from_utf8_lossy(content);
        write!(formatter, "{file_type:?} {mode:o} x{links} {time:?} {attribute:?} {content:?}")
    }
}

/// All entries by path, and the inode number of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub entries: BTreeMap<PathBuf, Entry>,
    pub numbers: BTreeMap<PathBuf, u64>,
}

impl Snapshot {
    pub fn without_times_of_directories(mut self) -> Self {
        let directories = self.entries.values_mut().filter(|entry| entry.file_type == FileType::Directory);
        directories.for_each(|entry| entry.time = None);
        self
    }

    /// What is different in another one, a line each.
    pub fn differences(&self, seen: &Self) -> String {
        let paths: std::collections::BTreeSet<_> = self.entries.keys().chain(seen.entries.keys()).collect();
        let pairs = paths.into_iter().map(|path| (path, self.entries.get(path), seen.entries.get(path)));
        let different = pairs.filter(|(_, expected, seen)| expected != seen);
        different
            .map(|(path, expected, seen)| format!("{}: {seen:?}, not {expected:?}\n", path.display()))
            .collect()
    }
}

/// A sequence of operations on these paths and on some others.
pub fn sequences(known: &'static [&'static str], longest: usize) -> impl Strategy<Value = Vec<Operation>> {
    proptest::collection::vec(operation(known), 1..longest)
}

fn operation(known: &'static [&'static str]) -> impl Strategy<Value = Operation> {
    use Operation::*;
    let path = || path(known);
    let mode = || prop::sample::select(vec![0o644, 0o600, 0o755, 0o640, 0o5711]);
    let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
    let slot = || 0..SLOTS;
    let flag = prop::sample::select(vec![Flag::Plain, Flag::Plain, Flag::NoReplace, Flag::Exchange]);
    let target = prop::sample::select(vec!["nowhere", "a.py", "../own"]).prop_map(PathBuf::from);
    prop_oneof![
        6 => (path(), mode(), slot()).prop_map(|(path, mode, slot)| Create(path, mode, slot)),
        4 => (path(), slot()).prop_map(|(path, slot)| Open(path, slot)),
        4 => (path(), 0..30u64, bytes()).prop_map(|(path, offset, bytes)| Write(path, offset, bytes)),
        2 => (path(), 0..30u64).prop_map(|(path, size)| Truncate(path, size)),
        12 => (path(), path(), flag).prop_map(|(from, to, flag)| Rename(from, to, flag)),
        8 => path().prop_map(Remove),
        4 => (path(), mode()).prop_map(|(path, mode)| MakeDirectory(path, mode | 0o700)),
        8 => path().prop_map(RemoveDirectory),
        2 => (target, path()).prop_map(|(target, path)| MakeLink(target, path)),
        4 => (path(), path()).prop_map(|(from, to)| Link(from, to)),
        2 => (path(), mode()).prop_map(|(path, mode)| Chmod(path, mode)),
        2 => (path(), 0..9i64).prop_map(|(path, time)| SetTime(path, SET_TIME + time)),
        2 => (path(), bytes()).prop_map(|(path, value)| SetAttribute(path, value)),
        1 => path().prop_map(RemoveAttribute),
        2 => (slot(), 0..30u64, bytes()).prop_map(|(slot, offset, bytes)| WriteHeld(slot, offset, bytes)),
        1 => (slot(), 0..30u64).prop_map(|(slot, size)| TruncateHeld(slot, size)),
        1 => (slot(), mode()).prop_map(|(slot, mode)| ChmodHeld(slot, mode)),
        2 => slot().prop_map(ReadHeld),
        1 => slot().prop_map(Close),
        1 => Just(Forget),
        1 => Just(Remount),
    ]
}

/// Mostly a path that is there at first; of few names, so that they meet.
fn path(known: &'static [&'static str]) -> impl Strategy<Value = PathBuf> {
    let known = prop::sample::select(known).prop_map(PathBuf::from);
    let name = || prop::sample::select(vec!["a.py", "b.py", "sub", "own", "new", "x"]);
    let below = (known.clone(), name()).prop_map(|(path, name)| path.join(name));
    let other = name().prop_map(PathBuf::from);
    let deep = (name(), name()).prop_map(|(one, other)| Path::new(one).join(other));
    prop_oneof![6 => known, 2 => below, 2 => other, 2 => deep]
}

/// A directory, by system calls.
pub struct Directory {
    top: OwnedFd,
    held: [Option<(OwnedFd, FileType)>; SLOTS],
}

impl Directory {
    pub fn new(top: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self { top: openat(CWD, top, flags, Mode::empty()).unwrap(), held: [const { None }; SLOTS] }
    }

    /// Does an operation, save remounting.
    pub fn apply(&mut self, operation: &Operation) -> Result<Told, Errno> {
        match operation {
            Operation::Create(path, mode, slot) => {
                let (parent, name) = self.parent(path)?;
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&parent, name, flags, Mode::from_raw_mode(*mode))?;
                self.held[*slot] = Some((file, FileType::RegularFile));
            }
            Operation::Open(path, slot) => {
                let file = match self.open(path, OFlags::RDWR) {
                    Err(Errno::ISDIR) => (self.open(path, OFlags::RDONLY)?, FileType::Directory),
                    opened => (opened?, FileType::RegularFile),
                };
                self.held[*slot] = Some(file);
            }
            Operation::Write(path, offset, bytes) => {
                pwrite(self.open(path, OFlags::WRONLY)?, bytes, *offset)?;
            }
            Operation::Truncate(path, size) => ftruncate(self.open(path, OFlags::WRONLY)?, *size)?,
            Operation::Rename(from, to, flag) => {
                let ((from, old), (to, new)) = (self.parent(from)?, self.parent(to)?);
                let flags = match flag {
                    Flag::Plain => RenameFlags::empty(),
                    Flag::NoReplace => RenameFlags::NOREPLACE,
                    Flag::Exchange => RenameFlags::EXCHANGE,
                };
                renameat_with(&from, old, &to, new, flags)?;
            }
            Operation::Remove(path) => {
                let (parent, name) = self.parent(path)?;
                unlinkat(&parent, name, AtFlags::empty())?;
            }
            Operation::MakeDirectory(path, mode) => {
                let (parent, name) = self.parent(path)?;
                mkdirat(&parent, name, Mode::from_raw_mode(*mode))?;
            }
            Operation::RemoveDirectory(path) => {
                let (parent, name) = self.parent(path)?;
                unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
            }
            Operation::MakeLink(target, path) => {
                let (parent, name) = self.parent(path)?;
                symlinkat(target, &parent, name)?;
            }
            Operation::Link(from, to) => {
                let ((from, old), (to, new)) = (self.parent(from)?, self.parent(to)?);
                linkat(&from, old, &to, new, AtFlags::empty())?;
            }
            Operation::Chmod(path, mode) => {
                let held = self.open(path, OFlags::PATH)?;
                chmodat(CWD, path_of(&held), Mode::from_raw_mode(*mode), AtFlags::empty())?;
            }
            Operation::SetTime(path, time) => {
                let (parent, name) = self.parent(path)?;
                let time = Timespec { tv_sec: *time, tv_nsec: 0 };
                let times = Timestamps { last_access: time, last_modification: time };
                utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Operation::SetAttribute(path, value) => {
                let held = self.open(path, OFlags::PATH)?;
                setxattr(path_of(&held), ATTRIBUTE, value, XattrFlags::empty())?;
            }
            Operation::RemoveAttribute(path) => {
                let held = self.open(path, OFlags::PATH)?;
                removexattr(path_of(&held), ATTRIBUTE)?;
            }
            Operation::Close(slot) => self.held[*slot] = None,
            Operation::Forget => {}
            Operation::Remount => self.held = [const { None }; SLOTS],
            Operation::WriteHeld(slot, ..)
            | Operation::TruncateHeld(slot, _)
            | Operation::ChmodHeld(slot, _)
            | Operation::ReadHeld(slot) => {
                return match &self.held[*slot] {
                    Some((file, file_type)) => to_held(file, *file_type, operation),
                    None => Ok(Told::default()),
                };
            }
        }
        Ok(Told::default())
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        collect(self.top.as_fd(), Path::new(""), &mut snapshot);
        snapshot
    }

    fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), Errno> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let opened = openat2(&self.top, parent.unwrap_or(Path::new(".")), flags, Mode::empty(), resolve);
        Ok((opened?, path.file_name().unwrap()))
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (parent, name) = self.parent(path)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(&parent, name, flags, Mode::empty())
    }
}

fn to_held(file: &OwnedFd, file_type: FileType, operation: &Operation) -> Result<Told, Errno> {
    let is_file = file_type == FileType::RegularFile;
    match operation {
        Operation::WriteHeld(_, offset, bytes) if is_file => pwrite(file, bytes, *offset).map(drop)?,
        Operation::TruncateHeld(_, size) if is_file => ftruncate(file, *size)?,
        Operation::ChmodHeld(_, mode) => fchmod(file, Mode::from_raw_mode(*mode))?,
        Operation::ReadHeld(_) if is_file => {
            let mut content = vec![0; 4096];
            let length = pread(file, &mut content, 0)?;
            content.truncate(length);
            return Ok(Told(Some((content, fstat(file)?.st_nlink))));
        }
        _ => {}
    }
    Ok(Told::default())
}

fn collect(directory: impl AsFd, path: &Path, snapshot: &mut Snapshot) {
    let mut names: Vec<_> = Dir::read_from(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..")
        .collect();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name is listed twice: {names:?}");
    for name in names {
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        let stat = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let open = |flags| {
            openat(&directory, &name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap()
        };
        let content = match file_type {
            FileType::RegularFile => {
                let mut content = vec![0; 4096];
                let length = pread(open(OFlags::RDONLY), &mut content, 0).unwrap();
                assert_eq!(length as i64, stat.st_size.min(4096), "the size of {}", path.display());
                content.truncate(length);
                content
            }
            FileType::Symlink => readlinkat(&directory, &name, Vec::new()).unwrap().into_bytes(),
            _ => Vec::new(),
        };
        let mut value = vec![0; 64];
        let held = open(OFlags::PATH);
        let length = getxattr(path_of(&held), ATTRIBUTE, &mut value);
        let is_link = file_type == FileType::Symlink;
        let entry = Entry {
            file_type,
            content,
            mode: if is_link { 0 } else { stat.st_mode & 0o7777 },
            links: if file_type == FileType::Directory { 1 } else { stat.st_nlink },
            time: Some(stat.st_mtime).filter(|time| (SET_TIME..SET_TIME + 10).contains(time)),
            attribute: length.ok().map(|length| value[..length].to_vec()),
        };
        snapshot.entries.insert(path.clone(), entry);
        snapshot.numbers.insert(path.clone(), stat.st_ino);
        if file_type == FileType::Directory {
            collect(open(OFlags::RDONLY), &path, snapshot);
        }
    }
}

fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Compares what two file systems show, and that what is one entry in the one is one entry in the other, and stays it.
pub struct Identities {
    pairs: BTreeMap<u64, u64>,
    ever: std::collections::HashSet<u64>,
}

impl Identities {
    pub fn new() -> Self {
        Self { pairs: BTreeMap::new(), ever: std::collections::HashSet::new() }
    }

    /// To be called after each operation. `expected` may use a number again, `seen` must not.
    pub fn check(&mut self, expected: &Snapshot, seen: &Snapshot) {
        let mut pairs = BTreeMap::new();
        for (path, number) in &expected.numbers {
            let found = seen.numbers[path];
            if let Some(before) = pairs.insert(*number, found) {
                assert_eq!(before, found, "{} has another number than its other names", path.display());
            }
        }
        let distinct: std::collections::HashSet<_> = pairs.values().collect();
        assert_eq!(distinct.len(), pairs.len(), "two entries share a number");
        for (number, found) in &pairs {
            match self.pairs.get(number) {
                Some(before) => assert_eq!(before, found, "an entry has got another number"),
                None => assert!(self.ever.insert(*found), "the number {found} was given twice"),
            }
        }
        self.pairs = pairs;
    }
}
