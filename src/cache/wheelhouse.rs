//! A wheelhouse: a folder of wheels, as `pip download`, `pip wheel` and `uv build` make it. It is only
//! read, except by `--fetch`. Its wheels are unpacked into the store when a lock first needs them; a wheel that none needs is never opened.

mod receive;
mod remembered;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pep440_rs::Version;
use pep508_rs::MarkerTree;
use walkdir::WalkDir;

pub(super) use self::remembered::Remembered;
use super::Archive;
use super::choice::{Choice, Fit};
use super::missing::{Missing, Reasons};
use super::store::{OpenWheel, Store};
use super::wheel::{INTERRUPTED, looks};
use crate::error::{Error, Result};
use crate::lock::{BuildSettings, Origin, Pin, Source};
use crate::parallel::parallel_work;
use crate::progress::Progress;
use crate::python::{PackageName, Tags, WheelName};
use crate::sys::signals::is_asked_to_end;

/// Above this many, wheels with errors are counted, not named.
const NAMED: usize = 20;

/// A folder of wheels, known by their names.
#[derive(Debug)]
pub(super) struct Wheelhouse {
    root: PathBuf,
    wheels: BTreeMap<PackageName, Vec<WheelFile>>,
}

/// A wheel in the folder.
#[derive(Debug)]
struct WheelFile {
    /// Its path, relative to the folder.
    path: PathBuf,
    name: WheelName,
}

/// What keeps the archives of pins from being found.
pub(super) enum Failure<'a> {
    /// These are not there.
    Missing(Missing<'a>),
    /// A wheel is there, and cannot be used.
    Unusable(Error),
}

impl From<Error> for Failure<'_> {
    fn from(error: Error) -> Self {
        Self::Unusable(error)
    }
}

impl Wheelhouse {
    /// Lists the folder at `root`, or says that there is no wheel in it.
    pub(super) fn open(root: &Path) -> Result<Option<Self>> {
        let mut wheels: BTreeMap<PackageName, Vec<WheelFile>> = BTreeMap::new();
        for path in files(root)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().parse::<WheelName>();
            if let Ok(name) = name {
                let path = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
                wheels.entry(name.name.clone()).or_default().push(WheelFile { path, name });
            }
        }
        let is_wheelhouse = !wheels.is_empty();
        Ok(is_wheelhouse.then(|| Self { root: root.to_path_buf(), wheels }))
    }

    /// The folder as a lock: one version of each distribution.
    pub(super) fn pins(&self) -> Result<Vec<Pin>> {
        let mut several = Vec::new();
        let mut pins = Vec::new();
        for (name, files) in &self.wheels {
            let mut versions: Vec<&Version> = files.iter().map(|file| &file.name.version).collect();
            versions.sort_unstable();
            versions.dedup();
            match versions.as_slice() {
                [version] => pins.push(self.pin(name, version)),
                versions => {
                    let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
                    several.push(format!("{name} {}", versions.join(", ")));
                }
            }
        }
        if several.is_empty() {
            return Ok(pins);
        }
        let message =
            format!("{} has several versions, so it is no lock: {}", self.root.display(), several.join("; "));
        Err(Error::new(message).with_help("give a lock with -r, or remove what is not meant"))
    }

    fn pin(&self, name: &PackageName, version: &Version) -> Pin {
        Pin {
            name: name.clone(),
            version: Some(version.clone()),
            source: Source::Index,
            hashes: Vec::new(),
            marker: MarkerTree::default(),
            build: BuildSettings::default(),
            origin: Origin { file: self.root.clone(), line: 0 },
        }
    }

    /// Whether there is a wheel for each pin, by the names alone.
    pub(super) fn has_all<'a>(&self, pins: &'a [Pin], tags: &Tags) -> Result<(), Missing<'a>> {
        let mut missing = Vec::new();
        for pin in pins {
            let mut choice = Choice::new(pin, tags);
            if self.fitting(&mut choice).is_empty() {
                missing.push((pin, choice.reasons));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }

    /// The archives of the pins, in their order. What is not in the store yet is unpacked there.
    pub(super) fn find<'a>(
        &self,
        pins: &'a [Pin],
        tags: &Tags,
        store: &Store,
        progress: &Progress,
    ) -> Result<Vec<Archive>, Failure<'a>> {
        let remembered = Remembered::read(store, &self.root);
        let counter = progress.counting("wheels", pins.len());
        let found = parallel_work(pins, |pin| {
            let archive = self.archive(Choice::new(pin, tags), store, &remembered);
            counter.one_more();
            archive
        });
        drop(counter);
        remembered.save();
        if is_asked_to_end() {
            return Err(Error::new(INTERRUPTED).into());
        }
        self.sort_out(pins, found)
    }

    /// The wheels that can be what a pin asks for, by their names; the best first.
    fn fitting(&self, choice: &mut Choice) -> Vec<&WheelFile> {
        let files = self.wheels.get(&choice.pin.name).into_iter().flatten();
        let mut fitting: Vec<(Fit, &WheelFile)> =
            files.filter_map(|file| Some((choice.fit(&file.name)?, file))).collect();
        fitting.sort_by(|(left_fit, left), (right_fit, right)| {
            left_fit.cmp(right_fit).then_with(|| left.path.cmp(&right.path))
        });
        fitting.into_iter().map(|(_, file)| file).collect()
    }

    /// The archive of the best wheel that has a hash of the lock, if the lock has any.
    ///
    /// A remembered hash says which archive to look for. What is then mounted was unpacked from a wheel with just this
    /// hash, whatever the file has become since.
    fn archive(
        &self,
        mut choice: Choice,
        store: &Store,
        remembered: &Remembered,
    ) -> Result<Result<Archive, Reasons>> {
        for file in self.fitting(&mut choice) {
            let path = self.root.join(&file.path);
            let looks = looks(&fs_err::metadata(&path)?);
            if let Some(sha256) = remembered.hash(&file.path, looks)
                && choice.allows(&sha256)
                && let Ok(archive) = store.archive(choice.pin, &sha256)
            {
                return Ok(Ok(archive));
            }
            let mut open = OpenWheel::open(&path)?;
            let sha256 = open.hash()?;
            if !choice.allows(&sha256) {
                continue;
            }
            remembered.remember(&file.path, open.looks(), &sha256);
            // Who prunes just now may take away what was there.
            for _ in 0..2 {
                store.unpack(&open, &sha256)?;
                match store.archive(choice.pin, &sha256) {
                    Ok(archive) => return Ok(Ok(archive)),
                    Err(reason) => choice.reasons.other(reason),
                }
            }
        }
        Ok(Err(choice.reasons))
    }

    /// All archives, or all that is missing, or all wheels that cannot be used.
    fn sort_out<'a>(
        &self,
        pins: &'a [Pin],
        found: Vec<Result<Result<Archive, Reasons>>>,
    ) -> Result<Vec<Archive>, Failure<'a>> {
        let (mut archives, mut missing, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (pin, found) in pins.iter().zip(found) {
            match found {
                Ok(Ok(archive)) => archives.push(archive),
                Ok(Err(reasons)) => missing.push((pin, reasons)),
                Err(error) => errors.push(error),
            }
        }
        match errors.len() {
            0 if missing.is_empty() => Ok(archives),
            0 => Err(Failure::Missing(missing)),
            1 => Err(Failure::Unusable(errors.remove(0))),
            count => {
                let named: Vec<String> =
                    errors.iter().take(NAMED).map(|error| format!("\n  {error}")).collect();
                let more =
                    if count > NAMED { format!("\n  and {} more", count - NAMED) } else { String::new() };
                let message = format!("{count} wheels of {} cannot be used:", self.root.display());
                let error = Error::new(format!("{message}{}{more}", named.concat()));
                Err(Failure::Unusable(match errors.first().and_then(Error::help) {
                    Some(help) => error.with_help(help),
                    None => error,
                }))
            }
        }
    }
}

/// The wheels in a folder, and in those below it. Links are followed: some tools make wheelhouses of them.
pub(super) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
        match entry {
            Ok(entry) if entry.path().extension().is_some_and(|extension| extension == "whl") => {
                if entry.file_type().is_file() {
                    files.push(entry.into_path());
                }
            }
            // A link that leads nowhere or round in a circle, or a folder of others' that is not for us.
            Ok(_) => {}
            Err(error) if error.depth() > 0 => log::debug!("{error}"),
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
    Ok(files)
}
