//! `sitefs mount`: make an environment complete.

use std::env;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::geteuid;

use super::status;
use crate::cache::{Archive, Cache};
use crate::cli::{MountOptions, print};
use crate::error::{Context, Error, Result};
use crate::fuse::{self, Server};
use crate::lock::Lock;
use crate::outside;
use crate::parallel::parallel;
use crate::sys::mounts;
use crate::venv::state::{MountRecord, MountedDistribution, State, StateLock};
use crate::venv::{Interpreter, Layout, Venv};
use crate::view::{Distribution, View, clashes, installed};

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
        _ => Ok((Venv::open(&options.venv)?, false)),
    }
}

fn complete(venv: &Venv, options: &MountOptions, started: Instant) -> Result<()> {
    let interpreter = Interpreter::of(venv.root())?;
    let layout = Layout::new(venv.root().to_path_buf(), interpreter.scheme.clone(), interpreter.version)?;
    let state = State::of(venv.root());
    refuse_if_mounted(&layout, &state)?;
    let inputs = Inputs::choose(options, venv, &state)?;
    let distributions = resolve(&inputs, &interpreter, &layout, options)?;
    tell_clashes(&distributions, options)?;

    let lock = state.lock()?;
    let result = act(distributions, &inputs, &layout, &state, lock, options, started);
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
    fn choose(options: &MountOptions, venv: &Venv, state: &State) -> Result<Self> {
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
        let cache = options.cache.clone().or(last_cache).or_else(default_cache).ok_or_else(|| {
            Error::new("no cache is known: neither UV_CACHE_DIR nor HOME is set")
                .with_help("give CACHE after VENV")
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
fn act(
    mut distributions: Vec<Distribution>,
    inputs: &Inputs,
    layout: &Layout,
    state: &State,
    lock: StateLock,
    options: &MountOptions,
    started: Instant,
) -> Result<()> {
    clear_dead_mount(layout, state, options)?;
    let upper = open_upper(layout)?;
    hide_what_is_private(&mut distributions, &upper, options)?;
    place_outside(&mut distributions, layout, state, options)?;
    let server = Server {
        record: record(&distributions, inputs, layout)?,
        view: View::new(distributions, upper, layout.clone())?,
        root: layout.root.clone(),
        state: state.clone(),
        lock,
        allow_other: options.allow_other || geteuid().is_root(),
    };
    let served = if options.foreground {
        fuse::start(server).map(|running| {
            tell(running.record(), options, started);
            running.wait();
        })
    } else {
        fuse::start_in_background(server).map(|record| tell(&record, options, started))
    };
    if served.is_err() {
        outside::undo(&layout.root, state)?;
    }
    served
}

fn refuse_if_mounted(layout: &Layout, state: &State) -> Result<()> {
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

fn tell(record: &MountRecord, options: &MountOptions, started: Instant) {
    if options.json {
        print(status::Status::mounted(record).to_json());
        return;
    }
    let count = record.distributions.len();
    options.verbosity.say(format!(
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
