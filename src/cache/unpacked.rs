//! Comparing unpacked wheels with their RECORD: what a mount does not do, since it would read every file.

use std::path::{Path, PathBuf};

use super::wheel::{Expected, is_unrecorded};
use crate::error::{Context, Error, Result};
use crate::parallel::parallel_work;
use crate::progress::Progress;
use crate::python::{RecordEntry, record};

/// How many files of an archive are named.
const NAMED: usize = 5;

/// An unpacked wheel.
#[derive(Clone, Copy, Debug)]
pub struct Unpacked<'a> {
    /// The archive.
    pub root: &'a Path,
    /// The name of its dist-info directory.
    pub dist_info: &'a str,
}

/// Reads the files of archives, and says of each what is not as its RECORD says. What lies there besides is not looked at:
/// tools may have written bytecode there.
pub fn verify_unpacked(archives: &[Unpacked], progress: &Progress) -> Vec<(PathBuf, Result<()>)> {
    let counter = progress.counting("distributions", archives.len());
    let results = parallel_work(archives, |archive| {
        let result = archive.verify();
        counter.one_more();
        result
    });
    archives.iter().map(|archive| archive.root.to_path_buf()).zip(results).collect()
}

impl Unpacked<'_> {
    fn verify(&self) -> Result<()> {
        let path = self.root.join(self.dist_info).join("RECORD");
        let text = fs_err::read(&path)?;
        let entries = record::parse(&String::from_utf8_lossy(&text))
            .context(|| format!("{} cannot be read", path.display()))?;
        let damaged: Vec<String> = entries
            .iter()
            .filter(|entry| entry.hash.is_some() && !is_unrecorded(&entry.path, self.dist_info))
            .filter_map(|entry| self.problem(entry))
            .collect();
        if damaged.is_empty() {
            return Ok(());
        }
        let named = damaged.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let others = match damaged.len().saturating_sub(NAMED) {
            0 => String::new(),
            count => format!(", and {count} files more"),
        };
        Err(Error::new(format!("{named}{others}")))
    }

    fn problem(&self, entry: &RecordEntry) -> Option<String> {
        let path = &entry.path;
        let holds = Expected::of(entry).and_then(|expected| Ok(expected.is_held_by(&self.root.join(path))?));
        match holds {
            Ok(true) => None,
            Ok(false) => Some(format!("{path} is not what its RECORD says")),
            Err(error) => Some(error.to_string()),
        }
    }
}
