//! Bringing a wheel into a wheelhouse.

use std::io;
use std::path::Path;

use super::Wheelhouse;
use crate::cache::wheel;
use crate::error::{Context, Error, Result};
use crate::sys::posix;

impl Wheelhouse {
    /// Copies a wheel into the folder, where it appears whole, on the disk. What is there is never replaced.
    pub(in crate::cache) fn receive(&self, from: &Path) -> Result<()> {
        let to = self.root.join(from.file_name().unwrap_or_default());
        let what = || format!("{} cannot be written", to.display());
        // Its name does not end as that of a wheel, so nobody takes it for one. Its mode is that of any new file.
        let mut copy = tempfile::Builder::new()
            .prefix(".sitefs-fetch-")
            .make_in(&self.root, |path| fs_err::File::create_new(path).map(fs_err::File::into_file))
            .context(what)?;
        let mut wheel = fs_err::File::open(from)?;
        io::copy(&mut wheel, copy.as_file_mut()).context(what)?;
        copy.as_file().sync_all().context(what)?;
        match copy.persist_noclobber(&to) {
            Ok(_) => Ok(posix::sync_directory(&self.root)?),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                if digest(&to)? == digest(from)? {
                    return Ok(());
                }
                Err(Error::new(format!("{} is there, and is not what was got", to.display()))
                    .with_help("remove it, or take another folder as CACHE"))
            }
            Err(error) => Err(error.error).context(what),
        }
    }
}

fn digest(path: &Path) -> Result<String> {
    let mut file = fs_err::File::open(path)?.into_file();
    wheel::hash(&mut file).context(|| format!("{} cannot be read", path.display()))
}
