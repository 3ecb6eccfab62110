//! Bytecode that is compiled once for all environments, in the store.
//!
//! ```text
//! STORE/bytecode/INTERPRETER/ARCHIVE/index.json    what is known of it; without it, the rest counts for nothing
//! STORE/bytecode/INTERPRETER/ARCHIVE/files/        as the archive, with nothing but `__pycache__` directories: files 0444
//! ```
//!
//! INTERPRETER is what the interpreter puts into the names of bytecode files, and its magic number. ARCHIVE is the name
//! that the archive has in its cache, with the size and the time of its RECORD: so whoever sees the same cache, by
//! whatever path, shares its bytecode, and an archive that was unpacked again is another one.

mod compile;
mod index;
pub mod upkeep;
mod worker;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

pub use self::compile::{Compiler, Outcome, Refused, Task};
use self::index::Index;
use crate::cache::Archive;
use crate::sys::posix::{self, modified};
use crate::venv::interpreter::Bytecode as Naming;

/// The names of the levels that an interpreter optimizes at.
///
/// Source: PEP 488.
const OPTIMIZATIONS: [&str; 3] = ["", ".opt-1", ".opt-2"];

/// The folder of a store that has it.
const BYTECODE: &str = "bytecode";

/// How often those who use it say so, by the time of `index.json`.
pub const RENEWAL: Duration = Duration::from_secs(24 * 3600);

/// The bytecode in a store that is one interpreter's, optimized at one level.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
    /// What comes after a module's name: `.cpython-311.opt-1.pyc`.
    suffix: String,
    optimization: u8,
}

impl Shelf {
    /// The shelf of an interpreter in the store at `store`. Nothing is looked at.
    pub fn new(store: &Path, naming: &Naming, optimization: u8) -> Self {
        let Naming { cache_tag, magic } = naming;
        let level = OPTIMIZATIONS.get(usize::from(optimization)).copied().unwrap_or_default();
        Self {
            folder: store.join(BYTECODE).join(format!("{cache_tag}{level}-{magic}")),
            suffix: format!(".{cache_tag}{level}.pyc"),
            optimization,
        }
    }

    /// The shelves of an interpreter, one for each level that it optimizes at.
    pub fn all(store: &Path, naming: &Naming) -> Vec<Self> {
        (0..).zip(OPTIMIZATIONS).map(|(level, _)| Self::new(store, naming, level)).collect()
    }

    /// Whether it has anything.
    pub fn is_there(&self) -> bool {
        self.folder.is_dir()
    }

    /// Where the bytecode of an archive is, if it is there.
    fn place(&self, archive: &Path, dist_info: &str) -> io::Result<PathBuf> {
        Ok(self.folder.join(identity(archive, dist_info)?))
    }

    /// What there is of an archive: one file is read for its identity's sake, and the index.
    pub fn of(&self, archive: &Archive) -> Option<Shelved> {
        let place = self.place(&archive.root, &archive.dist_info).ok()?;
        let shelved = Shelved::new(Index::read(&place)?, &place, self.suffix.clone());
        shelved.renew_if_due();
        Some(shelved)
    }
}

/// Where the bytecode itself is.
const FILES: &str = "files";

/// What tells an archive from all others. Each file of it was written when it was unpacked; what was changed since shows
/// when it is looked at itself.
fn identity(archive: &Path, dist_info: &str) -> io::Result<String> {
    let record = fs_err::metadata(archive.join(dist_info).join("RECORD"))?;
    let (seconds, nanoseconds) = modified(&record);
    let mut hash = Sha256::new();
    hash.update(archive.file_name().unwrap_or_default().as_encoded_bytes());
    hash.update(format!("\0{dist_info}\0{} {seconds}.{nanoseconds:09}", record.len()));
    let digest = HEXLOWER.encode(&hash.finalize());
    let stem = dist_info.strip_suffix(".dist-info").unwrap_or(dist_info);
    Ok(format!("{stem}-{}", digest.get(..16).unwrap_or(&digest)))
}

/// The bytecode of one archive.
#[derive(Debug)]
pub struct Shelved {
    index: PathBuf,
    files: PathBuf,
    suffix: String,
    /// By directory in the archive, then by the source's file name.
    modules: HashMap<String, HashMap<String, Expected>>,
}

/// What the files of a module are like as long as its bytecode is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// When the source was written, in seconds since 1970, as far as 32 bits hold it.
    pub modified: u32,
    /// How many bytes the source has, as far as 32 bits hold it.
    pub size: u32,
    /// How many bytes the bytecode has.
    pub bytes: u64,
}

impl Shelved {
    fn new(index: Index, place: &Path, suffix: String) -> Self {
        let mut modules: HashMap<String, HashMap<String, Expected>> = HashMap::new();
        for module in index.modules {
            let Some(compiled) = module.compiled else { continue };
            let (directory, name) = module.path.rsplit_once('/').unwrap_or(("", &module.path));
            let expected =
                Expected { modified: compiled.modified, size: compiled.size, bytes: compiled.bytes };
            modules.entry(directory.to_owned()).or_default().insert(name.to_owned(), expected);
        }
        Self { index: place.join(Index::FILE), files: place.join(FILES), suffix, modules }
    }

    /// Says that it is used, so that [`upkeep::prune`] leaves it. Who may not write the store cannot say so.
    pub fn renew(&self) {
        let _ = posix::touch(&self.index);
    }

    fn renew_if_due(&self) {
        let age = fs_err::metadata(&self.index).and_then(|index| index.modified()).map(|used| used.elapsed());
        if age.is_ok_and(|age| age.is_ok_and(|age| age > RENEWAL)) {
            self.renew();
        }
    }

    /// The directory that holds the bytecode as the archive's directory holds the sources.
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// The sources in a directory of the archive that there is bytecode of, by file name.
    pub fn modules(&self, directory: &str) -> Option<&HashMap<String, Expected>> {
        self.modules.get(directory)
    }

    /// The name of a source's bytecode.
    pub fn bytecode_of(&self, source: &str) -> String {
        bytecode_name(source, &self.suffix)
    }

    /// The name of the source that a file is bytecode of.
    pub fn source_of(&self, bytecode: &str) -> Option<String> {
        Some(format!("{}.py", bytecode.strip_suffix(&self.suffix)?))
    }
}

/// Source: `importlib.util.cache_from_source`.
fn bytecode_name(source: &str, suffix: &str) -> String {
    format!("{}{suffix}", source.strip_suffix(".py").unwrap_or(source))
}
