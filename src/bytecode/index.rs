//! What is known of the bytecode of an archive: a file beside it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What is known of the bytecode of an archive.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    /// Where the archive was when it was compiled, as seen by who did it.
    pub(super) archive: PathBuf,
    /// Its modules, sorted by path.
    pub(super) modules: Vec<Module>,
}

/// A module of an archive.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Module {
    /// Its path in the archive, with `/`.
    pub(super) path: String,
    /// Its bytecode; none if it does not compile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) compiled: Option<Compiled>,
}

/// The bytecode of a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Compiled {
    /// When the source was written, in seconds since 1970, as far as 32 bits hold it.
    pub(super) modified: u32,
    /// How many bytes the source has, as far as 32 bits hold it.
    pub(super) size: u32,
    /// How many bytes the bytecode has.
    pub(super) bytes: u64,
    /// Its digest.
    pub(super) sha256: String,
}

impl Index {
    /// Its name.
    pub(super) const FILE: &'static str = "index.json";

    /// Reads it; none if it is not there or not whole: then the bytecode counts for nothing.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs_err::read(folder.join(Self::FILE)).ok()?).ok()
    }

    pub(super) fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
