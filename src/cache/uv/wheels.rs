//! Wheels as downloaded: `wheels-vN/{pypi | index/H | url/H}/<name>/<key>`, a link to the archive, with its pointer
//! `<key>.http` or `<key>.rev` beside it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pep440_rs::Version;

use super::choice::{Candidate, Found};
use super::pointer::Pointer;
use super::provenance;
use super::provenance::Provenance;
use super::{Bucket, Commit, Shelf};
use crate::cache::archive::tag_lines;
use crate::python::{PackageName, WheelName};

/// Offers the wheels on `shelves` that can be what the pin asks for.
pub(super) fn search(shelves: &[Shelf], found: &mut Found) {
    for shelf in shelves {
        let Some(folder) = shelf.folder(&found.pin.name) else {
            continue;
        };
        match entries(&folder) {
            Ok(entries) => {
                for (key, entry) in entries {
                    consider(&folder.join(&key), &key, entry, shelf.bucket, found);
                }
            }
            Err(error) => found.reasons.other(error.to_string()),
        }
    }
}

/// Offers the wheels that lie in a Git repository: `wheels-vN/git/H/<sha16>/<key>`.
pub(super) fn search_git(buckets: &[Bucket], commit: Commit<'_>, found: &mut Found) {
    for bucket in buckets {
        for folder in commit.folders(bucket) {
            for (key, entry) in entries(&folder).unwrap_or_default() {
                consider(&folder.join(&key), &key, entry, bucket.number, found);
            }
        }
    }
}

/// Which files a key has.
#[derive(Clone, Copy, Default)]
struct Entry {
    link: bool,
    http: bool,
    rev: bool,
}

fn entries(folder: &Path) -> std::io::Result<BTreeMap<String, Entry>> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for entry in fs_err::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if let Some(key) = name.strip_suffix(".http") {
            entries.entry(key.to_owned()).or_default().http = true;
        } else if let Some(key) = name.strip_suffix(".rev") {
            entries.entry(key.to_owned()).or_default().rev = true;
        } else if !name.ends_with(".msgpack") && !name.ends_with(".lock") {
            entries.entry(name).or_default().link = true;
        }
    }
    Ok(entries)
}

fn consider(path: &Path, key: &str, entry: Entry, bucket: u32, found: &mut Found) {
    let Some(key) = Key::parse(key, &found.pin.name) else {
        return;
    };
    let fits =
        found.fits_version(key.version()) && key.wheel().is_none_or(|wheel| found.rank(wheel).is_some());
    if !fits {
        return;
    }
    let pointer = match (entry.http, entry.rev) {
        (true, _) => Some(with_suffix(path, ".http")),
        (false, true) => Some(with_suffix(path, ".rev")),
        (false, false) => None,
    };
    let read = pointer.as_deref().and_then(|pointer| ReadPointer::read(pointer, found));
    let archive = read.as_ref().map(|read| read.pointer.archive(found.root));
    let link = entry.link.then(|| path.to_owned());
    if archive.is_none() && link.is_none() {
        return;
    }
    let file_name = read.as_ref().and_then(|read| read.pointer.file_name.as_deref()?.parse().ok());
    let read = read.unwrap_or_else(|| ReadPointer::none(found));
    let mut candidate = Candidate {
        wheel: file_name.unwrap_or_else(|| key.to_wheel(&found.pin.name)),
        archive,
        link,
        sha256: read.pointer.sha256,
        provenance: read.provenance,
        cache_info: read.pointer.cache_info,
        built: false,
        bucket,
        pointer: pointer.unwrap_or_else(|| path.to_owned()),
        modified: read.modified,
    };
    if candidate.wheel.platform.is_empty() {
        let Some(lines) = candidate.archives(found.root).find_map(|archive| tag_lines(&archive)) else {
            let path = path.display();
            found.reasons.other(format!("nothing tells which wheel {path} is: its archive is gone"));
            return;
        };
        set_tags(&mut candidate.wheel, &lines);
    }
    found.offer(candidate);
}

/// Sets a wheel's tags as its WHEEL file tells them, one line for each.
fn set_tags(wheel: &mut WheelName, lines: &[String]) {
    for line in lines {
        let mut parts = line.split('-');
        for known in [&mut wheel.python, &mut wheel.abi, &mut wheel.platform] {
            let tag = parts.next().unwrap_or_default();
            if !known.iter().any(|known| known == tag) {
                known.push(tag.to_ascii_lowercase());
            }
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The name of a cached wheel.
enum Key {
    /// `1.17.0-py2.py3-none-any`; in uv 0.5 with the distribution's name before it. Build tags are left out.
    Tags(WheelName),
    /// `3.5.2-516d0c2242d49034`, because the tags are long.
    Hash(Version),
}

impl Key {
    fn parse(key: &str, name: &PackageName) -> Option<Self> {
        if let Ok(wheel) = format!("{key}.whl").parse::<WheelName>()
            && wheel.name == *name
        {
            return Some(Self::Tags(wheel));
        }
        if let Ok(wheel) = format!("{}-{key}.whl", name.as_str().replace('-', "_")).parse() {
            return Some(Self::Tags(wheel));
        }
        let (version, _hash) = key.rsplit_once('-')?;
        version.parse().ok().map(Self::Hash)
    }

    fn version(&self) -> &Version {
        match self {
            Self::Tags(wheel) => &wheel.version,
            Self::Hash(version) => version,
        }
    }

    fn wheel(&self) -> Option<&WheelName> {
        match self {
            Self::Tags(wheel) => Some(wheel),
            Self::Hash(_) => None,
        }
    }

    fn to_wheel(&self, name: &PackageName) -> WheelName {
        match self {
            Self::Tags(wheel) => wheel.clone(),
            Self::Hash(version) => WheelName {
                name: name.clone(),
                version: version.clone(),
                build: None,
                python: Vec::new(),
                abi: Vec::new(),
                platform: Vec::new(),
            },
        }
    }
}

/// A pointer file, read once.
pub(super) struct ReadPointer {
    pub(super) pointer: Pointer,
    pub(super) provenance: Provenance,
    pub(super) modified: SystemTime,
}

impl ReadPointer {
    /// Reads the pointer at `path`; one that cannot be read is remembered as a reason.
    pub(super) fn read(path: &Path, found: &mut Found) -> Option<Self> {
        match read(path) {
            Ok((bytes, modified)) => {
                if let Some(pointer) = Pointer::parse(path, &bytes) {
                    return Some(Self {
                        provenance: provenance::of(found.pin, &pointer, &bytes),
                        pointer,
                        modified,
                    });
                }
                let path = path.display();
                found.reasons.other(format!("its pointer {path} is damaged or from an unknown uv"));
            }
            Err(error) => found.reasons.other(error.to_string()),
        }
        None
    }

    /// What is known when there is a link only.
    pub(super) fn none(found: &Found) -> Self {
        let pointer = Pointer::default();
        Self {
            provenance: provenance::of(found.pin, &pointer, &[]),
            pointer,
            modified: SystemTime::UNIX_EPOCH,
        }
    }
}

/// The contents of a file and when it was written.
pub(super) fn read(path: &Path) -> std::io::Result<(Vec<u8>, SystemTime)> {
    let mut file = fs_err::File::open(path)?;
    let modified = file.metadata()?.modified()?;
    let mut bytes = Vec::with_capacity(1024);
    file.read_to_end(&mut bytes)?;
    Ok((bytes, modified))
}
