//! The digests that a lock allows for a distribution.

use crate::error::{Error, Result};

/// The digests of one requirement. Only sha256 can be compared with what caches record.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    /// In lower-case hex.
    pub(super) sha256: Vec<String>,
    other: Option<String>,
}

impl Hashes {
    /// Adds `algorithm:digest`.
    ///
    /// # Errors
    /// Text of another form, a sha256 digest that is none.
    pub(super) fn add(&mut self, hash: &str) -> Result<()> {
        match hash.split_once(':') {
            Some(("sha256", digest)) => {
                // Counting, unlike `all`, compiles to vector instructions: most of a lock is digests.
                let digits = digest.bytes().filter(u8::is_ascii_hexdigit).count();
                if digits != 64 || digest.len() != 64 {
                    return Err(Error::new("a sha256 hash has 64 hexadecimal digits"));
                }
                self.sha256.push(digest.to_ascii_lowercase());
            }
            Some((algorithm, digest)) if !algorithm.is_empty() && !digest.is_empty() => {
                self.other.get_or_insert_with(|| algorithm.to_owned());
            }
            _ => return Err(Error::new("a hash is written as `sha256:DIGEST`")),
        }
        Ok(())
    }

    /// The algorithm of hashes that cannot be compared, if there is none that can.
    pub(super) fn unchecked(&self) -> Option<&str> {
        match self.sha256.is_empty() {
            true => self.other.as_deref(),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hashes;

    #[test]
    fn sha256_is_kept_in_lower_case_and_makes_others_needless() {
        let mut hashes = Hashes::default();
        hashes.add("sha512:00").unwrap();
        assert_eq!(hashes.unchecked(), Some("sha512"));
        hashes.add(&format!("sha256:{}", "Ab".repeat(32))).unwrap();
        assert_eq!(hashes.sha256, ["ab".repeat(32)]);
        assert_eq!(hashes.unchecked(), None);
    }

    #[test]
    fn what_is_no_hash_is_an_error() {
        for hash in ["", "sha256", "sha256:", "sha256:00", ":00", "md5:"] {
            assert!(Hashes::default().add(hash).is_err(), "{hash}");
        }
    }
}
