//! The pins for one interpreter.

use std::collections::HashMap;

use pep508_rs::MarkerEnvironment;

use crate::error::{Error, Result};

use super::text::quoted;
use super::{Constraint, Lock, Pin, Source};

/// One pin for each name, in the order written.
///
/// # Errors
/// A name pinned twice differently, a pin that contradicts a constraint.
pub(super) fn select(lock: &Lock, environment: &MarkerEnvironment) -> Result<Vec<Pin>> {
    let mut selected: Vec<Pin> = Vec::with_capacity(lock.pins.len());
    let mut positions = HashMap::with_capacity(lock.pins.len());
    for pin in lock.pins.iter().filter(|pin| pin.marker.evaluate(environment, &[])) {
        let position = *positions.entry(&pin.name).or_insert(selected.len());
        match selected.get_mut(position) {
            Some(first) => merge(first, pin)?,
            None => selected.push(pin.clone()),
        }
    }
    let constraints = lock.constraints.iter();
    for constraint in constraints.filter(|constraint| constraint.marker.evaluate(environment, &[])) {
        let position = positions.get(&constraint.name);
        if let Some(pin) = position.and_then(|position| selected.get_mut(*position)) {
            restrict(pin, constraint)?;
        }
    }
    Ok(selected)
}

fn merge(first: &mut Pin, second: &Pin) -> Result<()> {
    let versions_agree = match (&first.version, &second.version) {
        (Some(first), Some(second)) => first == second,
        _ => true,
    };
    if !versions_agree || first.source != second.source {
        let message = format!("pinned twice, differently: {} and {}", described(first), described(second));
        return Err(
            Error::new(message).with_help("leave one of them, or give them markers that exclude each other")
        );
    }
    first.version = first.version.take().or_else(|| second.version.clone());
    for hash in &second.hashes {
        if !first.hashes.contains(hash) {
            first.hashes.push(hash.clone());
        }
    }
    Ok(())
}

/// As with pip and uv, the hashes of a constraint are all that is allowed, and of those only what the pin allows.
fn restrict(pin: &mut Pin, constraint: &Constraint) -> Result<()> {
    let version_fits = match &pin.version {
        Some(version) => constraint.versions.contains(version),
        None => true,
    };
    let source_fits = constraint.source.as_ref().is_none_or(|source| *source == pin.source);
    if !version_fits || !source_fits {
        let wanted = match &constraint.source {
            Some(source) => format!(" @ {}", place(source)),
            None => constraint.versions.to_string(),
        };
        return Err(Error::new(format!(
            "{} contradicts the constraint {}{wanted} ({})",
            described(pin),
            constraint.name,
            constraint.origin
        )));
    }
    if pin.hashes.is_empty() {
        pin.hashes.clone_from(&constraint.hashes);
    } else if !constraint.hashes.is_empty() {
        pin.hashes.retain(|hash| constraint.hashes.contains(hash));
        if pin.hashes.is_empty() {
            return Err(Error::new(format!(
                "{} has no hash in common with the constraint at {}",
                described(pin),
                constraint.origin
            )));
        }
    }
    Ok(())
}

fn described(pin: &Pin) -> String {
    let Pin { name, origin, .. } = pin;
    match (&pin.source, &pin.version) {
        (Source::Index, Some(version)) => format!("{name}=={version} ({origin})"),
        (Source::Index, None) => format!("{name} ({origin})"),
        (source, _) => format!("{name} @ {} ({origin})", place(source)),
    }
}

fn place(source: &Source) -> String {
    let (address, revision) = match source {
        Source::Index => ("an index".to_owned(), None),
        Source::Archive { url, .. } => (quoted(url.as_str()), None),
        Source::Git { repository, revision, commit, .. } => {
            (quoted(repository.as_str()), commit.as_deref().or(revision.as_deref()))
        }
        Source::Directory { path, .. } => (path.display().to_string(), None),
    };
    match revision {
        Some(revision) => format!("git+{address}@{revision}"),
        None => address,
    }
}
