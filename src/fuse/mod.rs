//! The view mounted. The only code that names fuser.

#![deny(clippy::indexing_slicing)]

mod filesystem;
mod log;
mod mount;
mod server;

pub use mount::{check, unmount};
pub use server::{Running, Server, start, start_in_background};
