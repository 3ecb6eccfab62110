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
use std::time::SystemTime;

use self::built::Shard;
use self::choice::{Chosen, Found};
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
    /// `wheels-vN/url/H`: listed when first needed.
    direct_wheels: OnceLock<Vec<Shelf>>,
    /// `sdists-vN/{url,path,editable}/H`: listed when first needed.
    direct_built: OnceLock<Vec<Shard>>,
}

/// A bucket of some version: `wheels-v6`.
#[derive(Debug)]
struct Bucket {
    path: PathBuf,
    number: u32,
}

/// The shelves with what comes from an index.
#[derive(Default)]
struct IndexShelves {
    /// What the folders `index` were before they were listed.
    parents: Vec<Stamp>,
    /// `wheels-vN/pypi` and `wheels-vN/index/H`
    wheels: Vec<Shelf>,
    /// `sdists-vN/pypi` and `sdists-vN/index/H`
    built: Vec<Shelf>,
}

/// A folder whose entries are named after distributions.
#[derive(Debug)]
struct Shelf {
    path: PathBuf,
    bucket: u32,
    /// What it was before it was listed.
    stamp: Stamp,
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
            root: root.to_owned(),
            wheel_buckets,
            sdist_buckets,
            direct_wheels: OnceLock::new(),
            direct_built: OnceLock::new(),
        }))
    }

    /// Finds the best archive for each pin, or says why there is none. What was found last is remembered in a folder.
    ///
    /// # Errors
    /// A folder of the cache that cannot be listed.
    pub(super) fn find_all(
        &self,
        pins: &[Pin],
        tags: &Tags,
        plans: Option<&Path>,
    ) -> Result<Vec<Result<Archive, Reasons>>> {
        let begun = SystemTime::now();
        let of_index: Vec<&Pin> = pins.iter().filter(|pin| pin.source == Source::Index).collect();
        let memory = plans.filter(|_| !of_index.is_empty()).map(|plans| {
            let buckets = self.wheel_buckets.iter().chain(&self.sdist_buckets);
            Memory::of(plans, &self.root, buckets.map(|bucket| bucket.path.as_path()), &of_index, tags)
        });
        if let Some(known) = memory.as_ref().and_then(Memory::recall) {
            let none = IndexShelves::default();
            return Ok(parallel_asking(pins, |pin| match known.get(&pin.name) {
                Some(archive) if pin.source == Source::Index => Ok(archive.clone()),
                _ => self.find(pin, tags, &none).map(|chosen| chosen.archive),
            }));
        }
        let shelves = self.index_shelves()?;
        // Before anything is looked up in them: what changes meanwhile is seen the next time.
        let memory = memory.map(|memory| (memory, shelves.folders(&of_index)));
        let found = parallel_asking(pins, |pin| self.find(pin, tags, &shelves));
        if let Some((memory, folders)) = memory {
            let of_index = pins.iter().zip(&found).filter(|(pin, _)| pin.source == Source::Index);
            let first_choice = |(_, found): (_, &Result<Chosen, _>)| match found {
                Ok(chosen) if chosen.is_first_choice => Some(chosen.archive.clone()),
                _ => None,
            };
            if let Some(archives) = of_index.map(first_choice).collect::<Option<Vec<Archive>>>() {
                memory.remember(folders, &archives, begun);
            }
        }
        Ok(found.into_iter().map(|found| found.map(|chosen| chosen.archive)).collect())
    }

    fn find(&self, pin: &Pin, tags: &Tags, index: &IndexShelves) -> Result<Chosen, Reasons> {
        let mut found = Found::new(&self.root, pin, tags);
        match &pin.source {
            Source::Index => {
                wheels::search(&index.wheels, &mut found);
                built::search_index(&index.built, &mut found);
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

    fn index_shelves(&self) -> Result<IndexShelves> {
        let buckets = self.wheel_buckets.iter().chain(&self.sdist_buckets);
        Ok(IndexShelves {
            parents: buckets.map(|bucket| Stamp::of(bucket.path.join("index"))).collect(),
            wheels: index_shelves(&self.wheel_buckets)?,
            built: index_shelves(&self.sdist_buckets)?,
        })
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

impl IndexShelves {
    /// The folders that a search for these pins looks into, as they are now.
    fn folders(&self, pins: &[&Pin]) -> Vec<Stamp> {
        let of_shelves = self.wheels.iter().chain(&self.built).map(|shelf| &shelf.stamp);
        let of_pins = parallel_asking(pins, |pin| {
            let wheels = self.wheels.iter().filter_map(|shelf| shelf.folder(&pin.name));
            let built = self.built.iter().filter_map(|shelf| shelf.folder(&pin.name));
            wheels.chain(built.flat_map(built::folders)).map(Stamp::of).collect::<Vec<Stamp>>()
        });
        self.parents.iter().chain(of_shelves).cloned().chain(of_pins.into_iter().flatten()).collect()
    }
}

impl Shelf {
    fn list(path: PathBuf, bucket: u32) -> io::Result<Self> {
        Ok(Self { stamp: Stamp::of(path.clone()), names: names(&path)?, path, bucket })
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
