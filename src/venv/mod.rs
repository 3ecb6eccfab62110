//! A virtual environment on disk: find it, create it, ask its interpreter, keep its `.sitefs/` state.

pub mod interpreter;
mod layout;
mod record;
pub mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use interpreter::{Bytecode, Interpreter, Scheme};
pub use layout::Layout;

use crate::error::{Context, Error, Result};

/// The directory of a virtual environment.
#[derive(Clone, Debug)]
pub struct Venv {
    root: PathBuf,
}

/// The environment's directory, without links.
///
/// # Errors
/// Nothing is there, or this user may not look.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    crate::sys::posix::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if fs_err::symlink_metadata(path).is_ok() => {
            Error::new(format!("{} is a link to something that is not there", path.display()))
        }
        io::ErrorKind::NotFound => Error::new(format!("there is no {}", path.display())),
        _ => error.into(),
    })
}

impl Venv {
    /// Finds the environment at `path`.
    ///
    /// # Errors
    /// Nothing is there, or it is no virtual environment (PEP 405).
    pub fn open(path: &Path) -> Result<Self> {
        let root = resolve(path).map_err(|error| {
            error.with_help("give the directory of a virtual environment, or --python to create one")
        })?;
        if root.join("pyvenv.cfg").is_file() {
            return Ok(Self { root });
        }
        let error =
            Error::new(format!("{} is not a virtual environment: it has no pyvenv.cfg", path.display()));
        Err(match root.ancestors().skip(1).find(|parent| parent.join("pyvenv.cfg").is_file()) {
            Some(parent) => error.with_help(format!("did you mean {}?", parent.display())),
            None => error.with_help("make one with `python -m venv`, or give a new directory and --python"),
        })
    }

    /// Makes a new, empty environment with `python -m venv`.
    ///
    /// # Errors
    /// The interpreter is missing or cannot make one.
    pub fn create(path: &Path, python: &str) -> Result<Self> {
        let output = Command::new(python)
            .args(["-I", "-m", "venv", "--without-pip"])
            .arg(path)
            .output()
            .context(|| format!("{python} cannot be started, to create {}", path.display()))
            .map_err(|error| error.with_help("give --python the path of an interpreter"))?;
        if output.status.success() {
            return Self::open(path);
        }
        let said =
            String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
        // A traceback says at its end what is wrong, all else at its beginning.
        let mut lines = said.trim().lines();
        let telling = if said.starts_with("Traceback") { lines.next_back() } else { lines.next() };
        let telling = telling.unwrap_or("it said nothing");
        Err(Error::new(format!(
            "{python} -m venv {} ended with {}: {telling}",
            path.display(),
            output.status
        )))
    }

    /// The directory: absolute, without links in it.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
