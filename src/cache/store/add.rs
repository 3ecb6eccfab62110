//! Unpacking wheels into a store.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::staging::{self, Staging};
use super::{Details, Place, Store};
use crate::cache::wheel::{self, Wheel};
use crate::error::{Context, Error, Result};
use crate::parallel::parallel_work;
use crate::progress::Progress;
use crate::python::WheelName;
use crate::sys::posix;
use crate::sys::signals::is_asked_to_end;

/// How often a rename is tried that others keep from succeeding, by removing or damaging the same wheel.
const ATTEMPTS: usize = 10;

/// A wheel that is in the store now.
#[derive(Clone, Debug)]
pub struct Added {
    /// Its file.
    pub path: PathBuf,
    /// Its name.
    pub wheel: WheelName,
    /// Its digest.
    pub sha256: String,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// Unpacks wheels into a store, on several threads; each is there, or the reason why not.
pub fn add(store: &Store, wheels: &[PathBuf], progress: &Progress) -> Vec<Result<Added>> {
    let counter = progress.counting("wheels", wheels.len());
    parallel_work(wheels, |path| {
        let added = add_one(store, path);
        counter.one_more();
        added
    })
}

fn add_one(store: &Store, path: &Path) -> Result<Added> {
    let mut wheel = OpenWheel::open(path)?;
    let sha256 = wheel.hash()?;
    let is_new = store.unpack(&wheel, &sha256)?;
    Ok(Added { path: wheel.path, wheel: wheel.name, sha256, is_new })
}

/// A wheel in the reading. Whatever is done with it is about the same bytes, or fails.
pub(in crate::cache) struct OpenWheel {
    path: PathBuf,
    name: WheelName,
    file: File,
    looks: wheel::Looks,
}

impl OpenWheel {
    pub(in crate::cache) fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().parse()?;
        let file = fs_err::File::open(path)?.into_file();
        let looks = wheel::looks(&file.metadata()?);
        Ok(Self { path: path.to_path_buf(), name, file, looks })
    }

    /// What it looked like when it was opened.
    pub(in crate::cache) fn looks(&self) -> wheel::Looks {
        self.looks
    }

    /// Its sha256.
    pub(in crate::cache) fn hash(&mut self) -> Result<String> {
        wheel::hash(&mut self.file).context(|| format!("{} cannot be read", self.path.display()))
    }
}

impl Store {
    /// Unpacks a wheel with this digest, unless it is there; says whether it was not.
    pub(in crate::cache) fn unpack(&self, wheel: &OpenWheel, sha256: &str) -> Result<bool> {
        let place = self.place(&wheel.name.name, sha256);
        if place.details().is_ok() {
            return Ok(false);
        }
        let mut staging = Staging::new(self)?;
        staging.sweep()?;
        fill(&mut staging, wheel)?;
        self.publish(staging, &place)
    }

    /// Gives a wheel its place, unless another was faster.
    fn publish(&self, staging: Staging, place: &Place) -> Result<bool> {
        let parent = place.directory.parent().unwrap_or(&self.root);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..ATTEMPTS {
            posix::make_directory(&self.wheels(), self.mode)?;
            posix::make_directory(parent, self.mode)?;
            match fs_err::rename(staging.path(), &place.directory) {
                Ok(()) => {
                    staging.renamed();
                    posix::sync_directory(parent)?;
                    return Ok(true);
                }
                // On NFS, a rename that succeeded can be answered so.
                Err(_) if place.details().is_ok() => {
                    return Ok(false);
                }
                // Whoever prunes removes the folders of names that have nothing left.
                Err(error) if error.kind() == io::ErrorKind::NotFound => last = error,
                Err(error) if place.directory.exists() => {
                    self.set_aside(place)?;
                    last = error;
                }
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        Err(Error::new(format!("{} could not get its place", place.directory.display())).because(last))
    }

    /// Takes away a wheel that does not count.
    fn set_aside(&self, place: &Place) -> Result<()> {
        let taken = Staging::new(self)?;
        let aside = taken.path().join("wheel");
        if fs_err::rename(&place.directory, &aside).is_ok() && aside.join("wheel.json").exists() {
            // Another has just mended it.
            let _ = fs_err::rename(&aside, &place.directory);
        }
        Ok(())
    }
}

/// Unpacks a wheel into a new directory.
fn fill(staging: &mut Staging, open: &OpenWheel) -> Result<()> {
    let refused = |error: Error| {
        Error::new(format!("{} is refused", open.path.display()))
            .because(error)
            .with_help("get it anew, or from elsewhere: nothing of it was kept")
    };
    let mut wheel = Wheel::open(open.file.try_clone()?, &open.name).map_err(refused)?;
    let archive = staging.path().join("archive");
    fs_err::create_dir(&archive)?;
    let alive = || {
        staging.alive();
        if is_asked_to_end() { Err(Error::new(wheel::INTERRUPTED)) } else { Ok(()) }
    };
    let unpacked = wheel.unpack(&archive, alive).map_err(refused)?;
    if wheel::looks(&open.file.metadata()?) != open.looks {
        return Err(refused(Error::new("it changed while it was unpacked")));
    }
    let details = Details {
        wheel: open.name.clone(),
        record: wheel.record_digest(),
        files: unpacked.files,
        bytes: unpacked.bytes,
    };
    staging::create(&staging.path().join("wheel.json"), &details.to_json())?;
    Ok(posix::sync_directory(staging.path())?)
}
