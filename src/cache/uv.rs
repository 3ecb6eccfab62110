//! uv's cache: the wheels it downloaded (`wheels-vN`), those it built (`sdists-vN`), and where both lie unpacked
//! (`archive-v0`).
//!
//! uv promises nothing about this layout and changes it in patch releases, so it is read tolerantly: buckets of every
//! number, pointers of every shape, links where a pointer is missing. Folders named after the hash of a URL are
//! scanned; that hash is never computed. The one of settings that a wheel is built with is: nothing else tells them.

mod built;
mod choice;
mod pointer;
mod provenance;
mod remembered;
mod settings;
mod wheels;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use self::built::Shard;
use self::choice::Found;
use self::remembered::{Memory, Stamp};
use super::Archive;
use super::missing::Reasons;
use crate::error::Result;
use crate::lock::{Pin, Source};
use crate::parallel::parallel_asking;
use crate::python::{PackageName, Tags};

/// uv's cache, with what is worth listing only once.
#[derive(Debug)]
pub(super) struct UvCache {
    root: PathBuf,
    wheel_buckets: Vec<Bucket>,
    sdist_buckets: Vec<Bucket>,
    /// `wheels-vN/pypi` and `wheels-vN/index/H`: listed when first needed, as all that follows.
    index_wheels: OnceLock<Result<Vec<Shelf>, String>>,
    /// `sdists-vN/pypi` and `sdists-vN/index/H`
    index_built: OnceLock<Result<Vec<Shelf>, String>>,
    /// `wheels-vN/url/H`
    direct_wheels: OnceLock<Vec<Shelf>>,
    /// `sdists-vN/{url,path,editable}/H`
    direct_built: OnceLock<Vec<Shard>>,
}

/// A bucket of some version: `wheels-v6`.
#[derive(Debug)]
struct Bucket {
    path: PathBuf,
    number: u32,
}

/// A folder whose entries are named after distributions.
#[derive(Debug)]
struct Shelf {
    path: PathBuf,
    bucket: u32,
    names: HashSet<OsString>,
}

impl UvCache {
    /// Opens the cache at `root`, or says that uv did not make it.
    pub(super) fn open(root: &Path) -> Result<Option<Self>> {
        let entries = names(root)?;
        let buckets = |prefix| buckets(root, &entries, prefix);
        let (wheel_buckets, sdist_buckets) = (buckets("wheels-v"), buckets("sdists-v"));
        if wheel_buckets.is_empty() && sdist_buckets.is_empty() && buckets("archive-v").is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            index_wheels: OnceLock::new(),
            index_built: OnceLock::new(),
            root: root.to_owned(),
            wheel_buckets,
            sdist_buckets,
            direct_wheels: OnceLock::new(),
            direct_built: OnceLock::new(),
        }))
    }

    /// Finds the best archive for each pin, or says why there is none. What was found last is remembered in a folder.
    pub(super) fn find_all(
        &self,
        pins: &[Pin],
        tags: &Tags,
        plans: Option<&Path>,
    ) -> Vec<Result<Archive, Reasons>> {
        let of_index: Vec<&Pin> = pins.iter().filter(|pin| pin.source == Source::Index).collect();
        let memory = plans.filter(|_| !of_index.is_empty()).map(|plans| {
            let buckets = self.wheel_buckets.iter().chain(&self.sdist_buckets);
            Memory::of(plans, &self.root, buckets.map(|bucket| bucket.path.as_path()), &of_index, tags)
        });
        if let Some(known) = memory.as_ref().and_then(Memory::recall) {
            return parallel_asking(pins, |pin| match known.get(&pin.name) {
                Some(archive) if pin.source == Source::Index => Ok(archive.clone()),
                _ => self.find(pin, tags),
            });
        }
        // Before anything is looked up: what changes meanwhile is seen the next time.
        let folders = self.folders(&of_index);
        let found = parallel_asking(pins, |pin| self.find(pin, tags));
        let of_index = pins.iter().zip(&found).filter(|(pin, _)| pin.source == Source::Index);
        let archives: Result<Vec<&Archive>, _> = of_index.map(|(_, found)| found.as_ref()).collect();
        if let (Some(memory), Ok(archives)) = (memory, archives) {
            memory.remember(folders, &archives);
        }
        found
    }

    fn find(&self, pin: &Pin, tags: &Tags) -> Result<Archive, Reasons> {
        let mut found = Found::new(&self.root, pin, tags);
        match &pin.source {
            Source::Index => {
                let [wheels, built] = self.index_shelves();
                match (wheels, built) {
                    (Ok(wheels), Ok(built)) => {
                        wheels::search(wheels, &mut found);
                        built::search_index(built, &mut found);
                    }
                    (Err(why), _) | (_, Err(why)) => found.reasons.other(why.clone()),
                }
            }
            Source::Archive { url, .. } if url.path().ends_with(".whl") => {
                wheels::search(self.direct_wheels(), &mut found);
            }
            Source::Archive { url, .. } => {
                let kind = if url.scheme() == "file" { "path" } else { "url" };
                built::search_direct(self.direct_built(), kind, &mut found);
            }
            Source::Directory { editable, .. } => {
                let kind = if *editable == Some(true) { "editable" } else { "path" };
                built::search_direct(self.direct_built(), kind, &mut found);
            }
            Source::Git { revision, commit, file, .. } => match commit.as_deref().and_then(Commit::new) {
                Some(commit) if file.as_ref().is_some_and(|file| file.ends_with(".whl")) => {
                    wheels::search_git(&self.wheel_buckets, commit, &mut found);
                }
                Some(commit) => built::search_git(&self.sdist_buckets, commit, file.is_some(), &mut found),
                // The cache does not tell where a branch or a tag points.
                None => {
                    let revision = revision.as_deref().unwrap_or("the default branch");
                    found.reasons.other(format!("{revision} can move: name the whole commit"));
                }
            },
        }
        found.choose()
    }

    /// Those with wheels, and those with what was built.
    fn index_shelves(&self) -> [&Result<Vec<Shelf>, String>; 2] {
        [(&self.index_wheels, &self.wheel_buckets), (&self.index_built, &self.sdist_buckets)].map(
            |(shelves, buckets)| {
                shelves.get_or_init(|| index_shelves(buckets).map_err(|error| error.to_string()))
            },
        )
    }

    /// The folders that a search for pins of an index looks into, as they are now.
    fn folders(&self, pins: &[&Pin]) -> Vec<Stamp> {
        let mut paths = Vec::new();
        for bucket in self.wheel_buckets.iter().chain(&self.sdist_buckets) {
            paths.extend(["pypi", "index"].map(|kind| bucket.path.join(kind)));
        }
        let [wheels, built] = self.index_shelves().map(|shelves| shelves.as_deref().unwrap_or_default());
        paths.extend(wheels.iter().chain(built).map(|shelf| shelf.path.clone()));
        for pin in pins {
            paths.extend(wheels.iter().filter_map(|shelf| shelf.folder(&pin.name)));
            paths.extend(built.iter().filter_map(|shelf| shelf.folder(&pin.name)).flat_map(built::folders));
        }
        parallel_asking(&paths, |path| Stamp::of(path.clone()))
    }

    fn direct_wheels(&self) -> &[Shelf] {
        self.direct_wheels.get_or_init(|| hashed_shelves(&self.wheel_buckets, "url").unwrap_or_default())
    }

    fn direct_built(&self) -> &[Shard] {
        self.direct_built.get_or_init(|| built::direct_shards(&self.sdist_buckets))
    }
}

/// A commit, as folders of the cache are named after it.
#[derive(Clone, Copy)]
struct Commit<'a>(&'a str);

impl<'a> Commit<'a> {
    fn new(commit: &'a str) -> Option<Self> {
        commit.get(..16).map(Self)
    }

    /// What a bucket has of this commit: `git/H/<sha16>`, for any H.
    fn folders(self, bucket: &Bucket) -> impl Iterator<Item = PathBuf> {
        let parent = bucket.path.join("git");
        let commit = self.0.to_ascii_lowercase();
        names(&parent).unwrap_or_default().into_iter().map(move |hash| parent.join(hash).join(&commit))
    }
}

/// The buckets with this prefix, newest first.
fn buckets(root: &Path, entries: &HashSet<OsString>, prefix: &str) -> Vec<Bucket> {
    let mut buckets: Vec<_> = entries
        .iter()
        .filter_map(|name| {
            Some(Bucket { number: name.to_str()?.strip_prefix(prefix)?.parse().ok()?, path: root.join(name) })
        })
        .collect();
    buckets.sort_unstable_by_key(|bucket| std::cmp::Reverse(bucket.number));
    buckets
}

fn index_shelves(buckets: &[Bucket]) -> io::Result<Vec<Shelf>> {
    let mut shelves = hashed_shelves(buckets, "index")?;
    for bucket in buckets {
        shelves.push(Shelf::list(bucket.path.join("pypi"), bucket.number)?);
    }
    Ok(shelves)
}

/// The shelves `kind/H` for any H.
fn hashed_shelves(buckets: &[Bucket], kind: &str) -> io::Result<Vec<Shelf>> {
    let mut shelves = Vec::new();
    for bucket in buckets {
        let parent = bucket.path.join(kind);
        for hash in names(&parent)? {
            shelves.push(Shelf::list(parent.join(hash), bucket.number)?);
        }
    }
    Ok(shelves)
}

impl Shelf {
    fn list(path: PathBuf, bucket: u32) -> io::Result<Self> {
        Ok(Self { names: names(&path)?, path, bucket })
    }

    /// The folder of a distribution, if there is one.
    fn folder(&self, name: &PackageName) -> Option<PathBuf> {
        let name = OsStr::new(name.as_str());
        self.names.contains(name).then(|| self.path.join(name))
    }
}

/// The entries of a folder; none if there is no such folder.
fn names(folder: &Path) -> io::Result<HashSet<OsString>> {
    match fs_err::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(HashSet::new())
        }
        Err(error) => Err(error),
    }
}
