//! Making files. What takes room is finished in `.sitefs/staging/`, a tree like that of the environment, and then gets its name.

use std::collections::HashSet;
use std::fs::{File, FileTimes, Metadata};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::folders::{Folder, by_folder};
use super::journal::GENERATED_TIME;
use super::root::Root;
use super::{Content, Placement};
use crate::error::{Error, Result};
use crate::parallel::parallel_changing;
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

/// A placement that is to be made, and whether its file is finished in the staging directory already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing<'a> {
    pub(super) placement: &'a Placement,
    pub(super) is_finished: bool,
}

/// Finishes what takes room in a directory of its own, under the same path as it shall have, and tries whether a link or a clone
/// can be made: what cannot be then costs nothing of what is there. Gives that directory.
pub(super) fn stage(
    root: &Root,
    state: &State,
    placements: &[&Placement],
    progress: &Progress,
) -> Result<Option<Root>, Difficulty> {
    remove_staging(state)?;
    if placements.is_empty() {
        return Ok(None);
    }
    let staging = create_staging(state)?;
    let staged =
        try_one(root, &staging, placements).and_then(|()| finish_all(root, &staging, placements, progress));
    match staged {
        Ok(()) => Ok(Some(staging)),
        Err(difficulty) => {
            remove_staging(state)?;
            Err(difficulty)
        }
    }
}

fn create_staging(state: &State) -> Result<Root> {
    fs_err::create_dir(state.staging())?;
    Root::open(&state.staging())
}

/// What the file system does not do at all shows at the first link or clone.
fn try_one(root: &Root, staging: &Root, placements: &[&Placement]) -> Result<(), Difficulty> {
    let is_to_try = |placement: &&&Placement| {
        is_link(&placement.content) || matches!(placement.content, Content::Clone(_))
    };
    let Some(placement) = placements.iter().find(is_to_try) else { return Ok(()) };
    let trial = Path::new("trial");
    let difficult = |errno: Errno| difficulty(&errno.into(), &placement.content, &root.path(&placement.path));
    let place = staging.place(trial).map_err(difficult)?;
    if is_link(&placement.content) {
        make_link(&place, &placement.content).map_err(difficult)?;
    } else {
        finish(root, placement, &place)?;
    }
    Ok(staging.remove_file(trial)?)
}

fn finish_all(
    root: &Root,
    staging: &Root,
    placements: &[&Placement],
    progress: &Progress,
) -> Result<(), Difficulty> {
    let files = placements.iter().filter(|placement| !is_link(&placement.content));
    let folders = by_folder(files.map(|placement| (placement.path.as_path(), *placement)));
    let counter = progress.counting("files", folders.iter().map(Folder::len).sum());
    let finished = parallel_changing(&folders, Folder::len, |folder| {
        let directory = staging.made(folder.path)?;
        for (file_name, placement) in &folder.entries {
            finish_in(root, &directory, file_name, placement)?;
            counter.one_more();
        }
        Ok::<_, Difficulty>(())
    });
    finished.into_iter().collect()
}

/// Makes what is not there. A directory that is not either comes with all that is finished in it, by one rename. What was
/// made before and was removed behind our back is not finished.
pub(super) fn make_all(
    root: &Root,
    state: &State,
    staging: Option<Root>,
    new: &HashSet<&Path>,
    missing: &[Folder<Missing>],
    progress: &Progress,
) -> Result<(), Difficulty> {
    if missing.is_empty() {
        return Ok(remove_staging(state)?);
    }
    let staging = staging.map_or_else(|| create_staging(state), Ok)?;
    let moved = move_whole(root, &staging, new);
    let counter = progress.counting("files", missing.iter().map(Folder::len).sum());
    let made = parallel_changing(missing, Folder::len, |folder| {
        let came_along = folder.path.ancestors().any(|above| moved.contains(above));
        let directory = root.made(folder.path)?;
        for (file_name, Missing { placement, is_finished }) in &folder.entries {
            if is_link(&placement.content) {
                let made = directory.place(file_name).and_then(|place| make_link(&place, &placement.content));
                made.map_err(|errno| {
                    difficulty(&errno.into(), &placement.content, &directory.path(file_name))
                })?;
            } else if !(came_along && *is_finished) {
                let unfinished = staging.made(folder.path)?;
                if !is_finished {
                    finish_in(root, &unfinished, file_name, placement)?;
                }
                name(&directory, &unfinished, file_name, placement)?;
            }
            counter.one_more();
        }
        Ok::<_, Difficulty>(())
    });
    made.into_iter().collect::<Result<(), Difficulty>>()?;
    Ok(remove_staging(state)?)
}

/// Moves directories that are not there out of the staging directory, and gives those that were moved. What is in the others is
/// moved file by file, which also tells why it cannot be.
fn move_whole<'a>(root: &Root, staging: &Root, new: &HashSet<&'a Path>) -> HashSet<&'a Path> {
    let is_highest = |path: &&Path| !path.parent().is_some_and(|above| new.contains(above));
    let move_one = |path: &&Path| {
        let (from, to) = (staging.place(path), root.place(path));
        from.and_then(|from| to?.move_here(&from)).is_ok()
    };
    new.iter().copied().filter(is_highest).filter(move_one).collect()
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

/// Gives a finished file its name.
fn name(to: &Root, from: &Root, file_name: &Path, placement: &Placement) -> Result<(), Difficulty> {
    let named = from.place(file_name).and_then(|from| to.place(file_name)?.move_here(&from));
    named.map_err(|errno| difficulty(&errno.into(), &placement.content, &to.path(file_name)))
}

fn finish_in(
    root: &Root,
    directory: &Root,
    file_name: &Path,
    placement: &Placement,
) -> Result<(), Difficulty> {
    let place = directory
        .place(file_name)
        .map_err(|errno| difficulty(&errno.into(), &placement.content, &root.path(&placement.path)))?;
    finish(root, placement, &place)
}

fn make_link(place: &Place, content: &Content) -> Result<(), Errno> {
    match content {
        Content::Symlink(target) => place.symlink(target),
        Content::HardLink(from) => place.hard_link(from),
        Content::Bytes { .. } | Content::Clone(_) | Content::Copy { .. } => Ok(()),
    }
}

/// Writes a file whole, with its mode and its time.
fn finish(root: &Root, placement: &Placement, unfinished: &Place) -> Result<(), Difficulty> {
    let failed = |error: io::Error| difficulty(&error, &placement.content, &root.path(&placement.path));
    let create = |executable: bool| unfinished.create_file(executable).map_err(|errno| failed(errno.into()));
    match &placement.content {
        Content::Bytes { bytes, executable } => {
            let mut file = create(*executable)?;
            file.write_all(bytes).map_err(&failed)?;
            set_time(&file, GENERATED_TIME)?;
        }
        Content::Clone(from) => {
            let source = fs_err::File::open(from)?.into_file();
            let metadata = source.metadata()?;
            let file = clone_file(&source, unfinished, posix::is_executable(&metadata)).map_err(&failed)?;
            make_like(&metadata, &file, false)?;
        }
        Content::Copy { from, executable } => {
            let mut source = fs_err::File::open(from)?.into_file();
            let metadata = source.metadata()?;
            let mut file = create(*executable || posix::is_executable(&metadata))?;
            copy_bytes(&mut source, &mut file).map_err(&failed)?;
            make_like(&metadata, &file, *executable)?;
        }
        Content::Symlink(_) | Content::HardLink(_) => {}
    }
    Ok(())
}

/// Gives a copy the time and the mode of its source. A cache may be read-only; the copy is the user's own.
fn make_like(source: &Metadata, copy: &File, executable: bool) -> Result<()> {
    posix::copy_mode(source, copy, executable)?;
    set_time(copy, posix::modified(source).0)
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
