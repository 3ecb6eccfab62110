//! `sitefs mount`: make an environment complete.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::compile::{compile_before, compile_in_background};
use super::reset;
use super::status;
use super::unmount::{tell_of_left, unmount_one};
use super::work::Work;
use crate::cli::{CompileWhen, MountCommand, MountOptions, Verbosity, print};
use crate::error::{Error, Result};
use crate::fuse;
use crate::place::{self, Difficulty, LinkMode};
use crate::shell::quote;
use crate::sys::mounts;
use crate::venv::state::{DYING, MountRecord, State};
use crate::venv::{Layout, Venv};
use crate::view::{self, CACHE_MOUNT};

pub(super) fn mount(command: &MountCommand) -> Result<()> {
    let started = Instant::now();
    let (venv, is_new) = open_or_create(&command.venv, &command.options)?;
    let result = complete(&venv, command, started);
    if result.is_err() && is_new {
        fs_err::remove_dir_all(venv.root())?;
    }
    result
}

/// The environment, and whether it was just created.
pub(super) fn open_or_create(venv: &Path, options: &MountOptions) -> Result<(Venv, bool)> {
    match &options.python {
        Some(python) if fs_err::symlink_metadata(venv).is_err() => Ok((Venv::create(venv, python)?, true)),
        python => {
            let venv = Venv::open(venv)?;
            if python.is_some() {
                options.verbosity.note(format!("{} is there, and keeps its Python", venv.root().display()));
            }
            Ok((venv, false))
        }
    }
}

fn complete(venv: &Venv, command: &MountCommand, started: Instant) -> Result<()> {
    // A store has it again, at the same place, as soon as it is looked for.
    let state = State::of(venv.root());
    let had_vanished = state.is_locked() && has_vanished(&state);
    let mut work = Work::plan(venv, command.cache.as_deref(), &command.options, false)?;
    let is_mounted = |work: &Work| {
        Ok::<_, Error>(place::exists(&work.state) || mounts::at(&work.layout.site_packages())?.is_some())
    };
    let was_mounted = is_mounted(&work)?;
    make_way(&work.layout, &work.state, had_vanished, &command.options)?;
    let when = command.options.compile_when(CompileWhen::Never)?;
    compile_before(&work, when, command.options.verbosity)?;
    if command.foreground {
        // Once it serves, it has threads, and cannot start another process.
        compile_in_background(&work, when, false)?;
    }
    let result = work.in_turn(|work, mode| make(work, mode, command, started));
    let result = match result {
        Err(error) if was_mounted && !is_mounted(&work)? => Err(undone(&work.layout, error)),
        result => result,
    };
    if let (Err(_), Some(lock)) = (&result, work.state.try_lock()?) {
        work.state.remove_if_unused(&lock)?;
    }
    result?;
    if command.foreground { Ok(()) } else { compile_in_background(&work, when, false) }
}

/// An explicit link mode takes the place of a living mount, and so does what mends one.
fn make_way(layout: &Layout, state: &State, had_vanished: bool, options: &MountOptions) -> Result<()> {
    if state.is_running() {
        return Err(in_use(layout));
    }
    let wants_files = options.link_mode()?.one().is_some_and(|mode| mode != LinkMode::Fuse);
    match living_mount(layout, state)? {
        Some(_) if wants_files => unmount_one(&layout.root, false, options.verbosity),
        Some(point) => {
            let venv = layout.root.display();
            let why = if had_vanished || has_vanished(state) {
                format!("archives of {venv} are gone from the cache")
            } else if state.mount_record().is_some_and(|record| has_lost_cache(&record, &point)) {
                format!("the mount of the cache in {venv} is gone")
            } else {
                return Err(already_mounted(layout, state, &point));
            };
            options.verbosity.note(format!("{why}, so it is mounted anew"));
            // Who uses it has lost its packages already.
            unmount_one(&layout.root, true, Verbosity { quiet: true, verbose: false })
        }
        None => Ok(()),
    }
}

/// Whether links of a living mount lead nowhere, since the mount of the cache in it is gone: somebody took it away, or an
/// unmount was cut short in between. It comes a moment after the mount itself.
pub(super) fn has_lost_cache(record: &MountRecord, point: &Path) -> bool {
    let asked = Instant::now();
    while lacks_cache(record, point) {
        if asked.elapsed() > DYING {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// The same at this moment.
pub(super) fn lacks_cache(record: &MountRecord, point: &Path) -> bool {
    record.mounted_folder.is_some() && mounts::at(&point.join(CACHE_MOUNT)).is_ok_and(|mount| mount.is_none())
}

/// Whether the cache has lost something that is mounted.
fn has_vanished(state: &State) -> bool {
    state.mount_record().is_some_and(|record| !record.vanished().is_empty())
}

fn make(work: &mut Work, mode: LinkMode, command: &MountCommand, started: Instant) -> Result<(), Difficulty> {
    if mode == LinkMode::Fuse {
        fuse::check().map_err(Difficulty::Unsupported)?;
    }
    let lock = work.state.lock(|| refuse_if_mounted(&work.layout, &work.state))?;
    if work.state.has_runs(&lock) {
        return Err(in_use(&work.layout).into());
    }
    work.clear_dead_mount()?;
    view::leave(&work.layout.root, &work.state)?;
    tell_of_left(&work.layout.root, &work.state, command.options.verbosity)?;
    if command.reset && work.state.is_apart() {
        let root = work.layout.root.display();
        return Err(Error::new(format!("{root} cannot be written, so --reset cannot change it")).into());
    }
    if command.reset {
        let locked = work.all_distributions(mode)?;
        reset::reset(&work.layout, &work.state, &locked, command.options.verbosity)?;
    }
    let distributions = work.distributions(mode)?;
    let tell = |record: &MountRecord| tell(record, &work.layout, command, started);
    let made = match mode {
        LinkMode::Fuse => work.served(distributions, lock).and_then(|server| {
            let served = if command.foreground {
                fuse::start(server).map(|running| {
                    tell(running.record());
                    running.wait();
                })
            } else {
                fuse::start_in_background(server).map(|record| tell(&record))
            };
            served.map_err(Difficulty::Unsupported)
        }),
        _ => work.link(distributions, mode).map(|record| tell(&record)),
    };
    if made.is_err() && work.has_begun() {
        view::undo(&work.layout.root, &work.state)?;
    }
    made
}

fn tell(record: &MountRecord, layout: &Layout, command: &MountCommand, started: Instant) {
    if command.json {
        print(status::Status::mounted(record).to_json());
        return;
    }
    let count = record.distributions.len();
    command.options.verbosity.say(format!(
        "mounted {count} distribution{} on {} in {:.1} ms ({}, from {})",
        if count == 1 { "" } else { "s" },
        layout.root.display(),
        started.elapsed().as_secs_f64() * 1000.0,
        record.how(),
        record.cache.display(),
    ));
    if let Some(outside) = &record.outside {
        let bin = outside.join(&layout.scheme.scripts);
        let venv = layout.root.display();
        command
            .options
            .verbosity
            .say(format!("commands are in {}, since {venv} cannot be written", bin.display()));
    }
}

/// The mount point, if a server of ours lives there: it holds the lock. A mount that is not ours is an error.
fn living_mount(layout: &Layout, state: &State) -> Result<Option<PathBuf>> {
    let point = layout.site_packages();
    match mounts::at(&point)? {
        None => Ok(None),
        Some(mount) if !mount.is_ours() => Err(Error::new(format!(
            "a {} file system, which is not sitefs's, is mounted on {}",
            mount.file_system_type,
            point.display()
        ))
        .with_help(format!("umount {}", quote(&point)))),
        Some(_) => Ok(Some(point).filter(|_| is_served(state))),
    }
}

/// Whether a server lives. One that was killed a moment ago may still be about to let go of the lock.
fn is_served(state: &State) -> bool {
    let asked = Instant::now();
    while state.is_locked() || state.is_running() {
        if asked.elapsed() > DYING {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

pub(super) fn refuse_if_mounted(layout: &Layout, state: &State) -> Result<()> {
    match living_mount(layout, state)? {
        Some(point) => Err(already_mounted(layout, state, &point)),
        None => Ok(()),
    }
}

fn already_mounted(layout: &Layout, state: &State, point: &Path) -> Error {
    let record = state.mount_record().filter(|record| record.site_packages == point && record.pid != 0);
    let by = record.map(|record| format!(" by process {}", record.pid)).unwrap_or_default();
    Error::new(format!("{} is mounted already{by}", layout.root.display()))
        .with_help(format!("sitefs unmount {}", quote(&layout.root)))
}

/// A mount that failed when it had begun, or in the place of a mount, has left nothing, not even what was there before.
fn undone(layout: &Layout, error: Error) -> Error {
    let root = &layout.root;
    let message =
        format!("{} could not be mounted anew, and what was mounted before is unmounted", root.display());
    let help = error.help().unwrap_or("mount it as it was, or mend this and mount again").to_owned();
    Error::new(message).because(error).with_help(help)
}

fn in_use(layout: &Layout) -> Error {
    Error::new(format!("a `sitefs run` uses {}", layout.root.display()))
        .with_help("mount it when that has ended")
}

/// The environment that a site-packages directory belongs to. What is mounted there is not looked at.
pub(super) fn venv_of(site_packages: &Path) -> &Path {
    let is_venv = |path: &&Path| path.join("pyvenv.cfg").is_file();
    let mut above = site_packages.ancestors().skip(1);
    above.clone().find(is_venv).or_else(|| above.nth(2)).unwrap_or(site_packages)
}
