//! sitefs's own store: wheels unpacked once, by their sha256, in a folder that users and machines can share.
//!
//! ```text
//! STORE/sitefs-store.json                what makes it one
//! STORE/wheels/NAME/SHA256/wheel.json    what is known of a wheel; without it, the rest counts for nothing
//! STORE/wheels/NAME/SHA256/archive/      the wheel unpacked: files 0444, programs and directories 0555
//! STORE/bytecode/                        what interpreters compiled, of wheels here and in uv's caches: see `src/bytecode`
//! STORE/staging/                         what is being unpacked or removed
//! STORE/leases/                          which environments use what
//! STORE/wheelhouses/                     the hashes of wheels in folders, as last seen
//! ```
//!
//! NAME is the distribution's, normalized. Everything appears whole, by one rename, and nothing waits for a lock: of two
//! that unpack the same wheel, the second finds it there and drops its own. So it works on NFS, too.

mod add;
mod details;
mod lease;
mod prune;
pub(crate) mod staging;
mod verify;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use self::add::OpenWheel;
pub use self::add::{Added, add};
pub use self::details::Details;
pub use self::lease::{Lease, renew};
pub use self::prune::{Freed, Pruned};
pub(super) use self::staging::{LEFT_BEHIND, write};
pub use self::verify::Damage;
use super::archive::{Archive, inspect};
use super::choice::Choice;
use super::missing::Reasons;
use crate::error::{Context, Error, Result};
use crate::lock::Pin;
use crate::python::{PackageName, Tags};
use crate::sys::posix::{self, make_directory};
use crate::user_folder::user_folder;

/// What tells a store from any other folder.
const MARKER: &str = "sitefs-store.json";

/// How it is laid out; raised when an older sitefs must not write into it.
const FORMAT: u32 = 1;

/// The permissions of a store's root that its directories take over: who may write, set-group-id, sticky.
const SHARED: u32 = 0o3777;

/// A folder of unpacked wheels.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// The mode of its directories: who may write into its root may write into these.
    mode: u32,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
}

/// A wheel's place in a store.
#[derive(Clone, Debug)]
pub struct Place {
    /// The distribution.
    pub name: PackageName,
    /// The digest of the wheel.
    pub sha256: String,
    directory: PathBuf,
}

impl Place {
    /// The wheel unpacked.
    pub fn archive(&self) -> PathBuf {
        self.directory.join("archive")
    }

    fn details_file(&self) -> PathBuf {
        self.directory.join("wheel.json")
    }

    /// Why it does not count any more.
    fn damage_file(&self) -> PathBuf {
        self.directory.join("damaged")
    }
}

impl Store {
    /// The store that is used: the one that is asked for, SITEFS_STORE, or the one in the user's cache directory.
    ///
    /// # Errors
    /// There is no such directory: HOME is not set.
    pub fn choose(asked_for: Option<&Path>) -> Result<PathBuf> {
        let variable = || std::env::var_os("SITEFS_STORE").filter(|value| !value.is_empty());
        let chosen = asked_for.map(Path::to_path_buf).or_else(|| variable().map(PathBuf::from));
        let chosen = chosen.or_else(|| user_folder("store")).ok_or_else(|| {
            Error::new("no store is known: neither SITEFS_STORE nor HOME is set")
                .with_help("give it: --store DIR")
        })?;
        std::path::absolute(&chosen).context(|| chosen.display().to_string())
    }

    /// Opens the store at `root`; none if that is something else, or not there.
    ///
    /// # Errors
    /// A store that cannot be read, or that a newer sitefs made.
    pub fn open(root: &Path) -> Result<Option<Self>> {
        let marker = root.join(MARKER);
        let text = match fs_err::read(&marker) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Marker { format } = serde_json::from_slice(&text)
            .context(|| format!("{} is damaged", marker.display()))
            .map_err(|error| error.with_help(format!("write {{\"format\":{FORMAT}}} into it")))?;
        if format > FORMAT {
            let message = format!("{} is a store of a newer sitefs (format {format})", root.display());
            return Err(Error::new(message).with_help("use that, or another store: SITEFS_STORE"));
        }
        let root = posix::canonicalize(root)?;
        let mode = posix::mode(&fs_err::metadata(&root)?) & SHARED;
        Ok(Some(Self { root, mode }))
    }

    /// Opens the store at `root`, which must be there.
    ///
    /// # Errors
    /// As [`Store::open`]; it is not there.
    pub fn existing(root: &Path) -> Result<Self> {
        Self::open(root)?.ok_or_else(|| {
            Error::new(format!("there is no store at {}", root.display()))
                .with_help("`sitefs cache add WHEEL...` makes one; --store or SITEFS_STORE says where")
        })
    }

    /// Opens the store at `root`, or makes an empty folder, or one that is not there, a store.
    ///
    /// # Errors
    /// The folder has something else in it, or cannot be written.
    pub fn create(root: &Path) -> Result<Self> {
        const HELP: &str = "choose a folder for the store that this user can write: SITEFS_STORE, or --store";
        if let Some(store) = Self::open(root)? {
            return Ok(store);
        }
        let failed = |error: io::Error| {
            Error::new(format!("the store {} cannot be made", root.display())).because(error).with_help(HELP)
        };
        fs_err::create_dir_all(root).map_err(failed)?;
        for entry in fs_err::read_dir(root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // Others may be making the same store.
            let is_ours = ["wheels", "bytecode", "staging", "leases", "wheelhouses", "CACHEDIR.TAG", MARKER];
            let is_unfinished = name.as_encoded_bytes().starts_with(b".sitefs-");
            if name != "lost+found" && !is_unfinished && !is_ours.iter().any(|ours| name == *ours) {
                let message = format!(
                    "{} cannot become a store: there is {} in it",
                    root.display(),
                    Path::new(&name).display()
                );
                return Err(Error::new(message).with_help(HELP));
            }
        }
        let mode = posix::mode(&fs_err::metadata(root).map_err(failed)?) & SHARED;
        let store = Self { root: posix::canonicalize(root)?, mode };
        for folder in ["wheels", "staging", "leases", "wheelhouses"] {
            make_directory(&store.root.join(folder), mode).map_err(failed)?;
        }
        let tag = b"Signature: 8a477f597d28d172789f06886806bc55\n# Wheels that sitefs unpacked.\n";
        staging::write(&store.root.join("CACHEDIR.TAG"), tag)?;
        let marker = serde_json::to_vec(&Marker { format: FORMAT }).unwrap_or_default();
        staging::write(&store.root.join(MARKER), &marker)?;
        Ok(store)
    }

    /// Makes a directory, and the one that it is in, as shared as the store.
    pub(crate) fn make_room(&self, directory: &Path) -> io::Result<()> {
        if let Some(parent) = directory.parent() {
            make_directory(parent, self.mode)?;
        }
        make_directory(directory, self.mode)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The archive of a pin, if there is one that can be meant.
    pub(super) fn find(&self, pin: &Pin, tags: &Tags) -> Result<Archive, Reasons> {
        let mut choice = Choice::new(pin, tags);
        let places = self.places_of(&pin.name).unwrap_or_else(|error| {
            choice.reasons.other(error.to_string());
            Vec::new()
        });
        let mut fitting = BTreeMap::new();
        for place in places {
            if !choice.allows(&place.sha256) {
                continue;
            }
            match place.details() {
                Ok(details) => {
                    if let Some(fit) = choice.fit(&details.wheel) {
                        fitting.insert((fit, place.sha256.clone()), place);
                    }
                }
                Err(reason) => choice.reasons.other(reason),
            }
        }
        for place in fitting.values() {
            match place.look(pin) {
                Ok(archive) => return Ok(archive),
                Err(reason) => choice.reasons.other(reason),
            }
        }
        Err(choice.reasons)
    }

    /// The archive of a wheel with this digest, for a pin.
    pub(super) fn archive(&self, pin: &Pin, sha256: &str) -> Result<Archive, String> {
        let place = self.place(&pin.name, sha256);
        place.details()?;
        place.look(pin)
    }

    /// Whether an archive of this store is one that nobody prunes just now.
    pub(super) fn counts(&self, archive: &Path) -> bool {
        self.place_of(archive).is_none_or(|place| place.details_file().exists())
    }

    /// All wheels, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn places(&self) -> Result<Vec<Place>> {
        let mut names: Vec<PackageName> =
            listed(&self.wheels())?.iter().filter_map(|name| PackageName::parse(name).ok()).collect();
        names.sort_unstable();
        let places = names.iter().map(|name| self.places_of(name)).collect::<Result<Vec<_>>>()?;
        Ok(places.into_iter().flatten().collect())
    }

    fn places_of(&self, name: &PackageName) -> Result<Vec<Place>> {
        let mut digests = listed(&self.wheels().join(name.as_str()))?;
        digests.retain(|digest| is_digest(digest));
        digests.sort_unstable();
        Ok(digests.iter().map(|digest| self.place(name, digest)).collect())
    }

    fn place(&self, name: &PackageName, sha256: &str) -> Place {
        let directory = self.wheels().join(name.as_str()).join(sha256);
        Place { name: name.clone(), sha256: sha256.to_owned(), directory }
    }

    /// The place that an archive lies in, if it is this store's.
    fn place_of(&self, archive: &Path) -> Option<Place> {
        let mut parts = archive.strip_prefix(self.wheels()).ok()?.iter().map(|part| part.to_str());
        let (name, digest) = (PackageName::parse(parts.next()??).ok()?, parts.next()??);
        is_digest(digest).then(|| self.place(&name, digest))
    }

    fn wheels(&self) -> PathBuf {
        self.root.join("wheels")
    }

    pub(super) fn wheelhouses(&self) -> PathBuf {
        self.root.join("wheelhouses")
    }
}

impl Place {
    fn look(&self, pin: &Pin) -> Result<Archive, String> {
        let root = self.archive();
        let contents = inspect(&root, &self.name)?;
        Ok(Archive::new(pin, root, contents))
    }
}

/// The names in a folder that are text; none if it is not there.
fn listed(folder: &Path) -> Result<Vec<String>> {
    match fs_err::read_dir(folder) {
        Ok(entries) => {
            let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
            Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
        }
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
