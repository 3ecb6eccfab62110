//! Whether a cached wheel comes from the source that a pin names.
//!
//! uv tells sources apart by a hash of their URL, which is not computed here. Instead, an HTTP pointer tells its URL, and
//! a local one the change time that its file, or a directory's project files, had.

use std::path::Path;

use super::pointer::{Pointer, Timestamp, recorded_url};
use crate::cache::direct_url::without_credentials;
use crate::lock::{Pin, Source};
use crate::sys::posix;

/// Whether a cached wheel comes from the source that a pin names.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Provenance {
    /// It does.
    Same,
    /// Nothing tells.
    Unknown,
    /// It does not, for this reason.
    Other(String),
}

/// Where the wheel or sdist of `pointer`, whose file holds `bytes`, comes from.
pub(super) fn of(pin: &Pin, pointer: &Pointer, bytes: &[u8]) -> Provenance {
    match &pin.source {
        Source::Index | Source::Git { .. } => Provenance::Same,
        Source::Archive { url, .. } => match url.to_file_path() {
            Ok(path) if url.scheme() == "file" => local(&path, pointer, changed(&path)),
            _ => match recorded_url(bytes) {
                Some(recorded) if recorded == without_credentials(url) => Provenance::Same,
                Some(recorded) => Provenance::Other(format!("it comes from {recorded}")),
                None => Provenance::Unknown,
            },
        },
        Source::Directory { path, .. } => local(path, pointer, directory_changed(path)),
    }
}

fn local(path: &Path, pointer: &Pointer, changed: Option<Timestamp>) -> Provenance {
    let cached = pointer.cache_info.as_ref().and_then(|info| info.timestamp);
    match (cached, changed) {
        (Some(cached), Some(changed)) if cached == changed => Provenance::Same,
        (Some(_), Some(_)) => {
            Provenance::Other(format!("{} has changed since it was cached", path.display()))
        }
        _ => Provenance::Unknown,
    }
}

/// When a file was last changed: uv compares `ctime`.
fn changed(file: &Path) -> Option<Timestamp> {
    let (seconds, nanoseconds) = posix::changed(&fs_err::metadata(file).ok()?);
    Some(Timestamp {
        secs_since_epoch: seconds.try_into().ok()?,
        nanos_since_epoch: nanoseconds.try_into().ok()?,
    })
}

/// When a project was last changed, as uv sees it unless the project says otherwise, which is not looked into.
fn directory_changed(directory: &Path) -> Option<Timestamp> {
    let project = directory.join("pyproject.toml");
    if fs_err::read_to_string(&project).is_ok_and(|text| text.contains("cache-keys")) {
        return None;
    }
    let others = ["setup.py", "setup.cfg"].map(|file| changed(&directory.join(file)));
    others.into_iter().chain([changed(&project)]).flatten().max()
}
