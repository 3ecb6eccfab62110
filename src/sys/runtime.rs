//! Directories of one user's that are gone with the machine's next start: in the user's runtime directory (XDG Base Directory
//! Specification), or in what takes its place where there is none.

use std::env;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, StatVfsMountFlags, mkdir, statvfs};
use rustix::io::Errno;

use super::posix::{may_write, user};

/// The permission bits of everybody but the owner.
const OF_OTHERS: u32 = 0o077;

/// Those by which others could put something into the place of what is in a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// With this one, they cannot.
const STICKY: u32 = 0o1000;

/// The directory of this name that is there and is nobody else's.
pub fn find(name: &str) -> Option<PathBuf> {
    parents().map(|parent| parent.join(name)).find(|path| check(path).is_ok())
}

/// Where a directory of this name can be made: where programs may be run, if there is such a place.
pub fn choose(name: &str) -> Option<PathBuf> {
    let writable: Vec<PathBuf> = parents().filter(|parent| may_write(parent)).collect();
    let runs_programs =
        |parent: &&PathBuf| statvfs(*parent).is_ok_and(|it| !it.f_flag.contains(StatVfsMountFlags::NOEXEC));
    Some(writable.iter().find(runs_programs).or(writable.first())?.join(name))
}

/// Makes a directory that nobody else can look into, unless it is there.
///
/// # Errors
/// What mkdir(2) says.
pub fn make(path: &Path) -> io::Result<()> {
    match mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => {
            let error = io::Error::from(errno);
            Err(io::Error::new(error.kind(), format!("{} cannot be made: {error}", path.display())))
        }
    }
}

/// Whether a directory is this user's, and nobody else can look into it.
///
/// # Errors
/// It is not, or not there.
pub fn check(path: &Path) -> io::Result<()> {
    let found = fs_err::symlink_metadata(path)?;
    if found.is_dir() && found.uid() == user() && found.mode() & OF_OTHERS == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} is not a directory that is this user's alone", path.display()),
    ))
}

/// Where such directories may be, the best first. What is in one must be safe from other users.
fn parents() -> impl Iterator<Item = PathBuf> {
    let usual = [format!("/run/user/{}", user()), "/run".to_owned()].map(PathBuf::from);
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter().chain(usual).filter(|path| {
        let is_own =
            |found: std::fs::Metadata| found.uid() == user() && found.mode() & WRITABLE_BY_OTHERS == 0;
        path.is_absolute() && fs_err::metadata(path).is_ok_and(is_own)
    });
    let shared = Path::new("/tmp");
    let is_safe = fs_err::metadata(shared)
        .is_ok_and(|it| it.mode() & WRITABLE_BY_OTHERS == 0 || it.mode() & STICKY != 0);
    own.chain(is_safe.then(|| shared.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_a_directory_that_nobody_else_can_look_into_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(check(&path).is_err());
        make(&path).unwrap();
        make(&path).unwrap();
        check(&path).unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(check(&link).is_err());
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(check(&path).is_err());
        if user() == 0 {
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            assert!(check(&path).is_err());
        }
    }
}
