//! File systems of their own, each in a file that a loop device makes a disk.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::command::Outcome;
use super::sitefs::clear_away;
use super::skip;

/// How often to ask for a loop device: other tests may have them all.
const ATTEMPTS: u32 = 40;

/// A mounted file system; gone when dropped, with whatever is mounted in it.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// An ext4 of so many megabytes; none, said loudly, where that cannot be.
    pub fn ext4(megabytes: u64) -> Option<Self> {
        Self::made(&["mkfs.ext4", "-q", "-m", "0"], megabytes)
    }

    /// A btrfs of so many megabytes, 128 at least; none, said loudly, where that cannot be.
    pub fn btrfs(megabytes: u64) -> Option<Self> {
        Self::made(&["mkfs.btrfs", "-q"], megabytes)
    }

    /// An XFS of so many megabytes, 300 at least; none, said loudly, where that cannot be.
    pub fn xfs(megabytes: u64) -> Option<Self> {
        Self::made(&["mkfs.xfs", "-q"], megabytes)
    }

    /// Its top directory.
    pub fn path(&self) -> PathBuf {
        fs_err::canonicalize(self.folder.path()).unwrap().join("disk")
    }

    fn made(make: &[&str], megabytes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can mount a disk");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("sitefs-disk-").tempdir().unwrap();
        fs_err::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let image = folder.path().join("image");
        fs_err::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let mut command = Command::new(make[0]);
        command.args(&make[1..]).arg(&image).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            skip(&format!("{} does not work (`make disks` installs it)", make[0]));
            return None;
        }
        let disk = Self { folder };
        fs_err::create_dir(disk.path()).unwrap();
        disk.mount(&image).then_some(disk)
    }

    fn mount(&self, image: &Path) -> bool {
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let outcome = Outcome::of(Command::new("mount").args(["-o", "loop"]).arg(image).arg(self.path()));
            if outcome.code() == Some(0) {
                return true;
            }
            said = outcome.stderr;
            std::thread::sleep(Duration::from_millis(250));
        }
        skip(&format!("a loop device cannot be mounted: {}", said.trim()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        clear_away(&self.path());
    }
}
