//! Watching the cache. The kernel remembers what it was told without end, so it must be told when an archive vanishes.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Weak;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use fuser::Notifier;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::{Errno, read};

use super::convert::inode_of;
use crate::view::View;

/// How long an answer waits until the kernel has forgotten what vanished. It must not wait without end: what forgets waits
/// for whoever looks into the same directory, and that may be for another answer.
const PATIENCE: Duration = Duration::from_millis(200);

/// What tells that something vanishes from a folder.
const FROM_FOLDER: WatchFlags = WatchFlags::DELETE.union(WatchFlags::MOVED_FROM).union(WITH_FOLDER);

/// What tells that a folder vanishes with all that is in it. uv makes and removes files there all the time.
const WITH_FOLDER: WatchFlags = WatchFlags::DELETE_SELF
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::MASK_ADD);

/// How those who answer the kernel have the watch look. It ends with this.
#[derive(Debug)]
pub(super) struct Asking {
    asks: Sender<Sender<()>>,
    wakes: PipeWriter,
}

/// How the watch is asked to look.
#[derive(Debug)]
pub(super) struct Asked {
    asked: Receiver<Sender<()>>,
    woken: PipeReader,
}

/// The two ends of what wakes a watch.
pub(super) fn bell() -> io::Result<(Asking, Asked)> {
    let (asks, asked) = channel();
    let (woken, wakes) = io::pipe()?;
    Ok((Asking { asks, wakes }, Asked { asked, woken }))
}

impl Asking {
    /// Has the watch look, and waits until it has, so that whoever gets an error cannot see what was there before.
    pub(super) fn look(&self) {
        let (done, is_done) = channel();
        let is_asked = self.asks.send(done).is_ok() && (&self.wakes).write_all(&[0]).is_ok();
        if is_asked {
            // Nothing is ever sent: the other end is dropped.
            let _ = is_done.recv_timeout(PATIENCE);
        }
    }
}

/// Watches the archives of a view in a thread, which sleeps as long as nothing vanishes.
pub(super) fn start(view: Weak<View>, notifier: Notifier, mut asked: Asked) {
    std::thread::spawn(move || {
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let changes = changes
            .inspect_err(|errno| {
                ::log::warn!("the cache cannot be watched, what vanishes is seen late: {errno}");
            })
            .ok();
        // The view ends with who serves it, not with this, since the kernel takes its time for the end of a watch.
        while let Some(view) = view.upgrade() {
            if let Some(changes) = &changes {
                watch(&view, changes);
            }
            // Also before the first change: something may have vanished before it was watched.
            look(&view, &notifier);
            let pending: Vec<_> = asked.asked.try_iter().collect();
            if !pending.is_empty() {
                look(&view, &notifier);
                drop(pending);
            }
            drop(view);
            if !asked.wait(changes.as_ref()) {
                return;
            }
        }
    });
}

/// A folder that is watched already is so once.
fn watch(view: &View, changes: &OwnedFd) {
    for folder in view.folders_of_archives() {
        let above = folder.parent().map(|above| (above, WITH_FOLDER));
        for (folder, flags) in std::iter::once((folder, FROM_FOLDER)).chain(above) {
            if let Err(errno) = inotify::add_watch(changes, folder, flags)
                && errno != Errno::NOENT
            {
                ::log::warn!("{} cannot be watched, what vanishes is seen late: {errno}", folder.display());
            }
        }
    }
}

/// Has the kernel forget what came from archives that are gone.
fn look(view: &View, notifier: &Notifier) {
    for (directory, name) in view.look_for_vanished() {
        if let Err(error) = notifier.inval_entry(inode_of(directory), &name) {
            ::log::warn!("the kernel does not forget {}: {error}", name.display());
        }
    }
}

impl Asked {
    /// Sleeps until something changes or somebody asks. Says whether anybody can still ask.
    fn wait(&mut self, changes: Option<&OwnedFd>) -> bool {
        let mut waited = vec![PollFd::new(&self.woken, PollFlags::IN)];
        waited.extend(changes.map(|changes| PollFd::new(changes, PollFlags::IN)));
        match poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return false,
        }
        let told = waited.iter().map(PollFd::revents).collect::<Vec<_>>();
        let mut buffer = [0; 4096];
        if told.first().is_some_and(|told| !told.is_empty()) {
            // One byte for each who asks; none when there is nobody left.
            match self.woken.read(&mut buffer) {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        // What changed is found by looking.
        while changes
            .is_some_and(|changes| read(changes.as_fd(), &mut buffer[..]).is_ok_and(|count| count > 0))
        {
        }
        true
    }
}
