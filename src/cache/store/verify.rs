//! Comparing a store with what its wheels said of themselves.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::{Place, Store, staging};
use crate::cache::archive;
use crate::cache::wheel::{Expected, hex, is_unrecorded};
use crate::error::Result;
use crate::parallel::parallel_work;
use crate::progress::Progress;
use crate::python::record::{self, slashed};

/// A wheel that is not what it was.
#[derive(Debug)]
pub struct Damage {
    /// Where it is.
    pub place: Place,
    /// What is wrong with it.
    pub reason: String,
    /// Whether it does not count any more.
    pub is_set_aside: bool,
}

impl Store {
    /// Reads every file of every wheel. What is damaged does not count any more, where that can be written down; who uses
    /// it keeps it, and who adds the wheel again mends it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn verify(&self, progress: &Progress) -> Result<(usize, Vec<Damage>)> {
        let places = self.places()?;
        let counter = progress.counting("wheels", places.len());
        let found = parallel_work(&places, |place| {
            let damage = place.verify().err().map(|problem| match problem {
                Problem::Unreadable(reason) => Damage { place: place.clone(), reason, is_set_aside: false },
                Problem::Damaged(reason) => {
                    let is_set_aside = place.condemn(&reason).is_ok();
                    Damage { place: place.clone(), reason, is_set_aside }
                }
            });
            counter.one_more();
            damage
        });
        Ok((places.len(), found.into_iter().flatten().collect()))
    }
}

/// What is wrong with a wheel.
enum Problem {
    /// It cannot be read now, and may be whole.
    Unreadable(String),
    /// It is not what it was.
    Damaged(String),
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl Place {
    fn verify(&self) -> Result<(), Problem> {
        let damaged = |path: &Path, what: &str| Err(Problem::Damaged(format!("{} {what}", path.display())));
        let details = self.details().map_err(Problem::Damaged)?;
        let root = self.archive();
        let contents = archive::inspect(&root, &self.name).map_err(Problem::Damaged)?;
        let record_path = root.join(&contents.dist_info).join("RECORD");
        let text = fs_err::read(&record_path)?;
        if hex(Sha256::new_with_prefix(&text)) != details.record {
            return damaged(&record_path, "is not what it was");
        }
        let entries = record::parse(&String::from_utf8_lossy(&text));
        let entries = entries.map_err(|error| Problem::Damaged(error.to_string()))?;
        let mut recorded: HashMap<String, _> =
            entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        for found in WalkDir::new(&root).min_depth(1) {
            let found = found.map_err(std::io::Error::from)?;
            if found.file_type().is_dir() {
                continue;
            }
            let path = slashed(found.path().strip_prefix(&root).unwrap_or(found.path()));
            let entry = recorded.remove(&path);
            if is_unrecorded(&path, &contents.dist_info) {
                continue;
            }
            let Some(entry) = entry else {
                return damaged(found.path(), "does not belong there");
            };
            let expected = Expected::of(&entry).map_err(|error| Problem::Damaged(error.to_string()))?;
            if !found.file_type().is_file() || !expected.is_held_by(found.path())? {
                return damaged(found.path(), "is not what it was");
            }
        }
        let is_missing = |path: &&String| !path.ends_with('/') && !is_unrecorded(path, &contents.dist_info);
        match recorded.keys().filter(is_missing).min() {
            Some(path) => damaged(&root.join(path), "is missing"),
            None => Ok(()),
        }
    }

    /// Has it not count any more, and writes down why.
    fn condemn(&self, reason: &str) -> Result<()> {
        if self.details().is_err() {
            return Ok(());
        }
        staging::write(&self.damage_file(), reason.as_bytes())?;
        Ok(fs_err::remove_file(self.details_file())?)
    }
}
