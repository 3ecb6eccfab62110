//! The facts of an interpreter, asked once and remembered.

use std::path::{Path, PathBuf};

use pep508_rs::MarkerEnvironment;

use crate::error::Result;
use crate::python::Tags;

/// What sitefs needs to know of a virtual environment's interpreter.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// Where things go in the environment.
    pub scheme: Scheme,
    /// What markers are compared with.
    pub markers: MarkerEnvironment,
    /// Which wheels fit.
    pub tags: Tags,
}

/// The paths of the environment's `venv` scheme, relative to the environment.
///
/// Source: <https://docs.python.org/3/library/sysconfig.html#installation-paths>
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scheme {
    /// `lib/python3.11/site-packages`
    pub purelib: PathBuf,
    /// Usually the same as `purelib`.
    pub platlib: PathBuf,
    /// `bin`
    pub scripts: PathBuf,
    /// `include/site/python3.11`: a wheel's headers go to a folder with the distribution's name below it.
    pub headers: PathBuf,
}

impl Interpreter {
    /// The facts of `venv`'s own interpreter: remembered, or asked of `venv/bin/python`.
    ///
    /// # Errors
    /// The interpreter is missing, does not start, or answers nonsense.
    pub fn of(_venv: &Path) -> Result<Self> {
        todo!()
    }
}
