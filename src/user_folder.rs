//! What sitefs keeps for a user, beside all environments.

use std::env;
use std::path::PathBuf;

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
