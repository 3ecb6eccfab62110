//! An archive: one wheel unpacked, a read-only directory in a cache.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use pep440_rs::Version;

use super::direct_url;
use crate::lock::Pin;
use crate::python::PackageName;
use crate::sys::directory::{self, Entry};
use crate::sys::posix::{CWD, Errno, FileType};

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
    /// The text of its `entry_points.txt`, if it has one.
    pub entry_points: Option<String>,
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

impl Archive {
    /// The archive in `root`, where this was found, for a pin.
    pub(super) fn new(pin: &Pin, root: PathBuf, contents: Contents) -> Self {
        Self {
            name: pin.name.clone(),
            version: contents.version.to_string(),
            root,
            top_level: contents.top_level,
            dist_info: contents.dist_info,
            data: contents.data,
            entry_points: contents.entry_points,
            direct_url: direct_url::text(pin),
            generated: Vec::new(),
        }
    }
}

/// What a look at an archive's root tells.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) version: Version,
    pub(super) top_level: Vec<Entry>,
    pub(super) dist_info: String,
    pub(super) data: Option<String>,
    pub(super) entry_points: Option<String>,
}

/// Looks into an archive, and says why if it cannot be used for `name`: one listing, one `stat`, two files read.
pub(super) fn inspect(root: &Path, name: &PackageName) -> Result<Contents, String> {
    let top_level = list(root).map_err(|error| match error {
        Errno::NOENT => format!("its archive {} is gone", root.display()),
        _ => format!("its archive cannot be read: {error}"),
    })?;
    let dist_info = only_dist_info(&top_level)
        .ok_or_else(|| format!("its archive {} has no single *.dist-info directory", root.display()))?;
    let stem = dist_info.strip_suffix(".dist-info").unwrap_or(dist_info);
    let version = stem
        .rsplit_once('-')
        .filter(|(stem_name, _)| PackageName::new(stem_name) == *name)
        .and_then(|(_, version)| version.parse().ok())
        .ok_or_else(|| format!("its archive {} holds {stem}", root.display()))?;
    // After a power loss uv's cache is known to hold empty files: nothing there is fsynced.
    let metadata = root.join(dist_info).join("METADATA");
    if !fs_err::metadata(&metadata).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
        return Err(format!("its archive is damaged: {} is missing or empty", metadata.display()));
    }
    let record = root.join(dist_info).join("RECORD");
    let lines = fs_err::read(&record).unwrap_or_default();
    if lines.is_empty() {
        return Err(format!("its archive is damaged: {} is missing or empty", record.display()));
    }
    if let Some(path) = path_out_of_archive(&lines) {
        return Err(format!("{} names {path}, which is outside of the archive", record.display()));
    }
    let entry_points = entry_points(&root.join(dist_info))?;
    let data = format!("{stem}.data");
    let has_data =
        top_level.iter().any(|entry| entry.file_type == FileType::Directory && entry.name == *data);
    Ok(Contents {
        version,
        dist_info: dist_info.to_owned(),
        data: has_data.then_some(data),
        entry_points,
        top_level,
    })
}

fn entry_points(dist_info: &Path) -> Result<Option<String>, String> {
    match fs_err::read_to_string(dist_info.join("entry_points.txt")) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("its archive is damaged: {error}")),
    }
}

/// The first path of a RECORD that climbs out of its archive: whoever uninstalls the distribution would delete it.
fn path_out_of_archive(record: &[u8]) -> Option<String> {
    // Nearly no RECORD has it anywhere, and this is on the way to every mount.
    memchr::memmem::find(record, b"..")?;
    let lines = record.split(|&byte| byte == b'\n').map(String::from_utf8_lossy);
    let paths = lines.map(|line| match line.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
        None => line.split(',').next().unwrap_or_default().to_owned(),
    });
    paths.into_iter().find(|path| path.split(['/', '\\']).any(|part| part == ".."))
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
    Some(text.lines().filter_map(|line| line.strip_prefix("Tag:")).map(|tag| tag.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::path_out_of_archive;

    #[test]
    fn a_record_that_climbs_out_is_found() {
        let record = b"a/__init__.py,sha256=x,1\n../../etc/passwd,,\n";
        assert_eq!(path_out_of_archive(record).as_deref(), Some("../../etc/passwd"));
        assert_eq!(path_out_of_archive(b"\"a/../../b,c\",,\n").as_deref(), Some("a/../../b,c"));
        assert_eq!(path_out_of_archive(b"a/..b/c,,\na/b..,,\n"), None);
    }
}
