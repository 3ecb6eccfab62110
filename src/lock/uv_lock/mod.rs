//! uv.lock: a graph of packages for every platform, of which one environment gets a part.
//!
//! Source: <https://docs.astral.sh/uv/concepts/projects/layout/#the-lockfile>; uv documents no format, so this was read
//! from what it writes and how it reads it.

mod conflicts;
mod file;
mod packages;
mod pins;
mod project;
mod walk;
mod wanted;

use std::collections::BTreeSet;
use std::path::Path;

use self::file::{File, Header};
use self::packages::Packages;
use self::walk::Walk;
use self::wanted::Wanted;
use super::toml_file::{self, Lines};
use super::{Lock, Origin, Pin, Project, Selection, Target};
use super::{artifact, environment};
use crate::error::{Context, Error, Result};

/// The only version of the format that there is. Revisions within it add keys, and change none.
const VERSION: i64 = 1;

/// Adds the pins of the uv.lock at `path`, which holds `text`, to `lock`.
///
/// # Errors
/// A lock that is not understood, does not support the target, or has not what is wanted.
pub(super) fn read(
    path: &Path,
    text: &str,
    target: Target<'_>,
    selection: &Selection,
    lock: &mut Lock,
) -> Result<()> {
    let text = &artifact::without_unfit_wheels(text, target.tags);
    let mut file = parse(path, text)?;
    let shown = || format!("`{}`", path.display());
    select(path, text, &mut file, target, selection, lock).context(shown)
}

/// The part of the uv.lock at `path`, which holds `text`, that is about these pins.
///
/// # Errors
/// A lock that is not understood.
pub(super) fn excerpt(path: &Path, text: &str, pins: &[&Pin], selection: &Selection) -> Result<Project> {
    let mut file = parse(path, text)?;
    let names = file.packages.iter().map(|package| package.name.get_ref());
    let others = names.filter(|name| !pins.iter().any(|pin| pin.name == **name));
    let without = others.cloned().collect();
    let folder = path.parent().unwrap_or(path).to_path_buf();
    let packages = Packages::new(std::mem::take(&mut file.packages));
    let wanted = Wanted::new(&file, &packages, &folder, selection)?;
    let groups = if selection.packages.is_empty() { BTreeSet::new() } else { wanted.own_default_groups() };
    Ok(Project { folder, without, groups })
}

fn select(
    path: &Path,
    text: &str,
    file: &mut File,
    target: Target<'_>,
    selection: &Selection,
    lock: &mut Lock,
) -> Result<()> {
    environment::check_python(&file.requires_python, target)?;
    environment::check_markers(&file.supported_markers, target)?;
    let path = std::path::absolute(path)?;
    let folder = path.parent().unwrap_or(&path);
    let packages = Packages::new(std::mem::take(&mut file.packages));
    let wanted = Wanted::new(file, &packages, folder, selection)?;
    if wanted.guesses_groups {
        let folder = folder.display();
        lock.notes.push(format!("{folder} has no pyproject.toml: as default group, `dev` is taken."));
    }
    let lines = Lines::of(text);
    for index in (Walk { file, packages: &packages, wanted: &wanted, target }).packages()? {
        let package = packages.at(index)?;
        let origin = Origin { file: path.clone(), line: lines.number(package.name.span().start) };
        lock.pins.extend(pins::pin(package, origin, folder, target)?);
    }
    Ok(())
}

fn parse(path: &Path, text: &str) -> Result<File> {
    let file = toml_file::parse::<File>(path, text);
    // What another version says may not be understood; that it is another version is.
    let version = match &file {
        Ok(file) => file.version,
        Err(_) => toml_file::parse::<Header>(path, text).map_or(VERSION, |header| header.version),
    };
    if version == VERSION {
        return file;
    }
    let message = format!("`{}` has version {version}, and only version {VERSION} is known", path.display());
    Err(Error::new(message).with_help(
        "make a requirements file of it: `uv export --format requirements-txt -o requirements.txt`",
    ))
}
