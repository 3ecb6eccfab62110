//! What a mount or a run says on its way, apart from errors.

use std::path::Path;

use super::Work;
use crate::error::Result;
use crate::place::{Applied, LinkMode};
use crate::python::PackageName;
use crate::sys::posix::{canonicalize, may_write};
use crate::venv::state::MountRecord;
use crate::view::{Clash, Distribution, Entries, clashes};

impl Work<'_> {
    /// Says, the first time, that what is written through a link is written into the cache.
    pub(super) fn tell_of_cache(&self, has_cache_mount: bool, distributions: &[Distribution]) {
        let is_open = |one: &Distribution| {
            let file = one.archive.root.join(&one.archive.dist_info).join("METADATA");
            one.entries != Entries::File && may_write(&file)
        };
        let was_told = |record: MountRecord| {
            record.link_mode == LinkMode::Fuse
                && record.mounted_folder.is_none()
                && same(&record.cache, &self.inputs.cache)
        };
        if has_cache_mount
            || self.options.no_cache_mount
            || self.state.mount_record().is_some_and(was_told)
            || !distributions.iter().any(is_open)
        {
            return;
        }
        self.options.verbosity.note(format!(
            "this user may write {}, so whoever opens a link for writing changes the cache; `--entries file` keeps it from that",
            self.inputs.cache.display()
        ));
    }

    /// Says which files of two distributions have one path.
    pub(super) fn tell_clashes(&self, distributions: &[Distribution]) -> Result<()> {
        if self.options.verbosity.verbose {
            for Clash { path, winner, hidden } in clashes(distributions)? {
                self.options
                    .verbosity
                    .detail(format!("{} is {winner}'s, and hides {hidden}'s", path.display()));
            }
        }
        Ok(())
    }

    /// Says what was asked for and does not come about.
    pub(super) fn tell_of_entries(&self, mode: LinkMode, distributions: &[Distribution]) {
        let verbosity = self.options.verbosity;
        let entries = &self.inputs.entries;
        if mode == LinkMode::Symlink && self.options.link_mode.is_none() && !entries.is_default() {
            verbosity
                .note(format!("entries {entries} are for a mount; --link-mode copy makes regular files"));
        }
        let is_there = |name: &PackageName| distributions.iter().any(|one| one.archive.name == *name);
        for name in entries.named.keys().filter(|name| mode == LinkMode::Fuse && !is_there(name)) {
            verbosity.note(format!("--entries names {name}, which is not among the distributions"));
        }
    }

    /// Says what the environment has of its own in the place of what is locked.
    pub(super) fn tell_of_own(&self, Applied { kept, hiding }: &Applied) {
        let verbosity = self.options.verbosity;
        for path in hiding {
            let path = path.display();
            verbosity.note(format!("{path} is the environment's own, and hides the directory of that name"));
        }
        for path in kept.iter().filter(|path| !path.ancestors().any(|above| hiding.contains(above))) {
            verbosity.detail(format!("{} is the environment's own, and stays", path.display()));
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((canonicalize(one), canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}
