//! What was found for the pins of an index the last time, remembered in the user's folder. It is what would be found again
//! as long as nothing has changed that it was found by: asking that takes a few stat(2) for each pin, and no file but one is read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::Archive;
use crate::error::Result;
use crate::lock::Pin;
use crate::parallel::parallel_asking;
use crate::python::{PackageName, Tags};
use crate::sys::directory::Entry;
use crate::sys::posix::{FileType, changed, modified};
use crate::user_folder::{recall, remember};

/// Raise it when what is remembered changes, so that what older versions remembered is not read.
const FORMAT: &str = "1";

/// So many are kept, the last written.
const KEPT: usize = 64;

/// Whatever changed so shortly ago may change again without its time telling that: the clocks of file systems are coarse.
const COARSE: Duration = Duration::from_secs(2);

/// Where the archives of certain pins in a certain cache are remembered.
pub(super) struct Memory {
    file: PathBuf,
}

/// What is remembered of a search.
#[derive(Serialize, Deserialize)]
struct Remembered {
    /// Where it was found.
    folders: Vec<Stamp>,
    archives: Vec<RememberedArchive>,
}

/// An archive from an index, of files and directories whose names are Unicode: others are not remembered.
#[derive(Serialize, Deserialize)]
struct RememberedArchive {
    name: PackageName,
    version: String,
    root: PathBuf,
    /// Names, and whether each is a directory, else a file.
    top_level: Vec<(String, bool)>,
    dist_info: String,
    data: Option<String>,
    entry_points: Option<String>,
    generated: Vec<(String, String)>,
    whole: Whole,
}

/// What tells that a folder is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    path: PathBuf,
    /// When it was last changed; none if it is not there.
    changed: Option<Time>,
}

/// What tells that an archive is as it was. Of its files it is not when they were last changed: making a hard link changes that, too.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Whole {
    /// When its root and its `*.dist-info` were last changed.
    folders: [Time; 2],
    /// When its METADATA and its RECORD were last written, and their sizes.
    files: [(Time, u64); 2],
}

/// Seconds since 1970, and nanoseconds.
type Time = (i64, i64);

impl Memory {
    /// That of pins in the cache at `root`, which has these buckets.
    pub(super) fn of<'a>(
        folder: &Path,
        root: &Path,
        buckets: impl Iterator<Item = &'a Path>,
        pins: &[&Pin],
        tags: &Tags,
    ) -> Self {
        let mut key = Sha256::new();
        let mut add = |text: &[u8]| {
            key.update((text.len() as u64).to_le_bytes());
            key.update(text);
        };
        add(FORMAT.as_bytes());
        add(root.as_os_str().as_encoded_bytes());
        buckets.for_each(|bucket| add(bucket.as_os_str().as_encoded_bytes()));
        tags.parts().for_each(|part| add(part.as_bytes()));
        for pin in pins {
            add(pin.name.as_str().as_bytes());
            let version = pin.version.as_ref().map(ToString::to_string);
            add(format!("{version:?} {:?} {}", pin.build, pin.hashes.len()).as_bytes());
            pin.hashes.iter().for_each(|hash| add(hash.as_bytes()));
        }
        Self { file: folder.join(format!("{}.json", data_encoding::HEXLOWER.encode(&key.finalize()))) }
    }

    /// The archives, if they would be found again.
    pub(super) fn recall(&self) -> Option<HashMap<PackageName, Archive>> {
        let Remembered { folders, archives } = recall(&self.file)?;
        let are_same = parallel_asking(&folders, |folder| Stamp::of(folder.path.clone()) == *folder);
        let are_whole =
            parallel_asking(&archives, |it| Whole::of(&it.root, &it.dist_info).as_ref() == Some(&it.whole));
        let is_same = !are_same.contains(&false) && !are_whole.contains(&false);
        let archives = archives.into_iter().map(|archive| (archive.name.clone(), archive.into()));
        is_same.then(|| archives.collect())
    }

    /// Remembers archives that were found in folders, by a search that began at a certain time. What cannot be remembered is
    /// looked for again.
    pub(super) fn remember(&self, folders: Vec<Stamp>, archives: &[Archive], begun: SystemTime) {
        let archives: Option<Vec<_>> = archives.iter().map(RememberedArchive::of).collect();
        let Some(archives) = archives else { return };
        let mut times: Vec<Time> = archives.iter().flat_map(|archive| archive.whole.times()).collect();
        times.extend(folders.iter().filter_map(|folder| folder.changed));
        let settled = begun.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(COARSE);
        let settled =
            (i64::try_from(settled.as_secs()).unwrap_or(i64::MAX), i64::from(settled.subsec_nanos()));
        if times.iter().any(|time| *time > settled) {
            return;
        }
        let remembered = remember(&self.file, &Remembered { folders, archives });
        if let Err(error) = remembered.and_then(|()| self.forget_the_oldest()) {
            log::debug!("what was found cannot be remembered: {error}");
        }
    }

    fn forget_the_oldest(&self) -> Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let mut files = Vec::new();
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort_unstable_by(|one, other| other.cmp(one));
        for (_, file) in files.into_iter().skip(KEPT) {
            // Another may be faster.
            let _ = fs_err::remove_file(file);
        }
        Ok(())
    }
}

impl RememberedArchive {
    fn of(archive: &Archive) -> Option<Self> {
        let name_and_kind = |entry: &Entry| match entry.file_type {
            FileType::Directory => Some((entry.name.to_str()?.to_owned(), true)),
            FileType::RegularFile => Some((entry.name.to_str()?.to_owned(), false)),
            _ => None,
        };
        let file =
            |(name, bytes): &(String, Vec<u8>)| Some((name.clone(), String::from_utf8(bytes.clone()).ok()?));
        Some(Self {
            name: archive.name.clone(),
            version: archive.version.clone(),
            root: archive.root.clone(),
            top_level: archive.top_level.iter().map(name_and_kind).collect::<Option<_>>()?,
            dist_info: archive.dist_info.clone(),
            data: archive.data.clone(),
            entry_points: archive.entry_points.clone(),
            generated: archive.generated.iter().map(file).collect::<Option<_>>()?,
            whole: Whole::of(&archive.root, &archive.dist_info)?,
        })
    }
}

impl From<RememberedArchive> for Archive {
    fn from(it: RememberedArchive) -> Self {
        let entry = |(name, is_directory): (String, bool)| Entry {
            name: name.into(),
            file_type: if is_directory { FileType::Directory } else { FileType::RegularFile },
        };
        Self {
            name: it.name,
            version: it.version,
            root: it.root,
            top_level: it.top_level.into_iter().map(entry).collect(),
            dist_info: it.dist_info,
            data: it.data,
            entry_points: it.entry_points,
            direct_url: None,
            generated: it.generated.into_iter().map(|(name, text)| (name, text.into_bytes())).collect(),
        }
    }
}

impl Stamp {
    /// What a folder is now.
    pub(super) fn of(path: PathBuf) -> Self {
        let metadata = fs_err::metadata(&path).ok();
        Self { path, changed: metadata.as_ref().map(changed) }
    }
}

impl Whole {
    /// What an archive is now, if all of this is there.
    fn of(root: &Path, dist_info: &str) -> Option<Self> {
        let dist_info = root.join(dist_info);
        let folder = |path: &Path| fs_err::metadata(path).ok().as_ref().map(changed);
        let file = |name: &str| {
            let metadata = fs_err::metadata(dist_info.join(name)).ok()?;
            Some((modified(&metadata), metadata.len()))
        };
        Some(Self {
            folders: [folder(root)?, folder(&dist_info)?],
            files: [file("METADATA")?, file("RECORD")?],
        })
    }

    fn times(&self) -> impl Iterator<Item = Time> {
        self.folders.into_iter().chain(self.files.map(|(written, _)| written))
    }
}
