//! What wheels put outside site-packages: commands in `bin/`, data files, headers.
//!
//! It is made real in the environment when it is mounted, and undone by unmount, save what the user changed since. A mount
//! serves data files and native programs itself, and the environment has links to them.

mod plan;
mod scripts;

pub use plan::{Planned, plan};

/// The directory of a mounted view that has what it serves for outside site-packages. It is not listed.
pub const OUTSIDE: &str = ".sitefs-outside";
