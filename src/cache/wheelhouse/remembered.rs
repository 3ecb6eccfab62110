//! The hashes of the wheels of a wheelhouse, remembered in the store by path, size, times and inode.
//!
//! Who can write here can write the store. A hash only says which archive of the store is meant; nothing is unpacked for
//! a hash that was not computed just then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::store::{Store, write};
use crate::cache::wheel::{Looks, hex};

/// What is remembered of one wheelhouse.
pub(in crate::cache) struct Remembered {
    file: PathBuf,
    written: Mutex<Written>,
    is_changed: Mutex<bool>,
}

#[derive(Default, Serialize, Deserialize)]
struct Written {
    wheelhouse: PathBuf,
    wheels: BTreeMap<PathBuf, Wheel>,
}

#[derive(Serialize, Deserialize)]
struct Wheel {
    #[serde(flatten)]
    looks: Looks,
    sha256: String,
}

impl Remembered {
    /// What is remembered of the wheelhouse at `root`: nothing, if it cannot be read.
    pub(in crate::cache) fn read(store: &Store, root: &Path) -> Self {
        let digest = hex(Sha256::new_with_prefix(root.as_os_str().as_encoded_bytes()));
        let file = store.wheelhouses().join(format!("{}.json", digest.get(..32).unwrap_or(&digest)));
        let written: Option<Written> =
            fs_err::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut written = written.unwrap_or_default();
        written.wheelhouse = root.to_path_buf();
        Self { file, written: Mutex::new(written), is_changed: Mutex::new(false) }
    }

    /// The hash of a wheel that looks so.
    pub(in crate::cache) fn hash(&self, path: &Path, looks: Looks) -> Option<String> {
        let written = self.written.lock();
        written.wheels.get(path).filter(|wheel| wheel.looks == looks).map(|wheel| wheel.sha256.clone())
    }

    /// The hash that a wheel had, whatever it looks like now.
    pub(in crate::cache) fn last_hash(&self, path: &Path) -> Option<String> {
        self.written.lock().wheels.get(path).map(|wheel| wheel.sha256.clone())
    }

    pub(in crate::cache) fn remember(&self, path: &Path, looks: Looks, sha256: &str) {
        let wheel = Wheel { looks, sha256: sha256.to_owned() };
        self.written.lock().wheels.insert(path.to_path_buf(), wheel);
        *self.is_changed.lock() = true;
    }

    /// Of several that save at once, one wins; what the others knew is computed again. Where nothing can be written,
    /// nothing is remembered.
    pub(in crate::cache) fn save(self) {
        if !self.is_changed.into_inner() {
            return;
        }
        let text = serde_json::to_vec(&self.written.into_inner()).unwrap_or_default();
        if let Err(error) = write(&self.file, &text) {
            log::debug!("{error}");
        }
    }
}
