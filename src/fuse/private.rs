//! A mount that only one process and those it starts see.
//!
//! The mount lives in a mount namespace that ends with the last process in it, and the mount with it, whatever ends
//! them. Its server must stay outside: inside, it would keep the namespace and so its own mount alive. So a new process
//! enters the namespace, mounts there, hands the connection out, and waits until a server answers.

use std::convert::Infallible;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::Place;
use super::mount::{Access, mount_here, receive_descriptor};
use crate::error::{Context, Error, Result};
use crate::sys::fork::{Fork, fork};
use crate::sys::mounts::Source;
use crate::sys::namespace;
use crate::sys::read_only::ReadOnlyTree;
use crate::view::CACHE_MOUNT;

/// What such a process says of its mount if the cache will be in it.
const HAS_CACHE: &str = "cache";

/// A process that sees the mount, and waits until it answers.
#[derive(Debug)]
pub struct Waiting {
    pid: Pid,
    socket: UnixStream,
}

/// Starts a process in a mount namespace of its own, and mounts there, with `cache` mounted read-only in it, if there is one
/// and that can be. `then` is what it does once it may [go](Waiting::go); it ends with the code that this gives. The
/// place is for a server outside.
///
/// # Errors
/// This user may have no namespace, or may not mount in it; FUSE is missing. Then nothing is left.
pub fn mount_privately(
    point: &Path,
    cache: Option<&Path>,
    access: Access,
    then: impl FnOnce() -> Result<Infallible, i32>,
) -> Result<(Waiting, Place)> {
    let (ours, theirs) = UnixStream::pair()?;
    match fork().context(|| "a process cannot be started".to_owned())? {
        Fork::Child => {
            drop(ours);
            let Err(code) = enter(point, cache, access, theirs).and_then(|()| then());
            std::process::exit(code);
        }
        Fork::Parent(pid) => {
            drop(theirs);
            match receive_descriptor(&ours) {
                Ok((Some(device), said)) => {
                    let place = Place::Elsewhere { device, has_cache: said == HAS_CACHE };
                    Ok((Waiting { pid, socket: ours }, place))
                }
                answer => {
                    drop(ours);
                    let _ = waitpid(Some(pid), WaitOptions::empty());
                    Err(Error::new(answer?.1))
                }
            }
        }
    }
}

impl Waiting {
    /// Lets it go on. Dropped instead, it ends.
    pub fn go(mut self) -> Result<Pid> {
        self.socket.write_all(&[0])?;
        Ok(self.pid)
    }
}

/// Mounts in a new namespace, and waits for the word to go on; a caller that has ended says none.
fn enter(point: &Path, cache: Option<&Path>, access: Access, mut socket: UnixStream) -> Result<(), i32> {
    let mounted = namespace::enter().context(|| "no mount namespace can be made".to_owned()).and_then(|()| {
        let cache = cache.and_then(|cache| ReadOnlyTree::of(cache).ok());
        let mounted = mount_here(point, Source::Run, access)?;
        let said = if cache.is_some() { HAS_CACHE } else { "no cache" };
        send_descriptor(&socket, &mounted.device, said)?;
        Ok(cache)
    });
    let cache = match mounted {
        Ok(cache) => cache,
        Err(error) => {
            let _ = write!(socket, "{error}");
            return Err(1);
        }
    };
    socket.read_exact(&mut [0]).map_err(|_| 1)?;
    match cache.map(|cache| cache.mount_on(&point.join(CACHE_MOUNT))) {
        Some(Err(errno)) => {
            eprintln!("error: the cache cannot be mounted read-only: {errno}");
            Err(1)
        }
        _ => Ok(()),
    }
}

fn send_descriptor(socket: &UnixStream, descriptor: &OwnedFd, said: &str) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(said.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)
        .map_err(std::io::Error::from)?;
    Ok(())
}
