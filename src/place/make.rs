//! Making one file. It is finished in `.sitefs/staging/` and then gets its name.

use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::journal::GENERATED_TIME;
use super::root::Root;
use super::{Content, Placement};
use crate::error::{Error, Result};
use crate::parallel::parallel;
use crate::progress::Progress;
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

/// Makes files that are not there.
pub(super) fn make_all(
    root: &Root,
    state: &State,
    missing: &[&Placement],
    progress: &Progress,
) -> Result<(), Difficulty> {
    if missing.is_empty() {
        return Ok(());
    }
    let staging = state.staging();
    fs_err::create_dir(&staging)?;
    let mut numbered: Vec<(usize, &Placement)> = missing.iter().copied().enumerate().collect();
    let counter = progress.counting("files", missing.len());
    let one = |(number, placement): &(usize, &Placement)| {
        make(root, &staging.join(number.to_string()), placement)?;
        counter.one_more();
        Ok::<_, Difficulty>(())
    };
    // What the file system does not do at all shows at the first file that is not simply written.
    let is_link = |content: &Content| !matches!(content, Content::Bytes { .. } | Content::Copy { .. });
    if let Some(link) = numbered.iter().position(|(_, placement)| is_link(&placement.content)) {
        numbered.swap(0, link);
    }
    let (first, rest) = numbered.split_at(1);
    first.iter().try_for_each(one)?;
    parallel(rest, one).into_iter().collect::<Result<(), Difficulty>>()?;
    Ok(remove_staging(state)?)
}

/// Removes what was not finished.
pub(super) fn remove_staging(state: &State) -> Result<()> {
    match fs_err::remove_dir_all(state.staging()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn make(root: &Root, unfinished: &Path, placement: &Placement) -> Result<(), Difficulty> {
    let failed = |error: io::Error| difficulty(&error, &placement.content, &root.path(&placement.path));
    let place = root.place(&placement.path).map_err(|errno| failed(errno.into()))?;
    let made = match &placement.content {
        Content::Symlink(target) => place.symlink(target),
        Content::HardLink(from) => place.hard_link(from),
        content => {
            finish(content, unfinished, failed)?;
            place.move_here(unfinished)
        }
    };
    made.map_err(|errno| failed(errno.into()))
}

/// Writes a file whole, with its mode and its time.
fn finish(
    content: &Content,
    unfinished: &Path,
    failed: impl Fn(io::Error) -> Difficulty,
) -> Result<(), Difficulty> {
    match content {
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
