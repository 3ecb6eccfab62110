//! Bringing a wheel into a wheelhouse.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::Wheelhouse;
use crate::cache::store::LEFT_BEHIND;
use crate::cache::wheel;
use crate::error::{Context, Error, Result};
use crate::sys::posix;

/// What the names of copies begin with that are not finished. They are written to all the time.
const UNFINISHED: &str = ".sitefs-fetch-";

impl Wheelhouse {
    /// Copies a wheel into the folder, where it appears whole, on the disk. What is there is never replaced; another process may
    /// have brought it since the folder was listed.
    pub(in crate::cache) fn receive(&self, from: &Path) -> Result<()> {
        let to = self.root.join(from.file_name().unwrap_or_default());
        let what = || format!("{} cannot be written", to.display());
        // Its name does not end as that of a wheel, so nobody takes it for one. Its mode is that of any new file.
        let mut copy = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .make_in(&self.root, |path| fs_err::File::create_new(path).map(fs_err::File::into_file))
            .context(what)?;
        self.sweep(copy.as_file().metadata()?.modified()?)?;
        let mut wheel = fs_err::File::open(from)?;
        io::copy(&mut wheel, copy.as_file_mut()).context(what)?;
        copy.as_file().sync_all().context(what)?;
        match copy.persist_noclobber(&to) {
            Ok(_) => Ok(posix::sync_directory(&self.root)?),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                if !self.lists(&to) || digest(&to)? == digest(from)? {
                    return Ok(());
                }
                Err(Error::new(format!("{} is there, and is not what was got", to.display()))
                    .with_help("remove it, or take another folder as CACHE"))
            }
            Err(error) => Err(error.error).context(what),
        }
    }

    /// Removes what others had begun that were killed. `now` is by the clock of the folder's drive.
    fn sweep(&self, now: SystemTime) -> Result<()> {
        for entry in fs_err::read_dir(&self.root)? {
            let entry = entry?;
            let is_unfinished = entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
            let age = || now.duration_since(entry.metadata().ok()?.modified().ok()?).ok();
            if is_unfinished && age().is_some_and(|age| age > LEFT_BEHIND) {
                // Another may be faster, and it may be another user's.
                let _ = fs_err::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn lists(&self, wheel: &Path) -> bool {
        self.wheels.values().flatten().any(|file| self.root.join(&file.path) == wheel)
    }
}

fn digest(path: &Path) -> Result<String> {
    let mut file = fs_err::File::open(path)?.into_file();
    wheel::hash(&mut file).context(|| format!("{} cannot be read", path.display()))
}
