//! A mounted environment that is written to: what it shows, what stays, and that the cache never changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod bytecode;
mod cache;
mod changes;
mod disks;
mod killed;
mod limits;
mod outside;
mod random;
mod rivals;
mod runs;
mod tools;

use std::process::Command;

use common::{Outcome, Sandbox, WheelBuilder, wait_until};

/// A package, a module beside it, and a command.
fn greet(version: &str) -> WheelBuilder {
    WheelBuilder::new("greet", version)
        .file("greet/__init__.py", format!("word = 'hello {version}'\n\ndef main():\n    print(word)\n"))
        .file("greet/deep/er.py", "word = 'deep'\n")
        .file("beside.py", format!("word = 'beside {version}'\n{}", of_another_size(version)))
        .entry_point("console_scripts", "greet = greet:main")
}

/// uv leaves bytecode of single modules behind, which Python takes for that of a source of the same second and size.
fn of_another_size(version: &str) -> String {
    "#".repeat(version.split('.').next().unwrap().parse().unwrap())
}

const GREET: &str = "import greet, greet.deep.er, beside; print(greet.word)";

/// A sandbox whose lock asks for [`greet`] 1.0; none, said loudly, if FUSE does not work.
fn sandbox() -> Option<Sandbox> {
    Some(Sandbox::with_fuse()?.with_wheels([greet("1.0")]))
}

/// Sends a signal.
fn kill(signal: &str, pid: u32) {
    Outcome::of(Command::new("kill").args(["-s", signal, &pid.to_string()])).succeeds();
}

/// Kills the server, and waits until it is gone.
fn kill_server(test: &Sandbox) {
    kill("KILL", test.server());
    wait_until("the server is gone", || common::servers_below(&test.root()).is_empty());
}
