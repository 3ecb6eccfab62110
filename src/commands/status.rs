//! `sitefs status`: what is mounted, how, from which cache, since when, by which process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::mount::{lacks_cache, venv_of};
use crate::cli::{StatusOptions, print};
use crate::error::Result;
use crate::fuse;
use crate::place::{self, LinkMode};
use crate::shell::quote;
use crate::sys::answer::ask;
use crate::sys::mounts;
use crate::sys::posix::user;
use crate::venv::state::{MountRecord, MountedDistribution, State};
use crate::venv::{Venv, resolve};
use crate::view::{self, EntriesChoice, Left};

pub(super) fn status(options: &StatusOptions) -> Result<()> {
    match &options.venv {
        Some(venv) => {
            let root = resolve(venv)?;
            let status = Status::of(&root, options.verbose)?;
            if status.state == Condition::Unmounted {
                // Of another directory, such as the mount point itself, this would say that nothing is mounted.
                Venv::open(&root)?;
            }
            print(if options.json { status.to_json() } else { status.to_text() });
        }
        None => {
            let mut roots: Vec<PathBuf> = mounts::all()?
                .into_iter()
                .filter(mounts::Mount::is_ours)
                .map(|mount| venv_of(&mount.point).to_path_buf())
                .collect();
            roots.sort();
            roots.dedup();
            let all =
                roots.iter().map(|root| Status::of(root, options.verbose)).collect::<Result<Vec<_>>>()?;
            if options.json {
                print(serde_json::to_string_pretty(&all).unwrap_or_default());
            } else if all.is_empty() {
                print("nothing is mounted");
            } else {
                all.iter().for_each(|status| print(status.to_text()));
            }
        }
    }
    Ok(())
}

/// How an environment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Condition {
    /// Its server answers.
    Mounted,
    /// Its server was killed, and left its mount or its files.
    Dead,
    /// Its server lives, but its mount is not here: it was detached, or is in another mount namespace.
    Detached,
    /// Commands of `sitefs run` see it mounted.
    Running,
    /// Its files were being made when that was cut short.
    Incomplete,
    /// It is as it was before sitefs.
    Unmounted,
}

/// What `status` tells, and `mount --json`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    venv: PathBuf,
    state: Condition,
    /// Who mounted it, if that is another user.
    #[serde(skip)]
    mounted_by: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount: Option<Details>,
    /// What the last mount could not bring home.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Left>,
}

#[derive(Debug, Serialize)]
struct Details {
    site_packages: PathBuf,
    link_mode: LinkMode,
    folded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<EntriesChoice>,
    read_only: bool,
    #[serde(skip)]
    how: String,
    /// Where what goes outside site-packages is, if not in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    outside: Option<PathBuf>,
    cache: PathBuf,
    /// Whether links lead through a read-only mount of it.
    cache_mounted: bool,
    /// Whether it should be and is gone, so that they lead nowhere.
    #[serde(skip)]
    lacks_cache: bool,
    requirements: Vec<PathBuf>,
    /// What was wanted of them, as options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
    distributions: usize,
    /// Those whose archives are in the cache no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vanished: Vec<String>,
    pid: u32,
    /// In seconds since 1970.
    since: u64,
    sitefs: String,
    /// How often the kernel has asked the server for what.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<BTreeMap<String, u64>>,
}

impl Status {
    pub(super) fn mounted(record: &MountRecord) -> Self {
        let details = Details {
            site_packages: record.site_packages.clone(),
            link_mode: record.link_mode,
            folded: record.folded,
            entries: (record.link_mode == LinkMode::Fuse).then(|| record.entries.clone()),
            read_only: record.read_only,
            how: record.how(),
            outside: record.outside.clone(),
            cache: record.cache.clone(),
            cache_mounted: record.mounted_folder.is_some(),
            lacks_cache: false,
            requirements: record.requirements.clone(),
            options: record.selection.arguments(),
            distributions: record.distributions.len(),
            vanished: Vec::new(),
            pid: record.pid,
            since: record.since,
            sitefs: record.sitefs.clone(),
            requests: None,
        };
        Self {
            venv: venv_of(&record.site_packages).to_path_buf(),
            state: Condition::Mounted,
            mounted_by: None,
            mount: Some(details),
            left: None,
        }
    }

    fn of(root: &Path, with_requests: bool) -> Result<Self> {
        let state = State::of(root);
        let ours = mounts::all()?.into_iter().rfind(|mount| mount.is_ours() && venv_of(&mount.point) == root);
        let point = ours.as_ref().map(|mount| mount.point.clone());
        let record = state.mount_record();
        let mounted_by = ours.as_ref().and_then(|mount| mount.user).filter(|other| *other != user());
        // Another user's state may be where this one cannot see it.
        let is_hidden = mounted_by.is_some() && !place::exists(&state);
        let condition = match ours {
            Some(_) if is_hidden => Condition::Mounted,
            Some(_) if !state.is_locked() && !state.is_running() => Condition::Dead,
            Some(_) => Condition::Mounted,
            None if state.is_running() => Condition::Running,
            None if state.is_locked()
                && record.as_ref().is_some_and(|record| record.link_mode == LinkMode::Fuse) =>
            {
                Condition::Detached
            }
            None if !place::exists(&state) => Condition::Unmounted,
            None => match &record {
                Some(MountRecord { link_mode: LinkMode::Fuse, .. }) | None => Condition::Dead,
                Some(MountRecord { since: 0, .. }) => Condition::Incomplete,
                Some(_) => Condition::Mounted,
            },
        };
        let details = record.filter(|_| condition != Condition::Unmounted && !is_hidden);
        let mut mount = details.as_ref().and_then(|record| Self::mounted(record).mount);
        if let (Some(record), Some(mount)) = (&details, &mut mount) {
            mount.vanished = vanished(record)?;
            mount.lacks_cache = condition == Condition::Mounted
                && point.as_ref().is_some_and(|point| lacks_cache(record, point));
            mount.cache_mounted &= !mount.lacks_cache;
            if with_requests && point.is_some() {
                mount.requests = fuse::requests(&mount.site_packages);
            }
        }
        let is_unmounted = condition == Condition::Unmounted;
        let left = if is_unmounted { view::left(root, &state)? } else { None };
        Ok(Self { venv: root.to_path_buf(), state: condition, mounted_by, mount, left })
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn to_text(&self) -> String {
        let (venv, quoted) = (self.venv.display(), quote(&self.venv));
        let mend = format!("`sitefs mount {quoted}` mends it, `sitefs unmount {quoted}` undoes it");
        let Some(mount) = &self.mount else {
            return match (self.state, self.mounted_by) {
                (Condition::Unmounted, _) => match &self.left {
                    Some(left) => format!("{venv}: not mounted; {left}"),
                    None => format!("{venv}: not mounted"),
                },
                (Condition::Mounted, Some(other)) => format!(
                    "{venv}: mounted by another user, number {other}, who keeps its state where this user cannot see it"
                ),
                (Condition::Dead | Condition::Mounted, _) if !self.venv.join("pyvenv.cfg").is_file() => {
                    format!(
                        "{venv}: mounted, but the environment was removed under its mount; the cache is as it was, and \
                     `sitefs unmount {quoted}` takes the mount away"
                    )
                }
                (state, _) => format!(
                    "{venv}: {}, but {} is missing; {mend}",
                    format!("{state:?}").to_lowercase(),
                    self.venv.join(".sitefs/mount.json").display()
                ),
            };
        };
        let mut requirements: Vec<String> =
            mount.requirements.iter().map(|path| path.display().to_string()).collect();
        if requirements.is_empty() {
            requirements.push("the wheels in the cache".to_owned());
        }
        let options: String = mount.options.iter().map(|option| format!(" {option}")).collect();
        let (condition, life) = match (self.state, mount.link_mode) {
            (Condition::Mounted, LinkMode::Fuse) => {
                ("mounted", format!("server         process {}, for {}", mount.pid, ago(mount.since)))
            }
            (Condition::Mounted, _) => ("mounted", format!("made           {} ago", ago(mount.since))),
            (Condition::Detached, _) => (
                "detached",
                format!(
                    "server         process {} serves it to those who use it still, or elsewhere",
                    mount.pid
                ),
            ),
            (Condition::Running, _) => ("running", "server         those of `sitefs run`".to_owned()),
            (Condition::Incomplete, _) => ("incomplete", format!("made           in part; {mend}")),
            _ => ("dead", format!("server         process {} is dead; {mend}", mount.pid)),
        };
        let vanished = match mount.vanished.as_slice() {
            [] => String::new(),
            vanished => format!(
                "\n  vanished       {}, from the cache; `sitefs mount {quoted}` mends it",
                few(vanished)
            ),
        };
        let requests = mount.requests.as_ref().map(|requests| {
            let told: Vec<String> =
                requests.iter().map(|(operation, count)| format!("{operation} {count}")).collect();
            format!("\n  requests       {}", told.join(", "))
        });
        let requests = requests.unwrap_or_default();
        let outside = mount.outside.as_deref().map_or_else(String::new, |outside| {
            format!("\n  outside        {}, since the environment cannot be written", outside.display())
        });
        format!(
            "{venv}: {condition} ({})
  distributions  {}, from {}{options}
  cache          {}{}
  {life}{outside}{vanished}{requests}",
            mount.how,
            mount.distributions,
            requirements.join(", "),
            mount.cache.display(),
            match (mount.cache_mounted, mount.lacks_cache) {
                (true, _) => ", which links reach read-only",
                (_, true) => ", whose mount is gone, so that links lead nowhere; `sitefs mount` mends it",
                _ => "",
            },
        )
    }
}

/// The distributions whose archives are in the cache no more. Of a cache that does not answer, nothing can be said.
fn vanished(record: &MountRecord) -> Result<Vec<String>> {
    let listed = |gone: Vec<&MountedDistribution>| gone.iter().map(|one| format!("{one}\n")).collect();
    let told = ask(|| Ok(listed(record.vanished())))?.unwrap_or_default();
    Ok(told.lines().map(str::to_owned).collect())
}

/// The first three.
fn few(names: &[String]) -> String {
    let named = names.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0..4 => named,
        count => format!("{named} and {} more", count - 3),
    }
}

/// The time since then, in one unit.
fn ago(since: u64) -> String {
    let since = UNIX_EPOCH + Duration::from_secs(since);
    let seconds = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_in_one_unit() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(ago(now - 60), "60 s");
        assert_eq!(ago(now - 600), "10 min");
        assert_eq!(ago(now - 3 * 3600), "3 h");
        assert_eq!(ago(now + 5), "0 s");
    }
}
