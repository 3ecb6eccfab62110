//! The part of locks that is about some distributions, for tools that get these.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use url::Url;

use super::kind::Kind;
use super::{Lock, Pin, Selection, Source, pylock, requirements, text, uv_lock};
use crate::error::Result;
use crate::python::PackageName;

/// The part of locks that is about some distributions.
#[derive(Debug, Default)]
pub struct Excerpt {
    /// A requirements.txt.
    pub requirements: Option<Requirements>,
    /// The texts of files like pylock.toml.
    pub pylocks: Vec<String>,
    /// The projects whose uv.lock is one of the locks.
    pub projects: Vec<Project>,
}

/// A requirements.txt that pins some distributions.
#[derive(Debug, Default)]
pub struct Requirements {
    /// Its text.
    pub text: String,
    /// Whether each has hashes.
    pub has_hashes: bool,
}

/// A project, of whose uv.lock a part is meant.
#[derive(Debug)]
pub struct Project {
    /// The folder with the uv.lock.
    pub folder: PathBuf,
    /// What the lock has besides.
    pub without: BTreeSet<PackageName>,
    /// The default groups of the package that is wanted, which `uv sync --frozen` does not take.
    pub groups: BTreeSet<PackageName>,
}

impl Lock {
    /// The part of these locks that is about `pins`, which were selected of them, as the locks have it.
    ///
    /// # Errors
    /// A lock that cannot be read any more.
    pub fn excerpt(&self, pins: &[Pin], selection: &Selection) -> Result<Excerpt> {
        let mut by_file: BTreeMap<&Path, Vec<&Pin>> = BTreeMap::new();
        for pin in pins {
            by_file.entry(&pin.origin.file).or_default().push(pin);
        }
        let mut excerpt = Excerpt::default();
        let mut lines = Vec::new();
        for (&path, pins) in &by_file {
            let text = text::read(path)?;
            match Kind::of(path, &text)? {
                Kind::Requirements => {
                    let (plain, written): (Vec<_>, Vec<_>) = pins.iter().partition(|pin| is_made_plain(pin));
                    lines.extend(self.requirements_of(path, &text, &written));
                    lines.extend(plain.into_iter().map(requirement));
                }
                Kind::Pylock => {
                    excerpt.pylocks.push(pylock::excerpt(path, &text, &line_numbers(pins), selection)?);
                }
                Kind::Uv if path.file_name().is_some_and(|name| name == "uv.lock") => {
                    excerpt.projects.push(uv_lock::excerpt(path, &text, pins, selection)?);
                }
                // Of a script: uv would make its environment in the cache.
                Kind::Uv => lines.extend(pins.iter().map(|pin| requirement(pin))),
            }
        }
        if !lines.is_empty() {
            excerpt.requirements = Some(self.requirements(pins, &lines));
        }
        Ok(excerpt)
    }

    fn requirements(&self, pins: &[Pin], lines: &[String]) -> Requirements {
        Requirements {
            text: written(&self.index_options, lines),
            has_hashes: pins.iter().all(|pin| !pin.hashes.is_empty()),
        }
    }

    /// A distribution may be pinned by several lines, which have different hashes or markers.
    fn requirements_of(&self, path: &Path, text: &str, pins: &[&Pin]) -> Vec<String> {
        let is_meant =
            |pin: &&Pin| pin.origin.file == path && pins.iter().any(|meant| meant.name == pin.name);
        let numbers = line_numbers(&self.pins.iter().filter(is_meant).collect::<Vec<_>>());
        requirements::written(text, &numbers)
    }
}

/// Whether it is wanted as a plain folder, whatever its line of a requirements file says.
fn is_made_plain(pin: &Pin) -> bool {
    matches!(pin.source, Source::Directory { editable: Some(false), .. })
}

fn line_numbers(pins: &[&Pin]) -> HashSet<usize> {
    pins.iter().map(|pin| pin.origin.line).collect()
}

/// Pins as requirements files: those with hashes, and those without, as pip wants hashes for all or none.
pub fn by_hashes(pins: &[Pin], index_options: &[String]) -> Vec<Requirements> {
    let (with, without): (Vec<&Pin>, Vec<&Pin>) = pins.iter().partition(|pin| !pin.hashes.is_empty());
    let parts = [(true, with), (false, without)].into_iter().filter(|(_, pins)| !pins.is_empty());
    parts
        .map(|(has_hashes, pins)| {
            let lines: Vec<String> = pins.into_iter().map(requirement).collect();
            Requirements { text: written(index_options, &lines), has_hashes }
        })
        .collect()
}

/// The text of a requirements.txt.
fn written(index_options: &[String], lines: &[String]) -> String {
    index_options.iter().chain(lines).map(|line| format!("{line}\n")).collect()
}

/// A pin as a line of a requirements.txt.
fn requirement(pin: &Pin) -> String {
    let mut line = match (&pin.source, &pin.version) {
        (Source::Index, Some(version)) => format!("{}=={version}", pin.name),
        (Source::Index, None) => pin.name.to_string(),
        (Source::Archive { url, subdirectory }, _) => {
            format!("{} @ {url}{}", pin.name, fragment(subdirectory.as_deref()))
        }
        (Source::Git { repository, revision, commit, subdirectory, file }, _) => {
            let revision = commit.as_ref().or(revision.as_ref()).map(|revision| format!("@{revision}"));
            let fragment = match file {
                Some(file) => format!("#path={file}"),
                None => fragment(subdirectory.as_deref()),
            };
            format!("{} @ git+{repository}{}{fragment}", pin.name, revision.unwrap_or_default())
        }
        (Source::Directory { path, editable: Some(true) }, _) => return format!("-e {}", path.display()),
        (Source::Directory { path, .. }, _) => match Url::from_file_path(path) {
            Ok(url) => format!("{} @ {url}", pin.name),
            Err(()) => format!("{} @ file://{}", pin.name, path.display()),
        },
    };
    for hash in &pin.hashes {
        line.push_str(&format!(" --hash=sha256:{hash}"));
    }
    line
}

fn fragment(subdirectory: Option<&str>) -> String {
    subdirectory.map(|subdirectory| format!("#subdirectory={subdirectory}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::lock::{BuildSettings, Origin};
    use pep508_rs::MarkerTree;

    fn pin(source: Source, version: Option<&str>, hashes: &[&str]) -> Pin {
        Pin {
            name: PackageName::new("x"),
            version: version.map(|version| version.parse().unwrap()),
            source,
            hashes: hashes.iter().map(|hash| (*hash).to_owned()).collect(),
            marker: MarkerTree::TRUE,
            build: BuildSettings::default(),
            origin: Origin { file: PathBuf::from("script.py.lock"), line: 1 },
        }
    }

    #[test]
    fn every_source_is_a_line() {
        let url = |text: &str| Url::parse(text).unwrap();
        let git = Source::Git {
            repository: url("https://git.example/x.git"),
            revision: Some("v1".to_owned()),
            commit: Some("abc".to_owned()),
            subdirectory: Some("sub".to_owned()),
            file: None,
        };
        let file = Source::Git {
            repository: url("https://git.example/x.git"),
            revision: None,
            commit: Some("abc".to_owned()),
            subdirectory: None,
            file: Some("dist/x.zip".to_owned()),
        };
        let archive = Source::Archive { url: url("https://files.example/x.zip"), subdirectory: None };
        let directory = |editable| Source::Directory { path: "/a b".into(), editable };
        for (pin, expected) in [
            (pin(Source::Index, Some("1.0"), &["aa", "bb"]), "x==1.0 --hash=sha256:aa --hash=sha256:bb"),
            (pin(git, None, &[]), "x @ git+https://git.example/x.git@abc#subdirectory=sub"),
            (pin(file, None, &[]), "x @ git+https://git.example/x.git@abc#path=dist/x.zip"),
            (pin(archive, None, &["aa"]), "x @ https://files.example/x.zip --hash=sha256:aa"),
            (pin(directory(Some(true)), None, &[]), "-e /a b"),
            (pin(directory(None), None, &[]), "x @ file:///a%20b"),
        ] {
            assert_eq!(requirement(&pin), expected);
        }
    }

    #[test]
    fn what_has_hashes_is_apart_from_what_has_none() {
        let index = |hashes: &[&str]| pin(Source::Index, Some("1.0"), hashes);
        let files = by_hashes(&[index(&[]), index(&["aa"])], &["--no-index".to_owned()]);
        let files: Vec<_> = files.iter().map(|file| (file.text.as_str(), file.has_hashes)).collect();
        let expected = [("--no-index\nx==1.0 --hash=sha256:aa\n", true), ("--no-index\nx==1.0\n", false)];
        assert_eq!(files, expected);
    }
}
