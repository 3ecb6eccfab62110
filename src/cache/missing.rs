//! What is not in a cache, why not, and the command that gets it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use pep440_rs::Version;
use url::Url;

use crate::error::Error;
use crate::lock::{Pin, Selection, Source};
use crate::python::WheelName;
use crate::shell::quote;

/// Above this many, missing distributions are counted, not named.
const NAMED: usize = 20;

/// Why nothing in a cache is what a pin asks for.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    other: BTreeSet<String>,
    hash: bool,
    tags: BTreeSet<String>,
    versions: BTreeSet<Version>,
}

impl Reasons {
    pub(super) fn other_version(&mut self, version: &Version) {
        self.versions.insert(version.clone());
    }

    pub(super) fn other_tags(&mut self, wheel: &WheelName) {
        let [python, abi, platform] = [&wheel.python, &wheel.abi, &wheel.platform].map(|tags| tags.join("."));
        self.tags.insert(format!("{python}-{abi}-{platform}"));
    }

    pub(super) fn other_hash(&mut self) {
        self.hash = true;
    }

    pub(super) fn other(&mut self, reason: String) {
        self.other.insert(reason);
    }
}

/// The reasons that are nearest to a match; nothing if there is nothing of that name.
impl fmt::Display for Reasons {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.hash.then(|| "its hash is none of those in the lock".to_owned());
        let near: Vec<_> = self.other.iter().cloned().chain(hash).collect();
        if !near.is_empty() {
            formatter.write_str(&near.join("; "))
        } else if !self.tags.is_empty() {
            write!(formatter, "only for other Pythons or platforms: {}", few(&self.tags))
        } else if !self.versions.is_empty() {
            write!(formatter, "only other versions: {}", few(&self.versions))
        } else {
            Ok(())
        }
    }
}

/// The last three.
fn few<T: fmt::Display>(set: &BTreeSet<T>) -> String {
    let mut texts: Vec<_> = set.iter().rev().take(3).map(T::to_string).collect();
    if set.len() > texts.len() {
        texts.push("...".to_owned());
    }
    texts.join(", ")
}

/// The error for all that is missing, out of `total` pins; `python` is the interpreter that needs it.
pub(super) fn error(
    missing: &[(&Pin, Reasons)],
    total: usize,
    cache: &Path,
    python: &Path,
    selection: &Selection,
) -> Error {
    let noun = if total == 1 { "distribution is" } else { "distributions are" };
    let mut message = format!("{} of {total} {noun} not in the cache {}:", missing.len(), cache.display());
    for (pin, reasons) in missing.iter().take(NAMED) {
        message.push_str(&format!("\n  {}", requirement(pin)));
        let reasons = reasons.to_string();
        if !reasons.is_empty() {
            message.push_str(&format!(": {reasons}"));
        }
    }
    if missing.len() > NAMED {
        message.push_str(&format!("\n  and {} more", missing.len() - NAMED));
    }
    Error::new(message).with_help(help(missing, cache, python, selection))
}

fn requirement(pin: &Pin) -> String {
    let source = match (&pin.version, &pin.source) {
        (Some(version), _) => return format!("{}=={version}", pin.name),
        (None, Source::Index) => return pin.name.to_string(),
        (None, Source::Archive { url, .. }) => without_credentials(url),
        (None, Source::Git { repository, .. }) => format!("git+{}", without_credentials(repository)),
        (None, Source::Directory { path, .. }) => path.display().to_string(),
    };
    format!("{} @ {source}", pin.name)
}

fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    // A URL that cannot have them has none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

/// The commands that bring the missing ones into the cache, and leave the environment alone.
fn help(missing: &[(&Pin, Reasons)], cache: &Path, python: &Path, selection: &Selection) -> String {
    let mut files: Vec<&Path> = missing.iter().map(|(pin, _)| pin.origin.file.as_path()).collect();
    files.sort_unstable();
    files.dedup();
    let (locks, requirements): (Vec<&Path>, Vec<&Path>) =
        files.into_iter().partition(|file| file.extension() == Some(OsStr::new("lock")));
    let mut options = format!("--cache-dir {} --python {} --link-mode symlink", quote(cache), quote(python));
    for argument in selection.arguments() {
        options.push(' ');
        options.push_str(&argument);
    }
    let mut commands = Vec::new();
    if !requirements.is_empty() {
        let files: Vec<_> = requirements.into_iter().map(quote).collect();
        commands.push(format!(r#"uv pip sync {options} --target "$(mktemp -d)" {}"#, files.join(" ")));
    }
    for lock in locks {
        let project = lock.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        commands.push(format!(
            r#"UV_PROJECT_ENVIRONMENT="$(mktemp -d)/venv" uv sync --frozen {options} --project {}"#,
            quote(project)
        ));
    }
    format!("Get them with `{}`", commands.join(" && "))
}
