//! In the place of `fuse`, where sitefs is built without it: nothing can be mounted, and what another sitefs has
//! mounted can be unmounted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use crate::cache::CacheLock;
use crate::error::{Error, Result};
use crate::place::LinkMode;
use crate::shell::quote;
use crate::sys::mounts;
use crate::sys::posix::Errno;
use crate::sys::read_only::ReadOnlyTree;
use crate::venv::state::{MountRecord, State, StateLock};
use crate::view::{self, View};

/// What a server would need.
pub struct Server {
    /// What is served.
    pub view: View,
    /// The environment's directory.
    pub root: PathBuf,
    /// Its state.
    pub state: State,
    /// The lock on the state.
    pub lock: StateLock,
    /// The lock on the cache.
    pub cache_lock: Option<CacheLock>,
    /// The lease on a store.
    pub lease: Option<PathBuf>,
    /// Where the mount is.
    pub place: Place,
    /// What is written down once the mount answers.
    pub record: MountRecord,
    /// Who may do what in the mount.
    pub access: Access,
}

/// Who may do what in a mount.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// All users may see it.
    pub allow_other: bool,
    /// Nobody may change it.
    pub read_only: bool,
}

/// Where a mount would be.
#[derive(Debug)]
pub enum Place {
    /// Here: until it is unmounted.
    Here(Option<ReadOnlyTree>),
    /// Here: as long as a `sitefs run` uses it.
    HereForRun(Option<ReadOnlyTree>),
}

impl Place {
    /// Whether links can lead through a read-only mount of the cache: there is no mount.
    pub fn has_cache(&self) -> bool {
        false
    }
}

/// A mount that answers: there is none.
#[derive(Debug)]
pub struct Running(Infallible);

/// A process that sees a mount of its own: there is none.
#[derive(Debug)]
pub struct Waiting(Infallible);

impl Running {
    /// What is mounted.
    pub fn record(&self) -> &MountRecord {
        match self.0 {}
    }

    /// Serves.
    pub fn wait(self) {
        match self.0 {}
    }
}

impl Waiting {
    /// Lets it go on.
    ///
    /// # Errors
    /// None: there is no such process.
    pub fn go<T>(self) -> Result<T> {
        match self.0 {}
    }
}

/// Asks whether this sitefs can mount.
///
/// # Errors
/// Always: it cannot.
pub fn check() -> Result<()> {
    Err(missing())
}

/// The same.
///
/// # Errors
/// Always.
pub fn check_device() -> Result<()> {
    Err(missing())
}

/// Mounts and serves.
///
/// # Errors
/// Always.
pub fn start(_server: Server) -> Result<Running> {
    Err(missing())
}

/// Mounts and serves in a process of its own.
///
/// # Errors
/// Always.
pub fn start_in_background(_server: Server) -> Result<MountRecord> {
    Err(missing())
}

/// The requests that a server has answered: there is none to ask.
pub fn requests(_point: &Path) -> Option<BTreeMap<String, u64>> {
    None
}

/// Mounts where only one process sees it.
///
/// # Errors
/// Always.
pub fn mount_privately(
    _point: &Path,
    _cache: Option<&Path>,
    _access: Access,
    _then: impl FnOnce() -> Result<Infallible, i32>,
) -> Result<(Waiting, Place)> {
    Err(missing())
}

/// Unmounts what another sitefs has mounted: at once and with an error where it is in use, or `lazily`.
///
/// # Errors
/// What umount2(2) says; `Errno::PERM` for ordinary users, who need fusermount3 for it.
pub fn unmount(point: &Path, lazily: bool) -> Result<(), (Errno, Error)> {
    mounts::detach(point, lazily).map_err(|errno| {
        let error = Error::new(format!("{} cannot be unmounted: {errno}", point.display()));
        let by_hand = format!("fusermount3 -u {}", quote(point));
        (errno, if errno == Errno::PERM { error.with_help(by_hand) } else { error })
    })
}

/// Leaves the environment as it was, once a `sitefs run` has ended and given its lock back. A mount is that of another
/// sitefs, whose server cleans up.
///
/// # Errors
/// A place that cannot be written.
pub fn clean_up_after_run(_point: Option<&Path>, root: &Path, state: &State) -> Result<()> {
    let right = state.lock(|| Ok(()))?;
    if state.has_runs(&right) || state.mount_record().is_some_and(|record| record.link_mode == LinkMode::Fuse)
    {
        return Ok(());
    }
    view::undo(root, state).map(drop)
}

fn missing() -> Error {
    Error::new("this sitefs was built without FUSE")
        .with_help("use --link-mode symlink, or build it with the feature `fuse`, for Linux")
}
