//! Caches: pins to archives. The only code that opens CACHE, and only for reading.

pub mod archive;
mod direct_url;
mod missing;
mod uv;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

pub use archive::{Archive, Kind, TopLevel};

use self::missing::Reasons;
use self::uv::UvCache;
use crate::error::{Error, Result};
use crate::lock::Pin;
use crate::python::Tags;

/// So many pins occupy a thread for about as long as starting it takes.
const PINS_PER_THREAD: usize = 24;

/// More threads than cores: on a network drive they mostly wait.
const THREADS: usize = 8;

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
        let found = fs_err::canonicalize(root)
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

    /// The absolute path of the cache, without links in it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Finds an archive for each pin, in the order of the pins, for the interpreter `python` that has these tags.
    ///
    /// # Errors
    /// All that is missing, at once, with the command that gets it.
    pub fn find(&self, pins: &[Pin], tags: &Tags, python: &Path) -> Result<Vec<Archive>> {
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
            Err(missing::error(&missing, pins.len(), &self.root, python))
        }
    }
}

/// Maps `items` on a few threads, all of which have ended on return: the caller may fork.
fn parallel<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, map(item)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let threads = items.len().div_ceil(PINS_PER_THREAD).min(THREADS);
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(&work)).collect();
        let mut done = work();
        for helper in helpers {
            done.extend(
                helper
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
