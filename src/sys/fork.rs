//! fork(2).
#![expect(unsafe_code, reason = "fork and close_range have no safe form")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::Pid;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Which side of a fork this is.
pub enum Fork {
    /// The process that called; with the new process's id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Splits this process in two. It must have one thread, which is checked.
///
/// # Errors
/// What fork(2) says; `EBUSY` where other threads run.
pub fn fork() -> io::Result<Fork> {
    wait_to_be_alone()?;
    // SAFETY: this process has one thread, so no lock is held by a thread that the child would lack, and the
    // child may call anything that the parent might have.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => {
            Pid::from_raw(child).map(Fork::Parent).ok_or_else(|| io::Error::other("fork gave no process id"))
        }
    }
}

/// Closes all descriptors from 3 on, save those given. For a new process that shall keep nothing of its parent's.
///
/// # Errors
/// What close_range(2) says.
pub fn close_all_but(kept: &[BorrowedFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for last in kept.into_iter().map(Some).chain([None]) {
        let end = last.map_or(u32::MAX, |descriptor| descriptor.saturating_sub(1));
        if first <= end {
            // SAFETY: the caller is a new process. What it owns itself, it has given; all other descriptors belong to
            // code of its parent that never runs here, so nobody closes a number again that is then another's.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, first, end, 0) };
            if closed == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        first = end.saturating_add(2);
    }
    Ok(())
}

/// Gives a new process nothing to read, and nobody who hears what it writes.
///
/// # Errors
/// `/dev/null` cannot be opened.
pub fn silence() -> io::Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(dup2_stderr(&null)?)
}

/// A thread that was joined is still listed for a moment.
fn wait_to_be_alone() -> io::Result<()> {
    for _ in 0..100 {
        if threads()? == 1 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::from(rustix::io::Errno::BUSY))
}

fn threads() -> io::Result<usize> {
    Ok(fs_err::read_dir("/proc/self/task")?.count())
}
