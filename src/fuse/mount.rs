//! Mounting and unmounting: by mount(2) where that is allowed, else through fusermount3.

use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mount::MountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use rustix::process::{getegid, geteuid};

use crate::error::{Context, Error, Result};
use crate::sys::mounts::{self, FILE_SYSTEM_TYPE, Source};

const DEVICE: &str = "/dev/fuse";

/// A FUSE mount that nothing serves yet.
#[derive(Debug)]
pub(super) struct Mounted {
    /// The connection to the kernel.
    pub(super) device: OwnedFd,
}

/// Who may do what in a mount. The kernel sees to it.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// All users may see it.
    pub allow_other: bool,
    /// Nobody may change it.
    pub read_only: bool,
}

/// Mounts a FUSE file system on a directory.
///
/// # Errors
/// FUSE is missing, or this user may not mount.
pub(super) fn mount(point: &Path, source: Source, access: Access) -> Result<Mounted> {
    let failed = || format!("{} cannot be mounted", point.display());
    if !geteuid().is_root() {
        return mount_by_fusermount(point, source, access).context(failed);
    }
    match mount_directly(point, source, access) {
        // Root in a user namespace that may not mount here.
        Err(error) if error.errno == Some(Errno::PERM) && find_fusermount().is_some() => {
            mount_by_fusermount(point, source, access).context(failed)
        }
        result => result.map_err(|error| error.error).context(failed),
    }
}

/// Asks whether this user can mount, as far as that shows beforehand; nothing is changed.
///
/// # Errors
/// FUSE is missing, or this user may not mount.
pub fn check() -> Result<()> {
    check_device()?;
    if geteuid().is_root() || find_fusermount().is_some() { Ok(()) } else { Err(no_fusermount()) }
}

/// Asks only whether FUSE is there: in a namespace of one's own, no more is needed.
///
/// # Errors
/// It is not, or this user may not open it.
pub fn check_device() -> Result<()> {
    open_device().map(drop)
}

/// Unmounts: at once and with an error where it is in use, or `lazily`, when the last user lets go.
///
/// # Errors
/// `Errno::BUSY` where it is in use, else what umount2(2) or fusermount3 say.
pub fn unmount(point: &Path, lazily: bool) -> Result<(), (Errno, Error)> {
    let describe = |errno: Errno, why: String| {
        (errno, Error::new(format!("{} cannot be unmounted: {why}", point.display())))
    };
    match mounts::detach(point, lazily) {
        Err(Errno::PERM) => {}
        result => return result.map_err(|errno| describe(errno, errno.to_string())),
    }
    let Some(fusermount) = find_fusermount() else {
        let (errno, error) = describe(Errno::PERM, "this user may not, and there is no fusermount3".into());
        return Err((errno, error.with_help("install fuse3, or unmount as the user who mounted it")));
    };
    let mut command = Command::new(fusermount);
    command.arg("-u").args(lazily.then_some("-z")).arg("--").arg(point);
    let output =
        command.env("LC_ALL", "C").output().map_err(|error| describe(Errno::IO, error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let errno = if said.contains("busy") { Errno::BUSY } else { Errno::PERM };
    Err(describe(errno, said))
}

/// Why mount(2) did not do, with its number where it got that far.
struct DirectFailure {
    errno: Option<Errno>,
    error: Error,
}

impl From<Error> for DirectFailure {
    fn from(error: Error) -> Self {
        Self { errno: None, error }
    }
}

/// Mounts by mount(2), in whatever namespace this process is.
pub(super) fn mount_here(point: &Path, source: Source, access: Access) -> Result<Mounted> {
    mount_directly(point, source, access).map_err(|failure| failure.error)
}

fn mount_directly(point: &Path, source: Source, access: Access) -> Result<Mounted, DirectFailure> {
    let device = open_device()?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions{}\0",
        device.as_raw_fd(),
        geteuid().as_raw(),
        getegid().as_raw(),
        if access.allow_other { ",allow_other" } else { "" }
    );
    let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes())
        .map_err(|error| Error::new(error.to_string()))?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, access.read_only);
    match rustix::mount::mount(source.name(), point, FILE_SYSTEM_TYPE, flags, options) {
        Ok(()) => Ok(Mounted { device }),
        Err(errno) => {
            let error = Error::new(format!("mount(2) says: {errno}"));
            let error = match errno {
                Errno::PERM => {
                    error.with_help("mounting needs CAP_SYS_ADMIN: in a container, --cap-add SYS_ADMIN")
                }
                Errno::ACCESS => error.with_help(
                    "a security module may forbid it: in a container, --security-opt apparmor=unconfined",
                ),
                Errno::NODEV => error.with_help("the kernel has no FUSE: modprobe fuse"),
                _ => error,
            };
            Err(DirectFailure { errno: Some(errno), error })
        }
    }
}

fn open_device() -> Result<OwnedFd> {
    open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        let error = Error::new(format!("{DEVICE} cannot be opened: {errno}"));
        error.with_help(match errno {
            Errno::NOENT => "load FUSE with `modprobe fuse`; in a container, add `--device /dev/fuse`",
            Errno::PERM => "the device cgroup forbids it: in a container, add `--device /dev/fuse`",
            _ => "this user needs read and write permission on it",
        })
    })
}

/// Source: fusermount3(1), and libfuse's `lib/mount.c` for `_FUSE_COMMFD`: the descriptor comes over a socket.
fn mount_by_fusermount(point: &Path, source: Source, access: Access) -> Result<Mounted> {
    // Asked first, since fusermount3 cannot say it as clearly.
    drop(open_device()?);
    let fusermount = find_fusermount().ok_or_else(no_fusermount)?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(io::Error::from)?;
    fcntl_setfd(&theirs, FdFlags::empty()).map_err(io::Error::from)?;
    let mut options = OsString::from(if access.read_only { "ro" } else { "rw" });
    options.push(",nosuid,nodev,default_permissions,subtype=sitefs,fsname=");
    options.push(source.name());
    if access.allow_other {
        options.push(",allow_other");
    }
    let output = Command::new(&fusermount)
        .arg("-o")
        .arg(options)
        .arg("--")
        .arg(point)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context(|| format!("{} cannot be started", fusermount.display()))?;
    drop(theirs);
    if !output.status.success() {
        let error = Error::new(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        let said = error.to_string();
        return Err(if said.contains("allow_other") {
            error.with_help("write `user_allow_other` into /etc/fuse.conf, or leave --allow-other out")
        } else if said.contains("write access to mountpoint") {
            error.with_help("`sitefs run` needs no right to write there, nor does root")
        } else if said.contains("determine username") {
            error.with_help("fusermount3 wants this user to have a line in /etc/passwd")
        } else {
            error
        });
    }
    let (device, _) = receive_descriptor(&ours)?;
    device
        .map(|device| Mounted { device })
        .ok_or_else(|| Error::new("fusermount3 mounted but handed over no descriptor"))
}

/// The descriptor that another process sent, and what it said.
pub(super) fn receive_descriptor(socket: &impl AsFd) -> Result<(Option<OwnedFd>, String)> {
    let mut text = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .map_err(io::Error::from)?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let text = text.get(..received.bytes).unwrap_or_default();
    Ok((descriptor, String::from_utf8_lossy(text).into_owned()))
}

fn no_fusermount() -> Error {
    Error::new("there is no fusermount3, which a user without privileges needs to mount")
        .with_help("install fuse3")
}

fn find_fusermount() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from);
    usual
        .into_iter()
        .chain(std::env::split_paths(&path).filter(|directory| directory.is_absolute()))
        .map(|directory| directory.join("fusermount3"))
        .find(|file| file.is_file())
}
