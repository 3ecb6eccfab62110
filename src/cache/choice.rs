//! Which of several wheels a pin gets.

use std::cmp::Reverse;

use pep440_rs::Version;

use super::missing::Reasons;
use crate::lock::{Pin, Source};
use crate::python::{Tags, WheelName};

/// A search for the wheel of one pin, among wheels that are known by their file names.
pub(super) struct Choice<'a> {
    pub(super) pin: &'a Pin,
    pub(super) reasons: Reasons,
    tags: &'a Tags,
    version: Option<Version>,
    /// The wheel that the pin's URL leads to.
    only: Option<WheelName>,
}

/// How well a wheel fits; the best sorts first: the version as written, the tags, the build.
pub(super) type Fit = (bool, usize, Reverse<Option<(u64, String)>>);

impl<'a> Choice<'a> {
    pub(super) fn new(pin: &'a Pin, tags: &'a Tags) -> Self {
        let only = wheel_in_url(&pin.source);
        let version = pin.version.clone().or_else(|| only.as_ref().map(|wheel| wheel.version.clone()));
        Self { pin, reasons: Reasons::default(), tags, version, only }
    }

    /// How well a wheel of this name fits; if it cannot be meant, remembers that it is there.
    pub(super) fn fit(&mut self, wheel: &WheelName) -> Option<Fit> {
        if let Source::Directory { path, .. } = &self.pin.source
            && self.pin.is_editable()
        {
            let path = path.display();
            self.reasons.other(format!("it is {path} itself, as editable, and wheels are copies"));
            return None;
        }
        if self.version.as_ref().is_some_and(|pinned| !is_equal(pinned, &wheel.version)) {
            self.reasons.other_version(&wheel.version);
            return None;
        }
        let rank = self.tags.rank(wheel).filter(|_| self.only.as_ref().is_none_or(|only| only == wheel));
        if rank.is_none() {
            self.reasons.other_tags(wheel);
        }
        let is_other_spelling = self.version.as_ref().is_some_and(|pinned| *pinned != wheel.version);
        Some((is_other_spelling, rank?, Reverse(wheel.build.clone())))
    }

    /// Whether a wheel with this digest can be meant; if not, remembers that it is there.
    pub(super) fn allows(&mut self, sha256: &str) -> bool {
        let allows = self.pin.hashes.is_empty() || self.pin.hashes.iter().any(|hash| hash == sha256);
        if !allows {
            self.reasons.other_hash();
        }
        allows
    }
}

/// The wheel that a URL leads to; `+`, which begins a local version, is often escaped there.
pub(super) fn wheel_in_url(source: &Source) -> Option<WheelName> {
    let Source::Archive { url, .. } = source else {
        return None;
    };
    let file_name = url.path_segments()?.next_back()?.replace("%2B", "+").replace("%2b", "+");
    file_name.parse().ok()
}

/// PEP 440's `==pinned`: a local version (`1.0+cpu`) counts only if `pinned` has one.
pub(super) fn is_equal(pinned: &Version, found: &Version) -> bool {
    pinned == found || (!pinned.is_local() && found.is_local() && *pinned == found.clone().without_local())
}

#[cfg(test)]
mod tests {
    use super::is_equal;

    #[test]
    fn versions_are_equal_as_pep_440_says() {
        for (pinned, found, expected) in [
            ("1.0", "1.0.0", true),
            ("1.0", "1.0+cpu", true),
            ("1.0+cpu", "1.0+cpu", true),
            ("1.0+cpu", "1.0", false),
            ("1.0", "1.0.post1", false),
            ("1!1.0", "1.0", false),
        ] {
            assert_eq!(
                is_equal(&pinned.parse().unwrap(), &found.parse().unwrap()),
                expected,
                "{pinned} {found}"
            );
        }
    }
}
