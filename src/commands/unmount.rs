//! `sitefs unmount`: undo a mount.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::geteuid;

use super::mount::venv_of;
use crate::cli::{UnmountOptions, Verbosity};
use crate::error::{Context, Error, Result};
use crate::fuse;
use crate::place;
use crate::sys::{holders, mounts};
use crate::venv::state::State;

/// How many of the processes that use a mount are named.
const NAMED: usize = 5;

/// How long a server may take to end when its mount was detached and nobody uses it.
const GRACE: Duration = Duration::from_secs(1);

pub(super) fn unmount(options: &UnmountOptions) -> Result<()> {
    match &options.venv {
        Some(venv) => {
            let root =
                fs_err::canonicalize(venv).context(|| format!("{} cannot be unmounted", venv.display()))?;
            unmount_one(&root, options.lazy, options.verbosity)
        }
        None => unmount_all(options),
    }
}

/// Unmounts all that this user mounted, and goes on when one fails.
fn unmount_all(options: &UnmountOptions) -> Result<()> {
    let me = geteuid();
    let mounts = mounts::all()?;
    let mine =
        mounts.iter().filter(|mount| mount.is_ours() && (me.is_root() || mount.user == Some(me.as_raw())));
    let (mut found, mut failed) = (0, Vec::new());
    for mount in mine {
        found += 1;
        if let Err(error) = unmount_one(venv_of(&mount.point), options.lazy, options.verbosity) {
            failed.push(error);
        }
    }
    if found == 0 {
        options.verbosity.say("nothing is mounted");
    }
    match failed.pop() {
        None => Ok(()),
        Some(last) => {
            failed.iter().for_each(|error| options.verbosity.note(error));
            Err(last)
        }
    }
}

pub(super) fn unmount_one(root: &Path, lazily: bool, verbosity: Verbosity) -> Result<()> {
    let state = State::of(root);
    let mounted: Vec<_> =
        mounts::all()?.into_iter().filter(|mount| mount.is_ours() && venv_of(&mount.point) == root).collect();
    let leftovers = place::exists(&state);
    if mounted.is_empty() && !leftovers {
        return Err(Error::new(format!("{} is not mounted", root.display()))
            .with_help("`sitefs status` lists what is"));
    }
    let changed = place::changed(root, &state)?;
    for mount in &mounted {
        detach(mount, root, lazily)?;
    }
    if !wait_for_server(&state, lazily)? {
        verbosity
            .say(format!("detached {}; its server ends with the last process that uses it", root.display()));
        return Ok(());
    }
    place::undo(root, &state)?;
    for path in changed {
        verbosity.note(format!("{} was changed since it was mounted, and stays", root.join(path).display()));
    }
    verbosity.say(format!("unmounted {}", root.display()));
    Ok(())
}

/// Takes one mount away. The kernel refuses while a process uses it; then the error names those that do.
fn detach(mount: &mounts::Mount, root: &Path, lazily: bool) -> Result<()> {
    match fuse::unmount(&mount.point, lazily || mount.is_dead()) {
        Ok(()) => Ok(()),
        Err((Errno::BUSY, _)) => Err(busy(&mount.point, root)),
        Err((_, error)) => Err(error),
    }
}

fn busy(point: &Path, root: &Path) -> Error {
    let holders = holders::of(point);
    let mut named: Vec<String> = holders
        .iter()
        .take(NAMED)
        .map(|holder| format!("{} (process {}, {})", holder.name, holder.pid, holder.what))
        .collect();
    if holders.len() > NAMED {
        named.push(format!("{} more", holders.len() - NAMED));
    }
    if named.is_empty() {
        named.push("a process that this user may not see".to_owned());
    }
    Error::new(format!("{} is in use by {}", root.display(), named.join(", ")))
        .with_help(format!("end it, or let go at once with `sitefs unmount --lazy {}`", root.display()))
}

/// Waits for the server to end, which leaves the environment clean. False where processes keep a detached mount alive.
fn wait_for_server(state: &State, lazily: bool) -> Result<bool> {
    if !lazily {
        return state.lock().map(|_| true);
    }
    let started = Instant::now();
    while state.is_locked() {
        if started.elapsed() > GRACE {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}
