//! sitefs completes a Python virtual environment at once and copies nothing.
//!
//! ```text
//! lock ──> cache ──> view ──┬──> fuse   mounted
//! pins     archives  union  └──> link   made real
//! ```

pub mod bytecode;
pub mod cache;
pub mod cli;
pub mod commands;
mod elf;
pub mod error;
#[cfg(all(feature = "fuse", target_os = "linux"))]
pub mod fuse;
#[cfg(not(all(feature = "fuse", target_os = "linux")))]
#[path = "without_fuse.rs"]
pub mod fuse;
pub mod link;
pub mod lock;
pub mod outside;
mod parallel;
pub mod place;
pub mod progress;
pub mod python;
mod shell;
pub mod sys;
mod user_folder;
pub mod venv;
#[cfg(all(feature = "fuse", target_os = "linux"))]
pub mod view;
#[cfg(not(all(feature = "fuse", target_os = "linux")))]
#[path = "view/unserved.rs"]
pub mod view;
