//! Looking after the bytecode in a store: what there is, what is not what it was, what nobody needs any more.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::index::{Compiled, Index, Module};
use super::{BYTECODE, FILES, RENEWAL, bytecode_name, identity};
use crate::cache::store::Store;
use crate::cache::store::staging::{self, Staging};
use crate::error::Result;
use crate::parallel::parallel_work;
use crate::progress::Progress;
use crate::sys::posix;

/// What no mount has used for so long is used by none: the server of each says so daily.
const UNUSED: Duration = RENEWAL.saturating_mul(2);

/// How many files of an archive are named.
const NAMED: usize = 5;

/// The bytecode of one archive, as it lies in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch {
    /// Whose it is: what the interpreter puts into the names of bytecode files, and its magic number.
    pub interpreter: String,
    /// The archive: its distribution and version, and what tells it from others.
    pub archive: String,
    folder: PathBuf,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    /// The modules that were compiled.
    pub modules: usize,
    /// The bytes that they have.
    pub bytes: u64,
}

/// Bytecode that is not what it was.
#[derive(Debug)]
pub struct Damaged {
    /// Of which archive.
    pub batch: Batch,
    /// What is wrong with it.
    pub reason: String,
    /// Whether it was removed.
    pub is_removed: bool,
}

/// What [`prune`] did, or would do.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What was removed, and how many bytes it had.
    pub removed: Vec<(Batch, u64)>,
    /// Of how many archives it stays, because they are there, or because a mount used it of late.
    pub used: usize,
    /// Of how many it stays, because it is another user's.
    pub of_others: usize,
}

/// All bytecode in a store, by interpreter and archive.
///
/// # Errors
/// The store cannot be read.
pub fn batches(store: &Store) -> Result<Vec<Batch>> {
    let root = store.root().join(BYTECODE);
    let mut batches = Vec::new();
    for interpreter in listed(&root)? {
        for archive in listed(&root.join(&interpreter))? {
            let folder = root.join(&interpreter).join(&archive);
            batches.push(Batch { interpreter: interpreter.clone(), archive, folder });
        }
    }
    batches.sort_unstable();
    Ok(batches)
}

/// Reads all bytecode, and compares it with what was written down when it was compiled. What is damaged is removed, where
/// this user may, with all that there is of its archive: Python would fail to import it, and it is compiled again.
///
/// # Errors
/// The store cannot be read.
pub fn verify(store: &Store, progress: &Progress) -> Result<(usize, Vec<Damaged>)> {
    let batches = batches(store)?;
    let counter = progress.counting("archives' bytecode", batches.len());
    let damaged = parallel_work(&batches, |batch| {
        let damaged = batch.verify().err().map(|reason| {
            let is_removed = Staging::new(store).and_then(|staging| Ok(batch.remove(&staging)?)).is_ok();
            Damaged { batch: batch.clone(), reason, is_removed }
        });
        counter.one_more();
        damaged
    });
    Ok((batches.len(), damaged.into_iter().flatten().collect()))
}

/// Removes the bytecode of archives that are gone from where they were when it was compiled; only says so in a dry run. It
/// stays where a mount has used it of late: that may have the same archive by another path, in a container. `freed` are the
/// archives of the store that go just now.
///
/// # Errors
/// The store cannot be read or written.
pub fn prune(store: &Store, freed: &HashSet<PathBuf>, is_dry_run: bool) -> Result<Pruned> {
    let staging = Staging::new(store)?;
    let now = staging.now()?;
    let mut pruned = Pruned::default();
    for batch in batches(store)? {
        let Ok(used) = fs_err::symlink_metadata(batch.folder.join(Index::FILE)) else { continue };
        let (index, amount) = (Index::read(&batch.folder), batch.amount());
        let is_used = now.duration_since(used.modified()?).unwrap_or_default() < UNUSED;
        if index.is_some_and(|index| batch.is_needed(store, &index.archive, freed, is_used)) {
            pruned.used += 1;
        } else if !posix::is_mine(&used) {
            pruned.of_others += 1;
        } else if is_dry_run {
            pruned.removed.push((batch, amount.unwrap_or_default().bytes));
        } else {
            let bytes = batch.remove(&staging)?;
            pruned.removed.push((batch, bytes));
        }
    }
    Ok(pruned)
}

impl Batch {
    /// How much it is; none if that cannot be read.
    pub fn amount(&self) -> Option<Amount> {
        let modules = Index::read(&self.folder)?.modules.into_iter().filter_map(|module| module.compiled);
        Some(modules.fold(Amount::default(), |amount, compiled| Amount {
            modules: amount.modules + 1,
            bytes: amount.bytes.saturating_add(compiled.bytes),
        }))
    }

    /// Whether an environment may still show it. The leases on a store tell of its own archives.
    fn is_needed(&self, store: &Store, archive: &Path, freed: &HashSet<PathBuf>, is_used: bool) -> bool {
        let here = in_store(store, archive);
        let is_it = |archive: &Path| {
            identity(archive, &self.dist_info()).is_ok_and(|identity| identity == self.archive)
                && !freed.contains(archive)
        };
        is_it(archive)
            || here.as_deref().is_some_and(is_it)
            || is_used && here.is_none_or(|here| here != archive)
    }

    fn dist_info(&self) -> String {
        let stem = self.archive.rsplit_once('-').map_or(&*self.archive, |(stem, _)| stem);
        format!("{stem}.dist-info")
    }

    fn verify(&self) -> Result<(), String> {
        let index = self.folder.join(Index::FILE);
        let Some(Index { modules, .. }) = Index::read(&self.folder) else {
            return Err(format!("{} cannot be read", index.display()));
        };
        let problems: Vec<String> = modules.iter().filter_map(|module| self.problem(module)).collect();
        if problems.is_empty() {
            return Ok(());
        }
        let named = problems.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        Err(match problems.len().saturating_sub(NAMED) {
            0 => named,
            count => format!("{named}, and {count} files more"),
        })
    }

    fn problem(&self, Module { path, compiled }: &Module) -> Option<String> {
        let compiled = compiled.as_ref()?;
        let (names, magic) = self.interpreter.rsplit_once('-').unwrap_or((&self.interpreter, ""));
        let source = Path::new(path);
        let name = bytecode_name(&source.file_name()?.to_string_lossy(), &format!(".{names}.pyc"));
        let file = self.folder.join(FILES).join(source.with_file_name("__pycache__")).join(name);
        let what = match fs_err::read(&file) {
            Err(error) => return Some(error.to_string()),
            Ok(bytes) if bytes.len() as u64 != compiled.bytes => {
                format!("has {} bytes of {}", bytes.len(), compiled.bytes)
            }
            Ok(bytes) if !bytes.starts_with(&header(magic, compiled)) => {
                "is not of this interpreter and source".to_owned()
            }
            Ok(bytes) if HEXLOWER.encode(&Sha256::digest(&bytes)) != compiled.sha256 => {
                "is not what was compiled".to_owned()
            }
            Ok(_) => return None,
        };
        Some(format!("{} {what}", file.display()))
    }

    /// Takes it away at once, then removes it. Whoever shows it goes on with the sources.
    fn remove(&self, staging: &Staging) -> io::Result<u64> {
        let aside = staging.path().join(&self.archive);
        fs_err::rename(&self.folder, &aside)?;
        staging::remove(&aside)
    }
}

/// What bytecode begins with that is valid for the time and the size of its source.
///
/// Source: PEP 552.
fn header(magic: &str, compiled: &Compiled) -> Vec<u8> {
    let mut header = HEXLOWER.decode(magic.as_bytes()).unwrap_or_default();
    header.extend(0_u32.to_le_bytes());
    header.extend(compiled.modified.to_le_bytes());
    header.extend(compiled.size.to_le_bytes());
    header
}

/// An archive of a store, where that is here: who compiled it may see the store by another path.
fn in_store(store: &Store, archive: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = archive.iter().collect();
    let [.., wheels, name, digest, last] = parts.as_slice() else { return None };
    let place = [wheels, name, digest, last].into_iter().collect::<PathBuf>();
    (*wheels == "wheels" && *last == "archive").then(|| store.root().join(place))
}

/// The names in a folder that are text; none if it is not there.
fn listed(folder: &Path) -> io::Result<Vec<String>> {
    match fs_err::read_dir(folder) {
        Ok(entries) => {
            let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
            Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
