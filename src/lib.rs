//! sitefs completes a Python virtual environment at once and copies nothing.
//!
//! ```text
//! lock ──> cache ──> view ──> fuse   mounted
//! pins     archives  union
//! ```

pub mod cache;
pub mod error;
pub mod lock;
pub mod python;
pub mod venv;
