//! `sitefs cache`: look after the store.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::compile::compile;
use crate::cache::store::{self, Added, Damage, Freed, Pruned, Store};
use crate::cache::{Unpacked, verify_unpacked, wheels_in};
use crate::cli::{
    CacheAddOptions, CacheCommand, CacheOptions, CachePruneOptions, CacheVerifyOptions, print, tell,
};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::venv;
use crate::venv::state::{MountedDistribution, State};

pub(super) fn cache(command: &CacheCommand) -> Result<()> {
    match command {
        CacheCommand::Add(options) => add(options),
        CacheCommand::Compile(options) => compile(options),
        CacheCommand::List(options) => list(options),
        CacheCommand::Verify(options) => verify(options),
        CacheCommand::Prune(options) => prune(options),
    }
}

/// Goes on when one cannot be added, and fails at the end.
fn add(CacheAddOptions { wheels, options }: &CacheAddOptions) -> Result<()> {
    let wheels = all_wheels(wheels)?;
    let store = Store::create(&Store::choose(options.store.as_deref())?)?;
    let progress = Progress::unless(options.verbosity.quiet);
    let (mut added, mut errors) = (Vec::new(), Vec::new());
    for result in store::add(&store, &wheels, &progress) {
        match result {
            Ok(one) => added.push(one),
            Err(error) => errors.push(error),
        }
    }
    if options.json {
        let one = |one: &Added| {
            json!({"wheel": one.path, "name": one.wheel.name, "version": one.wheel.version.to_string(),
                   "sha256": one.sha256, "new": one.is_new})
        };
        print(serde_json::to_string_pretty(&added.iter().map(one).collect::<Vec<_>>()).unwrap_or_default());
    } else {
        let new = added.iter().filter(|one| one.is_new).count();
        let there = match added.len() - new {
            0 => String::new(),
            count => format!("; {count} had been there"),
        };
        options.verbosity.say(format!("added {} to {}{there}", wheels_of(new), store.root().display()));
    }
    fail_with(errors, "wheels could not be added")
}

fn list(options: &CacheOptions) -> Result<()> {
    let store = Store::existing(&Store::choose(options.store.as_deref())?)?;
    let leases = store.all_leases()?;
    let (mut lines, mut objects, mut bytes) = (Vec::new(), Vec::new(), 0);
    for place in store.places()? {
        let key = place.key();
        let users = leases.iter().filter(|(_, lease)| lease.wheels.contains(&key)).count();
        match place.details() {
            Ok(details) => {
                bytes += details.bytes;
                lines.push(format!("{}  {}, leased {users} times", details.wheel, size(details.bytes)));
                objects.push(json!({
                    "name": place.name, "version": details.wheel.version.to_string(),
                    "wheel": details.wheel.to_string(), "sha256": place.sha256, "archive": place.archive(),
                    "files": details.files, "bytes": details.bytes, "leases": users}));
            }
            Err(reason) => {
                lines.push(format!("{} {}: {reason}", place.name, place.sha256));
                objects.push(json!({"name": place.name, "sha256": place.sha256, "damage": reason}));
            }
        }
    }
    if options.json {
        print(serde_json::to_string_pretty(&objects).unwrap_or_default());
        return Ok(());
    }
    lines.iter().for_each(print);
    options.verbosity.say(format!(
        "{}, {}, in {}",
        wheels_of(lines.len()),
        size(bytes),
        store.root().display()
    ));
    Ok(())
}

/// Fails if anything is damaged.
fn verify(CacheVerifyOptions { wheels, options }: &CacheVerifyOptions) -> Result<()> {
    if !wheels.is_empty() {
        return verify_wheels(wheels, options);
    }
    let store = Store::existing(&Store::choose(options.store.as_deref())?)?;
    let progress = Progress::unless(options.verbosity.quiet);
    let (count, damages) = store.verify(&progress)?;
    if options.json {
        let one = |Damage { place, reason, is_set_aside }: &Damage| {
            json!({"name": place.name, "sha256": place.sha256, "archive": place.archive(), "reason": reason,
                   "set_aside": is_set_aside})
        };
        let damaged: Vec<_> = damages.iter().map(one).collect();
        print(json!({"store": store.root(), "wheels": count, "damaged": damaged}));
    } else if damages.is_empty() {
        options.verbosity.say(format!("{} in {} are whole", wheels_of(count), store.root().display()));
    }
    let is_left = damages.iter().any(|damage| !damage.is_set_aside);
    let errors: Vec<Error> = damages
        .iter()
        .map(|damage| Error::new(format!("{}: {}", damage.place.name, damage.reason)))
        .collect();
    fail_with(errors, "wheels are damaged").map_err(|error| {
        error.with_help(if is_left {
            "its owner can have it set aside: sitefs cache verify"
        } else {
            "no mount takes them any more; add the wheels again, or mount from a folder that has them"
        })
    })
}

fn verify_wheels(wheels: &[PathBuf], options: &CacheOptions) -> Result<()> {
    let store = Store::open(&Store::choose(options.store.as_deref())?)?;
    let progress = Progress::unless(options.verbosity.quiet);
    let (mut count, mut problems) = (0, Vec::new());
    for path in wheels {
        let found = if path.join("pyvenv.cfg").is_file() {
            verify_environment(path, &progress)?
        } else {
            crate::cache::verify_wheels(path, store.as_ref(), &progress)?
        };
        count += found.len();
        problems.extend(found.into_iter().filter_map(|(path, result)| Some((path, result.err()?))));
    }
    if options.json {
        let one = |(path, error): &(PathBuf, Error)| json!({"wheel": path, "reason": error.to_string()});
        print(json!({"wheels": count, "damaged": problems.iter().map(one).collect::<Vec<_>>()}));
    } else if problems.is_empty() {
        options.verbosity.say(format!("{} are whole", wheels_of(count)));
    }
    let errors =
        problems.into_iter().map(|(path, error)| Error::new(path.display().to_string()).because(error));
    fail_with(errors.collect(), "wheels are damaged")
}

/// What an environment uses of a cache.
fn verify_environment(venv: &Path, progress: &Progress) -> Result<Vec<(PathBuf, Result<()>)>> {
    let root = venv::resolve(venv)?;
    let record = State::of(&root).mount_record().ok_or_else(|| {
        Error::new(format!("{} was never mounted", root.display())).with_help("sitefs mount")
    })?;
    // The archive itself is its lowest layer.
    let unpacked = |one: &'_ MountedDistribution| Some((one.layers.first()?.clone(), one.dist_info.clone()));
    let archives: Vec<_> = record.distributions.iter().filter_map(unpacked).collect();
    let archives: Vec<_> = archives.iter().map(|(root, dist_info)| Unpacked { root, dist_info }).collect();
    let help = "have it made anew: for a cache of uv, `uv cache clean NAME`, and then `sitefs mount --fetch`";
    let found = verify_unpacked(&archives, progress).into_iter();
    Ok(found.map(|(path, result)| (path, result.map_err(|error| error.with_help(help)))).collect())
}

fn prune(CachePruneOptions { dry_run, options }: &CachePruneOptions) -> Result<()> {
    let store = Store::existing(&Store::choose(options.store.as_deref())?)?;
    let Pruned { freed, used, young, of_others, leases } = store.prune(*dry_run)?;
    let bytes: u64 = freed.iter().map(|freed| freed.bytes).sum();
    if options.json {
        let one = |Freed { place, wheel, bytes }: &Freed| {
            json!({"name": place.name, "sha256": place.sha256, "wheel": wheel.as_ref().map(ToString::to_string),
                   "bytes": bytes})
        };
        let removed: Vec<_> = freed.iter().map(one).collect();
        print(json!({"store": store.root(), "dry_run": dry_run, "removed": removed, "bytes": bytes,
                     "kept": {"used": used, "young": young, "of_others": of_others}, "leases_ended": leases}));
        return Ok(());
    }
    for Freed { place, wheel, bytes } in &freed {
        let wheel =
            wheel.as_ref().map_or_else(|| format!("{} {}", place.name, place.sha256), ToString::to_string);
        options.verbosity.say(format!("{wheel}  {}", size(*bytes)));
    }
    let verb = if *dry_run { "would remove" } else { "removed" };
    let kept: Vec<String> =
        [(used, "in use"), (young, "added within the last hour"), (of_others, "of other users")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, why)| format!("{count} {why}"))
            .collect();
    let kept = if kept.is_empty() { String::new() } else { format!("; kept {}", kept.join(", ")) };
    options.verbosity.say(format!(
        "{verb} {}, {}, from {}{kept}",
        wheels_of(freed.len()),
        size(bytes),
        store.root().display()
    ));
    Ok(())
}

/// The wheels that are named, and those in folders that are.
fn all_wheels(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut wheels = Vec::new();
    for path in paths {
        let found = wheels_in(path)?;
        if found.is_empty() {
            return Err(Error::new(format!("there is no wheel in {}", path.display())));
        }
        wheels.extend(found);
    }
    Ok(wheels)
}

/// Tells all errors but the last, which is the command's own.
fn fail_with(mut errors: Vec<Error>, what: &str) -> Result<()> {
    let count = errors.len();
    match errors.pop() {
        None => Ok(()),
        Some(only) if count == 1 => Err(only),
        Some(last) => {
            for error in errors.iter().chain([&last]) {
                tell(format_args!("error: {error}"));
            }
            let error = Error::new(format!("{count} {what}"));
            Err(match last.help() {
                Some(help) => error.with_help(help),
                None => error,
            })
        }
    }
}

fn wheels_of(count: usize) -> String {
    format!("{count} wheel{}", if count == 1 { "" } else { "s" })
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        (amount, unit) = (amount / 1024.0, unit + 1);
    }
    let decimals = usize::from(unit > 0);
    format!("{amount:.decimals$} {}", UNITS.get(unit).unwrap_or(&""))
}
