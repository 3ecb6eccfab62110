//! Which locks and which cache, where a person did not say all.

use std::env;
use std::path::{Path, PathBuf};

use crate::cli::{RunCommand, WantedOptions};
use crate::error::{Context, Error, Result};
use crate::lock::{self, Selection};
use crate::venv::Venv;
use crate::venv::state::{MountRecord, State};
use crate::view::EntriesChoice;

/// The lock files, what is wanted of them, the cache, and how a mount shows its files.
pub(super) struct Inputs {
    pub(super) requirements: Vec<PathBuf>,
    pub(super) selection: Selection,
    pub(super) cache: PathBuf,
    pub(super) entries: EntriesChoice,
}

impl Inputs {
    /// What the options say, else the lock beside the environment, else what was last mounted.
    pub(super) fn choose(
        cache: Option<&Path>,
        options: &WantedOptions,
        entries: Option<EntriesChoice>,
        venv: &Venv,
        state: &State,
    ) -> Result<Self> {
        let last = state.mount_record().or_else(|| state.record_in_environment());
        let requirements = locks(options, venv, last.as_ref())?;
        let mut selection = options.selection.selection();
        // With another lock, or one that is named again, nothing that was said before counts.
        if let Some(last) = &last
            && selection.is_default()
            && options.requirements.is_empty()
            && last.requirements == requirements
        {
            selection = last.selection.clone();
        }
        let as_before = || last.as_ref().map(|last| last.entries.clone());
        let entries = entries.or_else(as_before).unwrap_or_default();
        let cache = cache
            .map(Path::to_path_buf)
            .or_else(|| variable("SITEFS_CACHE"))
            .or_else(|| variable("UV_CACHE_DIR"))
            .or_else(|| last.map(|last| last.cache))
            .or_else(uv_default)
            .ok_or_else(|| {
                Error::new("no cache is known: neither SITEFS_CACHE, UV_CACHE_DIR nor HOME is set")
                    .with_help("give it: CACHE after VENV, or --cache to run")
            })?;
        let used = requirements.iter().map(PathBuf::as_path).chain([venv.root(), &cache]);
        refuse_if_not_text(used)?;
        Ok(Self { requirements, selection, cache, entries })
    }
}

/// State and first lines of commands are text, and name these paths.
fn refuse_if_not_text<'a>(mut paths: impl Iterator<Item = &'a Path>) -> Result<()> {
    match paths.find(|path| path.to_str().is_none()) {
        Some(path) => Err(Error::new(format!("{} cannot be used: its name is not UTF-8", path.display()))
            .with_help("rename it")),
        None => Ok(()),
    }
}

/// The environment that `run` is about: what the option says, else the active one, else `.venv`.
pub(super) fn choose_venv(command: &RunCommand) -> Result<PathBuf> {
    if let Some(venv) = command.venv.clone().or_else(|| variable("VIRTUAL_ENV")) {
        return Ok(venv);
    }
    let usual = Path::new(".venv");
    if usual.exists() || command.options.python.is_some() {
        return Ok(usual.to_path_buf());
    }
    Err(Error::new("no environment is known: VIRTUAL_ENV is not set, and there is no .venv here")
        .with_help("give it with --venv; --python creates it"))
}

/// The error where there is no lock, and the cache is none.
pub(super) fn no_lock(venv: &Path) -> Error {
    let folder = venv.parent().unwrap_or(venv).display();
    let names = lock::NAMES.join(", ");
    Error::new(format!("nothing says what {} shall hold", venv.display()))
        .with_help(format!("give a lock with -r, or put it into {folder} as {names}"))
}

/// The lock files, by their absolute paths; none where nothing says which.
fn locks(options: &WantedOptions, venv: &Venv, last: Option<&MountRecord>) -> Result<Vec<PathBuf>> {
    let mut beside = lock::NAMES.iter().map(|name| venv.root().with_file_name(name));
    let locks = if !options.requirements.is_empty() {
        options.requirements.clone()
    } else if let Some(beside) = beside.find(|path| path.is_file()) {
        vec![beside]
    } else {
        last.map(|last| last.requirements.clone()).unwrap_or_default()
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).context(|| path.display().to_string());
    locks.iter().map(absolute).collect()
}

/// Source: <https://docs.astral.sh/uv/concepts/cache/#cache-directory>
fn uv_default() -> Option<PathBuf> {
    let of_windows = || variable("LOCALAPPDATA").filter(|_| cfg!(windows));
    of_windows()
        .map(|directory| directory.join("uv/cache"))
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("uv")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/uv")))
}

/// A path in the environment; an empty one counts as none, as containers often have it.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
