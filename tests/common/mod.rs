//! Building blocks that make a test read like a shell session.
//!
//! Each test makes a [`Sandbox`]: a folder with wheels, a uv cache filled from them, a virtual environment, and a home.
//! When the sandbox goes, what it mounted is unmounted, its servers are ended, and its cache must be as it was.

// Each test crate uses a part of this; and a test that cannot go on may panic.
#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;

mod cache;
mod command;
mod container;
mod disk;
mod index;
mod native;
pub mod operations;
mod run;
mod sitefs;
mod tree;
mod venv;
mod wheel;

pub use cache::{Corpus, Uv, pip};
pub use command::{Outcome, as_nobody, clean_command, nobody_can_run, started_by};
pub use container::{Container, WITHOUT_DEVICE};
pub use disk::Disk;
pub use index::Index;
pub use native::{Libraries, compile, compile_program};
pub use run::{
    GREET, Running, STAY, greet, kill, processes_in, run_arguments, sandbox, sandbox_for_nobody, server,
    sitefs_below,
};
pub use sitefs::{all_mounts_below, mounts_below, servers_below, wait_until};
pub use tree::{Entry, Kind, Tree, age, assert_same, comparable, corrupt, exact_tree, tree};
pub use venv::{Sandbox, python, pythons};
pub use wheel::WheelBuilder;

/// Whether a test that mounts can run; if not, it says so loudly, or fails where the tests must run.
pub fn fuse() -> bool {
    if !cfg!(feature = "fuse") {
        return tell_skipped("sitefs is built without the feature fuse");
    }
    match fs_err::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => true,
        Err(error) => skip(&format!("FUSE does not work here: {error}")),
    }
}

/// Whether a test that mounts as an ordinary user can run, from root.
pub fn fuse_for_nobody() -> bool {
    use std::os::unix::fs::PermissionsExt;
    if !fuse() {
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let mode = fs_err::metadata("/dev/fuse").unwrap().permissions().mode();
    if mode & 0o006 != 0o006 {
        return skip("an ordinary user cannot open /dev/fuse (`make fuse` opens it to all)");
    }
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("fusermount3").exists()));
    found || skip("fusermount3 is missing (`make fuse` installs it)")
}

/// Says that a test does not run; always false. Fails where SITEFS_REQUIRE_FUSE=1 says that all must run.
pub fn skip(reason: &str) -> bool {
    assert!(
        std::env::var_os("SITEFS_REQUIRE_FUSE").is_none_or(|value| value != "1"),
        "SITEFS_REQUIRE_FUSE=1, and this test cannot run: {reason}"
    );
    tell_skipped(reason)
}

fn tell_skipped(reason: &str) -> bool {
    // Not by eprintln: test runners keep that to themselves when a test passes. `make test` tells the file at its end.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {reason} ***");
    let notes = concat!(env!("CARGO_MANIFEST_DIR"), "/target/skipped.txt");
    if let Ok(mut notes) = fs_err::OpenOptions::new().create(true).append(true).open(notes) {
        let _ = writeln!(notes, "{reason}");
    }
    false
}
