//! Pins to archives: what the locks ask for, found in a cache that nobody prunes meanwhile.

use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fetch::Fetch;
use super::inputs::{Inputs, no_lock};
use super::tool::pause;
use crate::cache::{Archive, Cache, CacheLock, Found, Unfound, Wanted};
use crate::cli::{Verbosity, WantedOptions};
use crate::error::{Error, Result};
use crate::lock::{Lock, Pin, Target};
use crate::progress::Progress;
use crate::sys::posix::canonicalize;
use crate::user_folder::user_folder;
use crate::venv::{Interpreter, Layout};

/// What the locks ask for, as the cache has it.
pub(super) struct Resolved {
    pub(super) archives: Vec<Archive>,
    /// What keeps them there, where it can be had.
    pub(super) cache_lock: Option<CacheLock>,
    /// The lease on them, where they are in a store.
    pub(super) lease: Option<PathBuf>,
}

/// Finds what the locks ask for, and has it got first where a person wants that. Nothing is changed here but the cache, by its
/// tool, and the store.
pub(super) fn resolve(
    inputs: &Inputs,
    interpreter: &Interpreter,
    layout: &Layout,
    options: &WantedOptions,
    verbosity: Verbosity,
) -> Result<Resolved> {
    let target = Target { markers: &interpreter.markers, tags: &interpreter.tags };
    let locks = Lock::read(&inputs.requirements, target, &inputs.selection)?;
    locks.notes.iter().for_each(|note| verbosity.note(note));
    // The environment may be one that is made for this, and removed again if it cannot be completed.
    let python = canonicalize(layout.python())?;
    let search = Search { inputs, interpreter, layout, options, verbosity, locks: &locks, python: &python };
    // Before anything is looked up, so that nothing vanishes in between.
    let mut cache_lock = search.lock()?;
    let (found, is_of_uv) = match search.find() {
        Err(unfound) if options.fetch && !unfound.missing.is_empty() => {
            search.fetch(unfound)?;
            if let Some(Err(_)) = cache_lock {
                cache_lock = search.lock()?;
            }
            search.find()?
        }
        found => found?,
    };
    let cache_lock = cache_lock.filter(|_| is_of_uv);
    if let Some(Err(why)) = &cache_lock {
        verbosity.note(format!(
            "{why}: do not run `uv cache prune` or `uv cache clean` while {} is mounted, they would not wait",
            layout.root.display()
        ));
    }
    Ok(Resolved { archives: found.archives, cache_lock: cache_lock.and_then(Result::ok), lease: found.lease })
}

/// What is looked for, where, and for whom.
struct Search<'a> {
    inputs: &'a Inputs,
    interpreter: &'a Interpreter,
    layout: &'a Layout,
    options: &'a WantedOptions,
    verbosity: Verbosity,
    locks: &'a Lock,
    python: &'a Path,
}

impl Search<'_> {
    /// uv's lock on the cache, or why it cannot be had; nothing where a person does without.
    fn lock(&self) -> Result<Option<Result<CacheLock, String>>> {
        if self.options.no_cache_lock { Ok(None) } else { lock_cache(self.inputs, self.verbosity).map(Some) }
    }

    /// The archives, and whether they are in a cache of uv's.
    fn find(&self) -> Result<(Found, bool), Unfound> {
        let Self { inputs, interpreter, layout, options, verbosity, .. } = self;
        let is_without_lock = inputs.requirements.is_empty();
        let selected = || self.locks.select(&interpreter.markers);
        let cache = match Cache::open(&inputs.cache) {
            Err(error) if !is_without_lock && is_unmade(&inputs.cache) => {
                return Err(Unfound::all(&selected()?, error));
            }
            cache => cache?,
        };
        let pins =
            if is_without_lock { cache.pins()?.ok_or_else(|| no_lock(&layout.root))? } else { selected()? };
        let found = cache.find(Wanted {
            pins: &pins,
            tags: &interpreter.tags,
            python: self.python,
            selection: &inputs.selection,
            venv: &layout.root,
            store: options.store.as_deref(),
            plans: user_folder("plans").as_deref(),
            progress: &Progress::unless(verbosity.quiet),
        });
        let found = found?;
        if let Some(why) = &found.unleased {
            let what = "`sitefs cache prune` will not know of this environment";
            verbosity.detail(format!("{what}: {why}"));
        }
        Ok((found, cache.is_of_uv()))
    }

    /// Has the tool that owns the cache get what is missing: uv also makes a cache of its own.
    fn fetch(&self, unfound: Unfound) -> Result<()> {
        let &Self { inputs, layout, python, verbosity, .. } = self;
        let cache = Cache::open(&inputs.cache).ok().filter(|cache| !cache.is_of_uv());
        if cache.is_some() && unfound.missing.iter().any(Pin::is_editable) {
            return Err(unfound.into());
        }
        let (missing, total) = (unfound.missing.as_slice(), unfound.total);
        let fetch = Fetch { missing, total, lock: self.locks, inputs, python, layout, verbosity };
        match cache {
            Some(cache) => fetch.with_pip(&cache),
            None => fetch.with_uv(),
        }
    }
}

/// Whether a cache is still to be made: there is nothing, or no more than what uv makes on its way. Another may be filling it.
fn is_unmade(cache: &Path) -> bool {
    match fs_err::read_dir(cache) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|entry| is_of_uv(&entry.file_name()))),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Whether it is uv that calls something so in the top directory of its cache.
fn is_of_uv(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let is_bucket = |(_, version): (&str, &str)| version.parse::<u32>().is_ok();
    [".gitignore", ".lock", "CACHEDIR.TAG"].contains(&name)
        || name.starts_with(".tmp")
        || name.rsplit_once("-v").is_some_and(is_bucket)
}

/// How often to ask for a cache that another process has to itself.
const POLL: Duration = Duration::from_millis(50);

/// How long to wait for it before that is said.
const BRIEFLY: Duration = Duration::from_millis(500);

/// Holds uv's lock on the cache, or says why not. Waits as long as uv would for who prunes it.
fn lock_cache(inputs: &Inputs, verbosity: Verbosity) -> Result<Result<CacheLock, String>> {
    let (started, mut is_said) = (Instant::now(), false);
    CacheLock::share(&inputs.cache, || {
        let cache = inputs.cache.display();
        if started.elapsed() > patience() {
            return Err(Error::new(format!("another process prunes the cache {cache}"))
                .with_help("wait for it to end; `lslocks` names it"));
        }
        if !is_said && started.elapsed() > BRIEFLY {
            verbosity.note(format!("waiting for the process that prunes the cache {cache}"));
            is_said = true;
        }
        pause(POLL)
    })
}

/// Source: <https://docs.astral.sh/uv/reference/environment/#uv_lock_timeout>
fn patience() -> Duration {
    let seconds = env::var("UV_LOCK_TIMEOUT").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another uv has made so far, at any moment, does not keep anybody from having it filled.
    #[test]
    fn a_cache_that_is_being_made_is_unmade_and_a_folder_of_something_else_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        assert!(is_unmade(&cache));
        for name in ["", ".lock", "CACHEDIR.TAG", ".tmpA1b2c3", "interpreter-v4", "simple-v21"] {
            fs_err::create_dir(cache.join(name)).unwrap();
            assert!(is_unmade(&cache), "{name}");
        }
        fs_err::create_dir(cache.join("photos-very-old")).unwrap();
        assert!(!is_unmade(&cache));
    }
}
