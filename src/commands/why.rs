//! `sitefs why`: which distribution an entry comes from, its target, what it hides.

use std::path::{Component, Path, PathBuf};

use crate::cli::{WhyOptions, print};
use crate::error::{Context, Error, Result};
use crate::place::{self, LinkMode};
use crate::python::PackageName;
use crate::sys::answer::ask;
use crate::sys::mounts;
use crate::venv::Venv;
use crate::venv::state::{MountRecord, MountedDistribution, State};
use crate::view::{OUTSIDE, archived};

/// What sitefs adds to a dist-info directory.
const ADDED: [&str; 5] = ["INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"];

pub(super) fn why(options: &WhyOptions) -> Result<()> {
    let venv = Venv::open(&options.venv)?;
    let state = State::of(venv.root());
    let is_made = |record: &MountRecord| match record.link_mode {
        LinkMode::Fuse => matches!(mounts::at(&record.site_packages), Ok(Some(_))),
        _ => place::exists(&state),
    };
    let mounted = state.mount_record().filter(is_made);
    let Some(record) = mounted else {
        let help = format!("sitefs mount {}", options.venv.display());
        return Err(Error::new(format!("{} is not mounted", options.venv.display())).with_help(help));
    };
    let lines = ask(|| explain(&options.path, &venv, &state, &record).map(|lines| lines.join("\n")))?;
    print(lines.ok_or_else(|| state.hangs(venv.root()))?);
    Ok(())
}

fn explain(path: &Path, venv: &Venv, state: &State, record: &MountRecord) -> Result<Vec<String>> {
    let outside = state.outside(venv.root());
    let path = find(path, [venv.root(), &outside], &record.site_packages)?;
    let mut lines = vec![path.display().to_string()];
    // What the mount serves outside site-packages is reached by links.
    let served =
        fs_err::read_link(&path).ok().filter(|to| to.starts_with(record.site_packages.join(OUTSIDE)));
    let path = served.unwrap_or(path);
    let metadata = fs_err::symlink_metadata(&path)?;
    lines.extend(match path.strip_prefix(&record.site_packages) {
        Ok(entry) if metadata.is_dir() => explain_directory(entry, record),
        Ok(entry) => explain_leaf(entry, &path, place::owner(state, inside(&path, venv.root())), record),
        Err(_) => explain_outside(&path, [venv.root(), &outside], state, record),
    });
    Ok(lines)
}

/// A path as the person meant it: in the environment or what takes its place, in its site-packages, or from here. The last component is not
/// followed, nor a link that stands for a directory of the cache.
fn find(path: &Path, roots: [&Path; 2], site_packages: &Path) -> Result<PathBuf> {
    let here = std::path::absolute(path).context(|| path.display().to_string())?;
    let [root, outside] = roots;
    let candidates = [root.join(path), outside.join(path), site_packages.join(path), here];
    let resolved =
        candidates.iter().filter(|path| fs_err::symlink_metadata(path).is_ok()).filter_map(|path| {
            let parent = crate::sys::posix::canonicalize(path.parent()?).ok()?;
            Some(parent.join(path.file_name()?))
        });
    let climbs = |path: &&PathBuf| path.components().any(|part| part == Component::ParentDir);
    let as_given = candidates.iter().filter(|path| !climbs(path) && fs_err::symlink_metadata(path).is_ok());
    resolved.chain(as_given.cloned()).find(|path| roots.iter().any(|root| path.starts_with(root))).ok_or_else(
        || {
            Error::new(format!("{} has no entry {}", root.display(), path.display()))
                .with_help("give a path in the environment, or relative to its site-packages")
        },
    )
}

/// The distributions that have an entry, highest first, each with its file.
fn sources<'a>(
    entry: &'a Path,
    record: &'a MountRecord,
) -> impl Iterator<Item = (&'a MountedDistribution, PathBuf)> {
    record.distributions.iter().rev().flat_map(move |distribution| {
        let files = distribution.layers.iter().rev().map(move |layer| layer.join(entry));
        let files = files.chain(distribution.outside.iter().filter_map(move |layer| layer.path(entry)));
        files.filter(|file| fs_err::symlink_metadata(file).is_ok()).map(move |file| (distribution, file))
    })
}

fn explain_directory(entry: &Path, record: &MountRecord) -> Vec<String> {
    sources(entry, record)
        .map(|(distribution, file)| {
            format!("  from    {} {}, {}", distribution.name, distribution.version, file.display())
        })
        .collect()
}

/// `owner` is known where the leaf is a file that sitefs made; in a mount the link's target tells, or
/// the view itself.
fn explain_leaf(entry: &Path, path: &Path, owner: Option<PackageName>, record: &MountRecord) -> Vec<String> {
    let target =
        fs_err::read_link(path).ok().map(|target| record.in_cache(target)).or_else(|| archived(path));
    let owner = owner.filter(|_| !ADDED.iter().any(|name| entry.ends_with(name)));
    let (winners, hidden): (Vec<_>, Vec<_>) = sources(entry, record).partition(|(distribution, file)| {
        target.as_ref() == Some(file) || owner.as_ref() == Some(&distribution.name)
    });
    let dist_info = entry.parent().and_then(Path::to_str);
    let generated_for =
        record.distributions.iter().find(|distribution| dist_info == Some(&distribution.dist_info));
    let mut lines = match (winners.first(), generated_for) {
        (Some((distribution, file)), _) => vec![
            format!("  from    {} {}", distribution.name, distribution.version),
            format!("  target  {}", file.display()),
        ],
        (None, Some(distribution)) => vec![format!(
            "  from    sitefs, which made it for {} {}",
            distribution.name, distribution.version
        )],
        (None, None) => vec!["  from    the environment's own site-packages".to_owned()],
    };
    lines.extend(hidden.iter().map(|(distribution, file)| {
        format!("  hides   {} {}, {}", distribution.name, distribution.version, file.display())
    }));
    lines
}

fn inside<'a>(path: &'a Path, root: &Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

fn explain_outside(path: &Path, roots: [&Path; 2], state: &State, record: &MountRecord) -> Vec<String> {
    let inside = roots.iter().find_map(|root| path.strip_prefix(root).ok()).unwrap_or(path);
    let mut lines = vec![match place::owner(state, inside) {
        Some(distribution) => format!("  from    {distribution}"),
        None => "  from    the environment itself: sitefs did not put it there".to_owned(),
    }];
    let target = fs_err::read_link(path).ok().map(|target| record.in_cache(target));
    lines.extend(target.map(|target| format!("  target  {}", target.display())));
    lines
}
