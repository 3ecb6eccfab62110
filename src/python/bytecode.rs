//! Where Python keeps the bytecode of modules.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The directory that it makes beside them.
///
/// Source: PEP 3147.
pub const CACHE: &str = "__pycache__";

/// The module that a file of [`CACHE`] was compiled from.
///
/// Source: PEP 3147, `MODULE.TAG.pyc`, and PEP 488, `MODULE.TAG.opt-N.pyc`.
pub fn module_of(bytecode: &OsStr) -> Option<&OsStr> {
    let (module, rest) = bytecode.to_str()?.split_once('.')?;
    rest.ends_with(".pyc").then_some(OsStr::new(module))
}

/// The source of a module in a directory.
pub fn source_of(directory: &Path, module: &OsStr) -> PathBuf {
    let mut source = directory.join(module);
    source.as_mut_os_string().push(".py");
    source
}
