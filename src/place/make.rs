//! Making one file. It is finished in `.sitefs/staging/` and then gets its name.

use std::collections::HashSet;
use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::folders::by_folder;
use super::journal::GENERATED_TIME;
use super::root::Root;
use super::{Content, Placement};
use crate::error::{Error, Result};
use crate::parallel::parallel;
use crate::progress::Progress;
use crate::sys::beneath::Place;
use crate::sys::posix::{self, Errno};
use crate::sys::{clone_file, copy_bytes};
use crate::venv::state::State;

/// Why a file could not be made.
#[derive(Debug)]
pub enum Difficulty {
    /// The system does not do what was asked for: another way may work.
    Unsupported(Error),
    /// Another way would not help.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Difficulty {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A placement, and the number that its unfinished file is named by.
pub(super) type Numbered<'a> = (usize, &'a Placement);

/// Finishes what takes room, without giving it its name, and tries whether a link can be made: what cannot be then costs
/// nothing of what is there. Gives the numbers of what is finished.
pub(super) fn stage(
    root: &Root,
    state: &State,
    placements: &[Numbered],
    progress: &Progress,
) -> Result<HashSet<usize>, Difficulty> {
    remove_staging(state)?;
    if placements.is_empty() {
        return Ok(HashSet::new());
    }
    let (links, files): (Vec<Numbered>, Vec<Numbered>) =
        placements.iter().partition(|(_, placement)| is_link(&placement.content));
    let staged = fs_err::create_dir(state.staging())
        .map_err(Difficulty::from)
        .and_then(|()| links.first().map_or(Ok(()), |(_, link)| try_link(root, state, link)))
        .and_then(|()| finish_all(root, state, files, progress));
    if staged.is_err() {
        remove_staging(state)?;
    }
    staged
}

fn try_link(root: &Root, state: &State, link: &Placement) -> Result<(), Difficulty> {
    let staging = Root::open(&state.staging())?;
    let made = staging.place(Path::new("trial")).and_then(|place| make_link(&place, &link.content));
    made.map_err(|errno| difficulty(&errno.into(), &link.content, &root.path(&link.path)))
}

fn finish_all(
    root: &Root,
    state: &State,
    mut files: Vec<Numbered>,
    progress: &Progress,
) -> Result<HashSet<usize>, Difficulty> {
    let staging = state.staging();
    let counter = progress.counting("files", files.len());
    let one = |(number, placement): &Numbered| {
        finish(root, placement, &staging.join(number.to_string()))?;
        counter.one_more();
        Ok::<_, Difficulty>(*number)
    };
    // What the file system does not do at all shows at the first clone.
    if let Some(clone) = files.iter().position(|(_, it)| matches!(it.content, Content::Clone(_))) {
        files.swap(0, clone);
    }
    let (first, rest) = files.split_at(files.len().min(1));
    let first = first.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    first.into_iter().map(Ok).chain(parallel(rest, one)).collect()
}

/// Makes files that are not there, of which some are finished. One that was removed behind our back is not.
pub(super) fn make_all(
    root: &Root,
    state: &State,
    missing: &[Numbered],
    finished: &HashSet<usize>,
    progress: &Progress,
) -> Result<(), Difficulty> {
    let staging = state.staging();
    if !missing.is_empty() {
        fs_err::create_dir_all(&staging)?;
    }
    let counter = progress.counting("files", missing.len());
    let folders = by_folder(missing.iter().map(|missing| (missing.1.path.as_path(), *missing)));
    let made = parallel(&folders, |folder| {
        let directory = root.needed(folder.path)?;
        for (file_name, (number, placement)) in &folder.entries {
            let unfinished = staging.join(number.to_string());
            if !is_link(&placement.content) && !finished.contains(number) {
                finish(root, placement, &unfinished)?;
            }
            name(&directory, file_name, placement, &unfinished)?;
            counter.one_more();
        }
        Ok::<_, Difficulty>(())
    });
    made.into_iter().collect::<Result<(), Difficulty>>()?;
    Ok(remove_staging(state)?)
}

fn is_link(content: &Content) -> bool {
    matches!(content, Content::Symlink(_) | Content::HardLink(_))
}

/// Removes what was not finished.
pub(super) fn remove_staging(state: &State) -> Result<()> {
    match fs_err::remove_dir_all(state.staging()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Gives a file its name in a directory: a finished one, or a link.
fn name(
    directory: &Root,
    file_name: &Path,
    placement: &Placement,
    finished: &Path,
) -> Result<(), Difficulty> {
    let named = directory.place(file_name).and_then(|place| {
        if is_link(&placement.content) {
            make_link(&place, &placement.content)
        } else {
            place.move_here(finished)
        }
    });
    named.map_err(|errno| difficulty(&errno.into(), &placement.content, &directory.path(file_name)))
}

fn make_link(place: &Place, content: &Content) -> Result<(), Errno> {
    match content {
        Content::Symlink(target) => place.symlink(target),
        Content::HardLink(from) => place.hard_link(from),
        Content::Bytes { .. } | Content::Clone(_) | Content::Copy { .. } => Ok(()),
    }
}

/// Writes a file whole, with its mode and its time.
fn finish(root: &Root, placement: &Placement, unfinished: &Path) -> Result<(), Difficulty> {
    let failed = |error: io::Error| difficulty(&error, &placement.content, &root.path(&placement.path));
    match &placement.content {
        Content::Bytes { bytes, executable } => {
            let mut options = fs_err::OpenOptions::new();
            let mut file =
                posix::executable(&mut options, *executable).write(true).create_new(true).open(unfinished)?;
            file.write_all(bytes).map_err(&failed)?;
            set_time(file.file(), GENERATED_TIME)?;
        }
        Content::Clone(from) => {
            let source = fs_err::File::open(from)?;
            let file = clone_file(source.file(), unfinished).map_err(&failed)?;
            make_like(source.file(), &file, false)?;
        }
        Content::Copy { from, executable } => {
            let (mut source, mut file) = (fs_err::File::open(from)?, fs_err::File::create_new(unfinished)?);
            copy_bytes(source.file_mut(), file.file_mut()).map_err(&failed)?;
            make_like(source.file(), file.file(), *executable)?;
        }
        Content::Symlink(_) | Content::HardLink(_) => {}
    }
    Ok(())
}

/// Gives a copy the time and the mode of its source. A cache may be read-only; the copy is the user's own.
fn make_like(source: &File, copy: &File, executable: bool) -> Result<()> {
    let metadata = source.metadata()?;
    posix::copy_mode(&metadata, copy, executable)?;
    set_time(copy, posix::modified(&metadata).0)
}

fn set_time(file: &File, seconds: i64) -> Result<()> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time =
        if seconds < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance };
    Ok(file.set_times(FileTimes::new().set_accessed(time).set_modified(time))?)
}

/// Says which two paths, and whether another way of making files may do.
fn difficulty(error: &io::Error, content: &Content, path: &Path) -> Difficulty {
    let how = match content {
        Content::Symlink(from) => format!("linked symbolically to {}", from.display()),
        Content::HardLink(from) => format!("hard-linked to {}", from.display()),
        Content::Clone(from) => format!("cloned from {}", from.display()),
        Content::Copy { from, .. } => format!("copied from {}", from.display()),
        Content::Bytes { .. } => "written".to_owned(),
    };
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let why = match errno {
        Some(Errno::XDEV) => "they are on different file systems".to_owned(),
        _ => error.to_string(),
    };
    let told = Error::new(format!("{} cannot be {how}: {why}", path.display()));
    match (content, errno) {
        (
            Content::Symlink(_) | Content::HardLink(_) | Content::Clone(_),
            Some(
                Errno::XDEV
                | Errno::PERM
                | Errno::OPNOTSUPP
                | Errno::NOTTY
                | Errno::INVAL
                | Errno::MLINK
                | Errno::NOSYS,
            ),
        ) => Difficulty::Unsupported(told.with_help(posix::help_with_links(errno))),
        _ => Difficulty::Failed(told),
    }
}
