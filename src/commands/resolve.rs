//! Pins to archives: what the locks ask for, found in a cache that nobody prunes meanwhile.

use std::env;
use std::time::{Duration, Instant};

use super::inputs::{Inputs, no_lock};
use crate::cache::{Archive, Cache, CacheLock, Wanted};
use crate::cli::MountOptions;
use crate::error::{Error, Result};
use crate::lock::{Lock, Target};
use crate::progress::Progress;
use crate::sys::posix::canonicalize;
use crate::venv::{Interpreter, Layout};

/// What the locks ask for, as the cache has it.
pub(super) struct Resolved {
    pub(super) archives: Vec<Archive>,
    /// What keeps them there, where it can be had.
    pub(super) cache_lock: Option<CacheLock>,
}

/// Finds what the locks ask for. Nothing is changed here but the store.
pub(super) fn resolve(
    inputs: &Inputs,
    interpreter: &Interpreter,
    layout: &Layout,
    options: &MountOptions,
) -> Result<Resolved> {
    let target = Target { markers: &interpreter.markers, tags: &interpreter.tags };
    let locks = Lock::read(&inputs.requirements, target, &inputs.selection)?;
    locks.notes.iter().for_each(|note| options.verbosity.note(note));
    // Before anything is looked up, so that nothing vanishes in between.
    let cache_lock = if options.no_cache_lock { None } else { Some(lock_cache(inputs, options)?) };
    let cache = Cache::open(&inputs.cache)?;
    let cache_lock = cache_lock.filter(|_| cache.is_of_uv());
    let pins = if inputs.requirements.is_empty() {
        cache.pins()?.ok_or_else(|| no_lock(&layout.root))?
    } else {
        locks.select(&interpreter.markers)?
    };
    // The environment may be one that is made for this, and removed again if it cannot be completed.
    let python = canonicalize(layout.python())?;
    let progress = Progress::unless(options.verbosity.quiet);
    let found = cache.find(Wanted {
        pins: &pins,
        tags: &interpreter.tags,
        python: &python,
        selection: &inputs.selection,
        venv: &layout.root,
        store: options.store.as_deref(),
        progress: &progress,
    })?;
    if let Some(why) = found.unleased {
        options.verbosity.detail(format!("`sitefs cache prune` will not know of this environment: {why}"));
    }
    if let Some(Err(why)) = &cache_lock {
        options.verbosity.note(format!(
            "{why}: do not run `uv cache prune` or `uv cache clean` while {} is mounted, they would not wait",
            layout.root.display()
        ));
    }
    Ok(Resolved { archives: found.archives, cache_lock: cache_lock.and_then(Result::ok) })
}

/// How often to ask for a cache that another process has to itself.
const POLL: Duration = Duration::from_millis(50);

/// How long to wait for it before that is said.
const BRIEFLY: Duration = Duration::from_millis(500);

/// Holds uv's lock on the cache, or says why not. Waits as long as uv would for who prunes it.
fn lock_cache(inputs: &Inputs, options: &MountOptions) -> Result<Result<CacheLock, String>> {
    let (started, mut is_said) = (Instant::now(), false);
    CacheLock::share(&inputs.cache, || {
        let cache = inputs.cache.display();
        if started.elapsed() > patience() {
            return Err(Error::new(format!("another process prunes the cache {cache}"))
                .with_help("wait for it to end; `lslocks` names it"));
        }
        if !is_said && started.elapsed() > BRIEFLY {
            options.verbosity.note(format!("waiting for the process that prunes the cache {cache}"));
            is_said = true;
        }
        std::thread::sleep(POLL);
        Ok(())
    })
}

/// Source: <https://docs.astral.sh/uv/reference/environment/#uv_lock_timeout>
fn patience() -> Duration {
    let seconds = env::var("UV_LOCK_TIMEOUT").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(300))
}
