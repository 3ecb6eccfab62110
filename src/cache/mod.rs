//! Caches: pins to archives. The only code that opens CACHE, and only for reading: apart from the store's own writers, and from
//! what `--fetch` brings into a folder of wheels.

pub mod archive;
mod choice;
mod direct_url;
mod lock;
mod missing;
pub mod store;
mod unpacked;
mod uv;
mod wheel;
mod wheelhouse;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use archive::Archive;
pub use lock::CacheLock;
pub use unpacked::{Unpacked, verify_unpacked};

use self::missing::Missing;
use self::store::Store;
use self::uv::UvCache;
use self::wheelhouse::{Failure, Remembered, Wheelhouse};
use crate::error::{Error, Result};
use crate::lock::{Pin, Selection};
use crate::parallel::{parallel_asking, parallel_work};
use crate::progress::Progress;
use crate::python::Tags;
use crate::sys::signals::is_asked_to_end;

/// How often archives are looked for that others take away.
const ATTEMPTS: usize = 20;

/// How long they may take to give them back.
const MOMENT: Duration = Duration::from_millis(50);

/// Where archives are found.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Uv(UvCache),
    Store(Store),
    Wheelhouse(Wheelhouse),
}

/// What is to be found, and for whom.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The pins.
    pub pins: &'a [Pin],
    /// The tags of the interpreter.
    pub tags: &'a Tags,
    /// The interpreter.
    pub python: &'a Path,
    /// What the pins are of their locks.
    pub selection: &'a Selection,
    /// The environment.
    pub venv: &'a Path,
    /// The store that a person asks for, to unpack wheels into.
    pub store: Option<&'a Path>,
    /// Where it is remembered what was found, if anywhere.
    pub plans: Option<&'a Path>,
    /// Tells how far it is.
    pub progress: &'a Progress,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// An archive for each pin, in their order.
    pub archives: Vec<Archive>,
    /// The file of the lease that was taken on them, if they are in a store.
    pub lease: Option<PathBuf>,
    /// Why there is none, although they are.
    pub unleased: Option<Error>,
}

/// Why a cache does not have all that is wanted.
#[derive(Debug)]
pub struct Unfound {
    /// The pins that are missing; none if something else keeps the cache from being used.
    pub missing: Vec<Pin>,
    /// How many are wanted in all.
    pub total: usize,
    error: Error,
}

impl Unfound {
    /// Nothing is there, for this reason.
    pub fn all(pins: &[Pin], error: Error) -> Self {
        Self { missing: pins.to_vec(), total: pins.len(), error }
    }
}

impl From<Error> for Unfound {
    fn from(error: Error) -> Self {
        Self { missing: Vec::new(), total: 0, error }
    }
}

impl From<Unfound> for Error {
    fn from(unfound: Unfound) -> Self {
        unfound.error
    }
}

impl Cache {
    /// Opens the cache at `root`.
    ///
    /// # Errors
    /// `root` is no directory, or nothing that sitefs knows as a cache.
    pub fn open(root: &Path) -> Result<Self> {
        const HELP: &str =
            "a cache is uv's (`uv cache dir` prints where), a folder of wheels, or a store of sitefs";
        let found = crate::sys::posix::canonicalize(root)
            .map_err(Error::from)
            .and_then(|root| Ok((Kind::of(&root)?, root)));
        match found {
            Ok((Some(kind), root)) => Ok(Self { root, kind }),
            Ok((None, root)) => {
                let message = if root.is_dir() {
                    "has no folder `archive-v*`, `wheels-v*` or `sdists-v*`, and no wheel"
                } else {
                    "is not a directory"
                };
                Err(Error::new(format!("{} is not a cache: it {message}", root.display())).with_help(HELP))
            }
            Err(error) => Err(Error::new(format!("cannot open the cache {}", root.display()))
                .because(error)
                .with_help(HELP)),
        }
    }

    /// Whether uv made it, whose commands may remove what is in it.
    pub fn is_of_uv(&self) -> bool {
        matches!(self.kind, Kind::Uv(_))
    }

    /// Brings wheels into it, each whole or not at all.
    ///
    /// # Errors
    /// Those that could not be brought in, and why; a cache of uv's, which only uv fills.
    pub fn receive(&self, wheels: &[PathBuf], progress: &Progress) -> Result<()> {
        let results: Vec<Result<()>> = match &self.kind {
            Kind::Store(store) => {
                store::add(store, wheels, progress).into_iter().map(|added| added.map(drop)).collect()
            }
            Kind::Wheelhouse(wheelhouse) => wheels.iter().map(|wheel| wheelhouse.receive(wheel)).collect(),
            Kind::Uv(_) => {
                return Err(Error::new(format!(
                    "{} is a cache of uv's: only uv fills it",
                    self.root.display()
                )));
            }
        };
        if is_asked_to_end() {
            return Err(Error::new(wheel::INTERRUPTED));
        }
        let count = results.len();
        let mut errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
        if errors.len() < 2 {
            return errors.pop().map_or(Ok(()), Err);
        }
        let named: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
        let message = format!("{} of {count} wheels could not be brought into", errors.len());
        Err(Error::new(format!("{message} {}:{}", self.root.display(), named.concat())))
    }

    /// The cache as its own lock: a wheelhouse with one version of each distribution; nothing if it is no wheelhouse.
    ///
    /// # Errors
    /// A wheelhouse with several versions.
    pub fn pins(&self) -> Result<Option<Vec<Pin>>> {
        match &self.kind {
            Kind::Wheelhouse(wheelhouse) => wheelhouse.pins().map(Some),
            Kind::Uv(_) | Kind::Store(_) => Ok(None),
        }
    }

    /// Finds an archive for each pin, and takes a lease on those in a store. Wheels of a wheelhouse are unpacked into the
    /// store first.
    ///
    /// # Errors
    /// All that is missing, at once, with the command that gets it. Wheels that cannot be used.
    pub fn find(&self, wanted: Wanted) -> Result<Found, Unfound> {
        let store = match &self.kind {
            Kind::Uv(uv) => {
                let found = uv.find_all(wanted.pins, wanted.tags, wanted.plans)?;
                let (archives, lease, unleased) = (self.all_of(found, wanted)?, None, None);
                return Ok(Found { archives, lease, unleased });
            }
            Kind::Store(store) => store.clone(),
            Kind::Wheelhouse(wheelhouse) => {
                wheelhouse
                    .has_all(wanted.pins, wanted.tags)
                    .map_err(|missing| self.missing(&missing, wanted))?;
                Store::create(&Store::choose(wanted.store)?)?
            }
        };
        let mut gone = None;
        // Who prunes just now takes away what has no lease yet, and gives it back when it has one: it is looked for again.
        for _ in 0..ATTEMPTS {
            let archives = match self.find_in(&store, wanted) {
                Err(_) if gone.is_some() => {
                    std::thread::sleep(MOMENT);
                    continue;
                }
                found => found?,
            };
            let (lease, unleased) = match store.lease(&archives, wanted.venv) {
                Ok(lease) => (Some(lease), None),
                Err(error) => (None, Some(error)),
            };
            gone = archives.iter().map(|archive| archive.root.clone()).find(|root| !store.counts(root));
            if gone.is_none() {
                return Ok(Found { archives, lease, unleased });
            }
        }
        let gone = gone.unwrap_or_default();
        Err(Error::new(format!("{} is being pruned", gone.display())).with_help("mount again").into())
    }

    fn find_in(&self, store: &Store, wanted: Wanted) -> Result<Vec<Archive>, Unfound> {
        if let Kind::Wheelhouse(wheelhouse) = &self.kind {
            let found = wheelhouse.find(wanted.pins, wanted.tags, store, wanted.progress);
            return found.map_err(|failure| match failure {
                Failure::Missing(missing) => self.missing(&missing, wanted),
                Failure::Unusable(error) => error.into(),
            });
        }
        self.all_of(parallel_asking(wanted.pins, |pin| store.find(pin, wanted.tags)), wanted)
    }

    fn all_of(
        &self,
        found: Vec<Result<Archive, missing::Reasons>>,
        wanted: Wanted,
    ) -> Result<Vec<Archive>, Unfound> {
        let mut archives = Vec::with_capacity(found.len());
        let mut missing = Vec::new();
        for (pin, found) in wanted.pins.iter().zip(found) {
            match found {
                Ok(archive) => archives.push(archive),
                Err(reasons) => missing.push((pin, reasons)),
            }
        }
        if missing.is_empty() { Ok(archives) } else { Err(self.missing(&missing, wanted)) }
    }

    fn missing(&self, missing: &Missing, wanted: Wanted) -> Unfound {
        Unfound {
            missing: missing.iter().map(|(pin, _)| (*pin).clone()).collect(),
            total: wanted.pins.len(),
            error: missing::error(missing, &self.root, self.kind.owner(), wanted),
        }
    }
}

impl Kind {
    fn of(root: &Path) -> Result<Option<Self>> {
        if let Some(store) = Store::open(root)? {
            return Ok(Some(Self::Store(store)));
        }
        if let Some(uv) = UvCache::open(root)? {
            return Ok(Some(Self::Uv(uv)));
        }
        Ok(Wheelhouse::open(root)?.map(Self::Wheelhouse))
    }

    /// Whose commands bring something into it.
    fn owner(&self) -> missing::Owner {
        match self {
            Self::Uv(_) => missing::Owner::Uv,
            Self::Store(_) => missing::Owner::Store,
            Self::Wheelhouse(_) => missing::Owner::Wheelhouse,
        }
    }
}

/// A wheel, or the wheels in a folder and in those below it.
///
/// # Errors
/// It cannot be read.
pub fn wheels_in(path: &Path) -> Result<Vec<PathBuf>> {
    if fs_err::metadata(path)?.is_dir() { wheelhouse::files(path) } else { Ok(vec![path.to_path_buf()]) }
}

/// Reads a wheel, or those in a folder, and says of each what is wrong with it. A store remembers what they were when they
/// were last mounted.
///
/// # Errors
/// The folder cannot be read.
pub fn verify_wheels(
    path: &Path,
    store: Option<&Store>,
    progress: &Progress,
) -> Result<Vec<(PathBuf, Result<()>)>> {
    let wheels = wheels_in(path)?;
    let root = if path.is_dir() { crate::sys::posix::canonicalize(path)? } else { PathBuf::new() };
    let remembered = store.map(|store| Remembered::read(store, &root));
    let counter = progress.counting("wheels", wheels.len());
    let results = parallel_work(&wheels, |wheel| {
        let last =
            remembered.as_ref().and_then(|remembered| remembered.last_hash(wheel.strip_prefix(path).ok()?));
        let result = wheel::verify(wheel, last.as_deref());
        counter.one_more();
        result
    });
    Ok(wheels.into_iter().zip(results).collect())
}
