//! What RECORD says a file holds.

use std::io::Read;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::error::{Error, Result};
use crate::python::RecordEntry;

/// How much is read at a time.
const CHUNK: usize = 1 << 18;

/// What a file must hold.
pub(in crate::cache) enum Expected {
    Anything,
    Digest(Algorithm, Vec<u8>),
}

#[derive(Clone, Copy)]
pub(in crate::cache) enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

/// A digest in the making; none where nothing is expected.
pub(in crate::cache) enum Hasher {
    None,
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Expected {
    /// A hash is required, and those that can be forged count as none.
    pub(in crate::cache) fn of(entry: &RecordEntry) -> Result<Self> {
        let path = &entry.path;
        let Some((algorithm, digest)) = entry.hash.as_deref().and_then(|hash| hash.split_once('=')) else {
            return Err(Error::new(format!("its RECORD has no hash of `{path}`")));
        };
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            other => {
                let message = format!("its RECORD has only a hash of `{path}` that does not count: {other}");
                return Err(Error::new(message));
            }
        };
        match BASE64URL_NOPAD.decode(digest.trim_end_matches('=').as_bytes()) {
            Ok(digest) => Ok(Self::Digest(algorithm, digest)),
            Err(_) => Err(Error::new(format!("its RECORD has a hash of `{path}` that is none: {digest}"))),
        }
    }

    pub(in crate::cache) fn hasher(&self) -> Hasher {
        match self {
            Self::Anything => Hasher::None,
            Self::Digest(Algorithm::Sha256, _) => Hasher::Sha256(Sha256::new()),
            Self::Digest(Algorithm::Sha384, _) => Hasher::Sha384(Sha384::new()),
            Self::Digest(Algorithm::Sha512, _) => Hasher::Sha512(Sha512::new()),
        }
    }

    pub(in crate::cache) fn is_met_by(&self, hasher: Hasher) -> bool {
        match (self, hasher) {
            (Self::Anything, _) => true,
            (Self::Digest(_, expected), Hasher::Sha256(hasher)) => hasher.finalize().as_slice() == expected,
            (Self::Digest(_, expected), Hasher::Sha384(hasher)) => hasher.finalize().as_slice() == expected,
            (Self::Digest(_, expected), Hasher::Sha512(hasher)) => hasher.finalize().as_slice() == expected,
            (Self::Digest(..), Hasher::None) => false,
        }
    }

    pub(in crate::cache) fn is_held_by(&self, path: &Path) -> std::io::Result<bool> {
        let mut file = fs_err::File::open(path)?;
        let (mut hasher, mut buffer) = (self.hasher(), vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(self.is_met_by(hasher)),
                count => hasher.update(buffer.get(..count).unwrap_or_default()),
            }
        }
    }
}

impl Hasher {
    pub(in crate::cache) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }
}

/// RECORD cannot have its own hash, and its signatures are made after it.
pub(in crate::cache) fn is_unrecorded(path: &str, dist_info: &str) -> bool {
    let name = path.strip_prefix(dist_info).and_then(|path| path.strip_prefix('/'));
    matches!(name, Some("RECORD" | "RECORD.jws" | "RECORD.p7s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_counts_if_it_is_sha256_or_better() {
        let entry = |hash: Option<&str>| RecordEntry {
            path: "a.py".to_owned(),
            hash: hash.map(str::to_owned),
            size: None,
        };
        let good = RecordEntry::of("a.py", b"text");
        for (bytes, is_met) in [(b"text", true), (b"test", false)] {
            let expected = Expected::of(&good).unwrap();
            let mut hasher = expected.hasher();
            hasher.update(bytes);
            assert_eq!(expected.is_met_by(hasher), is_met);
        }
        for hash in [None, Some("md5=abc"), Some("sha1=abc"), Some("sha256"), Some("sha256=!")] {
            let error = Expected::of(&entry(hash)).err().unwrap().to_string();
            assert!(error.contains("a.py"), "{error}");
        }
    }
}
