//! `sitefs cache compile`, and compiling for `mount` and `run`.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::process::{Pid, Signal, chdir, getpid, getppid, set_parent_process_death_signal, setsid};

use super::inputs::Inputs;
use super::resolve::resolve;
use super::work::Work;
use crate::bytecode::{Compiler, Outcome, Shelf, Task};
use crate::cache::Archive;
use crate::cache::store::Store;
use crate::cli::{CacheCompileOptions, CompileWhen, Verbosity};
#[cfg(target_os = "linux")]
use crate::error::Context;
use crate::error::{Error, Result};
use crate::progress::Progress;
#[cfg(target_os = "linux")]
use crate::sys::fork::{Fork, close_all_but, fork, silence};
#[cfg(target_os = "linux")]
use crate::sys::priority::give_way;
#[cfg(target_os = "linux")]
use crate::sys::signals::{Received, Signals};
use crate::venv::state::State;
use crate::venv::{Bytecode, Interpreter, Layout, Venv};
use crate::view::layers_of;

/// Nothing is changed in the environment.
pub(super) fn compile(command: &CacheCompileOptions) -> Result<()> {
    let started = Instant::now();
    let CacheCompileOptions { wanted, verbosity, .. } = command;
    let venv = Venv::open(&command.venv)?;
    let interpreter = Interpreter::of(venv.root())?;
    let layout = Layout::new(venv.root().to_path_buf(), interpreter.scheme.clone(), interpreter.version)?;
    let inputs = Inputs::choose(command.cache.as_deref(), wanted, None, &venv, &State::of(venv.root()))?;
    let resolved = resolve(&inputs, &interpreter, &layout, wanted, *verbosity)?;
    let store = Store::create(&Store::choose(wanted.store.as_deref())?)?;
    let job = Job {
        layout: &layout,
        bytecode: interpreter.bytecode.as_ref(),
        archives: &resolved.archives,
        optimization: command.optimize.unwrap_or_else(optimization_by_variable),
        processes: command.jobs.unwrap_or_else(processors),
    };
    let outcome = job.stoppable(&store, *verbosity)?;
    verbosity.say(summary(&outcome, &store, *verbosity, started));
    if outcome.is_cancelled { Err(stopped()) } else { Ok(()) }
}

/// Compiles, if that is asked for, before an environment is mounted. Without a store that can be written, it is mounted all
/// the same.
pub(super) fn compile_before(work: &Work, when: CompileWhen, verbosity: Verbosity) -> Result<()> {
    if when != CompileWhen::Now {
        return Ok(());
    }
    let started = Instant::now();
    let job = Job::of(work, processors());
    let compiled = Store::choose(work.store())
        .and_then(|root| Store::create(&root))
        .and_then(|store| Ok((job.stoppable(&store, verbosity)?, store)));
    match compiled {
        Ok((outcome, _)) if outcome.is_cancelled => Err(stopped()),
        Ok((outcome, store)) => {
            let summary = summary(&outcome, &store, verbosity, started);
            if outcome.archives == 0 {
                verbosity.detail(summary);
            } else {
                verbosity.note(summary);
            }
            Ok(())
        }
        Err(error) => {
            verbosity.note(format!("bytecode is not compiled: {error}"));
            Ok(())
        }
    }
}

/// Compiles in a process of its own that gives way to all others. It outlives this one, and the mount; with `for_run` it
/// ends with this process. Each archive that it has finished by then stays.
#[cfg(target_os = "linux")]
pub(super) fn compile_in_background(work: &Work, when: CompileWhen, for_run: bool) -> Result<()> {
    let (CompileWhen::Background, Ok(store)) = (when, Store::choose(work.store())) else { return Ok(()) };
    let caller = getpid();
    match fork().context(|| "the process that compiles cannot be started".to_owned())? {
        Fork::Parent(_) => Ok(()),
        Fork::Child => {
            let compiled = leave(for_run.then_some(caller)).and_then(|()| {
                let store = Store::create(&store)?;
                // One process: what it uses may count against the limit of a container.
                Job::of(work, 1).stoppable(&store, SILENT)
            });
            std::process::exit(i32::from(compiled.is_err()));
        }
    }
}

/// Nothing is done in the background here.
#[cfg(not(target_os = "linux"))]
pub(super) fn compile_in_background(_work: &Work, _when: CompileWhen, _for_run: bool) -> Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
const SILENT: Verbosity = Verbosity { verbose: false, quiet: true };

/// Leaves the caller's terminal, directory and files, and gives way.
#[cfg(target_os = "linux")]
fn leave(caller: Option<Pid>) -> Result<()> {
    let failed = |errno: Errno| Error::new(format!("the process that compiles cannot be detached: {errno}"));
    setsid().map_err(failed)?;
    if let Some(caller) = caller {
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(failed)?;
        if getppid() != Some(caller) {
            return Err(failed(Errno::SRCH));
        }
    }
    chdir("/").map_err(failed)?;
    silence()?;
    close_all_but(&[])?;
    give_way();
    Ok(())
}

/// What is to be compiled, and for whom.
struct Job<'a> {
    layout: &'a Layout,
    bytecode: Option<&'a Bytecode>,
    archives: &'a [Archive],
    optimization: u8,
    processes: usize,
}

impl<'a> Job<'a> {
    fn of(work: &'a Work, processes: usize) -> Self {
        Self {
            layout: &work.layout,
            bytecode: work.bytecode.as_ref(),
            archives: &work.archives,
            optimization: optimization_by_variable(),
            processes,
        }
    }

    /// Compiles until it is done, or until a signal asks to end.
    #[cfg(target_os = "linux")]
    fn stoppable(&self, store: &Store, verbosity: Verbosity) -> Result<Outcome> {
        let signals = Signals::hold()?;
        let outcome = self.compile(store, verbosity, &|pause| {
            let received = signals.next(Some(pause)).ok().flatten();
            received.is_some_and(Received::asks_to_end)
        });
        signals.restore()?;
        outcome
    }

    /// The same where a signal ends it at once: what is not finished is swept by the next who compiles.
    #[cfg(not(target_os = "linux"))]
    fn stoppable(&self, store: &Store, verbosity: Verbosity) -> Result<Outcome> {
        self.compile(store, verbosity, &|pause| {
            std::thread::sleep(pause);
            false
        })
    }

    fn compile(
        &self,
        store: &Store,
        verbosity: Verbosity,
        is_to_stop: &dyn Fn(Duration) -> bool,
    ) -> Result<Outcome> {
        let Some(bytecode) = self.bytecode else {
            return Err(Error::new(format!("{} keeps no bytecode", self.layout.python().display())));
        };
        let tasks: Vec<Task> = self
            .archives
            .iter()
            .map(|archive| Task { archive: archive.clone(), layers: layers_of(archive, self.layout) })
            .collect();
        let compiler = Compiler {
            store,
            shelf: Shelf::new(store.root(), bytecode, self.optimization),
            python: self.layout.python(),
            processes: self.processes,
            is_to_stop,
        };
        compiler.compile(&tasks, &Progress::unless(verbosity.quiet))
    }
}

/// What was done, in one line. Those who asked for more are told what does not compile.
fn summary(outcome: &Outcome, store: &Store, verbosity: Verbosity, started: Instant) -> String {
    let Outcome { archives, modules, known, refused, .. } = outcome;
    for one in refused {
        verbosity.detail(format!("{} does not compile: {}", one.source.display(), one.reason));
    }
    let does_not = match refused.len() {
        0 => String::new(),
        1 => " (1 does not compile)".to_owned(),
        count => format!(" ({count} do not compile)"),
    };
    format!(
        "compiled {modules} module{}{does_not} of {archives} distribution{} in {:.1} s into {}; {known} had been",
        if *modules == 1 { "" } else { "s" },
        if *archives == 1 { "" } else { "s" },
        started.elapsed().as_secs_f64(),
        store.root().display(),
    )
}

fn stopped() -> Error {
    Error::new("stopped before all was compiled").with_help("the same again goes on with what is missing")
}

fn processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// The level that COMMANDs will optimize at, if they are run with the variables of this process.
///
/// Source: <https://docs.python.org/3/using/cmdline.html#envvar-PYTHONOPTIMIZE>
fn optimization_by_variable() -> u8 {
    let variable = std::env::var("PYTHONOPTIMIZE").unwrap_or_default();
    match variable.parse::<u32>() {
        Ok(level) => u8::try_from(level.min(2)).unwrap_or(2),
        Err(_) => u8::from(!variable.is_empty()),
    }
}
