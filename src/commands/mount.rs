//! `sitefs mount`: make an environment complete.

use std::env;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::geteuid;

use super::status;
use crate::cache::{Archive, Cache};
use crate::cli::{MountCommand, MountOptions, print};
use crate::error::{Context, Error, Result};
use crate::fuse::{self, Place, Server};
use crate::lock::Lock;
use crate::outside;
use crate::parallel::parallel;
use crate::sys::mounts;
use crate::venv::state::{MountRecord, MountedDistribution, State, StateLock};
use crate::venv::{Interpreter, Layout, Venv};
use crate::view::{Distribution, View, clashes, installed};

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
        _ => Ok((Venv::open(venv)?, false)),
    }
}

fn complete(venv: &Venv, command: &MountCommand, started: Instant) -> Result<()> {
    let plan = Plan::make(venv, command.cache.as_deref(), &command.options, refuse_if_mounted)?;
    let state = plan.state.clone();
    let lock = state.lock()?;
    if state.has_runs(&lock) {
        let venv = venv.root().display();
        return Err(
            Error::new(format!("a `sitefs run` uses {venv}")).with_help("mount it when that has ended")
        );
    }
    let result = act(plan, lock, command, started);
    if result.is_err() {
        state.remove_if_unused()?;
    }
    result
}

/// The lock files and the cache.
struct Inputs {
    requirements: Vec<PathBuf>,
    cache: PathBuf,
}

impl Inputs {
    fn choose(cache: Option<&Path>, options: &MountOptions, venv: &Venv, state: &State) -> Result<Self> {
        let beside = venv.root().with_file_name("requirements.txt");
        let (requirements, last_cache) = if !options.requirements.is_empty() {
            (options.requirements.clone(), None)
        } else if beside.is_file() {
            (vec![beside], None)
        } else if let Some(last) = state.mount_record() {
            (last.requirements, Some(last.cache))
        } else {
            return Err(Error::new(format!("nothing says what {} shall hold", venv.root().display()))
                .with_help(format!("give a lock with -r, or put it at {}", beside.display())));
        };
        let absolute = |path: &PathBuf| std::path::absolute(path).context(|| path.display().to_string());
        let requirements = requirements.iter().map(absolute).collect::<Result<_>>()?;
        let cache = cache.map(Path::to_path_buf).or(last_cache).or_else(default_cache).ok_or_else(|| {
            Error::new("no cache is known: neither UV_CACHE_DIR nor HOME is set")
                .with_help("give the cache, as CACHE after VENV or in SITEFS_CACHE")
        })?;
        Ok(Self { requirements, cache })
    }
}

/// Source: <https://docs.astral.sh/uv/concepts/cache/#cache-directory>
fn default_cache() -> Option<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("UV_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|directory| directory.join("uv")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/uv")))
}

/// What the locks ask for, as the cache has it. Nothing is changed here.
fn resolve(
    inputs: &Inputs,
    interpreter: &Interpreter,
    layout: &Layout,
    options: &MountOptions,
) -> Result<Vec<Distribution>> {
    let locks = Lock::read(&inputs.requirements)?;
    locks.notes.iter().for_each(|note| options.verbosity.note(note));
    let pins = locks.select(&interpreter.markers)?;
    let archives = Cache::open(&inputs.cache)?.find(&pins, &interpreter.tags, &layout.python())?;
    parallel(&archives, |archive: &Archive| {
        outside::plan(archive, layout)
            .map(|placements| Distribution::new(archive.clone(), placements, layout))
    })
    .into_iter()
    .collect()
}

fn tell_clashes(distributions: &[Distribution], options: &MountOptions) -> Result<()> {
    if options.verbosity.verbose {
        for clash in clashes(distributions)? {
            options.verbosity.detail(format!(
                "{} is {}'s, and hides {}'s",
                clash.path.display(),
                clash.winner,
                clash.hidden
            ));
        }
    }
    Ok(())
}

/// Changes the environment: whatever fails, it is left as it was.
fn act(plan: Plan, lock: StateLock, command: &MountCommand, started: Instant) -> Result<()> {
    let (root, state) = (plan.layout.root.clone(), plan.state.clone());
    let served = plan.prepare(true, &command.options).and_then(|prepared| {
        let server = prepared.server(lock, Place::Here);
        if command.foreground {
            let running = fuse::start(server)?;
            tell(running.record(), command, started);
            running.wait();
        } else {
            tell(&fuse::start_in_background(server)?, command, started);
        }
        Ok(())
    });
    if served.is_err() {
        outside::undo(&root, &state)?;
    }
    served
}

/// What is to be mounted: found, and nothing changed yet.
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) state: State,
    inputs: Inputs,
    distributions: Vec<Distribution>,
}

/// What a server needs, save the right to serve and the place.
pub(super) struct Prepared {
    view: View,
    record: MountRecord,
    state: State,
    root: PathBuf,
    allow_other: bool,
}

impl Plan {
    /// Finds what the locks ask for, if `check` has nothing against it.
    pub(super) fn make(
        venv: &Venv,
        cache: Option<&Path>,
        options: &MountOptions,
        check: impl FnOnce(&Layout, &State) -> Result<()>,
    ) -> Result<Self> {
        let interpreter = Interpreter::of(venv.root())?;
        let layout = Layout::new(venv.root().to_path_buf(), interpreter.scheme.clone(), interpreter.version)?;
        let state = State::of(venv.root());
        check(&layout, &state)?;
        let inputs = Inputs::choose(cache, options, venv, &state)?;
        let distributions = resolve(&inputs, &interpreter, &layout, options)?;
        tell_clashes(&distributions, options)?;
        Ok(Self { layout, state, inputs, distributions })
    }

    /// What would be written down of this mount.
    pub(super) fn record(&self) -> Result<MountRecord> {
        record(&self.distributions, &self.inputs, &self.layout)
    }

    /// Makes what goes outside site-packages, or takes it as another `sitefs run` made it.
    pub(super) fn prepare(mut self, place: bool, options: &MountOptions) -> Result<Prepared> {
        clear_dead_mount(&self.layout, &self.state, options)?;
        let upper = open_upper(&self.layout)?;
        hide_what_is_private(&mut self.distributions, &upper, options)?;
        if place {
            place_outside(&mut self.distributions, &self.layout, &self.state, options)?;
        } else {
            let placed = outside::placed(&self.state);
            for distribution in &mut self.distributions {
                distribution.placements.retain(|placement| placed.contains(&placement.path));
            }
        }
        Ok(Prepared {
            record: self.record()?,
            view: View::new(self.distributions, upper, self.layout.clone())?,
            root: self.layout.root,
            state: self.state,
            allow_other: options.allow_other || geteuid().is_root(),
        })
    }
}

impl Prepared {
    /// The server of it.
    pub(super) fn server(self, lock: StateLock, place: Place) -> Server {
        let Self { view, record, state, root, allow_other } = self;
        Server { view, record, state, root, allow_other, lock, place }
    }

    /// The distributions, without those that the environment's own hide.
    pub(super) fn record(&self) -> &MountRecord {
        &self.record
    }

    /// Whether all users may see the mount.
    pub(super) fn allow_other(&self) -> bool {
        self.allow_other
    }
}

pub(super) fn refuse_if_mounted(layout: &Layout, state: &State) -> Result<()> {
    let point = layout.site_packages();
    let Some(mount) = mounts::at(&point)? else {
        return Ok(());
    };
    if !mount.is_ours() {
        return Err(Error::new(format!(
            "a {} file system, which is not sitefs's, is mounted on {}",
            mount.file_system_type,
            point.display()
        ))
        .with_help(format!("umount {}", point.display())));
    }
    if mount.is_dead() {
        return Ok(());
    }
    let by = state.mount_record().map(|record| format!(" by process {}", record.pid)).unwrap_or_default();
    let venv = layout.root.display();
    Err(Error::new(format!("{venv} is mounted already{by}")).with_help(format!("sitefs unmount {venv}")))
}

/// A server that was killed leaves a mount that answers nothing.
fn clear_dead_mount(layout: &Layout, state: &State, options: &MountOptions) -> Result<()> {
    refuse_if_mounted(layout, state)?;
    let point = layout.site_packages();
    while mounts::at(&point)?.is_some_and(|mount| mount.is_ours() && mount.is_dead()) {
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

/// What a person installed in the environment itself stays, and hides the locked distribution of that name.
fn hide_what_is_private(
    distributions: &mut Vec<Distribution>,
    upper: &OwnedFd,
    options: &MountOptions,
) -> Result<()> {
    let private = installed(upper)?;
    distributions.retain(|Distribution { archive, .. }| {
        let hidden = private.contains(&archive.name);
        if hidden {
            options
                .verbosity
                .note(format!("the environment's own {} hides the locked {archive}", archive.name));
        }
        !hidden
    });
    Ok(())
}

fn place_outside(
    distributions: &mut [Distribution],
    layout: &Layout,
    state: &State,
    options: &MountOptions,
) -> Result<()> {
    let placements: Vec<_> = distributions
        .iter()
        .flat_map(|distribution| {
            distribution.placements.iter().map(|placement| (&distribution.archive.name, placement))
        })
        .collect();
    let applied = outside::apply(&layout.root, state, &placements)?;
    for path in &applied.kept {
        options.verbosity.detail(format!("{} is the environment's own, and stays", path.display()));
    }
    for distribution in distributions {
        distribution.placements.retain(|placement| !applied.kept.contains(&placement.path));
    }
    Ok(())
}

fn record(distributions: &[Distribution], inputs: &Inputs, layout: &Layout) -> Result<MountRecord> {
    Ok(MountRecord {
        sitefs: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 0,
        since: 0,
        site_packages: layout.site_packages(),
        cache: fs_err::canonicalize(&inputs.cache)?,
        requirements: inputs.requirements.clone(),
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

fn tell(record: &MountRecord, command: &MountCommand, started: Instant) {
    if command.json {
        print(status::Status::mounted(record).to_json());
        return;
    }
    let count = record.distributions.len();
    command.options.verbosity.say(format!(
        "mounted {count} distribution{} on {} in {:.1} ms (fuse, from {})",
        if count == 1 { "" } else { "s" },
        venv_of(&record.site_packages).display(),
        started.elapsed().as_secs_f64() * 1000.0,
        record.cache.display(),
    ));
}

/// The environment that a site-packages directory belongs to.
pub(super) fn venv_of(site_packages: &Path) -> &Path {
    let is_venv = |path: &&Path| path.join("pyvenv.cfg").is_file();
    site_packages
        .ancestors()
        .find(is_venv)
        .or_else(|| site_packages.ancestors().nth(3))
        .unwrap_or(site_packages)
}
