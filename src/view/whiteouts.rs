//! What was removed in this environment, and what of the locked files was changed in it: a journal that only grows.
//!
//! A record is about one distribution of one version: removed is what *that* brings under a path. So another version, or
//! another distribution with the same path, is not hidden. What is created in its place hides it all the more, so no
//! record is ever taken back.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::crash::Crash;

/// What a record says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What the distribution brings there is removed, with all below it.
    Removed,
    /// The distribution's file was copied up, since somebody changes it.
    Copied,
}

/// The journal, and what it says.
#[derive(Debug, Default)]
pub struct Whiteouts {
    journal: Option<Arc<File>>,
    /// By distribution, then by directory.
    removed: HashMap<String, HashMap<PathBuf, HashSet<OsString>>>,
    copied: Vec<(String, PathBuf)>,
    pub(super) crash: Crash,
}

/// A path in a line: what would break the line, and `%` itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

impl Whiteouts {
    /// Reads a journal, which is open for reading and appending.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn open(mut journal: File) -> std::io::Result<Self> {
        let mut text = Vec::new();
        journal.read_to_end(&mut text)?;
        let mut whiteouts = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some((what, distribution, path)) = parse(line) {
                whiteouts.remember(what, distribution, path);
            }
        }
        whiteouts.journal = Some(Arc::new(journal));
        Ok(whiteouts)
    }

    pub(super) fn journal(&self) -> Option<Arc<File>> {
        self.journal.clone()
    }

    /// The names in a directory under which what a distribution brings is removed.
    pub fn removed(&self, distribution: &str, directory: &Path) -> Option<&HashSet<OsString>> {
        self.removed.get(distribution)?.get(directory)
    }

    /// Whether what a distribution brings under a path is removed, by itself or with a directory above it.
    pub fn is_removed(&self, distribution: &str, path: &Path) -> bool {
        let Some(removed) = self.removed.get(distribution) else { return false };
        path.ancestors().any(|path| match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => removed.get(parent).is_some_and(|names| names.contains(name)),
            _ => false,
        })
    }

    /// The files of distributions that were copied up, each with its distribution.
    pub fn copied(&self) -> &[(String, PathBuf)] {
        &self.copied
    }

    /// Writes down that `what` happened to a path of these distributions. It outlives this process when this returns;
    /// to outlive a power failure takes [`Whiteouts::sync`].
    ///
    /// # Errors
    /// What write(2) says; then nothing was written down.
    pub(super) fn add(
        &mut self,
        what: What,
        distributions: impl IntoIterator<Item = String>,
        path: &Path,
    ) -> Result<(), Errno> {
        let new: Vec<String> = distributions
            .into_iter()
            .filter(|distribution| match what {
                What::Removed => !self.is_removed(distribution, path),
                What::Copied => !self.copied.iter().any(|known| known.0 == *distribution && known.1 == path),
            })
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        // The last record may not be whole, whoever wrote it: several servers may share the journal.
        let mut lines = vec![b'\n'];
        lines.extend(new.iter().flat_map(|distribution| line(what, distribution, path)));
        self.append(&lines)?;
        for distribution in new {
            self.remember(what, distribution, path.to_path_buf());
        }
        Ok(())
    }

    /// Has all that was written down outlive a power failure.
    ///
    /// # Errors
    /// What fdatasync(2) says.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        self.journal.as_ref().map_or(Ok(()), rustix::fs::fdatasync)
    }

    fn append(&self, lines: &[u8]) -> Result<(), Errno> {
        self.crash.point()?;
        let mut journal = self.journal.as_deref().ok_or(Errno::ROFS)?;
        match journal.write(lines) {
            Ok(written) if written == lines.len() => Ok(()),
            Ok(_) => Err(Errno::NOSPC),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }

    fn remember(&mut self, what: What, distribution: String, path: PathBuf) {
        match what {
            What::Copied => self.copied.push((distribution, path)),
            What::Removed => {
                if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                    let directories = self.removed.entry(distribution).or_default();
                    directories.entry(parent.to_path_buf()).or_default().insert(name.to_os_string());
                }
            }
        }
    }
}

/// `<check> removed <distribution> <path>`: of a line that is not whole, the check is wrong.
fn line(what: What, distribution: &str, path: &Path) -> Vec<u8> {
    let what = match what {
        What::Removed => "removed",
        What::Copied => "copied",
    };
    let path = percent_encode(path.as_os_str().as_bytes(), ESCAPED);
    let record = format!("{what} {distribution} {path}");
    format!("{} {record}\n", check(record.as_bytes())).into_bytes()
}

fn check(record: &[u8]) -> String {
    let mut digest = HEXLOWER.encode(&Sha256::digest(record));
    digest.truncate(8);
    digest
}

fn parse(line: &[u8]) -> Option<(What, String, PathBuf)> {
    let (given, record) = line.split_at_checked(8)?;
    let record = record.strip_prefix(b" ")?;
    if given != check(record).as_bytes() {
        return None;
    }
    let mut words = record.splitn(3, |byte| *byte == b' ');
    let what = match words.next()? {
        b"removed" => What::Removed,
        b"copied" => What::Copied,
        _ => return None,
    };
    let distribution = String::from_utf8(words.next()?.to_vec()).ok()?;
    let path = percent_decode(words.next()?).collect();
    Some((what, distribution, PathBuf::from(OsString::from_vec(path))))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn reopened(file: &Path) -> Whiteouts {
        let journal = File::options().read(true).append(true).create(true).open(file).unwrap();
        Whiteouts::open(journal).unwrap()
    }

    fn removed(whiteouts: &Whiteouts, distribution: &str, path: &str) -> bool {
        whiteouts.is_removed(distribution, Path::new(path))
    }

    #[test]
    fn what_was_removed_is_known_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("journal");
        let odd = OsStr::from_bytes(b"a b%0a\n\xff");
        let mut whiteouts = reopened(&file);
        whiteouts.add(What::Removed, ["six==1.0".to_owned()], Path::new("six.py")).unwrap();
        whiteouts.add(What::Removed, ["odd==2".to_owned()], &Path::new("pkg").join(odd)).unwrap();
        let whiteouts = reopened(&file);
        assert!(removed(&whiteouts, "six==1.0", "six.py"));
        assert!(whiteouts.removed("odd==2", Path::new("pkg")).unwrap().contains(odd));
    }

    #[test]
    fn a_record_is_about_one_version_of_one_distribution() {
        let directory = tempfile::tempdir().unwrap();
        let mut whiteouts = reopened(&directory.path().join("journal"));
        whiteouts.add(What::Removed, ["six==1.0".to_owned()], Path::new("six.py")).unwrap();
        assert!(!removed(&whiteouts, "six==1.1", "six.py"));
    }

    #[test]
    fn with_a_directory_all_below_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mut whiteouts = reopened(&directory.path().join("journal"));
        whiteouts.add(What::Removed, ["a==1".to_owned()], Path::new("pkg/sub")).unwrap();
        assert!(removed(&whiteouts, "a==1", "pkg/sub/deep/file.py"));
        assert!(!removed(&whiteouts, "a==1", "pkg/other.py"));
    }

    #[test]
    fn a_line_that_is_not_whole_counts_as_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("journal");
        let mut whiteouts = reopened(&file);
        whiteouts.add(What::Removed, ["a==1".to_owned()], Path::new("one")).unwrap();
        whiteouts.add(What::Removed, ["a==1".to_owned()], Path::new("two")).unwrap();
        let whole = fs_err::read(&file).unwrap();
        for length in 0..whole.len() - 1 {
            fs_err::write(&file, whole.get(..length).unwrap()).unwrap();
            let mut whiteouts = reopened(&file);
            whiteouts.add(What::Removed, ["a==1".to_owned()], Path::new("three")).unwrap();
            let whiteouts = reopened(&file);
            assert!(removed(&whiteouts, "a==1", "three"), "cut at {length}");
            assert!(!removed(&whiteouts, "a==1", "two"), "cut at {length}");
        }
    }
}
