//! A virtual environment on disk: find it, create it, ask its interpreter, keep its `.sitefs/` state.

pub mod interpreter;
mod layout;
pub mod state;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use interpreter::{Interpreter, Scheme};
pub use layout::Layout;

use crate::error::{Context, Error, Result};

/// The directory of a virtual environment.
#[derive(Clone, Debug)]
pub struct Venv {
    root: PathBuf,
}

impl Venv {
    /// Finds the environment at `path`.
    ///
    /// # Errors
    /// Nothing is there, or it is no virtual environment (PEP 405).
    pub fn open(path: &Path) -> Result<Self> {
        let root = fs_err::canonicalize(path)
            .context(|| format!("{} cannot be opened", path.display()))
            .map_err(|error| {
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
        let last = said.trim().lines().last().unwrap_or("it said nothing").to_owned();
        Err(Error::new(format!("{python} -m venv {} ended with {}: {last}", path.display(), output.status)))
    }

    /// The directory: absolute, without links in it.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
