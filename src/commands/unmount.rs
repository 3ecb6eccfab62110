//! `sitefs unmount`: undo a mount.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::mount::venv_of;
use crate::cli::{UnmountOptions, Verbosity};
use crate::error::{Error, Result};
use crate::fuse;
use crate::place::{self, LinkMode};
use crate::shell::quote;
use crate::sys::answer::ask;
use crate::sys::holders::{self, Holder};
use crate::sys::mounts::{self, Mount};
use crate::sys::posix::{Errno, is_root, user};
use crate::sys::read_only::ReadOnlyTree;
use crate::venv::resolve;
use crate::venv::state::{DIRECTORY, MountRecord, State, StateLock};
use crate::view::{self, CACHE_MOUNT};

/// How many of the processes that use a mount are named.
const NAMED: usize = 5;

/// How long a server may take to end when its mount was detached and nobody uses it.
const GRACE: Duration = Duration::from_secs(1);

/// How long a server may take to end, and to undo what it made.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the mount may be in use before that is an error.
const BRIEFLY: Duration = Duration::from_millis(200);

pub(super) fn unmount(options: &UnmountOptions) -> Result<()> {
    match &options.venv {
        Some(venv) => {
            let root = resolve(venv)?;
            unmount_one(&root, options.lazy, options.verbosity)
        }
        None => unmount_all(options),
    }
}

/// Unmounts all that this user mounted, and goes on when one fails.
fn unmount_all(options: &UnmountOptions) -> Result<()> {
    let mounts = mounts::all()?;
    let mine = mounts.iter().filter(|mount| mount.is_ours() && (is_root() || mount.user == Some(user())));
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
    let points: Vec<PathBuf> = mounts_of(root)?.into_iter().map(|mount| mount.point).collect();
    if points.is_empty() {
        refuse_if_not_made(root, &state, verbosity)?;
    }
    // The server of a mount undoes it when it is detached; what is made real is undone here, which tells the same.
    let is_real = state.mount_record().is_some_and(|record| record.link_mode != LinkMode::Fuse);
    let mut changed = Vec::new();
    if !is_real {
        changed = place::changed(&state.outside(root), &state).unwrap_or_else(|error| {
            verbosity.note(error);
            Vec::new()
        });
    }
    for point in &points {
        let is_alive = state.is_locked() || state.is_running();
        detach(point, root, lazily || !is_alive, &state)?;
    }
    if !state.is_apart() && !state.is_there() {
        verbosity.note(format!(
            "{} is gone, so what sitefs made in bin/ and its links to data stay; `sitefs mount {}` takes them over, and \
             the next `sitefs unmount` removes them",
            root.join(DIRECTORY).display(),
            quote(root)
        ));
    } else if let Some(lock) = wait_for_server(&state, root, lazily)? {
        if state.has_runs(&lock) {
            verbosity.say(format!("unmounted {}; `sitefs run` still uses it", root.display()));
            return Ok(());
        }
        mark_incomplete(&state);
        let undone = view::undo(root, &state)?;
        if is_real {
            changed = undone;
        }
    } else {
        verbosity
            .say(format!("detached {}; its server ends with the last process that uses it", root.display()));
        return Ok(());
    }
    for path in changed {
        verbosity.note(format!("{} was changed since it was mounted, and stays", root.join(path).display()));
    }
    tell_of_left(root, &state, verbosity)?;
    verbosity.say(format!("unmounted {}", root.display()));
    Ok(())
}

/// Without a mount, there may be files to undo.
fn refuse_if_not_made(root: &Path, state: &State, verbosity: Verbosity) -> Result<()> {
    if !place::exists(state) && is_held(state) {
        return Err(state.held());
    }
    if !place::exists(state) && !place::is_unfinished(state) {
        tell_of_left(root, state, verbosity)?;
        return Err(not_mounted(root));
    }
    if state.is_running() {
        return Err(Error::new(format!("{} is in use by `sitefs run`", root.display()))
            .with_help("it unmounts when its command ends"));
    }
    Ok(())
}

/// Says what the last mount could not bring home.
pub(super) fn tell_of_left(root: &Path, state: &State, verbosity: Verbosity) -> Result<()> {
    if let Some(left) = view::left(root, state)? {
        verbosity.note(left);
    }
    Ok(())
}

/// Whether a server keeps the lock without a mount. Another command that is about to end does not.
fn is_held(state: &State) -> bool {
    let started = Instant::now();
    while state.is_locked() {
        if started.elapsed() > GRACE {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Were this cut short, `status` would tell. On a full disk nothing can be written, and undoing goes before telling.
fn mark_incomplete(state: &State) {
    if let Some(record) = state.mount_record() {
        let _ = state.save_mount_record(&MountRecord { since: 0, ..record });
    }
}

fn mounts_of(root: &Path) -> Result<Vec<mounts::Mount>> {
    Ok(mounts::all()?.into_iter().filter(|mount| mount.is_ours() && venv_of(&mount.point) == root).collect())
}

fn not_mounted(root: &Path) -> Error {
    let error = Error::new(format!("{} is not mounted", root.display()));
    let above = root.ancestors().skip(1).find(|path| path.join("pyvenv.cfg").is_file());
    error.with_help(match above {
        Some(venv) => format!("did you mean {}?", venv.display()),
        None => "`sitefs status` lists what is".to_owned(),
    })
}

/// Takes one mount away. The kernel refuses while a process uses it; then the error names those that do.
fn detach(point: &Path, root: &Path, lazily: bool, state: &State) -> Result<()> {
    if let Some(other) = mounts::at(point)?.filter(|mount| !mount.is_ours()) {
        let error = format!(
            "a {} file system, which is not sitefs's, covers {}",
            other.file_system_type,
            root.display()
        );
        return Err(Error::new(error).with_help(format!("umount {}", quote(point))));
    }
    let started = Instant::now();
    loop {
        match let_go(point, root, lazily, state) {
            // Whoever only looked, as `status` does, is gone in a moment, and who cannot be named may be about to end.
            Err((Errno::BUSY, _)) => {
                let holders = holders_of(point, state);
                let patience = if holders.is_empty() { GRACE } else { BRIEFLY };
                if started.elapsed() > patience {
                    return Err(match mount_in(point)? {
                        Some(inner) => holds_a_mount(&inner, root),
                        None => busy(&holders, root),
                    });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Err((errno, error)) => {
                return match mounts::at(point)?.filter(Mount::is_ours) {
                    // Another unmount was quicker.
                    None => Ok(()),
                    Some(Mount { user: Some(other), .. }) if errno == Errno::PERM && other != user() => {
                        let error = format!("{} was mounted by another user, number {other}", root.display());
                        Err(Error::new(error).with_help("unmount it as that user, or as root"))
                    }
                    Some(_) => Err(error),
                };
            }
            Ok(()) => return Ok(()),
        }
    }
}

/// The kernel never takes a mount away, unless lazily, that has another in it, as ours has that of the cache: that goes first,
/// and comes back if the other stays. What was loaded through it stays, too.
fn let_go(point: &Path, root: &Path, lazily: bool, state: &State) -> Result<(), (Errno, Error)> {
    let failed = |error: Error| (Errno::IO, error);
    let cache = point.join(CACHE_MOUNT);
    if lazily || mounts::at(&cache).map_err(failed)?.is_none() {
        return fuse::unmount(point, lazily);
    }
    let in_use = || (Errno::BUSY, Error::new(format!("{} is in use", root.display())));
    // Were it known only afterwards, they would do without the cache for a moment.
    if !holders_of(point, state).is_empty() {
        return Err(in_use());
    }
    // On the way there, a server may be asked that hangs.
    let in_time = |act: &dyn Fn() -> Result<(), Errno>| {
        let number = |done: Result<(), Errno>| done.map_or_else(Errno::raw_os_error, |()| 0);
        let answer = ask(|| Ok(number(act()).to_string())).map_err(failed)?;
        match answer.ok_or_else(|| failed(state.hangs(root)))?.parse() {
            Ok(0) => Ok(()),
            Ok(number) => {
                let errno = Errno::from_raw_os_error(number);
                Err((errno, Error::new(format!("{} cannot be unmounted: {errno}", cache.display()))))
            }
            Err(_) => Err(failed(Error::new("the process that was to unmount gave no answer"))),
        }
    };
    let is_ours_to_restore = match in_time(&|| mounts::detach(&cache, true)) {
        // Another unmount was quicker, and sees to what it took.
        Err((Errno::INVAL | Errno::NOENT, _)) => false,
        detached => detached.map(|()| true)?,
    };
    fuse::unmount(point, false).or_else(|error| {
        if is_ours_to_restore
            && let Some(folder) = state.mount_record().and_then(|record| record.mounted_folder)
        {
            in_time(&|| ReadOnlyTree::of(&folder)?.mount_on(&cache))?;
        }
        Err(error)
    })
}

/// A mount in a mount, save that of the cache.
fn mount_in(point: &Path) -> Result<Option<Mount>> {
    let cache = point.join(CACHE_MOUNT);
    let is_inner = |mount: &Mount| {
        mount.point != point && mount.point.starts_with(point) && !mount.point.starts_with(&cache)
    };
    Ok(mounts::all()?.into_iter().rfind(is_inner))
}

fn holds_a_mount(inner: &Mount, root: &Path) -> Error {
    let Mount { point, file_system_type, .. } = inner;
    let error = format!(
        "{} has a {file_system_type} file system mounted in it, on {}",
        root.display(),
        point.display()
    );
    Error::new(error).with_help(if inner.is_ours() {
        format!("sitefs unmount {}", quote(venv_of(point)))
    } else {
        format!("umount {}", quote(point))
    })
}

/// The processes that use a mount, save its server and this one.
fn holders_of(point: &Path, state: &State) -> Vec<Holder> {
    let server = state.mount_record().map(|record| record.pid);
    let is_ours = |pid: u32| Some(pid) == server || pid == std::process::id();
    let mount = mounts::at(point).ok().flatten();
    let holders = mount.iter().flat_map(|mount| holders::of(mount, &point.join(CACHE_MOUNT)));
    holders.filter(|holder| !is_ours(holder.pid)).collect()
}

fn busy(holders: &[Holder], root: &Path) -> Error {
    let mut named: Vec<String> = holders
        .iter()
        .take(NAMED)
        .map(|holder| format!("{} (process {}, {})", holder.name, holder.pid, holder.what))
        .collect();
    if holders.len() > NAMED {
        named.push(format!("{} more", holders.len() - NAMED));
    }
    if named.is_empty() {
        named.push("a process that this user may not see, or that waits for the server".to_owned());
    }
    Error::new(format!("{} is in use by {}", root.display(), named.join(", ")))
        .with_help(format!("end it, or let go at once with `sitefs unmount --lazy {}`", quote(root)))
}

/// Waits for the server to end, which leaves the environment clean, and keeps others from it. Nothing where processes keep
/// a detached mount alive, and where somebody has mounted anew.
fn wait_for_server(state: &State, root: &Path, lazily: bool) -> Result<Option<StateLock>> {
    let started = Instant::now();
    let patience = if lazily { GRACE } else { PATIENCE };
    loop {
        if let Some(lock) = state.try_lock()? {
            return Ok(Some(lock));
        }
        let again = !mounts_of(root)?.is_empty();
        if again || (lazily && started.elapsed() > patience) {
            return Ok(None);
        }
        if started.elapsed() > patience {
            return Err(state.held());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
