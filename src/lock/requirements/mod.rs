//! requirements.txt: files, the files they include, and their options.
//!
//! Source: <https://pip.pypa.io/en/stable/reference/requirements-file-format/>

mod lines;
mod options;
mod project;
mod source;
mod specifier;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pep440_rs::{VersionSpecifier, VersionSpecifiers};

use crate::error::{Error, Result};

use super::hashes::Hashes;
use super::kind::Kind;
use super::text::{self, quoted};
use super::{BuildSettings, Constraint, Lock, Origin, Pin, Source};
use options::{FileOption, RequirementOption};
use specifier::{Requirement, Wanted};

/// So many unpinned lines are told one by one.
const MAX_TOLD: usize = 10;

/// Reads requirements files, in order: each is its path and its text. Paths of requirements count from `directory`, `${NAME}` is what `variable`
/// says.
///
/// # Errors
/// A file that cannot be read or is not a lock.
pub(super) fn read(
    files: Vec<(&Path, String)>,
    directory: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Lock> {
    let mut reader = Reader {
        directory,
        variable,
        lock: Lock::default(),
        unpinned: Vec::new(),
        open: Vec::new(),
        done: HashSet::new(),
        told: HashSet::new(),
        hashes_required_by: None,
    };
    for (path, text) in files {
        reader.file(path, Role::Lock, |_| Ok(text))?;
    }
    reader.finish()
}

/// The lines with these numbers, of a requirements file that holds `text`.
pub(super) fn written(text: &str, numbers: &HashSet<usize>) -> Vec<String> {
    let lines = lines::logical(text).filter(|line| numbers.contains(&line.number));
    lines.map(|line| line.text.into_owned()).collect()
}

/// What the lines of a file are for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    Lock,
    Constraint,
}

struct Reader<'a> {
    directory: &'a Path,
    variable: &'a dyn Fn(&str) -> Option<String>,
    lock: Lock,
    /// Where a line is not pinned, and its text.
    unpinned: Vec<(Origin, String)>,
    /// The files that are being read, the outermost first.
    open: Vec<PathBuf>,
    /// The files that need not be read again.
    done: HashSet<(PathBuf, Role)>,
    /// The options that a note was written about.
    told: HashSet<&'static str>,
    hashes_required_by: Option<Origin>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, role: Role, read: impl FnOnce(&Path) -> Result<String>) -> Result<()> {
        let identity = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(start) = self.open.iter().position(|open| *open == identity) {
            let cycle: Vec<String> =
                self.open.iter().skip(start).map(|file| file.display().to_string()).collect();
            let cycle = cycle.join("` includes `");
            return Err(Error::new(format!("`{cycle}` includes `{}`: a cycle", identity.display())));
        }
        if !self.done.insert((identity.clone(), role)) {
            return Ok(());
        }
        let text = read(path)?;
        let entries_before = self.entries();
        self.open.push(identity);
        for line in lines::logical(&text) {
            let origin = Origin { file: path.to_owned(), line: line.number };
            self.line(&line.text, &origin, role)
                .map_err(|error| Error::new(format!("{origin}: `{}`", quoted(&line.text))).because(error))?;
        }
        self.open.pop();
        if self.open.is_empty() && self.entries() == entries_before {
            self.lock.notes.push(format!("`{}` pins nothing.", path.display()));
        }
        Ok(())
    }

    fn entries(&self) -> usize {
        self.lock.pins.len() + self.unpinned.len()
    }

    fn line(&mut self, written: &str, origin: &Origin, role: Role) -> Result<()> {
        let text = lines::expand(written, self.variable);
        if let Some(editable) = options::editable(&text) {
            self.requirement(editable, true, written, origin, role)
        } else if text.starts_with('-') {
            self.options(&text, origin, role)
        } else {
            self.requirement(&text, false, written, origin, role)
        }
    }

    fn requirement(
        &mut self,
        text: &str,
        editable: bool,
        written: &str,
        origin: &Origin,
        role: Role,
    ) -> Result<()> {
        let (specifier, options) = options::split_off(text);
        let requirement = specifier::parse(specifier, editable, self.directory)?;
        let mut hashes = Hashes::default();
        for hash in &requirement.hashes {
            hashes.add(hash)?;
        }
        for option in options::of_requirement(options)? {
            match option {
                RequirementOption::Hash(hash) => hashes.add(&hash)?,
                RequirementOption::Build(name) => self.passed_over(name, origin),
            }
        }
        if let Some(algorithm) = hashes.unchecked() {
            self.lock.notes.push(format!(
                "{origin}: `{}` has no sha256 hash, and its {algorithm} hash is not checked.",
                requirement.name
            ));
        }
        match role {
            Role::Lock => self.pin(requirement, hashes, editable, written, origin),
            Role::Constraint => self.constraint(requirement, hashes, origin),
        }
        Ok(())
    }

    fn pin(
        &mut self,
        requirement: Requirement,
        hashes: Hashes,
        editable: bool,
        written: &str,
        origin: &Origin,
    ) {
        let (version, source) = match requirement.wanted {
            Wanted::Version(version) => (Some(version), Source::Index),
            Wanted::Source(source, version) => (version, source),
            Wanted::Range(_) => {
                self.unpinned.push((origin.clone(), quoted(written)));
                return;
            }
        };
        if editable && matches!(source, Source::Git { .. }) {
            self.lock
                .notes
                .push(format!("{origin}: `{}` comes from Git, so it is not editable.", requirement.name));
        }
        self.lock.pins.push(Pin {
            name: requirement.name,
            version,
            source,
            hashes: hashes.sha256,
            marker: requirement.marker,
            build: BuildSettings::default(),
            origin: origin.clone(),
        });
    }

    fn constraint(&mut self, requirement: Requirement, hashes: Hashes, origin: &Origin) {
        let (versions, source) = match requirement.wanted {
            Wanted::Version(version) => (VersionSpecifier::equals_version(version).into(), None),
            Wanted::Range(versions) => (versions, None),
            Wanted::Source(source, _) => (VersionSpecifiers::empty(), Some(source)),
        };
        self.lock.constraints.push(Constraint {
            name: requirement.name,
            versions,
            source,
            hashes: hashes.sha256,
            marker: requirement.marker,
            origin: origin.clone(),
        });
    }

    fn options(&mut self, text: &str, origin: &Origin, role: Role) -> Result<()> {
        for FileOption { name, value } in options::of_file(text)? {
            match (name, value) {
                ("--requirement", Some(file)) => self.include(&file, origin, role)?,
                ("--constraint", Some(file)) => self.include(&file, origin, Role::Constraint)?,
                ("--require-hashes", _) => self.hashes_required_by = Some(origin.clone()),
                (name, value) => {
                    if options::is_about_indexes(name) {
                        self.lock.index_options.push(index_option(name, value.as_deref(), origin));
                    }
                    self.passed_over(name, origin);
                }
            }
        }
        Ok(())
    }

    fn include(&mut self, file: &str, origin: &Origin, role: Role) -> Result<()> {
        if file.contains("://") {
            return Err(
                Error::new("a lock is not read from a URL").with_help("download it, and name the file")
            );
        }
        let beside = origin.file.parent().unwrap_or(Path::new(""));
        self.file(&beside.join(file), role, requirements_text)
    }

    /// Says once of each option that it does not choose what is mounted. Its value is not told: it may hold a password.
    fn passed_over(&mut self, option: &'static str, origin: &Origin) {
        if self.told.insert(option) {
            let effect =
                if options::is_about_indexes(option) { "counts for `--fetch` only" } else { "has no effect" };
            self.lock
                .notes
                .push(format!("{origin}: `{option}` {effect}: the cache says what there is to use."));
        }
    }

    fn finish(self) -> Result<Lock> {
        if let [(first, _), ..] = self.unpinned.as_slice() {
            let help = format!(
                "make a lock of it: `uv pip compile {} -o requirements.lock.txt`",
                first.file.display()
            );
            let lines = self.unpinned.iter().map(|(origin, text)| format!("{origin} `{text}`"));
            return Err(Error::new(format!("not pinned with `==`: {}", listed(lines))).with_help(help));
        }
        if let Some(origin) = self.hashes_required_by {
            let unhashed = self.lock.pins.iter().filter(|pin| {
                let named = |constraint: &&Constraint| constraint.name == pin.name;
                let by_constraint = self.lock.constraints.iter().filter(named);
                pin.hashes.is_empty() && by_constraint.map(|found| found.hashes.len()).sum::<usize>() == 0
            });
            let unhashed: Vec<String> =
                unhashed.map(|pin| format!("{} `{}`", pin.origin, pin.name)).collect();
            if !unhashed.is_empty() {
                let unhashed = listed(unhashed.into_iter());
                let message = format!("{origin}: `--require-hashes`, but without sha256 hash: {unhashed}");
                let help = "make the lock with `uv pip compile --generate-hashes`";
                return Err(Error::new(message).with_help(help));
            }
        }
        Ok(self.lock)
    }
}

/// An option as a line of its own, which means the same in a file elsewhere.
fn index_option(name: &str, value: Option<&str>, origin: &Origin) -> String {
    let beside = |value: &str| origin.file.parent().unwrap_or(Path::new("")).join(value);
    let is_beside = |value: &&str| name == "--find-links" && beside(value).exists();
    match (value.filter(is_beside).and_then(|value| std::path::absolute(beside(value)).ok()), value) {
        (Some(folder), _) => format!("{name} {}", folder.display()),
        (None, Some(value)) => format!("{name} {value}"),
        (None, None) => name.to_owned(),
    }
}

/// The text of a file that another one includes.
fn requirements_text(path: &Path) -> Result<String> {
    let text = text::read(path)?;
    match Kind::of(path, &text)? {
        Kind::Requirements => Ok(text),
        kind => Err(Error::new(format!("`{}` is {kind}, not a requirements file", path.display()))
            .with_help("name it with an -r of its own, on the command line")),
    }
}

fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(MAX_TOLD);
    let mut listed = items.take(MAX_TOLD).collect::<Vec<_>>().join(", ");
    if more > 0 {
        listed.push_str(&format!(" and {more} more"));
    }
    listed
}
