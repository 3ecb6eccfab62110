//! Random sequences of operations, cut at random steps, beside a plain directory that has the same files.
//!
//! `SITEFS_SEQUENCES` says how many.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use tempfile::TempDir;

use super::crash::Crash;
use super::{
    Attributes, Changes, Distribution, Entries, Failure, Handle, NewTime, NodeId, Replacing, View, Whiteouts,
};
use crate::cache::Archive;
use crate::outside::Planned;
use crate::python::PackageName;
use crate::python::bytecode::CACHE;
use crate::sys::directory;
use crate::sys::identity::Owner;
use crate::venv::state::State;
use crate::venv::{Layout, Scheme};

#[expect(unreachable_pub, clippy::indexing_slicing, reason = "tests of mounts share it")]
#[path = "../../tests/common/operations.rs"]
mod operations;

use operations::{
    ATTRIBUTE, Directory, Entry, Flag, Identities, Operation, SLOTS, Snapshot, Told, sequences,
};

/// What each archive has, lowest first: directories that several have, files that hide files and directories.
const ARCHIVES: [(&str, &[&str]); 3] = [
    ("one", &["pkg/__init__.py", "pkg/a.py", "pkg/sub/b.py", "pkg/file/hidden.py", "alone/a.py"]),
    ("two", &["pkg/b.py", "pkg/sub/a.py", "pkg/file", "single.py"]),
    ("three", &["pkg/sub/deep/c.py", "pkg/a.py", "only/x"]),
];

/// What the environment's own site-packages has at first.
const OWN: [&str; 3] = ["own/c.py", "pkg/sub/own.py", "pkg/b.py"];

const KNOWN: &[&str] = &[
    "pkg",
    "pkg/a.py",
    "pkg/b.py",
    "pkg/sub",
    "pkg/sub/a.py",
    "pkg/sub/b.py",
    "pkg/sub/own.py",
    "pkg/sub/deep",
    "pkg/sub/deep/c.py",
    "pkg/file",
    "alone",
    "alone/a.py",
    "single.py",
    "only",
    "only/x",
    "own",
    "own/c.py",
    "new",
    "new/a.py",
    "own/d",
    "pkg/__pycache__",
    "pkg/__pycache__/a.cpython-311.pyc",
    "own/__pycache__",
    "one-1.0.dist-info",
    "one-1.0.dist-info/INSTALLER",
];

/// Runs as the owner of all there is.
fn us() -> Owner {
    Owner { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() }
}

/// Archives, an upper and a journal on disk, and the reference.
struct Scene {
    root: TempDir,
    entries: Entries,
}

impl Scene {
    fn new(entries: Entries) -> Self {
        // In memory where that can be: copying up waits for the disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let scene = Self { root: tempfile::tempdir_in(folder).unwrap(), entries };
        for (name, files) in ARCHIVES {
            let dist_info = format!("{name}-1.0.dist-info");
            for file in files.iter().map(ToString::to_string).chain([format!("{dist_info}/METADATA")]) {
                scene.write(&Path::new(name).join(&file), &format!("{name}'s {file}"));
            }
            scene.write(&Path::new(name).join(dist_info).join("RECORD"), "");
        }
        for file in OWN {
            scene.write(&Path::new("venv/site-packages").join(file), &format!("own {file}"));
        }
        scene.make_reference();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        fs_err::canonicalize(self.root.path()).unwrap().join(name)
    }

    fn write(&self, path: &Path, text: &str) {
        let path = self.root.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }

    /// The same files as an installer would lay them down, one archive after the other.
    fn make_reference(&self) {
        let leaf = |name: &str, file: &str, is_own: bool| {
            let (from, to) = (self.path(name).join(file), self.path("reference").join(file));
            let is_link = !is_own && matches!(self.entries, Entries::Symlink);
            if to.is_dir() {
                fs_err::remove_dir_all(&to).unwrap();
            }
            let _ = fs_err::remove_file(&to);
            fs_err::create_dir_all(to.parent().unwrap()).unwrap();
            if is_link { symlink(from, to).unwrap() } else { fs_err::copy(from, to).map(drop).unwrap() }
        };
        for (name, files) in ARCHIVES {
            files.iter().for_each(|file| leaf(name, file, false));
            let dist_info = format!("{name}-1.0.dist-info");
            leaf(name, &format!("{dist_info}/METADATA"), false);
            let generated = [
                ("INSTALLER", "sitefs".to_owned()),
                ("REQUESTED", String::new()),
                (
                    "RECORD",
                    format!(
                        "{dist_info}/INSTALLER,sha256=nlLuG2BoAg8NKeYeuZmSZNIrZnCrg9zj3I6W3UuOMJg,6\n\
                         {dist_info}/REQUESTED,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"
                    ),
                ),
            ];
            for (file, text) in generated {
                self.write(&Path::new("reference").join(&dist_info).join(file), &text);
            }
        }
        OWN.iter().for_each(|file| leaf("venv/site-packages", file, true));
    }

    /// The view as a new server would have it, which is killed when so many steps were taken.
    fn open(&self, steps: &Arc<AtomicI64>) -> View {
        let site_packages = PathBuf::from("site-packages");
        let scheme = Scheme {
            purelib: site_packages.clone(),
            platlib: site_packages,
            scripts: "bin".into(),
            headers: "include".into(),
        };
        let layout = Layout { root: self.path("venv"), scheme, python_version: (3, 11) };
        let distributions = ARCHIVES.iter().map(|(name, _)| {
            let archive = Archive {
                name: PackageName::new(name),
                version: "1.0".to_owned(),
                root: self.path(name),
                top_level: directory::list(CWD, &self.path(name)).unwrap(),
                dist_info: format!("{name}-1.0.dist-info"),
                data: None,
                direct_url: None,
                generated: Vec::new(),
            };
            Distribution::new(archive, Planned::default(), &layout, self.entries)
        });
        let distributions = distributions.collect();
        let upper = fs_err::File::open(layout.site_packages()).unwrap().into_file();
        let journal =
            File::options().create(true).read(true).append(true).open(self.path("journal")).unwrap();
        let whiteouts = Whiteouts::open(journal).unwrap();
        let mut view = View::new(distributions, Some(upper.into()), whiteouts, layout).unwrap();
        fs_err::create_dir_all(self.path("venv/.sitefs")).unwrap();
        view.keep_bytecode(&State::of(&self.path("venv"))).unwrap();
        view.sweep().unwrap();
        let crash = Crash::after(Arc::clone(steps));
        view.whiteouts.get_mut().crash = crash.clone();
        view.upper.as_mut().unwrap().crash = crash;
        view
    }
}

/// A view with what the kernel would know of it and hold open.
struct Mounted {
    view: View,
    lookups: HashMap<NodeId, u64>,
    held: [Option<(NodeId, Option<Handle>)>; SLOTS],
}

impl Mounted {
    fn new(view: View) -> Self {
        Self { view, lookups: HashMap::new(), held: [None; SLOTS] }
    }

    /// Does what the kernel does for a system call.
    fn apply(&mut self, operation: &Operation) -> Result<Told, Errno> {
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

    fn to_held(
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
    fn rename(&mut self, from: &Path, to: &Path, flag: Flag) -> Result<Told, Errno> {
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

    fn change(&self, node: NodeId, handle: Option<Handle>, changes: Changes) -> Result<(), Errno> {
        self.view.change(node, handle, changes).map(drop).map_err(told)
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, Errno> {
        self.view.attributes(node).map_err(told)
    }

    /// A regular file, to be written to.
    fn file(&mut self, path: &Path) -> Result<NodeId, Errno> {
        let node = self.find(path)?;
        match self.attributes(node)?.file_type {
            FileType::Directory => Err(Errno::ISDIR),
            FileType::Symlink => Err(Errno::LOOP),
            _ => Ok(node),
        }
    }

    /// User attributes are for files and directories only.
    fn for_attribute(&mut self, path: &Path, refused: Errno) -> Result<NodeId, Errno> {
        let node = self.find(path)?;
        if self.attributes(node)?.file_type == FileType::Symlink { Err(refused) } else { Ok(node) }
    }

    fn find(&mut self, path: &Path) -> Result<NodeId, Errno> {
        let at = self.parent(path)?;
        self.lookup(at)?.ok_or(Errno::NOENT)
    }

    fn free<'a>(&mut self, path: &'a Path) -> Result<(NodeId, &'a OsStr), Errno> {
        let at = self.parent(path)?;
        if self.lookup(at)?.is_some() { Err(Errno::EXIST) } else { Ok(at) }
    }

    fn parent<'a>(&mut self, path: &'a Path) -> Result<(NodeId, &'a OsStr), Errno> {
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

    fn lookup(&mut self, (parent, name): (NodeId, &OsStr)) -> Result<Option<NodeId>, Errno> {
        let found = self.view.lookup(parent, name).map_err(told)?;
        Ok(found.map(|found| self.count(found)))
    }

    fn count(&mut self, told: Attributes) -> NodeId {
        *self.lookups.entry(told.node).or_default() += 1;
        told.node
    }

    /// The lookup that came with it is held, too.
    fn hold(&mut self, slot: usize, node: NodeId, handle: Option<Handle>) {
        self.close(slot);
        if let Some(held) = self.held.get_mut(slot) {
            *held = Some((node, handle));
        }
    }

    fn close(&mut self, slot: usize) {
        if let Some((node, handle)) = self.held.get_mut(slot).and_then(Option::take) {
            handle.into_iter().for_each(|handle| self.view.release(handle));
            self.view.forget(node, 1);
        }
    }

    fn forget(&mut self) {
        for (node, lookups) in self.lookups.drain() {
            self.view.forget(node, lookups);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.collect(NodeId::ROOT, Path::new(""), &mut snapshot);
        snapshot
    }

    fn collect(&self, directory: NodeId, path: &Path, snapshot: &mut Snapshot) {
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

impl View {
    /// The kernel holds what it has looked up.
    fn lookup_again(&self, node: NodeId) {
        assert!(self.remember(node));
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err takes")]
fn told(failure: Failure) -> Errno {
    failure.errno
}

fn is_cache(path: &Path) -> bool {
    path.ends_with(CACHE)
}

/// A directory that gets the name of one for bytecode keeps its files, but not its mode.
fn is_known_limit(operation: &Operation) -> bool {
    matches!(operation, Operation::Rename(_, to, _) if is_cache(to))
}

/// The directories that an archive has: they cannot be renamed.
fn archived_directories() -> BTreeSet<PathBuf> {
    let of = |(name, files): &(&str, &[&str])| -> Vec<PathBuf> {
        let dist_info = PathBuf::from(format!("{name}-1.0.dist-info"));
        let parents =
            |file: &&str| Path::new(file).ancestors().skip(1).map(Path::to_path_buf).collect::<Vec<_>>();
        files.iter().flat_map(parents).chain([dist_info]).collect()
    };
    let hidden = [PathBuf::new(), PathBuf::from("pkg/file")];
    ARCHIVES.iter().flat_map(of).filter(|path| !hidden.contains(path)).collect()
}

/// A view and its reference, and what was found out about them.
struct Pair {
    scene: Scene,
    steps: Arc<AtomicI64>,
    view: Mounted,
    reference: Directory,
    archived: BTreeSet<PathBuf>,
    identities: Identities,
    /// After a cut, the time of a directory may be that of the cut.
    are_times_lost: bool,
}

const NEVER: i64 = i64::MAX;

impl Pair {
    fn new(entries: Entries) -> Self {
        let scene = Scene::new(entries);
        let steps = Arc::new(AtomicI64::new(NEVER));
        let view = Mounted::new(scene.open(&steps));
        let reference = Directory::new(&scene.path("reference"));
        Self {
            scene,
            steps,
            view,
            reference,
            archived: archived_directories(),
            identities: Identities::new(),
            are_times_lost: false,
        }
    }

    fn reopen(&mut self) {
        self.steps.store(NEVER, Ordering::SeqCst);
        self.view = Mounted::new(self.scene.open(&self.steps));
        self.identities = Identities::new();
    }

    /// Does an operation on both.
    fn apply(&mut self, operation: &Operation) {
        if matches!(operation, Operation::Remount) {
            self.reopen();
        }
        if is_known_limit(operation) {
            return;
        }
        let told = self.view.apply(operation);
        if self.is_refused(operation, &told) {
            return;
        }
        assert_eq!(told, self.reference.apply(operation), "{operation:?}");
        self.note(operation, told.is_ok());
    }

    /// Whether a directory of archives was to be renamed: if it could be in the reference, it is EXDEV.
    fn is_refused(&self, operation: &Operation, told: &Result<Told, Errno>) -> bool {
        let Operation::Rename(from, to, flag) = operation else { return false };
        let is_archived =
            self.archived.contains(from) || (*flag == Flag::Exchange && self.archived.contains(to));
        let is_bytecode = *flag == Flag::Exchange && (is_cache(from) || is_cache(to));
        assert!(is_archived || is_bytecode || *told != Err(Errno::XDEV), "{operation:?} is EXDEV");
        assert!(
            !is_archived || from == to || told.is_err(),
            "{operation:?} has renamed a directory of archives"
        );
        *told == Err(Errno::XDEV)
    }

    fn note(&mut self, operation: &Operation, is_done: bool) {
        if let Operation::RemoveDirectory(path) | Operation::Rename(_, path, _) = operation
            && is_done
        {
            self.archived.remove(path);
        }
    }

    /// Kills the server before each step of an operation in turn. A new one finds all as it was before, or as it is after.
    fn cut(&mut self, operation: &Operation) {
        if is_known_limit(operation) {
            return;
        }
        let before = self.reference.snapshot().without_times_of_directories();
        self.are_times_lost = true;
        // What is open does not outlive a server.
        self.reference.apply(&Operation::Remount).unwrap();
        for steps in 0.. {
            self.reopen();
            self.steps.store(steps, Ordering::SeqCst);
            let told = self.view.apply(operation);
            let was_cut = self.steps.load(Ordering::SeqCst) < 0;
            self.reopen();
            let seen = self.view.snapshot().without_times_of_directories();
            if was_cut && seen.entries == before.entries {
                assert!(steps < 40, "{operation:?} never ends");
                continue;
            }
            if !self.is_refused(operation, &told) {
                let expected = self.reference.apply(operation);
                if !was_cut {
                    assert_eq!(told, expected, "{operation:?}");
                }
                self.note(operation, expected.is_ok());
            }
            let after = self.reference.snapshot().without_times_of_directories();
            let differences = after.differences(&seen);
            assert!(
                differences.is_empty(),
                "{operation:?}, cut before step {steps}, is neither as before nor as after:\n{differences}"
            );
            // Slots of the two must agree again.
            self.reference.apply(&Operation::Remount).unwrap();
            return;
        }
    }

    fn compare(&mut self) {
        let (mut seen, mut expected) = (self.view.snapshot(), self.reference.snapshot());
        if self.are_times_lost {
            (seen, expected) = (seen.without_times_of_directories(), expected.without_times_of_directories());
        }
        let differences = expected.differences(&seen);
        assert!(differences.is_empty(), "{differences}");
        self.identities.check(&expected, &seen);
    }
}

fn sequences_to_run() -> u32 {
    std::env::var("SITEFS_SEQUENCES")
        .map_or(30, |number| number.parse().expect("SITEFS_SEQUENCES is a number"))
}

/// Whether all is compared after each operation, which looks at every directory, or at the end only.
#[derive(Clone, Copy, Debug)]
enum Compared {
    Always,
    AtTheEnd,
}

fn run(cut_one_in: u8) {
    let entries = || prop::sample::select(vec![Entries::Symlink, Entries::File]);
    let compared = prop::sample::select(vec![Compared::Always, Compared::AtTheEnd]);
    let step = (any::<prop::sample::Index>(), 0..cut_one_in);
    let steps = proptest::collection::vec(step, 40)
        .prop_map(|steps| steps.into_iter().map(|(_, cut)| cut == 1).collect::<Vec<_>>());
    let config = Config {
        cases: sequences_to_run(),
        max_shrink_iters: 500,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(
        &(entries(), compared, sequences(KNOWN, 40), steps),
        |(entries, compared, operations, cuts)| {
            let mut pair = Pair::new(entries);
            for (operation, is_cut) in operations.iter().zip(cuts) {
                if is_cut {
                    pair.cut(operation);
                } else {
                    pair.apply(operation);
                }
                if matches!(compared, Compared::Always) {
                    pair.compare();
                }
            }
            pair.compare();
            pair.reopen();
            pair.compare();
            Ok(())
        },
    );
    outcome.unwrap();
}

#[test]
fn a_view_behaves_as_a_plain_directory_with_the_same_files() {
    // A choice of one has no 1, so nothing is cut.
    run(1);
}

#[test]
fn a_server_that_is_killed_at_any_step_leaves_each_operation_done_or_not_done() {
    run(2);
}
