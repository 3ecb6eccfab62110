//! The mount table.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use crate::error::Result;

/// The file system type that sitefs mounts carry in the mount table.
pub const FILE_SYSTEM_TYPE: &str = "fuse.sitefs";

/// One line of the mount table.
///
/// Source: proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// `ext4`, `fuse.sitefs`, ...
    pub file_system_type: String,
    /// Which command mounted it, if it was sitefs.
    pub source: Option<Source>,
    /// `user_id=` of a FUSE mount: who mounted it.
    pub user: Option<u32>,
    /// The device number, `MAJOR:MINOR`: it stays when a directory above the mount is renamed.
    pub device: String,
}

/// Which command mounted, as the mount table's source tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `mount`: until it is unmounted.
    Mount,
    /// `run`: until the last command that uses it ends.
    Run,
}

impl Source {
    /// The source in the mount table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mount => "sitefs",
            Self::Run => "sitefs-run",
        }
    }
}

impl Mount {
    /// Whether sitefs made it.
    pub fn is_ours(&self) -> bool {
        self.file_system_type == FILE_SYSTEM_TYPE
    }
}

/// All mounts that this process sees, the topmost of a stack last.
///
/// # Errors
/// `/proc` is not mounted.
pub fn all() -> Result<Vec<Mount>> {
    let table = fs_err::read("/proc/self/mountinfo")?;
    Ok(table.split(|&byte| byte == b'\n').filter_map(parse).collect())
}

/// What is mounted on exactly this directory: the topmost, if several are.
///
/// # Errors
/// `/proc` is not mounted.
pub fn at(point: &Path) -> Result<Option<Mount>> {
    Ok(all()?.into_iter().rfind(|mount| mount.point == point))
}

/// Unmounts by umount2(2): at once and with an error where it is in use, or `lazily`, as soon as nobody uses it.
///
/// # Errors
/// `EPERM` for an ordinary user, `EBUSY` where it is in use, `EINVAL` where nothing is mounted.
pub fn detach(point: &Path, lazily: bool) -> Result<(), rustix::io::Errno> {
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    unmount(point, flags | UnmountFlags::NOFOLLOW)
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = String::from_utf8_lossy(fields.by_ref().nth(2)?).into_owned();
    let point = unescape(fields.by_ref().nth(1)?);
    let mut after_dash = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system_type = String::from_utf8_lossy(after_dash.next()?).into_owned();
    let source = after_dash.next()?;
    let source =
        [Source::Mount, Source::Run].into_iter().find(|candidate| candidate.name().as_bytes() == source);
    let options = String::from_utf8_lossy(after_dash.next()?).into_owned();
    let user = options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
    Some(Mount { point, file_system_type, source, user, device })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if let (b'\\', Some((digits, after))) = (byte, after.split_at_checked(3))
            && let Some(byte) =
                std::str::from_utf8(digits).ok().and_then(|text| u8::from_str_radix(text, 8).ok())
        {
            path.push(byte);
            rest = after;
            continue;
        }
        path.push(byte);
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read() {
        let line = br"402 30 0:61 / /home/ann/my\040venv/lib/python3.11/site-packages ro,nosuid,nodev - fuse.sitefs sitefs ro,user_id=1000,group_id=1000";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, Path::new("/home/ann/my venv/lib/python3.11/site-packages"));
        assert!(mount.is_ours());
        assert_eq!((mount.source, mount.user), (Some(Source::Mount), Some(1000)));
        assert_eq!(mount.device, "0:61");
    }

    #[test]
    fn optional_fields_do_not_disturb() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!((mount.file_system_type.as_str(), mount.user), ("ext3", None));
    }

    #[test]
    fn nonsense_is_passed_over() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"1 2 3 4 /x rw"), None);
        assert_eq!(unescape(br"/a\04"), Path::new(r"/a\04"));
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(at(Path::new("/")).unwrap().is_some());
    }
}
