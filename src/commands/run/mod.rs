//! `sitefs run`: mount, run a command, unmount.

mod program;
mod supervisor;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Pid, geteuid, getpid};

use self::program::Program;
use self::supervisor::{Supervisor, Unmounting};
use super::mount::{Plan, open_or_create, refuse_if_mounted};
use crate::cli::{MountOptions, RunCommand};
use crate::error::{Error, Result};
use crate::fuse::{self, Place};
use crate::outside;
use crate::sys::children;
use crate::sys::mounts::{self, Mount, Source};
use crate::sys::signals::Signals;
use crate::venv::state::{MountRecord, MountedDistribution, StateLock};
use crate::venv::{Layout, Venv};
use crate::view::installed;

/// Signals are held from the start: one that comes while it mounts goes to the command, and none ends this process
/// before it has cleaned up.
pub(super) fn run(command: &RunCommand) -> Result<ExitCode> {
    let signals = Signals::hold()?;
    children::adopt_orphans();
    let (venv, is_new) = open_or_create(&choose_venv(command)?, &command.options)?;
    let result = start(&venv, command, &signals);
    if result.is_err() && is_new {
        fs_err::remove_dir_all(venv.root())?;
    }
    let Started { child, unmounting, shared } = result?;
    let supervisor = Supervisor { signals: &signals, verbosity: command.options.verbosity };
    let code = supervisor.stay_with(child, unmounting)?;
    drop(shared);
    Ok(ExitCode::from(code))
}

/// A command that runs.
struct Started {
    child: Pid,
    /// What is to be undone; nothing where the mount is not this run's.
    unmounting: Option<Unmounting>,
    /// What keeps the mount of another run.
    shared: Option<StateLock>,
}

fn choose_venv(command: &RunCommand) -> Result<PathBuf> {
    let of_shell = || env::var_os("VIRTUAL_ENV").filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(venv) = command.venv.clone().or_else(of_shell) {
        return Ok(venv);
    }
    let usual = Path::new(".venv");
    if usual.exists() || command.options.python.is_some() {
        return Ok(usual.to_path_buf());
    }
    Err(Error::new("no environment is known: VIRTUAL_ENV is not set, and there is no .venv here")
        .with_help("give it with --venv; --python creates it"))
}

/// Makes the environment complete, and starts the command in it. What is mounted here already is used as it is.
fn start(venv: &Venv, command: &RunCommand, signals: &Signals) -> Result<Started> {
    let plan = Plan::make(venv, command.cache.as_deref(), &command.options, |_, _| Ok(()))?;
    let program = Program::new(&plan.layout, &command.command, signals);
    // Its server holds the lock as long as it lives.
    if mounted(&plan)?.is_some_and(|mount| mount.source == Some(Source::Mount)) {
        refuse_if_mounted_differently(&plan)?;
        return Ok(Started { child: program.start()?, unmounting: None, shared: None });
    }
    let (layout, state) = (plan.layout.clone(), plan.state.clone());
    let right = state.lock()?;
    if mounted(&plan)?.is_some() {
        refuse_if_mounted_differently(&plan)?;
        let shared = Some(state.join_runs(&right)?);
        return Ok(Started { child: program.start()?, unmounting: None, shared });
    }
    let result = mount_and_start(plan, &right, &program, command);
    if result.is_err() && !state.has_runs(&right) {
        outside::undo(&layout.root, &state)?;
        state.remove_if_unused()?;
    }
    let (child, unmounting) = result?;
    Ok(Started { child, unmounting: Some(unmounting), shared: None })
}

fn mount_and_start(
    plan: Plan,
    right: &StateLock,
    program: &Program,
    command: &RunCommand,
) -> Result<(Pid, Unmounting)> {
    let options = &command.options;
    let (layout, state) = (plan.layout.clone(), plan.state.clone());
    let is_first = !state.has_runs(right);
    let prepared = plan.prepare(is_first, options)?;
    if !is_first {
        refuse_if_different(prepared.record(), state.mount_record(), &layout)?;
    }
    let lock = state.join_runs(right)?;
    let point = layout.site_packages();
    let waiting = if wants_namespace(command) {
        fuse::mount_privately(&point, prepared.allow_other(), || program.become_it())
            .inspect_err(|error| options.verbosity.detail(format!("mounting where others see it: {error}")))
            .ok()
    } else {
        None
    };
    let (waiting, place) = match waiting {
        Some((waiting, device)) => (Some(waiting), Place::Elsewhere(device)),
        None => (None, Place::HereForRun),
    };
    let is_here = waiting.is_none();
    let record = fuse::start_in_background(prepared.server(lock, place))?;
    tell(&record, is_here, options);
    let unmounting = Unmounting {
        server: i32::try_from(record.pid).ok().and_then(Pid::from_raw),
        point: is_here.then_some(point),
        root: layout.root,
        state,
    };
    let child = match waiting {
        Some(waiting) => waiting.go(),
        None => program.start(),
    };
    match child {
        Ok(child) => Ok((child, unmounting)),
        Err(error) => {
            unmounting.ask();
            Err(error)
        }
    }
}

/// The mount namespace of a container is private already, and there `docker exec` shall see what process 1 sees, if that
/// may mount in it.
fn wants_namespace(command: &RunCommand) -> bool {
    let is_root_of_container = getpid().is_init() && geteuid().is_root();
    !command.no_namespace && !is_root_of_container
}

fn tell(record: &MountRecord, is_here: bool, options: &MountOptions) {
    options.verbosity.detail(format!(
        "mounted {} distributions {} (fuse, from {})",
        record.distributions.len(),
        if is_here { "where others see them" } else { "in a mount namespace of the command's own" },
        record.cache.display()
    ));
}

/// What sitefs has mounted, if it answers. A mount of others is refused.
fn mounted(plan: &Plan) -> Result<Option<Mount>> {
    let mount = mounts::at(&plan.layout.site_packages())?;
    if mount.as_ref().is_some_and(|mount| !mount.is_ours()) {
        refuse_if_mounted(&plan.layout, &plan.state)?;
    }
    Ok(mount.filter(|mount| mount.is_ours() && !mount.is_dead()))
}

fn refuse_if_mounted_differently(plan: &Plan) -> Result<()> {
    let wanted = plan.record()?.distributions;
    let mounted = plan.state.mount_record().map(|record| record.distributions).unwrap_or_default();
    let seen = installed(&fs_err::File::open(plan.layout.site_packages())?)?;
    let is_private = |one: &MountedDistribution| {
        seen.contains(&one.name) && !mounted.iter().any(|other| other.name == one.name)
    };
    if mounted.iter().all(|one| wanted.contains(one))
        && wanted.iter().all(|one| mounted.contains(one) || is_private(one))
    {
        return Ok(());
    }
    let venv = plan.layout.root.display();
    Err(Error::new(format!("{venv} is mounted already, with other distributions"))
        .with_help(format!("sitefs unmount {venv}")))
}

/// What is outside site-packages is there once, for all that run in the environment at the same time.
fn refuse_if_different(wanted: &MountRecord, running: Option<MountRecord>, layout: &Layout) -> Result<()> {
    if running.is_some_and(|running| running.distributions == wanted.distributions) {
        return Ok(());
    }
    let venv = layout.root.display();
    Err(Error::new(format!("another `sitefs run` uses {venv} with other distributions"))
        .with_help("wait for it, or use another environment"))
}
