//! The view mounted. The only code that names fuser.

#![deny(clippy::indexing_slicing)]

mod convert;
mod filesystem;
mod log;
mod mount;
mod private;
mod reply;
mod requests;
mod server;
mod watch;

pub use mount::{Access, check, check_device, unmount};
pub use private::{Waiting, mount_privately};
pub use requests::requests;
pub use server::{Place, Running, Server, clean_up_after_run, start, start_in_background};
