//! The server process: one for each mount. It owns its mount from the first moment to the last.

use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Config, Session, SessionACL};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, chdir, getpid, getppid, set_parent_process_death_signal, setsid, waitpid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::filesystem::Filesystem;
use super::log;
use super::mount::{mount, unmount};
use crate::error::{Context, Error, Result};
use crate::outside;
use crate::sys::fork::{Fork, close_all_but, fork};
use crate::sys::mounts::{self, Source};
use crate::sys::signals;
use crate::venv::state::{MountRecord, State, StateLock};
use crate::view::View;

/// Two, so that one slow answer from the cache's disk does not hold up everybody.
const THREADS: usize = 2;

/// How long a server that was told to end waits for those who still use the mount.
const GRACE: Duration = Duration::from_secs(1);

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
    /// Where the mount is.
    pub place: Place,
    /// What is written down once the mount answers; the server puts its own process id in.
    pub record: MountRecord,
    /// Whether all users may see the mount.
    pub allow_other: bool,
}

/// Where a server's mount is, and what ends it.
#[derive(Debug)]
pub enum Place {
    /// Here: until it is unmounted.
    Here,
    /// Here: until it is unmounted, or the process that starts the server ends and no other `sitefs run` uses it.
    HereForRun,
    /// In a mount namespace of its own, which ends it. This is the connection to the kernel.
    Elsewhere(OwnedFd),
}

/// A mount that answers, and its server.
pub struct Running {
    record: MountRecord,
    root: PathBuf,
    state: State,
    /// None where it is in another mount namespace.
    point: Option<PathBuf>,
    is_run: bool,
    session: JoinHandle<io::Result<()>>,
    events: Receiver<Event>,
    lock: StateLock,
}

/// What a new server process says when its mount answers; its record follows.
const READY: &str = "ready\n";

/// Between an error and its help, in what a server process says when it fails.
const HELP: char = '\u{1f}';

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
            if let Some(record) = answer.strip_prefix(READY) {
                return serde_json::from_str(record).context(|| "the server's answer is garbled".to_owned());
            }
            let _ = waitpid(Some(child), WaitOptions::empty());
            Err(match answer.split_once(HELP) {
                Some((message, help)) => Error::new(message).with_help(help),
                None if answer.is_empty() => Error::new("the server process ended before its mount answered")
                    .with_help(format!("its log may tell why: {}", server.state.log().display())),
                None => Error::new(answer),
            })
        }
    }
}

/// Mounts, and serves in threads of this process.
///
/// # Errors
/// What kept the mount from answering; then there is no mount.
pub fn start(server: Server) -> Result<Running> {
    let Server { view, root, state, lock, mut record, allow_other, place } = server;
    let point = record.site_packages.clone();
    let (is_here, is_run) = (!matches!(place, Place::Elsewhere(_)), !matches!(place, Place::Here));
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let device = match place {
        Place::Elsewhere(device) => device,
        Place::Here => mount(&point, Source::Mount, allow_other)?.device,
        Place::HereForRun => mount(&point, Source::Run, allow_other)?.device,
    };
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // Who may see the mount is the kernel's to check, by `allow_other`.
    config.acl = SessionACL::All;
    let started = Session::from_fd(Filesystem::new(view), device, SessionACL::All, config)
        .context(|| format!("{} was mounted, but the kernel did not accept its server", point.display()))
        .and_then(|session| {
            record.pid = std::process::id();
            record.since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            state.save_mount_record(&record).map(|()| session)
        });
    let session = match started {
        Ok(session) => session,
        Err(error) => {
            if is_here {
                let _ = unmount(&point, true);
            }
            return Err(error);
        }
    };
    ::log::info!("serving {} as process {}", point.display(), record.pid);
    let (sender, events) = channel();
    let ended = sender.clone();
    std::thread::spawn(move || forward_signals(signals, &sender));
    let session = std::thread::spawn(move || {
        let result = session.run();
        let _ = ended.send(Event::Ended);
        result
    });
    let point = is_here.then_some(point);
    Ok(Running { record, root, state, point, is_run, session, events, lock })
}

impl Running {
    /// What is mounted.
    pub fn record(&self) -> &MountRecord {
        &self.record
    }

    /// Serves until the mount is gone, by unmount or by signal, and leaves the environment as it was before.
    pub fn wait(self) {
        let Self { root, state, point, is_run, session, events, lock, .. } = self;
        let point = point.as_deref();
        let first = events.recv();
        // Given back by the server of a run, so that it sees whether there are others.
        let _lock = (!is_run).then_some(lock);
        let has_ended = match first {
            Ok(Event::Signal(signal)) => {
                ::log::info!("ending on signal {signal}");
                end_session(&events, point, is_run.then_some(&state))
            }
            Ok(Event::Ended) | Err(_) => true,
        };
        if has_ended {
            match session.join() {
                Ok(Ok(())) => ::log::info!("the mount is gone"),
                Ok(Err(error)) => ::log::error!("the session ended: {error}"),
                Err(_) => ::log::error!("the session panicked"),
            }
        }
        let cleaned =
            if is_run { clean_up_after_run(point, &root, &state) } else { clean_up(point, &root, &state) };
        if let Err(error) = cleaned {
            ::log::error!("{error}");
        }
    }
}

enum Event {
    Ended,
    Signal(i32),
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
fn end_session(events: &Receiver<Event>, point: Option<&Path>, run: Option<&State>) -> bool {
    let Some(point) = point else {
        return false;
    };
    let right = match run.map(|state| wait_for_other_runs(state, events)) {
        Some(Err(SessionEnded)) => return true,
        Some(Ok(right)) => right,
        None => None,
    };
    if let Err((_, error)) = unmount(point, true) {
        ::log::warn!("{error}");
    }
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

/// Leaves the environment as it was, once the server of a `sitefs run` has ended and given its lock back. Others that
/// run in the environment keep what is outside site-packages. `point` is the mount point, if the mount was here.
///
/// # Errors
/// A place that cannot be written.
pub fn clean_up_after_run(point: Option<&Path>, root: &Path, state: &State) -> Result<()> {
    let right = state.lock()?;
    if state.has_runs(&right) { Ok(()) } else { clean_up(point, root, state) }
}

/// Leaves the environment as it was before the mount.
fn clean_up(point: Option<&Path>, root: &Path, state: &State) -> Result<()> {
    // The kernel's end of the session may have been cut (an abort): then a dead mount is left.
    if let Some(point) = point
        && mounts::at(point).is_ok_and(|mount| mount.is_some_and(|mount| mount.is_ours() && mount.is_dead()))
    {
        let _ = unmount(point, true);
    }
    outside::undo(root, state)
}

/// The child's side of the fork. Gives its exit code.
fn run_detached(server: Server, mut writer: PipeWriter, caller: Pid) -> i32 {
    match detach(&server, writer.as_fd(), caller).and_then(|()| start(server)) {
        Ok(running) => {
            let record = serde_json::to_string(running.record()).unwrap_or_default();
            let told = write!(writer, "{READY}{record}");
            drop(writer);
            if let Err(error) = told {
                ::log::warn!("the command that started this server is gone: {error}");
            }
            running.wait();
            0
        }
        Err(error) => {
            let help = error.help().map(|help| format!("{HELP}{help}")).unwrap_or_default();
            let _ = write!(writer, "{error}{help}");
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
    if matches!(server.place, Place::HereForRun) {
        end_with(caller).map_err(failed)?;
    }
    chdir("/").map_err(failed)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    dup2_stdin(&null).map_err(failed)?;
    dup2_stdout(&null).map_err(failed)?;
    dup2_stderr(&null).map_err(failed)?;
    drop(null);
    let mut kept = vec![server.lock.as_fd(), server.view.upper(), writer];
    if let Place::Elsewhere(device) = &server.place {
        kept.push(device.as_fd());
    }
    close_all_but(&kept)?;
    log::start(&server.state.log())
}

/// Has the kernel end this process when its parent ends, however that comes.
fn end_with(parent: Pid) -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH) }
}
