//! What is not in a cache, why not, and the command that gets it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use pep440_rs::Version;
use url::Url;

use super::Wanted;
use crate::error::Error;
use crate::lock::{Pin, Source};
use crate::python::WheelName;
use crate::shell::quote;

/// Above this many, missing distributions are counted, not named.
const NAMED: usize = 20;

/// Pins of which a cache has nothing, each with the reasons.
pub(super) type Missing<'a> = Vec<(&'a Pin, Reasons)>;

/// Whose commands bring something into a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// uv's own.
    Uv,
    /// pip's, into a folder.
    Wheelhouse,
    /// sitefs's.
    Store,
}

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

    /// Whether something was passed over for what it is, not for what it is called.
    pub(super) fn has_other(&self) -> bool {
        !self.other.is_empty()
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

/// The error for all that is missing of what is wanted.
pub(super) fn error(missing: &Missing, cache: &Path, owner: Owner, wanted: Wanted) -> Error {
    let total = wanted.pins.len();
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
    Error::new(message).with_help(match owner {
        Owner::Uv => help_with_uv(missing, cache, wanted),
        Owner::Wheelhouse => help_with_pip(missing, cache, wanted),
        Owner::Store => help_with_store(missing, cache, wanted),
    })
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

/// The commands that bring the missing ones into uv's cache, and leave the environment alone.
fn help_with_uv(missing: &Missing, cache: &Path, wanted: Wanted) -> String {
    let Wanted { python, selection, .. } = wanted;
    let (locks, requirements) = files(missing);
    let options = |chosen: Vec<String>| {
        let place = format!("--cache-dir {} --python {} --link-mode symlink", quote(cache), quote(python));
        std::iter::once(place).chain(chosen).collect::<Vec<_>>().join(" ")
    };
    let mut commands = Vec::new();
    if !requirements.is_empty() {
        let has_pylock = requirements.iter().any(|file| file.extension() == Some(OsStr::new("toml")));
        let chosen = selection.arguments_of_pip(has_pylock);
        // Only `uv pip install` builds what is editable as a plain folder.
        let (verb, before_file) = match chosen.iter().any(|argument| argument.starts_with("--no-editable")) {
            true => ("install --no-deps", "-r "),
            false => ("sync", ""),
        };
        let files: Vec<_> = requirements.iter().map(|file| format!("{before_file}{}", quote(file))).collect();
        let options = options(chosen);
        commands.push(format!(r#"uv pip {verb} {options} --target "$(mktemp -d)" {}"#, files.join(" ")));
    }
    for lock in locks {
        let project = lock.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let options = options(selection.arguments());
        commands.push(format!(
            r#"UV_PROJECT_ENVIRONMENT="$(mktemp -d)/venv" uv sync --frozen {options} --project {}"#,
            quote(project)
        ));
    }
    format!("Get them with `{}`", commands.join(" && "))
}

/// The lock files that want the missing ones: those of projects, and those that pip understands, too.
fn files<'a>(missing: &'a Missing) -> (Vec<&'a Path>, Vec<&'a Path>) {
    let mut files: Vec<&Path> = missing.iter().map(|(pin, _)| pin.origin.file.as_path()).collect();
    files.sort_unstable();
    files.dedup();
    files.into_iter().partition(|file| file.extension() == Some(OsStr::new("lock")))
}

/// The command that brings the missing ones into a folder.
fn help_with_pip(missing: &Missing, folder: &Path, wanted: Wanted) -> String {
    format!("Get them with `{}`", pip(missing, &quote(folder), wanted))
}

fn help_with_store(missing: &Missing, store: &Path, wanted: Wanted) -> String {
    let pip = pip(missing, "\"$wheels\"", wanted);
    format!(
        "Get them with `wheels=$(mktemp -d) && {pip} && sitefs cache add --store {} \"$wheels\"`",
        quote(store)
    )
}

/// Of an index, `pip download` gets wheels; what is a source archive, a repository or a folder, `pip wheel` builds.
fn pip(missing: &Missing, folder: &str, wanted: Wanted) -> String {
    let is_wheel = |pin: &Pin| match &pin.source {
        Source::Index => true,
        Source::Archive { url, .. } => url.path().ends_with(".whl"),
        Source::Git { .. } | Source::Directory { .. } => false,
    };
    let verb = if missing.iter().all(|(pin, _)| is_wheel(pin)) {
        "download --only-binary :all: -d"
    } else {
        "wheel -w"
    };
    let requirements: Vec<String> =
        missing.iter().map(|(pin, _)| quote(Path::new(&requirement(pin)))).collect();
    let python = quote(wanted.python);
    format!("pip --python {python} {verb} {folder} --no-deps {}", requirements.join(" "))
}
