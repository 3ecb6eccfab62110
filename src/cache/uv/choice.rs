//! Which of several cached wheels a pin gets.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pep440_rs::Version;

use super::pointer::CacheInfo;
use super::provenance::Provenance;
use crate::cache::archive::{Archive, Contents, inspect};
use crate::cache::choice::{is_equal, wheel_in_url};
use crate::cache::missing::Reasons;
use crate::lock::{Pin, Source};
use crate::python::{Tags, WheelName};

/// A cached wheel that may be what a pin asks for.
pub(super) struct Candidate {
    pub(super) wheel: WheelName,
    /// The archive that its pointer names.
    pub(super) archive: Option<PathBuf>,
    /// The link to its archive, which counts where the pointer does not help.
    pub(super) link: Option<PathBuf>,
    /// The wheel's, or for a built wheel its sdist's.
    pub(super) sha256: Option<String>,
    pub(super) provenance: Provenance,
    pub(super) cache_info: Option<CacheInfo>,
    pub(super) built: bool,
    pub(super) bucket: u32,
    /// The pointer or link that it was found by, and when that was written.
    pub(super) pointer: PathBuf,
    pub(super) modified: SystemTime,
}

impl Candidate {
    /// Where it may lie unpacked in the cache at `root`, the likeliest first. The link is read only when it is needed.
    pub(super) fn archives(&self, root: &Path) -> impl Iterator<Item = PathBuf> {
        let linked = || linked_archive(self.link.as_deref()?, root);
        self.archive.clone().into_iter().chain(
            std::iter::once_with(linked).flatten().filter(|linked| self.archive.as_ref() != Some(linked)),
        )
    }
}

/// The archive that a link of uv's leads to, in the cache at `root`: links were absolute until 2026, and a cache can
/// be moved.
fn linked_archive(link: &Path, root: &Path) -> Option<PathBuf> {
    let target = fs_err::read_link(link).ok()?;
    let id = target.file_name()?;
    let bucket = target.parent()?.file_name()?;
    let is_archive = bucket.to_str()?.starts_with("archive-v");
    is_archive.then(|| root.join(bucket).join(id))
}

/// What a search for one pin has found.
pub(super) struct Chosen {
    pub(super) archive: Archive,
    /// Whether nothing was passed over because it could not be read, or is not what it should be: it may be whole the next time.
    pub(super) is_first_choice: bool,
}

/// What a search for one pin has found so far.
pub(super) struct Found<'a> {
    pub(super) root: &'a Path,
    pub(super) pin: &'a Pin,
    pub(super) tags: &'a Tags,
    pub(super) reasons: Reasons,
    /// The pin's version, or the one that its URL names.
    version: Option<Version>,
    /// With their ranks among the tags.
    candidates: Vec<(usize, Candidate)>,
}

impl<'a> Found<'a> {
    pub(super) fn new(root: &'a Path, pin: &'a Pin, tags: &'a Tags) -> Self {
        Self {
            root,
            pin,
            tags,
            reasons: Reasons::default(),
            version: pin.version.clone().or_else(|| wheel_in_url(&pin.source).map(|wheel| wheel.version)),
            candidates: Vec::new(),
        }
    }

    /// Whether a wheel of this version can be meant; if not, remembers that it is there.
    pub(super) fn fits_version(&mut self, version: &Version) -> bool {
        let fits = self.version.as_ref().is_none_or(|pinned| is_equal(pinned, version));
        if !fits {
            self.reasons.other_version(version);
        }
        fits
    }

    /// The rank of a wheel among the tags; if it has none, remembers that it is there.
    pub(super) fn rank(&mut self, wheel: &WheelName) -> Option<usize> {
        let rank = self.tags.rank(wheel);
        if rank.is_none() {
            self.reasons.other_tags(wheel);
        }
        rank
    }

    /// Takes a candidate that fits, and remembers why another does not.
    pub(super) fn offer(&mut self, candidate: Candidate) {
        if candidate.wheel.name != self.pin.name {
            let pointer = candidate.pointer.display();
            self.reasons.other(format!("{pointer} is about {}", candidate.wheel.name));
            return;
        }
        if !self.fits_version(&candidate.wheel.version) {
            return;
        }
        let Some(rank) = self.rank(&candidate.wheel) else {
            return;
        };
        let is_verified = self.is_verified(&candidate);
        if candidate.sha256.is_some() && !self.pin.hashes.is_empty() && !is_verified {
            self.reasons.other_hash();
            return;
        }
        // Content with the right hash is right wherever it came from.
        if let (Provenance::Other(reason), false) = (&candidate.provenance, is_verified) {
            self.reasons.other(reason.clone());
            return;
        }
        self.candidates.push((rank, candidate));
    }

    fn is_verified(&self, candidate: &Candidate) -> bool {
        candidate.sha256.as_ref().is_some_and(|sha256| self.pin.hashes.contains(sha256))
    }

    /// The best candidate whose archive is whole.
    pub(super) fn choose(mut self) -> Result<Chosen, Reasons> {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_by(|(left_rank, left), (right_rank, right)| {
            self.preference(*left_rank, left).cmp(&self.preference(*right_rank, right))
        });
        for (_, candidate) in &candidates {
            for root in candidate.archives(self.root) {
                match inspect(&root, &self.pin.name) {
                    Ok(contents) if contents.version != candidate.wheel.version => {
                        let (root, version) = (root.display(), &contents.version);
                        self.reasons.other(format!("its archive {root} holds version {version}"));
                    }
                    Ok(contents) => {
                        let archive = self.archive(candidate, root, contents);
                        return Ok(Chosen { archive, is_first_choice: !self.reasons.has_other() });
                    }
                    Err(reason) => self.reasons.other(reason),
                }
            }
        }
        Err(self.reasons)
    }

    /// Sorts the best first: right content, right source, the version as written, tags, build; then a wheel before one
    /// built here, and the newest.
    fn preference<'c>(&self, rank: usize, candidate: &'c Candidate) -> impl Ord + use<'c> {
        let wheel = &candidate.wheel;
        (
            Reverse(self.is_verified(candidate)),
            Reverse(candidate.provenance == Provenance::Same),
            self.version.as_ref().is_some_and(|pinned| *pinned != wheel.version),
            rank,
            Reverse(&wheel.build),
            candidate.built,
            Reverse(candidate.bucket),
            Reverse(candidate.modified),
            &candidate.pointer,
        )
    }

    fn archive(&self, candidate: &Candidate, root: PathBuf, contents: Contents) -> Archive {
        let is_from_index = self.pin.source == Source::Index;
        let cache_info = candidate.cache_info.as_ref().filter(|_| !(is_from_index && candidate.built));
        let cache_info = cache_info.and_then(CacheInfo::to_json);
        let build_info = candidate.built.then(|| serde_json::to_vec(&self.pin.build).ok()).flatten();
        let generated = [("uv_cache.json", cache_info), ("uv_build.json", build_info)];
        let mut archive = Archive::new(self.pin, root, contents);
        archive.generated =
            generated.into_iter().filter_map(|(file, text)| Some((file.to_owned(), text?))).collect();
        archive
    }
}
