//! Where a mounted view has the cache itself, mounted read-only, so that no write through a link reaches it.

use std::path::{Path, PathBuf};

/// Its name in the root of the view, which is not listed: whoever walks through the environment does not come into the
/// cache. It goes with the view's own mount.
pub const CACHE_MOUNT: &str = ".sitefs-cache";

/// The cache, and where a mounted view has it.
///
/// Links lead there as long as they are seen through the view. On disk, where they outlive the mount, they lead to the
/// cache itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    cache: PathBuf,
    point: PathBuf,
}

impl CacheMount {
    /// That of a view of this cache, mounted on this site-packages. Both paths are absolute.
    pub fn new(cache: PathBuf, site_packages: &Path) -> Self {
        Self { cache, point: site_packages.join(CACHE_MOUNT) }
    }

    /// Where it is mounted.
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// What is mounted there.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// A link's target as the view shows it.
    pub fn shown(&self, target: PathBuf) -> PathBuf {
        moved(target, &self.cache, &self.point)
    }

    /// The target of a link that the view shows, as it is on disk.
    pub fn stored(&self, target: PathBuf) -> PathBuf {
        moved(target, &self.point, &self.cache)
    }
}

fn moved(path: PathBuf, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.to_path_buf(),
        Ok(rest) => to.join(rest),
        Err(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_into_the_cache_is_shown_through_its_mount_and_nothing_else() {
        let mount = CacheMount::new("/cache".into(), Path::new("/venv/site-packages"));
        for (stored, shown) in [
            ("/cache/archive-v0/x/a.py", "/venv/site-packages/.sitefs-cache/archive-v0/x/a.py"),
            ("/cache", "/venv/site-packages/.sitefs-cache"),
            ("/cached/a.py", "/cached/a.py"),
            ("cache/a.py", "cache/a.py"),
            ("../a//b/", "../a//b/"),
        ] {
            assert_eq!(mount.shown(stored.into()).as_os_str(), shown);
            assert_eq!(mount.stored(shown.into()).as_os_str(), stored);
        }
    }
}
