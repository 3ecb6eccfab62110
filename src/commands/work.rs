//! What `mount` and `run` do alike: find what the locks ask for, and make the environment complete with it.

mod notes;

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::inputs::Inputs;
use super::resolve::{Resolved, resolve};
use crate::bytecode::Shelf;
use crate::cache::store::Store;
use crate::cache::{Archive, CacheLock};
use crate::cli::MountOptions;
use crate::error::{Error, Result};
use crate::fuse::{self, Access, Place, Server};
use crate::link;
use crate::outside;
use crate::parallel::{parallel, parallel_asking};
use crate::place::{self, Content, Difficulty, LinkMode, Placement};
use crate::progress::Progress;
use crate::shell::quote;
use crate::sys::mounts;
use crate::sys::posix::{OwnedFd, canonicalize, is_root, open_directory};
use crate::sys::read_only::ReadOnlyTree;
use crate::venv::state::{MountRecord, MountedDistribution, State, StateLock};
use crate::venv::{Bytecode, Interpreter, Layout, Venv};
use crate::view::{self, CacheMount, Distribution, EntriesChoice, View, Whiteouts, installed};

/// An environment, and what it shall hold. Whatever fails, it is for the caller to undo.
pub(super) struct Work<'a> {
    pub(super) layout: Layout,
    pub(super) state: State,
    pub(super) archives: Vec<Archive>,
    /// How its interpreter calls bytecode.
    pub(super) bytecode: Option<Bytecode>,
    /// What keeps the archives in the cache, where it can be had.
    pub(super) cache_lock: Option<CacheLock>,
    /// The lease on them, where they are in a store.
    lease: Option<PathBuf>,
    inputs: Inputs,
    options: &'a MountOptions,
    is_for_run: bool,
    has_begun: Cell<bool>,
}

impl<'a> Work<'a> {
    /// Finds what the locks ask for. Nothing is changed in the environment.
    pub(super) fn plan(
        venv: &Venv,
        cache: Option<&Path>,
        options: &'a MountOptions,
        is_for_run: bool,
    ) -> Result<Self> {
        options.link_mode()?;
        let interpreter = Interpreter::of(venv.root())?;
        let layout = Layout::new(venv.root().to_path_buf(), interpreter.scheme.clone(), interpreter.version)?;
        let state = State::for_mount(venv.root(), options.read_only)?;
        let inputs = Inputs::choose(cache, &options.wanted, options.entries()?, venv, &state)?;
        let Resolved { archives, cache_lock, lease } =
            resolve(&inputs, &interpreter, &layout, &options.wanted, options.verbosity)?;
        let (bytecode, has_begun) = (interpreter.bytecode, Cell::new(false));
        Ok(Self {
            layout,
            state,
            archives,
            bytecode,
            cache_lock,
            lease,
            inputs,
            options,
            is_for_run,
            has_begun,
        })
    }

    /// Tries the link modes that are allowed, in turn.
    pub(super) fn in_turn<T>(
        &mut self,
        mut make: impl FnMut(&mut Self, LinkMode) -> Result<T, Difficulty>,
    ) -> Result<T> {
        let modes = self.options.link_mode()?.in_turn(self.options.fallback);
        let mut rest = modes.iter().skip(1);
        for &mode in &modes {
            match (make(self, mode), rest.next()) {
                (Err(Difficulty::Unsupported(error)), Some(next)) => {
                    self.options.verbosity.note(format!("{mode} does not work here, so {next}: {error}"));
                }
                (Err(Difficulty::Unsupported(error) | Difficulty::Failed(error)), _) => return Err(error),
                (Ok(made), _) => return Ok(made),
            }
        }
        Err(Error::new("there is no link mode to try"))
    }

    /// The distributions, without those that the environment's own hide.
    pub(super) fn distributions(&mut self, mode: LinkMode) -> Result<Vec<Distribution>> {
        self.hide_what_is_private()?;
        self.leave_out_what_was_removed()?;
        let distributions = self.all_distributions(mode)?;
        self.tell_clashes(&distributions)?;
        self.tell_of_entries(mode, &distributions);
        Ok(distributions)
    }

    /// Whether anything was changed in the environment.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// All distributions that the locks ask for.
    pub(super) fn all_distributions(&self, mode: LinkMode) -> Result<Vec<Distribution>> {
        let (layout, inputs) = (&self.layout, &self.inputs);
        let distribution = |archive: &Archive| {
            let planned = outside::plan(archive, layout, mode)?;
            Ok(Distribution::new(archive.clone(), planned, layout, inputs.entries.of(&archive.name)))
        };
        parallel_asking(&self.archives, distribution).into_iter().collect()
    }

    /// The server of a mount that stays.
    pub(super) fn served(
        &self,
        distributions: Vec<Distribution>,
        lock: StateLock,
    ) -> Result<Server, Difficulty> {
        self.server(distributions, true, lock, Place::Here(self.read_only_cache()))
    }

    /// The server, when what goes outside site-packages was made, or, without `places`, is there as another `sitefs run`
    /// made it.
    pub(super) fn server(
        &self,
        mut distributions: Vec<Distribution>,
        places: bool,
        lock: StateLock,
        place: Place,
    ) -> Result<Server, Difficulty> {
        let upper = open_upper(&self.layout)?;
        let folder = self.folder_to_mount().filter(|_| place.has_cache());
        let cache_mount = folder.map(|folder| CacheMount::new(folder, &self.layout.site_packages()));
        self.tell_of_cache(cache_mount.is_some(), &distributions);
        if let Some(mount) = &cache_mount {
            let links = distributions.iter_mut().flat_map(|distribution| &mut distribution.placements);
            for placement in links {
                if let Content::Symlink(target) = &mut placement.content {
                    *target = mount.shown(std::mem::take(target));
                }
            }
        }
        let whiteouts = self.whiteouts()?;
        let links = self.outside(&mut distributions, &whiteouts, places)?;
        let mut record = self.record(&distributions, LinkMode::Fuse)?;
        record.mounted_folder = cache_mount.as_ref().map(|mount| mount.cache().to_path_buf());
        let mut view = View::new(distributions, Some(upper), whiteouts, self.layout.clone())?;
        view.lead_to(&links);
        view.keep_bytecode(&self.state)?;
        if let Some(mount) = cache_mount {
            view.show_cache(mount);
        }
        view.share_bytecode(self.shelves());
        if places && !self.state.is_apart() {
            view.sweep()?;
        }
        Ok(Server {
            record,
            view,
            root: self.layout.root.clone(),
            state: self.state.clone(),
            lock,
            cache_lock: self.cache_lock.as_ref().map(CacheLock::again).transpose()?,
            lease: self.lease.clone(),
            place,
            access: self.access(),
        })
    }

    /// Makes what goes outside site-packages, where that is to be made, and tells the links to what is served. What RECORD shall not
    /// list is taken from the distributions.
    fn outside(
        &self,
        distributions: &mut [Distribution],
        whiteouts: &Whiteouts,
        places: bool,
    ) -> Result<Vec<Placement>, Difficulty> {
        let links = self.links(distributions, whiteouts)?;
        if places {
            let mut outside: Vec<Placement> = distributions
                .iter()
                .flat_map(|distribution| distribution.placements.iter().cloned())
                .chain(links.iter().cloned())
                .collect();
            if self.state.is_apart() {
                outside.retain(|placement| !self.is_private(&placement.path));
            }
            let kept = self.place(&outside, || Ok(()))?;
            for distribution in distributions.iter_mut() {
                distribution.placements.retain(|placement| !kept.contains(&placement.path));
            }
        } else {
            let placed = place::placed(&self.state)?;
            for distribution in distributions.iter_mut() {
                distribution.placements.retain(|placement| placed.contains(&placement.path));
            }
        }
        if self.state.is_apart() {
            // RECORD lists what is in the environment.
            distributions.iter_mut().for_each(|distribution| distribution.placements.clear());
        }
        Ok(links)
    }

    /// The links to what a mount serves outside site-packages. What the environment has of its own there is noted.
    fn links(
        &self,
        distributions: &mut [Distribution],
        whiteouts: &Whiteouts,
    ) -> Result<Vec<Placement>, Difficulty> {
        let root = &self.layout.root;
        let (links, own) = if self.state.is_apart() {
            view::links(distributions, &self.layout, whiteouts, |path| Ok(!self.is_private(path)))?
        } else {
            view::links(distributions, &self.layout, whiteouts, place::is_free(root, &self.state)?)?
        };
        self.tell_of_own(&own);
        for distribution in distributions.iter_mut().filter(|one| !one.served.is_empty()) {
            distribution.kept.clone_from(&own.kept);
        }
        Ok(links)
    }

    /// The store that was asked for.
    pub(super) fn store(&self) -> Option<&Path> {
        self.options.wanted.store.as_deref()
    }

    /// The store's shelves with bytecode of the environment's interpreter, as far as there are any.
    fn shelves(&self) -> Vec<Shelf> {
        match (Store::choose(self.store()), &self.bytecode) {
            (Ok(store), Some(bytecode)) => {
                Shelf::all(&store, bytecode).into_iter().filter(Shelf::is_there).collect()
            }
            _ => Vec::new(),
        }
    }

    /// How a mount shows the cache's files: asked by a `run` that finds a mount, which only Linux has.
    #[cfg(target_os = "linux")]
    pub(super) fn entries(&self) -> &EntriesChoice {
        &self.inputs.entries
    }

    /// The folder that all archives are in, if links shall lead through a read-only mount of it.
    pub(super) fn folder_to_mount(&self) -> Option<PathBuf> {
        let mut folders = self.archives.iter().filter_map(|archive| archive.root.parent());
        let first = folders.next().filter(|_| !self.options.no_cache_mount)?;
        let folder =
            folders.try_fold(first, |one, other| one.ancestors().find(|above| other.starts_with(above)))?;
        folder.parent().map(|_| folder.to_path_buf())
    }

    /// The same as a mount that is nowhere yet; none where this user may not mount.
    pub(super) fn read_only_cache(&self) -> Option<ReadOnlyTree> {
        ReadOnlyTree::of(&self.folder_to_mount()?).ok()
    }

    /// Who may do what in a mount: all users see that of root.
    pub(super) fn access(&self) -> Access {
        let allow_other = self.options.allow_other || is_root();
        Access { allow_other, read_only: self.is_read_only() }
    }

    /// Whether nothing can be changed, as is wanted, or as it must be where this user may not write the environment.
    fn is_read_only(&self) -> bool {
        self.options.read_only || self.state.is_apart()
    }

    /// Whether the environment has something of its own at a path that is made apart from it.
    fn is_private(&self, path: &Path) -> bool {
        let own = self.layout.root.join(path);
        let is_there = fs_err::symlink_metadata(&own).is_ok();
        if is_there {
            self.options.verbosity.detail(format!("{} is the environment's own, and stays", own.display()));
        }
        is_there
    }

    /// Makes the view real.
    pub(super) fn link(
        &self,
        mut distributions: Vec<Distribution>,
        mode: LinkMode,
    ) -> Result<MountRecord, Difficulty> {
        let is_free = place::is_free(&self.layout.root, &self.state)?;
        let mut placements: Vec<Placement> =
            distributions.iter().flat_map(|distribution| distribution.placements.iter().cloned()).collect();
        if cfg!(windows) {
            let say =
                "commands of entry points (Scripts\\*.exe) are not made on Windows: use python -m MODULE";
            self.options.verbosity.note(say);
        }
        let mut record = self.record(&distributions, mode)?;
        record.folded = mode == LinkMode::Symlink && self.is_to_fold();
        // RECORD does not list what the environment has of its own.
        let free = parallel(&placements, |placement| is_free(&placement.path));
        let mut private = HashSet::new();
        for (placement, is_free) in placements.iter().zip(free) {
            if !is_free? {
                private.insert(placement.path.clone());
            }
        }
        for distribution in &mut distributions {
            distribution.placements.retain(|placement| !private.contains(&placement.path));
        }
        let view = View::new(distributions, None, self.whiteouts()?, self.layout.clone())?;
        placements.extend(if record.folded {
            link::plan_folded(&view, &self.layout, is_free)?
        } else {
            link::plan(&view, mode, &self.layout)?
        });
        self.place(&placements, || self.state.save_mount_record(&record))?;
        record.since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.state.save_mount_record(&record)?;
        Ok(record)
    }

    /// Whether to fold: as asked, or, where no link mode is asked for, as it is made already.
    fn is_to_fold(&self) -> bool {
        let is_folded = || self.state.mount_record().is_some_and(|record| record.folded);
        let stays = self.options.link_mode.is_none() && place::exists(&self.state) && is_folded();
        self.options.fold || stays
    }

    /// A server that was killed leaves a mount that answers nothing. Only for who holds the lock: then no server lives.
    pub(super) fn clear_dead_mount(&self) -> Result<()> {
        let point = self.layout.site_packages();
        while let Some(mount) = mounts::at(&point)? {
            if !mount.is_ours() {
                return Err(Error::new(format!(
                    "a {} file system covers {}",
                    mount.file_system_type,
                    point.display()
                ))
                .with_help(format!("umount {}", quote(&point))));
            }
            fuse::unmount(&point, true).map_err(|(_, error)| error)?;
            self.options
                .verbosity
                .note(format!("cleaned up after a server that had died on {}", self.layout.root.display()));
        }
        Ok(())
    }

    /// What is written down of it.
    pub(super) fn record(&self, distributions: &[Distribution], link_mode: LinkMode) -> Result<MountRecord> {
        Ok(MountRecord {
            sitefs: env!("CARGO_PKG_VERSION").to_owned(),
            link_mode,
            folded: false,
            entries: self.inputs.entries.clone(),
            mounted_folder: None,
            read_only: self.is_read_only() && link_mode == LinkMode::Fuse,
            outside: self.state.is_apart().then(|| self.state.outside(&self.layout.root)),
            is_for_run: self.is_for_run,
            pid: 0,
            since: 0,
            site_packages: self.layout.site_packages(),
            cache: canonicalize(&self.inputs.cache)?,
            requirements: self.inputs.requirements.clone(),
            selection: self.inputs.selection.clone(),
            distributions: distributions
                .iter()
                .map(|distribution| MountedDistribution {
                    name: distribution.archive.name.clone(),
                    version: distribution.archive.version.clone(),
                    layers: distribution.layers.clone(),
                    outside: distribution.outside.clone(),
                    dist_info: distribution.archive.dist_info.clone(),
                })
                .collect(),
        })
    }

    /// What was uninstalled in this environment stays so.
    fn leave_out_what_was_removed(&mut self) -> Result<()> {
        let whiteouts = self.whiteouts()?;
        self.archives.retain(|archive| {
            let is_removed = is_uninstalled(&whiteouts, &archive.to_string(), &archive.dist_info);
            if is_removed {
                self.options.verbosity.note(format!(
                    "{} {} was uninstalled in {} and stays so; `sitefs mount --reset` brings it back",
                    archive.name,
                    archive.version,
                    self.layout.root.display()
                ));
            }
            !is_removed
        });
        Ok(())
    }

    /// What was removed in this environment.
    pub(super) fn whiteouts(&self) -> Result<Whiteouts> {
        if self.state.is_apart() {
            return self.whiteouts_as_they_are();
        }
        Ok(Whiteouts::open(self.state.open_whiteouts()?)?)
    }

    /// The same of an environment that is only read.
    pub(super) fn whiteouts_as_they_are(&self) -> Result<Whiteouts> {
        Ok(self.state.read_whiteouts()?.map(Whiteouts::open).transpose()?.unwrap_or_default())
    }

    /// What a person installed in the environment itself stays, and hides the locked distribution of that name. What an
    /// earlier link mode made there is not a person's.
    fn hide_what_is_private(&mut self) -> Result<()> {
        let is_ours = place::has_dist_info(&self.layout.root, &self.state)?;
        let is_private = |name: &OsStr| !is_ours(&self.layout.scheme.purelib.join(name));
        let private = installed(open_upper(&self.layout)?, is_private)?;
        self.archives.retain(|archive| {
            let hidden = private.contains(&archive.name);
            if hidden {
                let name = &archive.name;
                self.options
                    .verbosity
                    .note(format!("the environment's own {name} hides the locked {archive}"));
            }
            !hidden
        });
        Ok(())
    }

    /// Makes files, and gives the paths where the environment has its own.
    fn place(
        &self,
        placements: &[Placement],
        begin: impl FnOnce() -> Result<()>,
    ) -> Result<HashSet<PathBuf>, Difficulty> {
        let progress = Progress::unless(self.options.verbosity.quiet);
        let begin = || {
            self.has_begun.set(true);
            begin()
        };
        let outside = self.state.outside(&self.layout.root);
        fs_err::create_dir_all(&outside)?;
        let applied = place::apply(&outside, &self.state, placements, &progress, begin)?;
        self.tell_of_own(&applied);
        Ok(applied.kept)
    }
}

/// Without its METADATA, a distribution is not installed.
pub(super) fn is_uninstalled(whiteouts: &Whiteouts, distribution: &str, dist_info: &str) -> bool {
    whiteouts.is_removed(distribution, &Path::new(dist_info).join("METADATA"))
}

fn open_upper(layout: &Layout) -> Result<OwnedFd> {
    let point = layout.site_packages();
    open_directory(&point).map_err(|errno| {
        Error::new(format!("{} cannot be opened: {errno}", point.display()))
            .with_help("a virtual environment has it: make the environment anew")
    })
}
