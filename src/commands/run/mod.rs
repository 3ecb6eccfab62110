//! `sitefs run`: mount, run a command, unmount.

mod program;
mod supervisor;

use std::process::ExitCode;

use rustix::process::{Pid, geteuid, getpid};

use self::program::Program;
use self::supervisor::{Supervisor, Unmounting};
use super::compile::{compile_before, compile_in_background};
use super::inputs::choose_venv;
use super::mount::{has_lost_cache, open_or_create};
use super::unmount::tell_of_left;
use super::work::{Work, is_uninstalled};
use crate::cache::CacheLock;
use crate::cli::{CompileWhen, RunCommand, Verbosity};
use crate::error::{Error, Result};
use crate::fuse::{self, Place};
use crate::place::{self, Difficulty, LinkMode};
use crate::shell::quote;
use crate::sys::answer::{Life, life_of};
use crate::sys::children;
use crate::sys::mounts::{self, Source};
use crate::sys::signals::Signals;
use crate::venv::Venv;
use crate::venv::state::{MountRecord, MountedDistribution, StateLock};
use crate::view::{self, Distribution, installed};

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
    // Files have no server that would hold it.
    let (child, unmounting, _cache_lock) = result?;
    let supervisor = Supervisor { signals: &signals, verbosity: command.options.verbosity };
    Ok(ExitCode::from(supervisor.stay_with(child, unmounting)?))
}

/// Stays with a child, as with the command, until it ends. Gives its exit code.
pub(super) fn stay_with(child: Pid, signals: &Signals) -> Result<u8> {
    let verbosity = Verbosity { quiet: true, verbose: false };
    Supervisor { signals, verbosity }.stay_with(child, None)
}

/// Makes the environment complete, and starts the command in it. What `mount` has made complete is used as it is, and is not
/// undone.
fn start(
    venv: &Venv,
    command: &RunCommand,
    signals: &Signals,
) -> Result<(Pid, Option<Unmounting>, Option<CacheLock>)> {
    let mut work = Work::plan(venv, command.cache.as_deref(), &command.options, true)?;
    let when = command.options.compile_when(CompileWhen::Background)?;
    compile_before(&work, when, command.options.verbosity)?;
    let (child, unmounting) = start_in(&mut work, command, signals)?;
    if let Err(error) = compile_in_background(&work, when, true) {
        command.options.verbosity.detail(error);
    }
    Ok((child, unmounting, work.cache_lock))
}

fn start_in(work: &mut Work, command: &RunCommand, signals: &Signals) -> Result<(Pid, Option<Unmounting>)> {
    let program = Program::new(&work.layout, &work.state, &command.command, signals);
    if let Some(record) = made_by_mount(work)? {
        let checked = refuse_if_made_differently(work, &record, command);
        // A server that ended while it was looked at leaves a dead mount, which is to be mended like any other.
        if checked.is_ok() || made_by_mount(work)?.is_some() {
            checked?;
            return Ok((program.start()?, None));
        }
    }
    let result = work.in_turn(|work, mode| Run { work, mode, program: &program, command }.start());
    if let (Err(_), Some(right)) = (&result, work.state.try_lock()?)
        && !work.state.has_runs(&right)
    {
        work.state.remove_if_unused(&right)?;
    }
    result.map(|(child, unmounting)| (child, Some(unmounting)))
}

/// What `mount` has made: mounted, with a server that holds the lock as long as it lives; or real.
fn made_by_mount(work: &Work) -> Result<Option<MountRecord>> {
    let record = work.state.mount_record().filter(|record| !record.is_for_run && record.since != 0);
    let is_made = match mounts::at(&work.layout.site_packages())? {
        Some(mount) => mount.source == Some(Source::Mount) && work.state.is_locked() && answers(work)?,
        None => {
            let is_real = record.as_ref().is_some_and(|record| record.link_mode != LinkMode::Fuse);
            is_real && place::exists(&work.state)
        }
    };
    Ok(record.filter(|_| is_made))
}

/// Whether the server of what is mounted there lives. The lock cannot tell that of one that was killed just now. One that hangs
/// is an error: the command would wait for it without end.
fn answers(work: &Work) -> Result<bool> {
    match life_of(&work.layout.site_packages())? {
        Life::Answers => Ok(true),
        Life::Dead => Ok(false),
        Life::Hangs => Err(work.state.hangs(&work.layout.root)),
    }
}

fn refuse_if_made_differently(work: &Work, made: &MountRecord, command: &RunCommand) -> Result<()> {
    let venv = work.layout.root.display();
    let help = format!("sitefs unmount {}", quote(&work.layout.root));
    let named = command.options.link_mode()?.one();
    if named.is_some_and(|mode| mode != made.link_mode || made.folded != command.options.fold) {
        let folded = if made.folded { ", folded" } else { "" };
        let error =
            Error::new(format!("{venv} is mounted already, with link mode {}{folded}", made.link_mode));
        return Err(error.with_help(help));
    }
    if command.options.read_only && !made.read_only {
        return Err(Error::new(format!("{venv} is mounted already, and writable")).with_help(help));
    }
    if made.link_mode == LinkMode::Fuse && made.entries != *work.entries() {
        let error = Error::new(format!("{venv} is mounted already, with entries {}", made.entries));
        return Err(error.with_help(help));
    }
    if made.link_mode == LinkMode::Fuse && has_lost_cache(made, &work.layout.site_packages()) {
        let help = format!("`sitefs mount {}` mends it", quote(&work.layout.root));
        return Err(Error::new(format!("the mount of the cache in {venv} is gone")).with_help(help));
    }
    if is_what_is_wanted(work, made)? {
        return Ok(());
    }
    if !made.vanished().is_empty() {
        let help = format!("`sitefs mount {}` mends it", quote(&work.layout.root));
        return Err(Error::new(format!("archives of {venv} are gone from the cache")).with_help(help));
    }
    Err(Error::new(format!("{venv} is mounted already, with other distributions")).with_help(help))
}

/// Whether what is there has all that the locks ask for, save what the environment's own distributions hide, and no more.
fn is_what_is_wanted(work: &Work, made: &MountRecord) -> Result<bool> {
    let wanted = work.record(&work.all_distributions(made.link_mode)?, made.link_mode)?.distributions;
    let made = &made.distributions;
    let seen = installed(fs_err::File::open(work.layout.site_packages())?, |_| true)?;
    let is_private = |one: &MountedDistribution| {
        seen.contains(&one.name) && !made.iter().any(|other| other.name == one.name)
    };
    // What was mounted by another user is used, too, and not written.
    let whiteouts = work.whiteouts_as_they_are()?;
    let is_removed = |one: &MountedDistribution| {
        is_uninstalled(&whiteouts, &format!("{}=={}", one.name, one.version), &one.dist_info)
    };
    Ok(made.iter().all(|one| wanted.contains(one))
        && wanted.iter().all(|one| made.contains(one) || is_private(one) || is_removed(one)))
}

/// One try, with one link mode.
struct Run<'a, 'b> {
    work: &'a mut Work<'b>,
    mode: LinkMode,
    program: &'a Program<'a>,
    command: &'a RunCommand,
}

impl Run<'_, '_> {
    fn start(self) -> Result<(Pid, Unmounting), Difficulty> {
        if self.mode == LinkMode::Fuse {
            fuse::check_device().map_err(Difficulty::Unsupported)?;
        }
        let right = self.work.state.lock(|| Ok(()))?;
        if self.is_mounted_by_another()? {
            return self.share(&right);
        }
        self.work.clear_dead_mount()?;
        if self.work.state.has_runs(&right) {
            return self.make_beside(&right);
        }
        view::leave(&self.work.layout.root, &self.work.state)?;
        tell_of_left(&self.work.layout.root, &self.work.state, self.command.options.verbosity)?;
        let distributions = self.work.distributions(self.mode)?;
        let shared = self.work.state.join_runs(&right)?;
        let made = self.make(distributions, true, shared);
        if made.is_err() && !self.work.state.has_runs(&right) {
            view::undo(&self.work.layout.root, &self.work.state)?;
        }
        made
    }

    /// A mount of another run that is seen here, and lives.
    fn is_mounted_by_another(&self) -> Result<bool> {
        let point = self.work.layout.site_packages();
        Ok(mounts::at(&point)?.is_some_and(|mount| mount.source == Some(Source::Run)) && answers(self.work)?)
    }

    /// Uses the mount of another run, and keeps it until the command ends.
    fn share(self, right: &StateLock) -> Result<(Pid, Unmounting), Difficulty> {
        self.refuse_if_run_differently(|record| is_what_is_wanted(self.work, record))?;
        let shared = self.work.state.join_runs(right)?;
        Ok((self.program.start()?, self.unmounting(None, true, Some(shared))))
    }

    /// Mounts for itself, or uses real files, beside others whose mounts are not seen here.
    fn make_beside(self, right: &StateLock) -> Result<(Pid, Unmounting), Difficulty> {
        let distributions = self.work.distributions(self.mode)?;
        let wanted = self.work.record(&distributions, self.mode)?.distributions;
        self.refuse_if_run_differently(|record| Ok(record.distributions == wanted))?;
        let shared = self.work.state.join_runs(right)?;
        self.make(distributions, false, shared)
    }

    /// What is outside site-packages is there once, for all that run in the environment at the same time.
    fn refuse_if_run_differently(
        &self,
        is_wanted: impl FnOnce(&MountRecord) -> Result<bool>,
    ) -> Result<(), Difficulty> {
        let venv = self.work.layout.root.display();
        let error = |how: String| {
            Error::new(format!("another `sitefs run` uses {venv} with {how}"))
                .with_help("wait for it, or use another environment")
        };
        match self.work.state.mount_record() {
            Some(record) if record.link_mode != self.mode => {
                Err(Difficulty::Unsupported(error(format!("link mode {}", record.link_mode))))
            }
            Some(record) if self.command.options.read_only && !record.read_only => {
                Err(error("leave to write".to_owned()).into())
            }
            Some(record) if record.link_mode == LinkMode::Fuse && record.entries != *self.work.entries() => {
                Err(error(format!("entries {}", record.entries)).into())
            }
            Some(record) if is_wanted(&record)? => Ok(()),
            _ => Err(error("other distributions".to_owned()).into()),
        }
    }

    fn make(
        &self,
        distributions: Vec<Distribution>,
        is_first: bool,
        shared: StateLock,
    ) -> Result<(Pid, Unmounting), Difficulty> {
        if self.mode == LinkMode::Fuse {
            return self.mount(distributions, is_first, shared);
        }
        if is_first {
            self.tell(&self.work.link(distributions, self.mode)?, "where others see them");
        }
        Ok((self.program.start()?, self.unmounting(None, false, Some(shared))))
    }

    fn mount(
        &self,
        distributions: Vec<Distribution>,
        is_first: bool,
        shared: StateLock,
    ) -> Result<(Pid, Unmounting), Difficulty> {
        let (waiting, place) = self.place()?;
        if !is_first && !place.has_cache() {
            self.refuse_if_cache_is_mounted()?;
        }
        let server = self.work.server(distributions, is_first, shared, place)?;
        let record = fuse::start_in_background(server).map_err(Difficulty::Unsupported)?;
        let is_here = waiting.is_none();
        self.tell(
            &record,
            if is_here { "where others see them" } else { "in a mount namespace of the command's own" },
        );
        let unmounting =
            self.unmounting(i32::try_from(record.pid).ok().and_then(Pid::from_raw), is_here, None);
        match waiting.map_or_else(|| self.program.start(), fuse::Waiting::go) {
            Ok(child) => Ok((child, unmounting)),
            Err(error) => {
                unmounting.ask();
                Err(error.into())
            }
        }
    }

    /// In a namespace of the command's own, where that is allowed and wanted.
    fn place(&self) -> Result<(Option<fuse::Waiting>, Place)> {
        if self.wants_namespace() {
            let point = self.work.layout.site_packages();
            let cache = self.work.folder_to_mount();
            let then = || self.program.become_it();
            match fuse::mount_privately(&point, cache.as_deref(), self.work.access(), then) {
                Ok((waiting, place)) => return Ok((Some(waiting), place)),
                Err(error) => {
                    self.command.options.verbosity.detail(format!("mounting where others see it: {error}"));
                }
            }
        }
        Ok((None, Place::HereForRun(self.work.read_only_cache())))
    }

    /// Links outside site-packages, which are there once for all, would lead nowhere.
    fn refuse_if_cache_is_mounted(&self) -> Result<()> {
        if self.work.state.mount_record().is_some_and(|record| record.mounted_folder.is_some()) {
            let venv = self.work.layout.root.display();
            let error = format!(
                "another `sitefs run` uses {venv} with its cache mounted, which is not possible here"
            );
            return Err(Error::new(error).with_help("wait for it, or use another environment"));
        }
        Ok(())
    }

    /// The mount namespace of a container is private already, and there `docker exec` shall see what process 1 sees, if
    /// that may mount in it.
    fn wants_namespace(&self) -> bool {
        let is_root_of_container = getpid().is_init() && geteuid().is_root();
        !self.command.no_namespace && !is_root_of_container
    }

    fn unmounting(&self, server: Option<Pid>, is_here: bool, shared: Option<StateLock>) -> Unmounting {
        let Work { layout, state, .. } = &*self.work;
        let point = is_here.then(|| layout.site_packages());
        Unmounting { server, point, root: layout.root.clone(), state: state.clone(), shared }
    }

    fn tell(&self, record: &MountRecord, place: &str) {
        self.command.options.verbosity.detail(format!(
            "mounted {} distribution{} {place} ({}, from {})",
            record.distributions.len(),
            if record.distributions.len() == 1 { "" } else { "s" },
            record.how(),
            record.cache.display()
        ));
    }
}
