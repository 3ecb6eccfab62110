//! Removing from a store what no environment uses: mark, then sweep.
//!
//! A mount takes its lease before it looks whether all counts; this has a wheel count no more before it looks at the leases
//! again, and only then takes it away. So one of the two sees the other, without any lock, and what is leased stays where it is.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lease::{Answer, HOLDS};
use super::staging::{self, Staging};
use super::{Details, Place, Store, is_absent};
use crate::error::Result;
use crate::python::WheelName;
use crate::sys::posix;

/// What is younger than this is kept: who brought it may be about to use it.
const YOUNG: Duration = Duration::from_secs(3600);

/// What `prune` did, or would do.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What was removed.
    pub freed: Vec<Freed>,
    /// How many wheels stay, because an environment uses them.
    pub used: usize,
    /// How many stay, because they came within the last hour.
    pub young: usize,
    /// How many stay, because they are another user's.
    pub of_others: usize,
    /// How many leases had expired, or are of environments that are gone.
    pub leases: usize,
}

/// A wheel that was removed.
#[derive(Debug)]
pub struct Freed {
    /// Where it was.
    pub place: Place,
    /// Its name, where that is known.
    pub wheel: Option<WheelName>,
    /// How many bytes its files had.
    pub bytes: u64,
}

impl Store {
    /// Removes what no environment uses; only says so in a dry run.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn prune(&self, is_dry_run: bool) -> Result<Pruned> {
        let staging = Staging::new(self)?;
        staging.sweep()?;
        let now = staging.now()?;
        let mut pruned = Pruned::default();
        let (used, ended) = self.mark(&staging, now, is_dry_run)?;
        pruned.leases = ended;
        let mut taken = Vec::new();
        for place in self.places()? {
            let metadata = match fs_err::symlink_metadata(&place.directory) {
                Ok(metadata) => metadata,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let archive = fs_err::symlink_metadata(place.archive());
            if used.contains(&place.key()) {
                pruned.used += 1;
            } else if age(now, metadata.modified()?) < YOUNG {
                pruned.young += 1;
            } else if archive.is_ok_and(|archive| !posix::is_mine(&archive)) {
                pruned.of_others += 1;
            } else if is_dry_run {
                let details = place.details().ok();
                let bytes = details.as_ref().map_or(0, |details| details.bytes);
                pruned.freed.push(Freed { place, wheel: details.map(|details| details.wheel), bytes });
            } else {
                taken.extend(place.hide(&staging)?);
            }
        }
        let leased = if taken.is_empty() { HashSet::new() } else { self.mark(&staging, now, is_dry_run)?.0 };
        for hidden in taken {
            if leased.contains(&hidden.place.key()) {
                hidden.show()?;
                pruned.used += 1;
            } else if let Some(freed) = hidden.remove(&staging)? {
                pruned.freed.push(freed);
            }
        }
        pruned.freed.sort_by_key(|freed| freed.place.key());
        Ok(pruned)
    }

    /// The wheels that are used, and how many leases do not hold any more: these are removed.
    fn mark(&self, staging: &Staging, now: SystemTime, is_dry_run: bool) -> Result<(HashSet<String>, usize)> {
        let (mut used, mut ended) = (HashSet::new(), 0);
        for (path, lease) in self.all_leases()? {
            let Ok(renewed) = modified(&path) else { continue };
            let Answer { uses, is_all } = lease.ask(self);
            // A mount takes its lease before the environment says that it is mounted.
            let holds = age(now, renewed) < if is_all { YOUNG } else { HOLDS };
            if !holds && !uses.is_empty() {
                used.extend(uses);
            } else if holds || !is_dry_run && !end(&path, renewed, staging)? {
                used.extend(lease.wheels);
            } else {
                ended += 1;
            }
        }
        Ok((used, ended))
    }
}

/// A wheel that does not count any more, while it is asked whether somebody uses it. Its archive is where it was.
struct Hidden {
    place: Place,
    /// What is known of it, aside; none if it did not count before.
    details: Option<(Details, PathBuf)>,
}

impl Place {
    /// Has it count no more; none if another prunes it, too.
    fn hide(self, staging: &Staging) -> Result<Option<Hidden>> {
        let Ok(details) = self.details() else {
            return Ok(Some(Hidden { place: self, details: None }));
        };
        let aside = staging.path().join(format!("{}.json", self.sha256));
        match fs_err::rename(self.details_file(), &aside) {
            Ok(()) => Ok(Some(Hidden { place: self, details: Some((details, aside)) })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Hidden {
    /// Has it count again.
    fn show(self) -> Result<()> {
        let Self { place, details } = self;
        match details.map(|(_, aside)| fs_err::rename(aside, place.details_file())) {
            None | Some(Ok(())) => Ok(()),
            // Somebody has unpacked it again.
            Some(Err(_)) if place.details().is_ok() => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Removes it, unless somebody has unpacked it again meanwhile.
    fn remove(self, staging: &Staging) -> Result<Option<Freed>> {
        let Self { place, details } = self;
        if place.details().is_ok() {
            return Ok(None);
        }
        let aside = staging.path().join(&place.sha256);
        match fs_err::rename(&place.directory, &aside) {
            Err(error) if is_absent(&error) => return Ok(None),
            moved => moved?,
        }
        // Just now.
        if aside.join("wheel.json").exists() {
            fs_err::rename(&aside, &place.directory)?;
            return Ok(None);
        }
        let bytes = staging::remove(&aside)?;
        if let Some(parent) = place.directory.parent() {
            // Where it has other versions, it stays.
            let _ = fs_err::remove_dir(parent);
        }
        Ok(Some(Freed { place, wheel: details.map(|(details, _)| details.wheel), bytes }))
    }
}

/// Removes a lease, unless it is renewed just now. Another user's stays, and does not hold.
fn end(lease: &Path, renewed: SystemTime, staging: &Staging) -> Result<bool> {
    let aside = staging.path().join(lease.file_name().unwrap_or_default());
    if fs_err::rename(lease, &aside).is_err() {
        return Ok(true);
    }
    let is_renewed = modified(&aside)? != renewed;
    if is_renewed {
        fs_err::rename(&aside, lease)?;
    }
    Ok(!is_renewed)
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    fs_err::symlink_metadata(path).and_then(|metadata| metadata.modified())
}

fn age(now: SystemTime, then: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}
