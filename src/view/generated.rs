//! The files that the view makes up: what an installer adds to a dist-info directory.

use std::collections::HashMap;
use std::path::Path;

use super::Distribution;
use crate::error::{Context, Result};
use crate::place::Content;
use crate::python::{RecordEntry, record};
use crate::venv::Layout;

/// A file of a dist-info directory that the view makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// The list of the distribution's files. Made anew at each call: it is large, and seldom looked at.
    Record,
    /// The small file of this number among [`Distribution::added`].
    Added(usize),
}

impl Distribution {
    /// The generated files, each with its name.
    pub(super) fn generated(&self) -> impl Iterator<Item = (&str, Generated)> {
        let added = self
            .added
            .iter()
            .enumerate()
            .map(|(number, (name, _))| (name.as_str(), Generated::Added(number)));
        added.chain([("RECORD", Generated::Record)])
    }

    /// The bytes of a generated file.
    ///
    /// # Errors
    /// The archive's RECORD is gone or broken.
    pub(super) fn generate(&self, file: Generated, layout: &Layout) -> Result<Vec<u8>> {
        match file {
            Generated::Record => self.record(layout).map(String::into_bytes),
            Generated::Added(number) => {
                Ok(self.added.get(number).map(|(_, bytes)| bytes.clone()).unwrap_or_default())
            }
        }
    }

    /// The archive's RECORD, with the files of `.data` where they are now, and with what was added to the archive.
    ///
    /// Source: <https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file>
    fn record(&self, layout: &Layout) -> Result<String> {
        let dist_info = &self.archive.dist_info;
        let path = self.archive.root.join(dist_info).join("RECORD");
        let archived = record::parse(&fs_err::read_to_string(&path)?)
            .context(|| format!("{} cannot be read", path.display()))?;
        let placed = self.placed(layout);
        let added: Vec<(String, &[u8])> = self
            .added
            .iter()
            .map(|(name, bytes)| (format!("{dist_info}/{name}"), bytes.as_slice()))
            .collect();
        let mut entries: Vec<RecordEntry> = archived
            .into_iter()
            .filter(|entry| !added.iter().any(|(path, _)| *path == entry.path))
            .filter_map(|entry| self.moved(entry, &placed, layout))
            .collect();
        entries.extend(self.placements.iter().filter_map(|placement| {
            match (&placement.source, &placement.content) {
                (None, Content::Bytes { bytes, .. }) => {
                    Some(RecordEntry::of(layout.in_record(&placement.path), bytes))
                }
                _ => None,
            }
        }));
        entries.extend(added.into_iter().map(|(path, bytes)| RecordEntry::of(path, bytes)));
        Ok(record::format(&entries))
    }

    /// The placed files by their path in the archive's RECORD. Hash and size are given where the bytes changed.
    fn placed(&self, layout: &Layout) -> HashMap<&str, RecordEntry> {
        self.placements
            .iter()
            .filter_map(|placement| {
                let path = layout.in_record(&placement.path);
                let entry = match &placement.content {
                    Content::Bytes { bytes, .. } => RecordEntry::of(path, bytes),
                    _ => RecordEntry { path, hash: None, size: None },
                };
                Some((placement.source.as_deref()?, entry))
            })
            .collect()
    }

    /// Where a file of the archive's RECORD is in the environment; `None` for what was not placed.
    fn moved(
        &self,
        entry: RecordEntry,
        placed: &HashMap<&str, RecordEntry>,
        layout: &Layout,
    ) -> Option<RecordEntry> {
        let Some(data) = &self.archive.data else {
            return Some(entry);
        };
        let Some(in_data) = entry.path.strip_prefix(data.as_str()).and_then(|path| path.strip_prefix('/'))
        else {
            return Some(entry);
        };
        match placed.get(entry.path.as_str()) {
            Some(to) if to.hash.is_some() => Some(to.clone()),
            Some(to) => Some(RecordEntry { path: to.path.clone(), ..entry }),
            None if self.is_served(in_data) => {
                let path = layout.in_record(Path::new(in_data.strip_prefix("data/")?));
                Some(RecordEntry { path, ..entry })
            }
            None => {
                let path = layer_prefixes(layout)
                    .find_map(|prefix| in_data.strip_prefix(&prefix)?.strip_prefix('/').map(str::to_owned))?;
                Some(RecordEntry { path, ..entry })
            }
        }
    }

    /// Whether a file of `.data` is one that the view serves, and the environment has none of its own in its place.
    fn is_served(&self, in_data: &str) -> bool {
        let Some(path) = in_data.strip_prefix("data/").map(Path::new) else { return false };
        self.served.iter().any(|name| path.starts_with(name))
            && !path.ancestors().any(|above| self.kept.contains(above))
    }
}

/// The directories of `.data` whose files belong in site-packages.
pub(super) fn layer_prefixes(layout: &Layout) -> impl Iterator<Item = String> {
    let in_data = layout.site_packages_names().map(|name| record::slashed(&Path::new("data").join(name)));
    ["purelib".to_owned(), "platlib".to_owned()].into_iter().chain(in_data)
}
