//! What wheels put outside site-packages: commands in `bin/`, data files, headers.
//!
//! It is made real in the environment when it is mounted, written down in `.sitefs/outside.json` before it appears,
//! and undone by unmount, save what the user changed since.

mod apply;
mod plan;
mod scripts;

use std::path::PathBuf;

pub use apply::{Applied, apply, changed, exists, owner, placed, undo};
pub use plan::plan;

/// One file that a distribution puts outside site-packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where it goes, relative to the environment.
    pub path: PathBuf,
    /// The path that the archive's own RECORD has for it; none for generated commands.
    pub source: Option<String>,
    /// What it holds.
    pub content: Content,
}

/// What a placed file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A program of this text.
    Script(Vec<u8>),
    /// A private copy of an archive's file; `executable` where the execute bits must be set.
    Copy {
        /// The archive's file.
        from: PathBuf,
        /// Whether it is a program, whatever the archive's mode bits say.
        executable: bool,
    },
    /// A symbolic link to an archive's file.
    Link(PathBuf),
}
