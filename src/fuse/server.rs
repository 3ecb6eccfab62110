//! The server process: one for each mount. It owns its mount from the first moment to the last.

use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Config, Notifier, Session, SessionACL};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, chdir, getpid, getppid, getrlimit,
    set_parent_process_death_signal, setrlimit, setsid, umask, waitpid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::convert::inode_of;
use super::filesystem::Filesystem;
use super::log;
use super::mount::{Access, mount, unmount};
use super::watch;
use crate::bytecode;
use crate::cache::CacheLock;
use crate::cache::store::renew;
use crate::error::{Context, Error, Result};
use crate::place;
use crate::sys::answer::{Life, is_dead, life_of};
use crate::sys::fork::{Fork, close_all_but, fork, silence};
use crate::sys::identity;
use crate::sys::memory::give_back_freed_memory;
use crate::sys::mounts::{self, Source};
use crate::sys::read_only::ReadOnlyTree;
use crate::sys::signals;
use crate::venv::state::{MountRecord, State, StateLock};
use crate::view::{self, CACHE_MOUNT, Hidden, View};

/// Two, so that one slow answer from the cache's disk does not hold up everybody.
const THREADS: usize = 2;

/// How long a server that was told to end waits for those who still use the mount.
const GRACE: Duration = Duration::from_secs(1);

/// How often a server says what it uses of a store. A lease holds for a month.
const RENEWAL: Duration = bytecode::RENEWAL;

/// How often the server of a `sitefs run` that has ended looks whether others still use its mount.
const POLL: Duration = Duration::from_millis(100);

/// What a server needs: the view, where it is mounted, and the right to the environment's state.
pub struct Server {
    /// What is served.
    pub view: View,
    /// The environment's directory.
    pub root: PathBuf,
    /// Its state.
    pub state: State,
    /// The lock on the state, held as long as the server lives: alone by `mount`, shared by several `run`.
    pub lock: StateLock,
    /// The lock on the cache, held as long as the server lives.
    pub cache_lock: Option<CacheLock>,
    /// The lease on a store, renewed as long as the server lives.
    pub lease: Option<PathBuf>,
    /// Where the mount is.
    pub place: Place,
    /// What is written down once the mount answers; the server puts its own process id in.
    pub record: MountRecord,
    /// Who may do what in the mount.
    pub access: Access,
}

/// Where a server's mount is, and what ends it. Here, it may have the cache mounted read-only in it, which ends with it.
#[derive(Debug)]
pub enum Place {
    /// Here: until it is unmounted.
    Here(Option<ReadOnlyTree>),
    /// Here: until it is unmounted, or the process that starts the server ends and no other `sitefs run` uses it.
    HereForRun(Option<ReadOnlyTree>),
    /// In a mount namespace of its own, which ends it.
    Elsewhere {
        /// The connection to the kernel.
        device: OwnedFd,
        /// Whether whoever mounted it mounts the cache, too.
        has_cache: bool,
    },
}

impl Place {
    /// Whether links can lead through a read-only mount of the cache.
    pub fn has_cache(&self) -> bool {
        match self {
            Self::Here(cache) | Self::HereForRun(cache) => cache.is_some(),
            Self::Elsewhere { has_cache, .. } => *has_cache,
        }
    }
}

/// A mount that answers, and its server.
pub struct Running {
    record: MountRecord,
    /// None where it is in another mount namespace.
    device: Option<String>,
    is_run: bool,
    root: PathBuf,
    state: State,
    view: Arc<View>,
    session: JoinHandle<io::Result<()>>,
    events: Receiver<Event>,
    lock: StateLock,
    cache_lock: Option<CacheLock>,
    lease: Option<PathBuf>,
}

/// What a new server process says when its mount answers; its record follows.
const READY: &str = "ready\n";

/// Mounts and serves in a process of its own; returns its record once the mount answers.
///
/// # Errors
/// What kept the mount from answering; then there is no mount and no process.
pub fn start_in_background(server: Server) -> Result<MountRecord> {
    let (mut reader, writer) = io::pipe()?;
    let caller = getpid();
    match fork().context(|| "the server process cannot be started".to_owned())? {
        Fork::Child => {
            drop(reader);
            std::process::exit(run_detached(server, writer, caller));
        }
        Fork::Parent(child) => {
            drop(writer);
            let mut answer = String::new();
            reader.read_to_string(&mut answer)?;
            if let Some(record) =
                answer.strip_prefix(READY).and_then(|record| serde_json::from_str(record).ok())
            {
                return Ok(record);
            }
            let _ = waitpid(Some(child), WaitOptions::empty());
            Err(if answer.is_empty() || answer.starts_with(READY) {
                Error::new("the server process ended before its mount answered")
                    .with_help(format!("its log may tell why: {}", server.state.log().display()))
            } else {
                Error::heard(&answer)
            })
        }
    }
}

/// Mounts, and serves in threads of this process.
///
/// # Errors
/// What kept the mount from answering; then there is no mount.
pub fn start(server: Server) -> Result<Running> {
    let Server { mut view, root, state, lock, cache_lock, lease, mut record, access, place } = server;
    let point = record.site_packages.clone();
    let (is_here, is_run) = (!matches!(place, Place::Elsewhere { .. }), !matches!(place, Place::Here(_)));
    let (asking, asked) = watch::bell()?;
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (device, cache) = match place {
        Place::Elsewhere { device, .. } => (device, None),
        Place::Here(cache) => (mount(&point, Source::Mount, access)?.device, cache),
        Place::HereForRun(cache) => (mount(&point, Source::Run, access)?.device, cache),
    };
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // Who may see the mount is the kernel's to check, by `allow_other`.
    config.acl = SessionACL::All;
    let (hidden, to_be_told) = channel();
    view.tell_hidden(hidden);
    let view = Arc::new(view);
    let started =
        Session::from_fd(Filesystem::new(Arc::clone(&view), asking), device, SessionACL::All, config)
            .context(|| format!("{} was mounted, but the kernel did not accept its server", point.display()))
            .and_then(|session| {
                record.pid = std::process::id();
                record.since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                state.save_mount_record(&record).map(|()| session)
            });
    // What is made has the permission bits that were asked for: the kernel has taken the caller's umask away.
    umask(Mode::empty());
    identity::respect_quotas();
    leave_limits();
    let session = match started {
        Ok(session) => session,
        Err(error) => {
            if is_here {
                let _ = unmount(&point, true);
            }
            return Err(error);
        }
    };
    let device = mounts::at(&point)?.filter(|_| is_here).map(|mount| mount.device);
    ::log::info!("serving {} as process {}", point.display(), record.pid);
    let (sender, events) = channel();
    let ended = sender.clone();
    watch::start(Arc::downgrade(&view), session.notifier(), asked);
    std::thread::spawn(move || forward_signals(signals, &sender));
    let notifier = session.notifier();
    // A thread of its own: the kernel may wait for an answer of ours before it takes what it is told.
    std::thread::spawn(move || tell_hidden(&notifier, &to_be_told));
    let session = std::thread::spawn(move || {
        let result = session.run();
        let _ = ended.send(Event::Ended);
        result
    });
    // Only now, since the server is asked where that is.
    if let Some(Err(errno)) = cache.map(|cache| cache.mount_on(&point.join(CACHE_MOUNT))) {
        let _ = unmount(&point, true);
        let error = Error::new(format!("{} cannot be mounted read-only: {errno}", record.cache.display()));
        return Err(error.with_help("leave that out with --no-cache-mount"));
    }
    Ok(Running { record, device, is_run, root, state, view, session, events, lock, cache_lock, lease })
}

impl Running {
    /// What is mounted.
    pub fn record(&self) -> &MountRecord {
        &self.record
    }

    /// Serves until the mount is gone, by unmount or by signal, and leaves the environment as it was before.
    pub fn wait(self) {
        let Self {
            device,
            is_run,
            root,
            state,
            view,
            session,
            events,
            lock,
            cache_lock: _cache_lock,
            lease,
            ..
        } = self;
        let device = device.as_deref();
        let renew_all = || {
            view.renew_bytecode();
            if let Some(Err(error)) = lease.as_deref().map(renew) {
                ::log::warn!("the lease on the store cannot be renewed: {error}");
            }
        };
        let first = first_event(&events, renew_all, RENEWAL);
        drop(view);
        // Given back by the server of a run, so that it sees whether there are others.
        let lock = (!is_run).then_some(lock);
        let has_ended = match first {
            Event::Signal(signal) => {
                ::log::info!("ending on signal {signal}");
                end_session(&events, device, is_run.then_some(&state))
            }
            Event::Ended => true,
        };
        if has_ended {
            match session.join() {
                Ok(Ok(())) => ::log::info!("the mount is gone"),
                Ok(Err(error)) => ::log::error!("the session ended: {error}"),
                Err(_) => ::log::error!("the session panicked"),
            }
        }
        if let Some(device) = device {
            // The kernel's end of the session may have been cut (an abort): then a dead mount is there.
            detach_mount(device, is_dead);
        }
        if let Err(error) = undo(&root, &state, lock.as_ref()) {
            ::log::error!("{error}");
        }
        // `unmount` waits for the lock, and whoever called it may unmount the disk next: nothing else of that is open then.
        log::stop();
        drop(lock);
    }
}

/// Leaves the environment as it was before, and tells what has to stay. The server of a run has no lock any more.
fn undo(root: &Path, state: &State, lock: Option<&StateLock>) -> Result<()> {
    match lock {
        None => clean_up_after_run(None, root, state)?,
        Some(lock) if state.is_locked_by(lock) => view::undo(root, state).map(drop)?,
        // What is there now may be what another mount has made.
        Some(_) => {
            return Err(Error::new(format!("the lock of {} was removed: nothing is undone", root.display())));
        }
    }
    // What other runs still use is not left.
    if !place::exists(state)
        && let Some(left) = view::left(root, state)?
    {
        ::log::warn!("{left}");
    }
    Ok(())
}

/// Leaves the limits of whoever mounted, as far as a process can by itself: others use the mount, too.
fn leave_limits() {
    signals::ignore_file_size_limit();
    for resource in [Resource::Nofile, Resource::Fsize] {
        let Rlimit { maximum, .. } = getrlimit(resource);
        if let Err(errno) = setrlimit(resource, Rlimit { current: maximum, maximum }) {
            ::log::warn!("the limit {resource:?} stays as it is: {errno}");
        }
    }
}

/// Has the kernel forget entries that are not shown any more.
fn tell_hidden(notifier: &Notifier, hidden: &Receiver<Hidden>) {
    for (directory, name) in hidden {
        // It may not know them.
        let _ = notifier.inval_entry(inode_of(directory), &name);
    }
}

enum Event {
    Ended,
    Signal(i32),
}

/// Waits for what ends the mount, and says meanwhile what is used of a store.
fn first_event(events: &Receiver<Event>, renew: impl Fn(), every: Duration) -> Event {
    loop {
        match events.recv_timeout(every) {
            Ok(event) => return event,
            Err(RecvTimeoutError::Disconnected) => return Event::Ended,
            Err(RecvTimeoutError::Timeout) => renew(),
        }
    }
}

fn forward_signals(mut signals: Signals, events: &Sender<Event>) {
    for signal in signals.forever() {
        if events.send(Event::Signal(signal)).is_err() {
            break;
        }
    }
}

/// Unmounts, as soon as no other `sitefs run` needs the mount, and waits for the session's end. Says whether it has
/// ended: users of a mount that was detached may keep it, but not for ever. One that is elsewhere ends with this process.
fn end_session(events: &Receiver<Event>, device: Option<&str>, run: Option<&State>) -> bool {
    let Some(device) = device else {
        return false;
    };
    let right = match run.map(|state| wait_for_other_runs(state, events)) {
        Some(Err(SessionEnded)) => return true,
        Some(Ok(right)) => right,
        None => None,
    };
    detach_mount(device, |_| true);
    drop(right);
    loop {
        match events.recv_timeout(GRACE) {
            Ok(Event::Signal(_)) => {}
            Ok(Event::Ended) => return true,
            Err(_) => {
                ::log::warn!("processes still use the mount, and lose it now");
                return false;
            }
        }
    }
}

struct SessionEnded;

/// Gives the right under which the mount can go: who starts now waits for it, and then finds no mount.
fn wait_for_other_runs(state: &State, events: &Receiver<Event>) -> Result<Option<StateLock>, SessionEnded> {
    loop {
        match state.try_lock() {
            Ok(Some(right)) if !state.has_runs(&right) => return Ok(Some(right)),
            Ok(_) => {}
            Err(error) => {
                ::log::warn!("{error}");
                return Ok(None);
            }
        }
        if let Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) = events.recv_timeout(POLL) {
            return Err(SessionEnded);
        }
    }
}

/// Detaches our own mount, wherever it is by now, unless another file system covers it. When the session has ended, the
/// device number may be another's already: `is_ours` must tell.
fn detach_mount(device: &str, is_ours: impl Fn(&Path) -> bool) {
    let ours = mounts::all().ok().and_then(|all| all.into_iter().find(|mount| mount.device == device));
    let ours = ours.filter(|mount| mount.is_ours() && is_ours(&mount.point));
    let Some(ours) = ours else { return };
    match mounts::at(&ours.point) {
        Ok(Some(topmost)) if topmost.device == device => {
            if let Err((_, error)) = unmount(&ours.point, true) {
                ::log::warn!("{error}");
            }
        }
        _ => ::log::warn!("another file system covers {}, and stays", ours.point.display()),
    }
}

/// Leaves the environment as it was, once a `sitefs run` and its server have ended and given their lock back. Others that
/// run in it keep what is there. `point` is where the mount was, if it was here and its server may have been killed.
///
/// # Errors
/// A place that cannot be written.
pub fn clean_up_after_run(point: Option<&Path>, root: &Path, state: &State) -> Result<()> {
    let right = state.lock(|| Ok(()))?;
    if state.has_runs(&right) {
        return Ok(());
    }
    if let Some(point) = point
        && mounts::at(point)?.is_some_and(|mount| mount.source == Some(Source::Run))
    {
        match life_of(point)? {
            Life::Dead => {}
            // Its server is about to do this.
            Life::Answers => return Ok(()),
            Life::Hangs => return Err(state.hangs(root)),
        }
        unmount(point, true).map_err(|(_, error)| error)?;
    }
    view::undo(root, state).map(drop)
}

/// The child's side of the fork. Gives its exit code.
fn run_detached(server: Server, mut writer: PipeWriter, caller: Pid) -> i32 {
    match detach(&server, writer.as_fd(), caller).and_then(|()| start(server)) {
        Ok(running) => {
            let record = serde_json::to_string(running.record()).unwrap_or_default();
            // In one piece: half of it would be taken for an answer.
            let told = writer.write_all(format!("{READY}{record}").as_bytes());
            drop(writer);
            if let Err(error) = told {
                ::log::warn!("the command that started this server is gone: {error}");
            }
            give_back_freed_memory();
            running.wait();
            0
        }
        Err(error) => {
            let _ = write!(writer, "{}", error.told());
            1
        }
    }
}

/// Leaves the caller's session, terminal, directory, and all descriptors that it happened to have open: a pipe or a
/// lock that a server keeps would hang its caller's caller.
fn detach(server: &Server, writer: BorrowedFd, caller: Pid) -> Result<()> {
    let failed = |errno: Errno| Error::new(format!("the server process cannot be detached: {errno}"));
    setsid().map_err(failed)?;
    signals::release()?;
    if matches!(server.place, Place::HereForRun(_)) {
        end_with(caller).map_err(failed)?;
    }
    chdir("/").map_err(failed)?;
    silence()?;
    let mut kept = vec![server.lock.as_fd(), writer];
    kept.extend(server.view.descriptors());
    kept.extend(server.cache_lock.as_ref().map(AsFd::as_fd));
    match &server.place {
        Place::Elsewhere { device, .. } => kept.push(device.as_fd()),
        Place::Here(cache) | Place::HereForRun(cache) => kept.extend(cache.as_ref().map(AsFd::as_fd)),
    }
    close_all_but(&kept)?;
    log::start(server.state.open_log()?)
}

/// Has the kernel end this process when its parent ends, however that comes.
fn end_with(parent: Pid) -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_renewed_until_the_mount_ends() {
        let lease = tempfile::NamedTempFile::new().unwrap();
        lease.as_file().set_modified(UNIX_EPOCH).unwrap();
        let (sender, events) = channel();
        let is_renewed = || lease.as_file().metadata().unwrap().modified().unwrap() > UNIX_EPOCH;
        std::thread::scope(|scope| {
            let renew = || renew(lease.path()).unwrap();
            let waiting = scope.spawn(move || first_event(&events, renew, Duration::from_millis(1)));
            while !is_renewed() {
                std::thread::sleep(Duration::from_millis(1));
            }
            sender.send(Event::Signal(SIGTERM)).unwrap();
            assert!(matches!(waiting.join().unwrap(), Event::Signal(SIGTERM)));
        });
    }
}
