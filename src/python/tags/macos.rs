//! The platform tags of macOS.

use serde::{Deserialize, Serialize};

/// What the platform tags of an interpreter on macOS follow from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacOs {
    /// The release, as `(10, 15)` or `(14, 2)`.
    pub version: (u32, u32),
    /// `platform.mac_ver()[2]`, as `arm64`.
    pub machine: String,
    /// True for a 32-bit interpreter.
    pub is_32bit: bool,
}

impl MacOs {
    pub(super) fn platforms(&self) -> Vec<String> {
        let architecture = self.architecture();
        let tags_of = |version: (u32, u32)| {
            binary_formats(version, architecture)
                .into_iter()
                .map(move |format| format!("macosx_{}_{}_{format}", version.0, version.1))
        };
        if self.version < (11, 0) {
            let (major, newest) = self.version;
            return (0..=newest)
                .rev()
                .filter(|_| major == 10)
                .flat_map(|minor| tags_of((major, minor)))
                .collect();
        }
        // Since macOS 11 each year has a major version, and minor versions do not matter.
        let mut tags: Vec<String> =
            (11..=self.version.0).rev().flat_map(|major| tags_of((major, 0))).collect();
        // Releases before 11 knew x86_64 only, whose half of a universal2 binary may ask for one of them.
        for minor in (4..=16).rev() {
            if architecture == "x86_64" {
                tags.extend(tags_of((10, minor)));
            } else {
                tags.push(format!("macosx_10_{minor}_universal2"));
            }
        }
        tags
    }

    fn architecture(&self) -> &str {
        match self.machine.as_str() {
            machine if !self.is_32bit => machine,
            machine if machine.starts_with("ppc") => "ppc",
            _ => "i386",
        }
    }
}

/// The binary formats that run on a release, the thinnest first.
fn binary_formats(version: (u32, u32), architecture: &str) -> Vec<&str> {
    let is_supported = match architecture {
        "x86_64" | "i386" => version >= (10, 4),
        "ppc64" => ((10, 4)..=(10, 5)).contains(&version),
        "ppc" => version <= (10, 6),
        _ => true,
    };
    if !is_supported {
        return Vec::new();
    }
    let fat: &[&str] = match architecture {
        "x86_64" => &["intel", "fat64", "fat3", "universal2", "universal"],
        "i386" => &["intel", "fat3", "fat", "universal"],
        "ppc64" => &["fat64", "universal"],
        "ppc" => &["fat3", "fat", "universal"],
        "arm64" => &["universal2"],
        "intel" => &["universal"],
        _ => &[],
    };
    let mut formats = vec![architecture];
    formats.extend(fat);
    formats
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms(version: (u32, u32), machine: &str) -> Vec<String> {
        let is_32bit = false;
        let machine = machine.to_owned();
        MacOs { version, machine, is_32bit }.platforms()
    }

    #[test]
    fn arm_counts_major_versions_then_old_universal_binaries() {
        let tags = platforms((12, 6), "arm64");
        assert_eq!(
            tags[..6],
            [
                "macosx_12_0_arm64",
                "macosx_12_0_universal2",
                "macosx_11_0_arm64",
                "macosx_11_0_universal2",
                "macosx_10_16_universal2",
                "macosx_10_15_universal2",
            ]
        );
        assert_eq!(tags.last().unwrap(), "macosx_10_4_universal2");
        assert_eq!(tags.len(), 17);
    }

    #[test]
    fn intel_takes_every_fat_format_of_every_release() {
        let tags = platforms((11, 0), "x86_64");
        assert_eq!(
            tags[..7],
            [
                "macosx_11_0_x86_64",
                "macosx_11_0_intel",
                "macosx_11_0_fat64",
                "macosx_11_0_fat3",
                "macosx_11_0_universal2",
                "macosx_11_0_universal",
                "macosx_10_16_x86_64",
            ]
        );
        assert_eq!(tags.len(), 14 * 6);
    }

    #[test]
    fn releases_before_11_count_minor_versions() {
        assert_eq!(
            platforms((10, 5), "x86_64"),
            [
                "macosx_10_5_x86_64",
                "macosx_10_5_intel",
                "macosx_10_5_fat64",
                "macosx_10_5_fat3",
                "macosx_10_5_universal2",
                "macosx_10_5_universal",
                "macosx_10_4_x86_64",
                "macosx_10_4_intel",
                "macosx_10_4_fat64",
                "macosx_10_4_fat3",
                "macosx_10_4_universal2",
                "macosx_10_4_universal",
            ]
        );
    }

    #[test]
    fn a_32_bit_interpreter_is_i386_or_ppc() {
        let first = |machine: &str| {
            MacOs { version: (10, 6), machine: machine.to_owned(), is_32bit: true }
                .platforms()
                .first()
                .cloned()
        };
        assert_eq!(first("x86_64").unwrap(), "macosx_10_6_i386");
        assert_eq!(first("ppc64").unwrap(), "macosx_10_6_ppc");
    }
}
