//! Caches: pins to archives. The only code that opens CACHE, and only for reading.

pub mod archive;
mod direct_url;
mod lock;
mod missing;
mod uv;

use std::path::{Path, PathBuf};

pub use archive::Archive;
pub use lock::CacheLock;

use self::missing::Reasons;
use self::uv::UvCache;
use crate::error::{Error, Result};
use crate::lock::{Pin, Selection};
use crate::parallel::parallel;
use crate::python::Tags;

/// A cache of unpacked wheels.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    uv: UvCache,
}

impl Cache {
    /// Opens the cache at `root`.
    ///
    /// # Errors
    /// `root` is no directory, or nothing that sitefs knows as a cache.
    pub fn open(root: &Path) -> Result<Self> {
        const HELP: &str = "`uv cache dir` prints where uv's cache is";
        let found = crate::sys::posix::canonicalize(root)
            .map_err(Error::from)
            .and_then(|root| Ok((UvCache::open(&root)?, root)));
        match found {
            Ok((Some(uv), root)) => Ok(Self { root, uv }),
            Ok((None, root)) => {
                let message = if root.is_dir() {
                    "has no folder `archive-v*`, `wheels-v*` or `sdists-v*`"
                } else {
                    "is not a directory"
                };
                Err(Error::new(format!("{} is not a cache: it {message}", root.display())).with_help(HELP))
            }
            Err(error) => Err(Error::new(format!("cannot open the cache {}", root.display()))
                .because(error)
                .with_help(HELP)),
        }
    }

    /// Finds an archive for each pin, in the order of the pins, for the interpreter `python` that has these tags; the
    /// pins are this selection of their locks.
    ///
    /// # Errors
    /// All that is missing, at once, with the command that gets it.
    pub fn find(
        &self,
        pins: &[Pin],
        tags: &Tags,
        python: &Path,
        selection: &Selection,
    ) -> Result<Vec<Archive>> {
        let mut archives = Vec::with_capacity(pins.len());
        let mut missing: Vec<(&Pin, Reasons)> = Vec::new();
        for (pin, found) in pins.iter().zip(parallel(pins, |pin| self.uv.find(pin, tags))) {
            match found {
                Ok(archive) => archives.push(archive),
                Err(reasons) => missing.push((pin, reasons)),
            }
        }
        if missing.is_empty() {
            Ok(archives)
        } else {
            Err(missing::error(&missing, pins.len(), &self.root, python, selection))
        }
    }
}
