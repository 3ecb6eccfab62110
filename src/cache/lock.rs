//! The lock on the whole of uv's cache, which every uv command shares: `uv cache prune` and `uv cache clean` wait as long as
//! it is held.
//!
//! Source: <https://docs.astral.sh/uv/concepts/cache/#cache-safety>

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use fs_err::OpenOptions;

use crate::error::Result;
use crate::sys::posix::{is_at, no_links};

/// uv's lock file.
const NAME: &str = ".lock";

/// The lock on a cache, shared with all others who use it; given back when dropped, by whichever process drops it last.
#[derive(Debug)]
pub struct CacheLock {
    file: File,
}

impl CacheLock {
    /// Takes the lock on the cache at `root`, or says why it cannot be had. Nothing is written there: a lock file that is
    /// missing is not made. Calls `wait` again and again while another process has the cache to itself.
    ///
    /// # Errors
    /// Those of `wait`.
    pub fn share(root: &Path, mut wait: impl FnMut() -> Result<()>) -> Result<Result<Self, String>> {
        let path = root.join(NAME);
        let shown = path.display();
        loop {
            // Whatever else lies there could hold up who opens it.
            let file = match fs_err::symlink_metadata(&path) {
                Ok(metadata) if !metadata.is_file() => return Ok(Err(format!("{shown} is no file"))),
                Ok(_) => no_links(OpenOptions::new().read(true)).open(&path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Err(format!("there is no {shown}")));
                }
                Err(error) => Err(error),
            };
            let file = match file {
                Ok(file) => file.into_file(),
                Err(error) => return Ok(Err(error.to_string())),
            };
            match file.try_lock_shared() {
                // uv may have removed the file meanwhile: then it locks nothing any more.
                Ok(()) if is_at(&file, &path) => return Ok(Ok(Self { file })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => wait()?,
                Err(TryLockError::Error(error)) => {
                    return Ok(Err(format!("{shown} cannot be locked: {error}")));
                }
            }
        }
    }

    /// The same lock once more, for another process to hold.
    ///
    /// # Errors
    /// What dup(2) says.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for CacheLock {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn busy() -> Result<()> {
        Err(Error::new("busy"))
    }

    #[test]
    fn it_is_shared_and_keeps_out_who_wants_the_cache_alone() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join(NAME);
        let alone = fs_err::File::create(&path).unwrap().into_file();
        let one = CacheLock::share(cache.path(), busy).unwrap().unwrap();
        let other = CacheLock::share(cache.path(), busy).unwrap().unwrap();
        drop(one.again().unwrap());
        drop(other);
        assert!(matches!(alone.try_lock(), Err(TryLockError::WouldBlock)));
        drop(one);
        alone.try_lock().unwrap();
        assert_eq!(CacheLock::share(cache.path(), busy).unwrap_err().to_string(), "busy");
    }

    #[test]
    fn a_lock_file_that_was_removed_meanwhile_is_not_taken_for_the_one_that_is_there() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join(NAME);
        let old = fs_err::File::create(&path).unwrap().into_file();
        old.try_lock().unwrap();
        let mut made_anew = None;
        let lock = CacheLock::share(cache.path(), || {
            fs_err::remove_file(&path)?;
            made_anew = Some(fs_err::File::create(&path)?.into_file());
            Ok(())
        });
        let _held = lock.unwrap().unwrap();
        assert!(matches!(made_anew.unwrap().try_lock(), Err(TryLockError::WouldBlock)));
    }

    #[test]
    fn what_cannot_be_locked_is_told_and_nothing_is_made() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join(NAME);
        let why = CacheLock::share(cache.path(), busy).unwrap().unwrap_err();
        assert_eq!(why, format!("there is no {}", path.display()));
        assert!(!path.exists());
        fs_err::create_dir(&path).unwrap();
        let why = CacheLock::share(cache.path(), busy).unwrap().unwrap_err();
        assert!(why.contains("is no file"), "{why}");
    }
}
