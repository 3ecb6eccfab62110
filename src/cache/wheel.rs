//! A wheel as a file: opened, checked against what it says of itself, and unpacked. Whoever made it is not trusted.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>

mod contents;
mod names;

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, Write};
use std::path::Path;

use fs_err::OpenOptions;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, ZipArchive};

use self::contents::Hasher;
pub(super) use self::contents::{Expected, is_unrecorded};
use crate::error::{Context, Error, Result};
use crate::python::{WheelName, record};
use crate::sys::posix;
use crate::sys::signals::is_asked_to_end;

/// More than this is no RECORD: it would list half a million files.
const LARGEST_RECORD: u64 = 64 << 20;

/// Up to this size, a wheel may unpack to as many times its own size as it likes.
const UNSUSPICIOUS: u64 = 1 << 30;

/// No honest wheel of more than that unpacks to more than this many times its size.
const LARGEST_RATIO: u64 = 100;

/// How much is read, hashed and written at a time.
const CHUNK: usize = 1 << 18;

/// The bits of a mode that tell what kind of file it is.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// A wheel whose names, sizes and RECORD agree. What its files hold is compared when they are read.
pub(super) struct Wheel {
    archive: ZipArchive<File>,
    members: Vec<Member>,
    directories: Vec<String>,
    /// The text of RECORD.
    record: Vec<u8>,
}

/// A file of a wheel.
struct Member {
    index: usize,
    path: String,
    size: u64,
    is_program: bool,
    expected: Expected,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unpacked {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Wheel {
    /// Reads the directory of a wheel that is named so, and its RECORD.
    pub(super) fn open(file: File, name: &WheelName) -> Result<Self> {
        let size = file.metadata()?.len();
        let mut archive =
            ZipArchive::new(file).context(|| "it is no wheel, or was cut short or damaged".to_owned())?;
        archive.validate_header_consistency().context(|| "its ZIP directory is ambiguous".to_owned())?;
        let (mut members, mut directories, mut total) = (Vec::new(), Vec::new(), 0_u64);
        for index in 0..archive.len() {
            let entry = archive.by_index_data(index).context(|| "its ZIP directory is damaged".to_owned())?;
            let path = entry.name().context(|| "a name in it is not understood".to_owned())?.into_owned();
            let path_without_end = path.strip_suffix('/').unwrap_or(&path);
            names::check(path_without_end)?;
            let is_directory = path.ends_with('/');
            let mode = entry.unix_mode().unwrap_or(0);
            match mode & KIND {
                0 => {}
                REGULAR if !is_directory => {}
                DIRECTORY if is_directory => {}
                _ => return Err(Error::new(format!("`{path}` in it is a link or a special file"))),
            }
            if entry.encrypted() {
                return Err(Error::new(format!("`{path}` in it is encrypted")));
            }
            let method = entry.compression();
            if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
                let message = format!("`{path}` in it is compressed as {method}, which wheels are not");
                return Err(Error::new(message));
            }
            total = total.saturating_add(entry.size());
            if total > UNSUSPICIOUS && total / LARGEST_RATIO > size {
                return Err(Error::new(format!(
                    "it would unpack to more than {LARGEST_RATIO} times its size: a ZIP bomb"
                )));
            }
            if is_directory {
                directories.push(path_without_end.to_owned());
                continue;
            }
            let is_program = mode & 0o111 != 0;
            members.push(Member {
                index,
                path,
                size: entry.size(),
                is_program,
                expected: Expected::Anything,
            });
        }
        names::check_all(members.iter().map(|member| member.path.as_str()), &directories)?;
        let dist_info =
            names::only_dist_info(members.iter().map(|member| member.path.as_str()), name)?.to_owned();
        let record = read_record(&mut archive, &members, &format!("{dist_info}/RECORD"))?;
        let mut wheel = Self { archive, members, directories, record };
        wheel.compare_with_record(&dist_info)?;
        Ok(wheel)
    }

    /// The digest of RECORD, which has all others.
    pub(super) fn record_digest(&self) -> String {
        hex(Sha256::new_with_prefix(&self.record))
    }

    /// Unpacks into an empty directory: every byte as RECORD says, every file on the disk when this returns. `alive` is
    /// called now and then, and may end it.
    pub(super) fn unpack(&mut self, root: &Path, mut alive: impl FnMut() -> Result<()>) -> Result<Unpacked> {
        let mut made = names::Directories::new(root);
        for directory in &self.directories {
            made.make(Path::new(directory))?;
        }
        let mut unpacked = Unpacked::default();
        let mut buffer = vec![0; CHUNK];
        for member in &self.members {
            alive()?;
            let path = root.join(&member.path);
            made.make(Path::new(&member.path).parent().unwrap_or(Path::new("")))?;
            let mut source = Source::open(&mut self.archive, member)?;
            let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?.into_file();
            while let Some(chunk) = source.next(&mut buffer)? {
                file.write_all(chunk).context(|| format!("{} cannot be written", path.display()))?;
                alive()?;
            }
            source.check()?;
            posix::seal_file(&file, member.is_program)
                .context(|| format!("{} cannot be written", path.display()))?;
            unpacked.files += 1;
            unpacked.bytes += member.size;
        }
        made.seal()?;
        Ok(unpacked)
    }

    /// Reads all of it, and compares it with what RECORD says.
    fn read(&mut self) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        for member in &self.members {
            let mut source = Source::open(&mut self.archive, member)?;
            while source.next(&mut buffer)?.is_some() {}
            source.check()?;
        }
        Ok(())
    }

    /// Every file is in RECORD with its size and its hash, and RECORD has no other.
    fn compare_with_record(&mut self, dist_info: &str) -> Result<()> {
        let text = std::str::from_utf8(&self.record).context(|| "its RECORD is no UTF-8 text".to_owned())?;
        let mut recorded = HashMap::new();
        for entry in record::parse(text)? {
            let path = entry.path.clone();
            // Some build tools list directories, too.
            if path.ends_with('/') {
                continue;
            }
            names::check(&path).context(|| "its RECORD leads out of it".to_owned())?;
            if let Some(other) = recorded.insert(path.clone(), entry.clone())
                && other != entry
            {
                return Err(Error::new(format!("its RECORD has `{path}` twice, and says different things")));
            }
        }
        for member in &mut self.members {
            let entry = recorded.remove(&member.path);
            if is_unrecorded(&member.path, dist_info) {
                continue;
            }
            let Some(entry) = entry else {
                return Err(Error::new(format!("`{}` in it is not in its RECORD", member.path)));
            };
            if let Some(size) = entry.size.filter(|size| *size != member.size) {
                let message =
                    format!("`{}` has {} bytes, and {size} by its RECORD", member.path, member.size);
                return Err(Error::new(message));
            }
            member.expected = Expected::of(&entry)?;
        }
        match recorded.keys().filter(|path| !is_unrecorded(path, dist_info)).min() {
            Some(path) => Err(Error::new(format!("`{path}` is in its RECORD, and not in the wheel"))),
            None => Ok(()),
        }
    }
}

/// Reads a wheel, and compares it with what it says of itself, and with the hash that it had when it was last mounted.
pub(super) fn verify(path: &Path, last: Option<&str>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().parse()?;
    let mut file = fs_err::File::open(path)?.into_file();
    if let Some(last) = last {
        let now = hash(&mut file)?;
        if now != last {
            let message =
                format!("it is not the wheel that was last mounted: its sha256 was {last}, and is {now}");
            return Err(Error::new(message));
        }
    }
    Wheel::open(file, &name)?.read()
}

/// A file of a wheel, read once.
struct Source<'a> {
    member: &'a Member,
    reader: zip::read::ZipFile<'a, File>,
    hasher: Hasher,
    read: u64,
}

impl<'a> Source<'a> {
    fn open(archive: &'a mut ZipArchive<File>, member: &'a Member) -> Result<Self> {
        let reader =
            archive.by_index(member.index).context(|| format!("`{}` in it cannot be read", member.path))?;
        Ok(Self { member, reader, hasher: member.expected.hasher(), read: 0 })
    }

    fn next<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>> {
        let path = &self.member.path;
        let count = self.reader.read(buffer).context(|| format!("`{path}` in it is damaged"))?;
        self.read += count as u64;
        if self.read > self.member.size {
            return Err(Error::new(format!(
                "`{path}` in it has more than the {} bytes it says",
                self.member.size
            )));
        }
        let chunk = buffer.get(..count).unwrap_or_default();
        self.hasher.update(chunk);
        Ok((count > 0).then_some(chunk))
    }

    fn check(self) -> Result<()> {
        let Self { member, hasher, read, .. } = self;
        if read != member.size {
            let message =
                format!("`{}` in it has {read} bytes, not the {} it says", member.path, member.size);
            return Err(Error::new(message));
        }
        if member.expected.is_met_by(hasher) {
            return Ok(());
        }
        Err(Error::new(format!("`{}` has another hash than its RECORD says", member.path)))
    }
}

fn read_record(archive: &mut ZipArchive<File>, members: &[Member], path: &str) -> Result<Vec<u8>> {
    let member = members.iter().find(|member| member.path == path);
    let member = member.ok_or_else(|| Error::new("it has no RECORD"))?;
    if member.size > LARGEST_RECORD {
        return Err(Error::new(format!("its RECORD has more than {} MiB", LARGEST_RECORD >> 20)));
    }
    let (mut text, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    let mut source = Source::open(archive, member)?;
    while let Some(chunk) = source.next(&mut buffer)? {
        text.extend_from_slice(chunk);
    }
    source.check()?;
    Ok(text)
}

/// What is said of work that a signal has ended.
pub(super) const INTERRUPTED: &str = "interrupted by a signal";

/// The sha256 of an open file, from its beginning.
pub(super) fn hash(file: &mut File) -> std::io::Result<String> {
    file.rewind()?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        if is_asked_to_end() {
            return Err(std::io::Error::other(INTERRUPTED));
        }
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hasher)),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

pub(super) fn hex(hasher: Sha256) -> String {
    data_encoding::HEXLOWER.encode(&hasher.finalize())
}

/// What a file that somebody writes does not keep: its size and its times. The inode tells it from one put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Looks {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

pub(super) fn looks(metadata: &Metadata) -> Looks {
    Looks {
        size: metadata.len(),
        modified: posix::modified(metadata),
        changed: posix::changed(metadata),
        inode: posix::inode(metadata),
    }
}
