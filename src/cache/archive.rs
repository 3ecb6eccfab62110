//! An archive: one wheel unpacked, a read-only directory in a cache.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::python::PackageName;

/// One wheel unpacked, as a cache holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The distribution's name.
    pub name: PackageName,
    /// The distribution's version, in its normalized form.
    pub version: String,
    /// The directory: absolute, without links in it.
    pub root: PathBuf,
    /// The text of `direct_url.json` (PEP 610), for what does not come from an index.
    pub direct_url: Option<String>,
}
