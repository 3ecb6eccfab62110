//! Compiling the modules of archives, in several processes at once.
//!
//! The bytecode of an archive appears whole, by one rename. Nobody waits for anybody: of two that compile the same archive,
//! the second finds it there and drops its own. What was interrupted goes on with the archives that are not there yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::vec::IntoIter;

use parking_lot::Mutex;
use walkdir::{DirEntry, WalkDir};

use super::index::{Index, Module};
use super::worker::{Answer, Job, Worker, Workers};
use super::{FILES, Shelf, bytecode_name};
use crate::cache::Archive;
use crate::cache::store::Store;
use crate::cache::store::staging::{self, Staging};
use crate::error::{Error, Result};
use crate::progress::{Counter, Progress};
use crate::python::record::slashed;

/// What a compiler needs.
pub struct Compiler<'a> {
    /// Where the bytecode goes.
    pub store: &'a Store,
    /// Whose it is.
    pub shelf: Shelf,
    /// The interpreter.
    pub python: PathBuf,
    /// How many processes to use.
    pub processes: usize,
    /// Waits a moment, and says whether to stop.
    pub is_to_stop: &'a dyn Fn(Duration) -> bool,
}

/// An archive whose modules are to be compiled.
#[derive(Clone, Debug)]
pub struct Task {
    /// The archive.
    pub archive: Archive,
    /// The directories in it that an environment has in its site-packages.
    pub layers: Vec<PathBuf>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many archives were compiled.
    pub archives: usize,
    /// How many modules they have, less those that do not compile.
    pub modules: usize,
    /// How many archives had been compiled before.
    pub known: usize,
    /// The modules that do not compile.
    pub refused: Vec<Refused>,
    /// Whether it was stopped before the end.
    pub is_cancelled: bool,
}

/// A module that does not compile.
#[derive(Debug)]
pub struct Refused {
    /// Its file.
    pub source: PathBuf,
    /// Why.
    pub reason: String,
}

impl Compiler<'_> {
    /// Compiles what is not there yet.
    ///
    /// # Errors
    /// The store cannot be written; the interpreter does not start. What was finished before stays.
    pub fn compile(&self, tasks: &[Task], progress: &Progress) -> Result<Outcome> {
        let mut todo = Vec::new();
        for task in tasks {
            let place = self.shelf.place(&task.archive.root, &task.archive.dist_info)?;
            if !place.join(Index::FILE).is_file() {
                todo.push((task, place));
            }
        }
        let known = tasks.len() - todo.len();
        if todo.is_empty() {
            return Ok(Outcome { known, ..Outcome::default() });
        }
        Staging::new(self.store)?.sweep()?;
        let shared = Shared {
            store: self.store,
            shelf: &self.shelf,
            python: &self.python,
            workers: Workers::default(),
            is_cancelled: AtomicBool::new(false),
            counter: progress.counting("archives compiled", todo.len()),
            queue: Mutex::new(Queue { todo: todo.into_iter(), current: None }),
            outcome: Mutex::new(Outcome { known, ..Outcome::default() }),
            failure: Mutex::default(),
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.processes.max(1)).map(|_| scope.spawn(|| shared.work())).collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                if (self.is_to_stop)(MOMENT) {
                    shared.is_cancelled.store(true, Ordering::Release);
                }
                if shared.is_cancelled() {
                    shared.workers.end();
                }
            }
        });
        match shared.failure.into_inner() {
            Some(error) => Err(error),
            None => {
                Ok(Outcome { is_cancelled: shared.is_cancelled.into_inner(), ..shared.outcome.into_inner() })
            }
        }
    }
}

/// How long the end of the last module may go unnoticed.
const MOMENT: Duration = Duration::from_millis(20);

/// The first may have been killed for another reason than its module.
const ATTEMPTS: usize = 2;

const ROOM: &str = "make room, or choose another store: SITEFS_STORE";

/// What the threads share: each has a process.
struct Shared<'a> {
    store: &'a Store,
    shelf: &'a Shelf,
    python: &'a Path,
    workers: Workers,
    is_cancelled: AtomicBool,
    counter: Counter<'a>,
    queue: Mutex<Queue<'a>>,
    outcome: Mutex<Outcome>,
    failure: Mutex<Option<Error>>,
}

struct Queue<'a> {
    /// Archives, and where their bytecode goes.
    todo: IntoIter<(&'a Task, PathBuf)>,
    current: Option<(Arc<Unfinished>, IntoIter<Job>)>,
}

/// An archive whose modules are being compiled.
struct Unfinished {
    staging: Mutex<Option<Staging>>,
    place: PathBuf,
    archive: PathBuf,
    /// How many modules are still to be compiled.
    left: AtomicUsize,
    modules: Mutex<Vec<Module>>,
}

impl Shared<'_> {
    fn work(&self) {
        let mut worker = None;
        loop {
            let done = match self.next() {
                Ok(Some((unfinished, job))) => {
                    self.compile(&mut worker, &job).and_then(|answer| self.note(&unfinished, job, answer))
                }
                Ok(None) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                self.failure.lock().get_or_insert(error);
                return;
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// The next module, unless there is none or it is time to stop.
    fn next(&self) -> Result<Option<(Arc<Unfinished>, Job)>> {
        let mut queue = self.queue.lock();
        loop {
            if self.is_cancelled() || self.failure.lock().is_some() {
                queue.current = None;
                return Ok(None);
            }
            if let Some((unfinished, jobs)) = &mut queue.current
                && let Some(job) = jobs.next()
            {
                return Ok(Some((Arc::clone(unfinished), job)));
            }
            queue.current = match queue.todo.next() {
                Some((task, place)) => self.begin(task, place)?,
                None => return Ok(None),
            };
        }
    }

    /// Makes room for an archive's bytecode, and lists what is to be compiled; none if there is nothing to do.
    fn begin(&self, task: &Task, place: PathBuf) -> Result<Option<(Arc<Unfinished>, IntoIter<Job>)>> {
        if place.join(Index::FILE).is_file() {
            // Somebody else has compiled it since.
            self.outcome.lock().known += 1;
            self.counter.one_more();
            return Ok(None);
        }
        let staging = Staging::new(self.store)?;
        let mut jobs = Vec::new();
        for layer in &task.layers {
            self.collect(&task.archive, layer, staging.path(), &mut jobs)?;
        }
        let unfinished = Arc::new(Unfinished {
            staging: Mutex::new(Some(staging)),
            place,
            archive: task.archive.root.clone(),
            left: AtomicUsize::new(jobs.len()),
            modules: Mutex::default(),
        });
        if jobs.is_empty() {
            self.finish(&unfinished)?;
            return Ok(None);
        }
        Ok(Some((unfinished, jobs.into_iter())))
    }

    fn collect(&self, archive: &Archive, layer: &Path, staging: &Path, jobs: &mut Vec<Job>) -> Result<()> {
        let data = archive.data.as_ref().map(|data| archive.root.join(data)).filter(|data| data != layer);
        let is_wanted = |entry: &DirEntry| {
            entry.depth() == 0 || Some(entry.path()) != data.as_deref() && entry.file_name() != "__pycache__"
        };
        for entry in WalkDir::new(layer).sort_by_file_name().into_iter().filter_entry(is_wanted) {
            let entry = entry.map_err(std::io::Error::from)?;
            let Some(name) = entry.file_name().to_str().filter(|name| is_module(name)) else { continue };
            let (Ok(in_archive), Ok(in_layer)) =
                (entry.path().strip_prefix(&archive.root), entry.path().strip_prefix(layer))
            else {
                continue;
            };
            if !entry.file_type().is_file() || in_archive.to_str().is_none() {
                continue;
            }
            let folder = staging.join(FILES).join(in_archive.with_file_name("__pycache__"));
            fs_err::create_dir_all(&folder)?;
            jobs.push(Job {
                source: entry.path().to_path_buf(),
                path: slashed(in_archive),
                target: folder.join(bytecode_name(name, &self.shelf.suffix)),
                name: slashed(in_layer),
                optimization: self.shelf.optimization,
            });
        }
        Ok(())
    }

    /// Compiles a module. One that two interpreters do not survive counts as one that does not compile.
    fn compile(&self, worker: &mut Option<Worker>, job: &Job) -> Result<Answer> {
        let mut ended = None;
        for _ in 0..ATTEMPTS {
            let mut running = match worker.take() {
                Some(running) => running,
                None => self.workers.start(self.python)?,
            };
            match running.compile(job) {
                Ok(Answer::Failed(reason)) => {
                    return Err(Error::new("bytecode cannot be written").because(reason).with_help(ROOM));
                }
                Ok(answer) => {
                    *worker = Some(running);
                    return Ok(answer);
                }
                Err(error) => ended = Some(error),
            }
            // What it had begun to write is not whole.
            let _ = fs_err::remove_file(&job.target);
            if self.is_cancelled() {
                break;
            }
        }
        let reason = ended.map(|error| error.to_string()).unwrap_or_default();
        Ok(Answer::Refused(format!("the interpreter ended: {reason}")))
    }

    fn note(&self, unfinished: &Unfinished, job: Job, answer: Answer) -> Result<()> {
        if self.is_cancelled() {
            return Ok(());
        }
        if let Some(staging) = &mut *unfinished.staging.lock() {
            staging.alive();
        }
        let compiled = match answer {
            Answer::Compiled(compiled) => {
                self.outcome.lock().modules += 1;
                Some(compiled)
            }
            Answer::Refused(reason) | Answer::Failed(reason) => {
                self.outcome.lock().refused.push(Refused { source: job.source, reason });
                None
            }
        };
        unfinished.modules.lock().push(Module { path: job.path, compiled });
        if unfinished.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(unfinished)?;
        }
        Ok(())
    }

    /// Gives an archive's bytecode its place, unless another was faster.
    fn finish(&self, unfinished: &Unfinished) -> Result<()> {
        let Some(staging) = unfinished.staging.lock().take() else { return Ok(()) };
        let mut modules = std::mem::take(&mut *unfinished.modules.lock());
        modules.sort_unstable();
        let index = Index { archive: unfinished.archive.clone(), modules };
        staging::create(&staging.path().join(Index::FILE), &index.text())?;
        self.store.make_room(&self.shelf.folder)?;
        match fs_err::rename(staging.path(), &unfinished.place) {
            Ok(()) => staging.renamed(),
            // On NFS, a rename that succeeded can be answered so, too.
            Err(_) if unfinished.place.join(Index::FILE).is_file() => {}
            Err(error) => return Err(error.into()),
        }
        self.outcome.lock().archives += 1;
        self.counter.one_more();
        Ok(())
    }
}

fn is_module(name: &str) -> bool {
    name.strip_suffix(".py").is_some_and(|stem| !stem.is_empty())
}
