//! `sitefs mount`: make an environment complete.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::geteuid;

use super::inputs::Inputs;
use super::status;
use super::unmount::unmount_one;
use crate::cache::{Archive, Cache};
use crate::cli::{MountOptions, print};
use crate::error::{Error, Result};
use crate::fuse::{self, Server};
use crate::link;
use crate::lock::Lock;
use crate::outside;
use crate::parallel::parallel;
use crate::place::{self, Difficulty, LinkMode, Placement};
use crate::sys::mounts;
use crate::venv::state::{MountRecord, MountedDistribution, State, StateLock};
use crate::venv::{Interpreter, Layout, Venv};
use crate::view::{Clash, Distribution, View, clashes, installed};

pub(super) fn mount(options: &MountOptions) -> Result<()> {
    let started = Instant::now();
    let (venv, is_new) = open_or_create(options)?;
    let result = complete(&venv, options, started);
    if result.is_err() && is_new {
        fs_err::remove_dir_all(venv.root())?;
    }
    result
}

fn open_or_create(options: &MountOptions) -> Result<(Venv, bool)> {
    match &options.python {
        Some(python) if fs_err::symlink_metadata(&options.venv).is_err() => {
            Ok((Venv::create(&options.venv, python)?, true))
        }
        python => {
            let venv = Venv::open(&options.venv)?;
            if python.is_some() {
                options.verbosity.note(format!("{} is there, and keeps its Python", venv.root().display()));
            }
            Ok((venv, false))
        }
    }
}

fn complete(venv: &Venv, options: &MountOptions, started: Instant) -> Result<()> {
    let interpreter = Interpreter::of(venv.root())?;
    let layout = Layout::new(venv.root().to_path_buf(), interpreter.scheme.clone(), interpreter.version)?;
    let state = State::of(venv.root());
    let inputs = Inputs::choose(options, venv, &state)?;
    let archives = resolve(&inputs, &interpreter, &layout, options)?;
    make_way(&layout, &state, options)?;
    let work = Work { archives, inputs: &inputs, layout: &layout, state: &state, options, started };
    let result = work.run();
    if let (Err(_), Some(lock)) = (&result, state.try_lock()?) {
        state.remove_if_unused(&lock)?;
    }
    result
}

/// What the locks ask for, as the cache has it. Nothing is changed here.
fn resolve(
    inputs: &Inputs,
    interpreter: &Interpreter,
    layout: &Layout,
    options: &MountOptions,
) -> Result<Vec<Archive>> {
    let locks = Lock::read(&inputs.requirements)?;
    locks.notes.iter().for_each(|note| options.verbosity.note(note));
    let pins = locks.select(&interpreter.markers)?;
    // The environment may be one that is made for this, and removed again if it cannot be completed.
    let python = fs_err::canonicalize(layout.python())?;
    Cache::open(&inputs.cache)?.find(&pins, &interpreter.tags, &python)
}

/// An explicit link mode takes the place of a living mount; without one, there is nothing to do.
fn make_way(layout: &Layout, state: &State, options: &MountOptions) -> Result<()> {
    let wants_files = options.link_mode()?.one().is_some_and(|mode| mode != LinkMode::Fuse);
    match living_mount(layout, state)? {
        Some(_) if wants_files => unmount_one(&layout.root, false, options.verbosity),
        Some(point) => Err(already_mounted(layout, state, &point)),
        None => Ok(()),
    }
}

/// What changes the environment. Whatever fails, it is left without anything of ours.
struct Work<'a> {
    archives: Vec<Archive>,
    inputs: &'a Inputs,
    layout: &'a Layout,
    state: &'a State,
    options: &'a MountOptions,
    started: Instant,
}

impl Work<'_> {
    /// Tries the link modes that are allowed, in turn.
    fn run(mut self) -> Result<()> {
        let modes = self.options.link_mode()?.in_turn(self.options.fallback);
        let mut rest = modes.iter().skip(1);
        for &mode in &modes {
            match (self.make(mode), rest.next()) {
                (Err(Difficulty::Unsupported(error)), Some(next)) => {
                    self.options.verbosity.note(format!("{mode} does not work here, so {next}: {error}"));
                }
                (Err(Difficulty::Unsupported(error) | Difficulty::Failed(error)), _) => return Err(error),
                (Ok(()), _) => break,
            }
        }
        Ok(())
    }

    fn make(&mut self, mode: LinkMode) -> Result<(), Difficulty> {
        if mode == LinkMode::Fuse {
            fuse::check().map_err(Difficulty::Unsupported)?;
        }
        let lock = self.state.lock(|| refuse_if_mounted(self.layout, self.state))?;
        clear_dead_mount(self.layout, self.options)?;
        self.hide_what_is_private()?;
        let distributions = self.distributions(mode)?;
        self.tell_clashes(&distributions)?;
        let made = match mode {
            LinkMode::Fuse => self.mount(distributions, lock),
            _ => self.link(distributions, mode),
        };
        if made.is_err() {
            place::undo(&self.layout.root, self.state)?;
        }
        made
    }

    fn distributions(&self, mode: LinkMode) -> Result<Vec<Distribution>> {
        let distribution = |archive: &Archive| {
            let placements = outside::plan(archive, self.layout, mode)?;
            Ok(Distribution::new(archive.clone(), placements, self.layout))
        };
        parallel(&self.archives, distribution).into_iter().collect()
    }

    fn tell_clashes(&self, distributions: &[Distribution]) -> Result<()> {
        if self.options.verbosity.verbose {
            for Clash { path, winner, hidden } in clashes(distributions)? {
                self.options
                    .verbosity
                    .detail(format!("{} is {winner}'s, and hides {hidden}'s", path.display()));
            }
        }
        Ok(())
    }

    /// What a person installed in the environment itself stays, and hides the locked distribution of that name. What an
    /// earlier link mode made there is not a person's.
    fn hide_what_is_private(&mut self) -> Result<()> {
        let is_ours = place::has_dist_info(&self.layout.root, self.state)?;
        let is_private = |name: &OsStr| !is_ours(&self.layout.scheme.purelib.join(name));
        let private = installed(open_upper(self.layout)?, is_private)?;
        self.archives.retain(|archive| {
            let hidden = private.contains(&archive.name);
            if hidden {
                let name = &archive.name;
                self.options
                    .verbosity
                    .note(format!("the environment's own {name} hides the locked {archive}"));
            }
            !hidden
        });
        Ok(())
    }

    fn mount(&self, mut distributions: Vec<Distribution>, lock: StateLock) -> Result<(), Difficulty> {
        let upper = open_upper(self.layout)?;
        let outside: Vec<Placement> =
            distributions.iter().flat_map(|distribution| distribution.placements.iter().cloned()).collect();
        let kept = self.place(&outside)?;
        for distribution in &mut distributions {
            distribution.placements.retain(|placement| !kept.contains(&placement.path));
        }
        let server = Server {
            record: self.record(&distributions, LinkMode::Fuse)?,
            view: View::new(distributions, Some(upper), self.layout.clone())?,
            root: self.layout.root.clone(),
            state: self.state.clone(),
            lock,
            allow_other: self.options.allow_other || geteuid().is_root(),
        };
        if self.options.foreground {
            let running = fuse::start(server).map_err(Difficulty::Unsupported)?;
            self.tell(running.record());
            running.wait();
        } else {
            let record = fuse::start_in_background(server).map_err(Difficulty::Unsupported)?;
            self.tell(&record);
        }
        Ok(())
    }

    fn link(&self, distributions: Vec<Distribution>, mode: LinkMode) -> Result<(), Difficulty> {
        let mut placements: Vec<Placement> =
            distributions.iter().flat_map(|distribution| distribution.placements.iter().cloned()).collect();
        let mut record = self.record(&distributions, mode)?;
        let view = View::new(distributions, None, self.layout.clone())?;
        placements.extend(link::plan(&view, mode, self.layout)?);
        self.state.save_mount_record(&record)?;
        self.place(&placements)?;
        record.since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.state.save_mount_record(&record)?;
        self.tell(&record);
        Ok(())
    }

    /// Makes files, and gives the paths where the environment has its own.
    fn place(&self, placements: &[Placement]) -> Result<HashSet<PathBuf>, Difficulty> {
        let kept = place::apply(&self.layout.root, self.state, placements)?.kept;
        for path in &kept {
            self.options.verbosity.detail(format!("{} is the environment's own, and stays", path.display()));
        }
        Ok(kept)
    }

    fn record(&self, distributions: &[Distribution], link_mode: LinkMode) -> Result<MountRecord> {
        Ok(MountRecord {
            sitefs: env!("CARGO_PKG_VERSION").to_owned(),
            link_mode,
            pid: 0,
            since: 0,
            site_packages: self.layout.site_packages(),
            cache: fs_err::canonicalize(&self.inputs.cache)?,
            requirements: self.inputs.requirements.clone(),
            distributions: distributions
                .iter()
                .map(|distribution| MountedDistribution {
                    name: distribution.archive.name.clone(),
                    version: distribution.archive.version.clone(),
                    layers: distribution.layers.clone(),
                    dist_info: distribution.archive.dist_info.clone(),
                })
                .collect(),
        })
    }

    fn tell(&self, record: &MountRecord) {
        if self.options.json {
            print(status::Status::mounted(record).to_json());
            return;
        }
        let count = record.distributions.len();
        self.options.verbosity.say(format!(
            "mounted {count} distribution{} on {} in {:.1} ms ({}, from {})",
            if count == 1 { "" } else { "s" },
            self.layout.root.display(),
            self.started.elapsed().as_secs_f64() * 1000.0,
            record.link_mode,
            record.cache.display(),
        ));
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
        .with_help(format!("umount {}", point.display()))),
        Some(_) => Ok(Some(point).filter(|_| state.is_locked())),
    }
}

fn refuse_if_mounted(layout: &Layout, state: &State) -> Result<()> {
    match living_mount(layout, state)? {
        Some(point) => Err(already_mounted(layout, state, &point)),
        None => Ok(()),
    }
}

fn already_mounted(layout: &Layout, state: &State, point: &Path) -> Error {
    let record = state.mount_record().filter(|record| record.site_packages == point);
    let by = record.map(|record| format!(" by process {}", record.pid)).unwrap_or_default();
    let venv = layout.root.display();
    Error::new(format!("{venv} is mounted already{by}")).with_help(format!("sitefs unmount {venv}"))
}

/// A server that was killed leaves a mount that answers nothing. Only for who holds the lock: then no server lives.
fn clear_dead_mount(layout: &Layout, options: &MountOptions) -> Result<()> {
    let point = layout.site_packages();
    while let Some(mount) = mounts::at(&point)? {
        if !mount.is_ours() {
            return Err(Error::new(format!(
                "a {} file system covers {}",
                mount.file_system_type,
                point.display()
            ))
            .with_help(format!("umount {}", point.display())));
        }
        fuse::unmount(&point, true).map_err(|(_, error)| error)?;
        options
            .verbosity
            .note(format!("cleaned up after a server that had died on {}", layout.root.display()));
    }
    Ok(())
}

fn open_upper(layout: &Layout) -> Result<OwnedFd> {
    let point = layout.site_packages();
    open(&point, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        Error::new(format!("{} cannot be opened: {errno}", point.display()))
            .with_help("a virtual environment has it: make the environment anew")
    })
}

/// The environment that a site-packages directory belongs to. What is mounted there is not looked at.
pub(super) fn venv_of(site_packages: &Path) -> &Path {
    let is_venv = |path: &&Path| path.join("pyvenv.cfg").is_file();
    let mut above = site_packages.ancestors().skip(1);
    above.clone().find(is_venv).or_else(|| above.nth(2)).unwrap_or(site_packages)
}
