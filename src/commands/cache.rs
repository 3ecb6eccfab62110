//! `sitefs cache`: look after the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::compile::compile;
use crate::bytecode::upkeep::{self, Amount, Batch, Damaged};
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
    let shelves = bytecode_by_interpreter(&store)?;
    if options.json {
        let one = |(interpreter, (archives, Amount { modules, bytes })): (&String, &(usize, Amount))| json!({"interpreter": interpreter, "archives": archives, "modules": modules, "bytes": bytes});
        let bytecode: Vec<_> = shelves.iter().map(one).collect();
        let all = json!({"store": store.root(), "wheels": objects, "bytecode": bytecode});
        print(serde_json::to_string_pretty(&all).unwrap_or_default());
        return Ok(());
    }
    lines.iter().for_each(print);
    let (count, store) = (lines.len(), store.root().display());
    for (interpreter, (archives, Amount { modules, bytes })) in shelves {
        let (archives, size) = (archives_of(archives), size(bytes));
        print(format_args!("{interpreter}  bytecode of {modules} modules of {archives}, {size}"));
    }
    options.verbosity.say(format!("{}, {}, in {store}", wheels_of(count), size(bytes)));
    Ok(())
}

/// How many archives and modules are compiled for each interpreter. What cannot be read counts as an archive.
fn bytecode_by_interpreter(store: &Store) -> Result<BTreeMap<String, (usize, Amount)>> {
    let mut shelves: BTreeMap<String, (usize, Amount)> = BTreeMap::new();
    for batch in upkeep::batches(store)? {
        let amount = batch.amount().unwrap_or_default();
        let (archives, all) = shelves.entry(batch.interpreter).or_default();
        *archives += 1;
        all.modules += amount.modules;
        all.bytes += amount.bytes;
    }
    Ok(shelves)
}

/// Fails if anything is damaged.
fn verify(CacheVerifyOptions { wheels, options }: &CacheVerifyOptions) -> Result<()> {
    if !wheels.is_empty() {
        return verify_wheels(wheels, options);
    }
    let store = Store::existing(&Store::choose(options.store.as_deref())?)?;
    let progress = Progress::unless(options.verbosity.quiet);
    let (count, damages) = store.verify(&progress)?;
    let (compiled, damaged_bytecode) = upkeep::verify(&store, &progress)?;
    if options.json {
        let one = |Damage { place, reason, is_set_aside }: &Damage| {
            json!({"name": place.name, "sha256": place.sha256, "archive": place.archive(), "reason": reason,
                   "set_aside": is_set_aside})
        };
        let of_batch =
            |Damaged { batch: Batch { interpreter, archive, .. }, reason, is_removed }: &Damaged| json!({"interpreter": interpreter, "archive": archive, "reason": reason, "removed": is_removed});
        let damaged: Vec<_> = damages.iter().map(one).collect();
        let bytecode: Vec<_> = damaged_bytecode.iter().map(of_batch).collect();
        print(json!({"store": store.root(), "wheels": count, "damaged": damaged,
                     "bytecode": compiled, "damaged_bytecode": bytecode}));
    } else if damages.is_empty() && damaged_bytecode.is_empty() {
        let bytecode = match compiled {
            0 => String::new(),
            count => format!(", and the bytecode of {},", archives_of(count)),
        };
        options.verbosity.say(format!(
            "{}{bytecode} in {} are whole",
            wheels_of(count),
            store.root().display()
        ));
    }
    // The last one's help is that of the command.
    let bytecode = damaged_bytecode.into_iter().map(|Damaged { batch, reason, is_removed }| {
        let error = Error::new(format!("bytecode of {}: {reason}", batch.archive));
        error.with_help(if is_removed {
            "it was removed: the next `run`, or `sitefs cache compile`, compiles it again"
        } else {
            "its owner can have it removed: sitefs cache verify"
        })
    });
    let wheels = damages.into_iter().map(|Damage { place, reason, is_set_aside }| {
        let error = Error::new(format!("{}: {reason}", place.name));
        error.with_help(if is_set_aside {
            "no mount takes it any more; add the wheel again, or mount from a folder that has it"
        } else {
            "its owner can have it set aside: sitefs cache verify"
        })
    });
    fail_with(bytecode.chain(wheels).collect(), "archives are damaged")
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
    let wheels = store.prune(*dry_run)?;
    let gone = wheels.freed.iter().map(|freed| freed.place.archive()).collect();
    let bytecode = upkeep::prune(&store, &gone, *dry_run)?;
    if options.json {
        print_pruned(&store, *dry_run, &wheels, &bytecode);
        return Ok(());
    }
    let verb = if *dry_run { "would remove" } else { "removed" };
    let Pruned { freed, used, young, of_others, leases: _ } = wheels;
    for Freed { place, wheel, bytes } in &freed {
        let wheel =
            wheel.as_ref().map_or_else(|| format!("{} {}", place.name, place.sha256), ToString::to_string);
        options.verbosity.say(format!("{wheel}  {}", size(*bytes)));
    }
    let kept = kept([(used, "in use"), (young, "added within the last hour"), (of_others, "of other users")]);
    let (count, bytes) = (wheels_of(freed.len()), size(freed.iter().map(|freed| freed.bytes).sum()));
    options.verbosity.say(format!("{verb} {count}, {bytes}, from {}{kept}", store.root().display()));
    let upkeep::Pruned { removed, used, of_others } = bytecode;
    for (Batch { interpreter, archive, .. }, bytes) in &removed {
        options.verbosity.say(format!("{archive}  bytecode of {interpreter}, {}", size(*bytes)));
    }
    if !removed.is_empty() || used + of_others > 0 {
        let kept = self::kept([(used, "in use"), (of_others, "of other users")]);
        let (count, bytes) = (archives_of(removed.len()), size(removed.iter().map(|(_, bytes)| bytes).sum()));
        options.verbosity.say(format!("{verb} the bytecode of {count}, {bytes}{kept}"));
    }
    Ok(())
}

fn print_pruned(store: &Store, is_dry_run: bool, wheels: &Pruned, bytecode: &upkeep::Pruned) {
    let Pruned { freed, used, young, of_others, leases } = wheels;
    let wheel = |Freed { place, wheel, bytes }: &Freed| {
        json!({"name": place.name, "sha256": place.sha256, "wheel": wheel.as_ref().map(ToString::to_string),
               "bytes": bytes})
    };
    let batch = |(Batch { interpreter, archive, .. }, bytes): &(Batch, u64)| json!({"interpreter": interpreter, "archive": archive, "bytes": bytes});
    let removed: Vec<_> = freed.iter().map(wheel).collect();
    let batches: Vec<_> = bytecode.removed.iter().map(batch).collect();
    let bytes: u64 = freed.iter().map(|freed| freed.bytes).sum();
    print(json!({"store": store.root(), "dry_run": is_dry_run, "removed": removed, "bytes": bytes,
                 "kept": {"used": used, "young": young, "of_others": of_others}, "leases_ended": leases,
                 "bytecode": {"removed": batches,
                              "kept": {"used": bytecode.used, "of_others": bytecode.of_others}}}));
}

/// What stays, and why.
fn kept<const N: usize>(kept: [(usize, &str); N]) -> String {
    let kept: Vec<String> = kept
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    if kept.is_empty() { String::new() } else { format!("; kept {}", kept.join(", ")) }
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

fn archives_of(count: usize) -> String {
    format!("{count} archive{}", if count == 1 { "" } else { "s" })
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
