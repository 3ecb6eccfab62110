//! Leases: which environments use which wheels of a store, so that `prune` keeps them. Whoever mounts takes one, a server
//! renews it, and it expires when nobody does. An environment on this machine is also asked itself.
//!
//! A lease is a file; when it was last written, by the clock of the store's drive, is when it was renewed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Place, Store, listed, staging};
use crate::cache::Archive;
use crate::cache::wheel::hex;
use crate::error::Result;
use crate::sys::{posix, surroundings};
use crate::venv::state::State;

/// How long a lease holds that nobody renews.
pub(super) const HOLDS: Duration = Duration::from_secs(30 * 24 * 3600);

/// An environment, and what it uses of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The environment's directory.
    pub venv: PathBuf,
    /// The machine that it is on.
    pub host: String,
    /// What those have in common who see the environment by this path.
    surroundings: Option<String>,
    /// `NAME/SHA256` of each wheel.
    pub wheels: Vec<String>,
}

impl Place {
    /// How a lease names it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.name, self.sha256)
    }
}

impl Store {
    /// Takes a lease on those archives that are of this store, for an environment; gives its file.
    pub(in crate::cache) fn lease(&self, archives: &[Archive], venv: &Path) -> Result<PathBuf> {
        let places = archives.iter().filter_map(|archive| self.place_of(&archive.root));
        let mut wheels: Vec<String> = places.map(|place| place.key()).collect();
        wheels.sort_unstable();
        let lease =
            Lease { venv: venv.to_path_buf(), host: posix::host(), surroundings: surroundings(), wheels };
        let text = serde_json::to_vec(&lease).unwrap_or_default();
        // One lease for each set: a mount that comes to nothing takes nothing from the one that is there.
        let digest = hex(Sha256::new_with_prefix(&text));
        let path = self.leases().join(format!("{}.json", digest.get(..32).unwrap_or(&digest)));
        if posix::touch(&path).is_err() {
            posix::make_directory(&self.leases(), self.mode)?;
            staging::write(&path, &text)?;
        }
        Ok(path)
    }

    /// The leases that are there; what cannot be read is none.
    pub fn all_leases(&self) -> Result<Vec<(PathBuf, Lease)>> {
        let mut leases = Vec::new();
        for name in listed(&self.leases())? {
            let path = self.leases().join(name);
            let text = fs_err::read(&path).unwrap_or_default();
            if let Ok(lease) = serde_json::from_slice(&text) {
                leases.push((path, lease));
            }
        }
        Ok(leases)
    }

    fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }
}

/// Renews a lease that a mount took.
///
/// # Errors
/// It is gone, or is another user's.
pub fn renew(lease: &Path) -> Result<()> {
    Ok(posix::touch(lease)?)
}

/// What an environment itself says of a lease.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Those of the wheels that it uses.
    pub(super) uses: HashSet<String>,
    /// Whether it uses no other: it can be asked, and is not on another machine or in another container.
    pub(super) is_all: bool,
}

impl Lease {
    /// Asks the environment, if it can be reached from here.
    pub(super) fn ask(&self, store: &Store) -> Answer {
        if self.host != posix::host() {
            return Answer::default();
        }
        let record = State::of(&self.venv).mount_record();
        // The same path may lead somewhere else in a container, or after a drive was unmounted.
        let is_same_view = self.surroundings.is_some() && self.surroundings == surroundings();
        let is_all = is_same_view && (record.is_some() || is_gone(&self.venv));
        let distributions = record.into_iter().flat_map(|record| record.distributions);
        let layers = distributions.flat_map(|distribution| distribution.layers);
        let used = layers.filter_map(|layer| Some(store.place_of(&layer)?.key()));
        Answer { uses: used.filter(|key| self.wheels.contains(key)).collect(), is_all }
    }
}

fn is_gone(venv: &Path) -> bool {
    matches!(fs_err::symlink_metadata(venv), Err(error) if super::is_absent(&error))
}
