//! Caches: pins to archives. The only code that opens CACHE, and only for reading.

pub mod archive;
pub mod uv;

use std::path::{Path, PathBuf};

pub use archive::Archive;

use crate::error::Result;
use crate::lock::Pin;
use crate::python::Tags;

/// A cache of unpacked wheels.
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache at `root`.
    ///
    /// # Errors
    /// `root` is no directory, or nothing that sitefs knows as a cache.
    pub fn open(root: &Path) -> Result<Self> {
        let _ = root;
        todo!()
    }
    /// The absolute path of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Finds an archive for each pin, in the order of the pins.
    ///
    /// # Errors
    /// All that is missing, at once, with the command that gets it.
    pub fn find(&self, _pins: &[Pin], _tags: &Tags) -> Result<Vec<Archive>> {
        todo!()
    }
}
