//! What sitefs keeps for a user, beside all environments.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Result};

/// A folder of sitefs in the user's cache directory; none where the variables that tell it are not set.
///
/// Source: <https://specifications.freedesktop.org/basedir-spec/latest/>
pub(crate) fn user_folder(name: &str) -> Option<PathBuf> {
    let folder = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_windows = || folder("LOCALAPPDATA").filter(|_| cfg!(windows));
    let of_home = || Some(folder("HOME")?.join(".cache"));
    let cache = folder("XDG_CACHE_HOME").or_else(of_windows).or_else(of_home)?;
    Some(cache.join("sitefs").join(name))
}

/// What was remembered in a file; nothing if it cannot be read.
pub(crate) fn recall<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs_err::read(file).ok()?).ok()
}

/// Remembers something in a file, which is there whole or not at all.
///
/// # Errors
/// A folder that cannot be written; what cannot be written as JSON.
pub(crate) fn remember(file: &Path, what: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(what).context(|| "it cannot be written as JSON".to_owned())?;
    let folder = file.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    // Its mode is that of any new file: users may share the folder.
    let mut unfinished = tempfile::Builder::new()
        .make_in(folder, |path| fs_err::File::create_new(path).map(fs_err::File::into_file))?;
    unfinished.write_all(&text)?;
    unfinished.persist(file).map_err(|error| error.error)?;
    Ok(())
}
