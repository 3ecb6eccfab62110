//! Wheels that uv built: `sdists-vN/{pypi/<name>/<version>/<rev> | git/H/<sha16> | {url,path,editable}/H/<rev>}/<wheel>`,
//! a link to the archive. `revision.http` or `revision.rev` names the live `<rev>`. What was built with settings lies in a folder
//! of these, named after their digest.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::choice::{Candidate, Found};
use super::pointer::Pointer;
use super::wheels::ReadPointer;
use super::{Bucket, Commit, Shelf, names, settings};
use crate::python::WheelName;

const OTHER_SETTINGS: &str = "it was built with other settings (`config-settings` and the like) than the uv.toml or pyproject.toml says";

/// A folder `{url,path,editable}/H`: what was built from one source.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    kind: &'static str,
    bucket: u32,
    /// The wheels of its revisions, dead ones too.
    wheels: Vec<WheelName>,
}

/// All that was built from URLs, paths and editables. What cannot be listed is not there.
pub(super) fn direct_shards(buckets: &[Bucket]) -> Vec<Shard> {
    let mut shards = Vec::new();
    for bucket in buckets {
        for kind in ["url", "path", "editable"] {
            let parent = bucket.path.join(kind);
            for hash in names(&parent).unwrap_or_default() {
                let path = parent.join(hash);
                let revisions = names(&path).unwrap_or_default();
                shards.push(Shard {
                    wheels: revisions
                        .iter()
                        .flat_map(|revision| every_link(&path.join(revision)))
                        .map(|(wheel, _)| wheel)
                        .collect(),
                    path,
                    kind,
                    bucket: bucket.number,
                });
            }
        }
    }
    shards
}

/// A distribution's folder, and those below it that a search looks into: of versions, of revisions, and of settings.
pub(super) fn folders(folder: PathBuf) -> impl Iterator<Item = PathBuf> {
    let entries = WalkDir::new(folder).max_depth(3).into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_dir()).map(DirEntry::into_path)
}

/// Offers what was built from sdists of an index.
pub(super) fn search_index(shelves: &[Shelf], found: &mut Found) {
    for shelf in shelves {
        let Some(folder) = shelf.folder(&found.pin.name) else {
            continue;
        };
        for version in names(&folder).unwrap_or_default() {
            let parsed = version.to_str().and_then(|version| version.parse().ok());
            if parsed.is_some_and(|version| found.fits_version(&version)) {
                search_revision(&folder.join(version), shelf.bucket, found);
            }
        }
    }
}

/// Offers what was built from URLs (`kind` is `url`), sdists and directories (`path`), or editables.
pub(super) fn search_direct(shards: &[Shard], kind: &str, found: &mut Found) {
    for shard in shards.iter().filter(|shard| shard.kind == kind) {
        if shard.wheels.iter().any(|wheel| wheel.name == found.pin.name) {
            search_revision(&shard.path, shard.bucket, found);
        }
    }
}

/// Offers what was built from a commit: from its tree, or from a source archive in it, which has its hashes noted.
pub(super) fn search_git(buckets: &[Bucket], commit: Commit<'_>, is_file: bool, found: &mut Found) {
    for bucket in buckets {
        for folder in commit.folders(bucket) {
            let hashes = fs_err::read(folder.join("hashes.msgpack")).ok();
            if hashes.is_some() == is_file {
                let mut read = ReadPointer::none(found);
                read.pointer.sha256 = hashes.as_deref().and_then(Pointer::hash_of_archive);
                offer_wheels(&folder, bucket.number, read, found);
            }
        }
    }
}

/// Offers the wheels of the live revision in `folder`.
fn search_revision(folder: &Path, bucket: u32, found: &mut Found) {
    for file in ["revision.http", "revision.rev"] {
        let path = folder.join(file);
        if path.exists()
            && let Some(read) = ReadPointer::read(&path, found)
        {
            offer_wheels(&folder.join(&read.pointer.id), bucket, read, found);
        }
    }
}

fn offer_wheels(folder: &Path, bucket: u32, read: ReadPointer, found: &mut Found) {
    let ReadPointer { pointer: Pointer { sha256, cache_info, .. }, provenance, modified } = read;
    let links = match settings::folder(&found.pin.build) {
        Ok(None) => links(folder),
        Ok(Some(settings)) => links(&folder.join(settings)),
        Err(why) => return found.reasons.other(why),
    };
    if links.is_empty() && every_link(folder).iter().any(|(wheel, _)| wheel.name == found.pin.name) {
        found.reasons.other(OTHER_SETTINGS.to_owned());
    }
    for (wheel, link) in links {
        found.offer(Candidate {
            wheel,
            archive: None,
            link: Some(link.clone()),
            sha256: sha256.clone(),
            provenance: provenance.clone(),
            cache_info: cache_info.clone(),
            built: true,
            bucket,
            pointer: link,
            modified,
        });
    }
}

/// The same, with what was built with any settings.
fn every_link(folder: &Path) -> Vec<(WheelName, PathBuf)> {
    let is_for_settings = |name: &OsString| name.to_str().is_some_and(settings::is_folder);
    let further = names(folder).unwrap_or_default().into_iter().filter(is_for_settings);
    links(folder).into_iter().chain(further.flat_map(|name| links(&folder.join(name)))).collect()
}

/// The entries of `folder` that are named as unpacked wheels; locks and `.whl` files lie beside them.
fn links(folder: &Path) -> Vec<(WheelName, PathBuf)> {
    let link = |name: OsString| {
        let stem = name.to_str().filter(|stem| !stem.ends_with(".whl") && !stem.ends_with(".lock"))?;
        let wheel = format!("{stem}.whl").parse().ok()?;
        Some((wheel, folder.join(name)))
    };
    names(folder).unwrap_or_default().into_iter().filter_map(link).collect()
}
