//! Thin wrappers over system calls. The only module where `unsafe` is allowed.
//!
//! What only Linux has (mounts, namespaces, a parent for orphans) is there only for Linux. `elsewhere/` answers for the
//! other systems, `macos.rs` and `windows/` do what each does in its own way.

#[cfg(target_os = "linux")]
pub mod answer;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere/answer.rs"]
pub mod answer;
#[cfg(unix)]
pub mod beneath;
#[cfg(target_os = "linux")]
pub mod children;
#[cfg(unix)]
pub mod directory;
#[cfg(unix)]
mod entry;
#[cfg(target_os = "linux")]
pub mod fork;
#[cfg(target_os = "linux")]
pub mod holders;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere/holders.rs"]
pub mod holders;
#[cfg(target_os = "linux")]
pub mod identity;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "linux")]
pub mod memory;
#[cfg(target_os = "linux")]
pub mod mounts;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere/mounts.rs"]
pub mod mounts;
#[cfg(target_os = "linux")]
pub mod namespace;
#[cfg(unix)]
pub mod posix;
#[cfg(target_os = "linux")]
pub mod priority;
#[cfg(target_os = "linux")]
pub mod read_only;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere/read_only.rs"]
pub mod read_only;
#[cfg(target_os = "linux")]
pub mod runtime;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere/runtime.rs"]
pub mod runtime;
#[cfg(target_os = "linux")]
pub mod signals;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere/signals.rs"]
pub mod signals;
#[cfg(unix)]
mod sparse;
#[cfg(windows)]
mod windows;

use std::path::PathBuf;

#[cfg(unix)]
pub use entry::hold;
#[cfg(target_os = "linux")]
pub use linux::{HOLD, clone_file, open_directory_below, surroundings};
#[cfg(target_os = "macos")]
pub use macos::{HOLD, ask_to_end, clone_file, open_directory_below, surroundings};
#[cfg(unix)]
pub use sparse::copy_bytes;
#[cfg(windows)]
pub use windows::{
    ask_to_end, beneath, beneath::hold, clone_file, copy_bytes, directory, posix, surroundings,
};

/// What a look at an entry tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A symbolic link, and its target.
    Symlink(PathBuf),
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// When it was written, in seconds since 1970 and nanoseconds.
        modified: (i64, i64),
    },
    /// Anything else.
    Other,
}
