//! What wheels put outside site-packages: commands in `bin/`, data files, headers.
//!
//! It is made real in the environment when it is mounted, and undone by unmount, save what the user changed since.

mod plan;
mod scripts;

pub use plan::plan;
