//! Thin wrappers over system calls. The only module where `unsafe` is allowed.

pub mod answer;
pub mod beneath;
pub mod children;
pub mod directory;
pub mod fork;
pub mod holders;
pub mod identity;
pub mod mounts;
pub mod namespace;
pub mod signals;
