//! An archive: one wheel unpacked, a read-only directory in a cache.

use std::fmt;
use std::path::{Path, PathBuf};

use pep440_rs::Version;
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use crate::python::PackageName;
use crate::sys::directory::{self, Entry};

/// One wheel unpacked, as a cache holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The distribution's name.
    pub name: PackageName,
    /// The distribution's version, in its normalized form.
    pub version: String,
    /// The directory: absolute, without links in it.
    pub root: PathBuf,
    /// What lies in `root`, in no order.
    pub top_level: Vec<Entry>,
    /// The name of its only `*.dist-info` directory.
    pub dist_info: String,
    /// The name of the `*.data` directory that belongs to `dist_info`, if there is one.
    pub data: Option<String>,
    /// The text of `direct_url.json` (PEP 610), for what does not come from an index.
    pub direct_url: Option<String>,
    /// Further files that an installer writes into `dist_info`: file name and contents.
    pub generated: Vec<(String, Vec<u8>)>,
}

impl fmt::Display for Archive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=={}", self.name, self.version)
    }
}

/// What a look at an archive's root tells.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) version: Version,
    pub(super) top_level: Vec<Entry>,
    pub(super) dist_info: String,
    pub(super) data: Option<String>,
}

/// Looks into an archive, and says why if it cannot be used for `name`: one listing and two `stat`s.
pub(super) fn inspect(root: &Path, name: &PackageName) -> Result<Contents, String> {
    let top_level = list(root).map_err(|error| match error {
        Errno::NOENT => format!("its archive {} is gone", root.display()),
        _ => format!("its archive cannot be read: {error}"),
    })?;
    let dist_info = only_dist_info(&top_level).ok_or_else(|| {
        format!(
            "its archive {} has no single *.dist-info directory",
            root.display()
        )
    })?;
    let stem = dist_info.strip_suffix(".dist-info").unwrap_or(dist_info);
    let version = stem
        .rsplit_once('-')
        .filter(|(stem_name, _)| PackageName::new(stem_name) == *name)
        .and_then(|(_, version)| version.parse().ok())
        .ok_or_else(|| format!("its archive {} holds {stem}", root.display()))?;
    // After a power loss uv's cache is known to hold empty files: nothing there is fsynced.
    for file in ["METADATA", "RECORD"] {
        let path = root.join(dist_info).join(file);
        if !fs_err::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
            return Err(format!(
                "its archive is damaged: {} is missing or empty",
                path.display()
            ));
        }
    }
    let data = format!("{stem}.data");
    let has_data = top_level
        .iter()
        .any(|entry| entry.file_type == FileType::Directory && entry.name == *data);
    Ok(Contents {
        version,
        dist_info: dist_info.to_owned(),
        data: has_data.then_some(data),
        top_level,
    })
}

fn list(root: &Path) -> Result<Vec<Entry>, Errno> {
    directory::list(CWD, root)
}

fn only_dist_info(entries: &[Entry]) -> Option<&str> {
    let mut found = entries
        .iter()
        .filter(|entry| entry.file_type == FileType::Directory)
        .filter_map(|entry| entry.name.to_str())
        .filter(|name| name.ends_with(".dist-info"));
    found.next().filter(|_| found.next().is_none())
}

/// The `Tag` lines of an archive's WHEEL, as in `cp311-cp311-manylinux_2_17_x86_64`.
pub(super) fn tag_lines(root: &Path) -> Option<Vec<String>> {
    let entries = list(root).ok()?;
    let text = fs_err::read_to_string(root.join(only_dist_info(&entries)?).join("WHEEL")).ok()?;
    Some(
        text.lines()
            .filter_map(|line| line.strip_prefix("Tag:"))
            .map(|tag| tag.trim().to_owned())
            .collect(),
    )
}
