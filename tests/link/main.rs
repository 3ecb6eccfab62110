//! Every way to make an environment: mounted, and made real with links, clones and copies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "fuse")]
mod auto;
mod changes;
mod disks;
mod folded;
mod killed;
mod progress;
mod switching;
mod tools;
mod trees;

use std::ops::Deref;

use common::{Corpus, Disk, Outcome, Sandbox, Tree, WheelBuilder, tree};

/// The modes that make files.
const FILE_MODES: [&str; 4] = ["symlink", "hardlink", "clone", "copy"];

/// Links for whole directories, where that is safe. Python's bytecode then goes to the cache.
const FOLDED: &str = "symlink --fold";

/// A sandbox on a btrfs of its own, where every mode works; where that cannot be, clone is left out, said loudly.
struct Place {
    test: Sandbox,
    modes: Vec<&'static str>,
    _disk: Option<Disk>,
}

impl Place {
    fn new() -> Self {
        Self::of_size(512)
    }

    fn of_size(megabytes: u64) -> Self {
        let disk = Disk::btrfs(megabytes);
        let test = disk.as_ref().map_or_else(Sandbox::new, |disk| Sandbox::below(&disk.path()));
        let modes = FILE_MODES.into_iter().filter(|mode| *mode != "clone" || disk.is_some()).collect();
        Self { test, modes, _disk: disk }
    }

    fn with_wheels(wheels: impl IntoIterator<Item = WheelBuilder>) -> Self {
        let Self { test, modes, _disk } = Self::new();
        Self { test: test.with_wheels(wheels), modes, _disk }
    }

    /// A corpus, in a copy of its cache: hard links and clones need cache and environment on one file system.
    fn of_corpus(name: &str, megabytes: u64) -> Self {
        let corpus = Corpus::prepared(name);
        let place = Self::of_size(megabytes);
        Outcome::of(place.command("cp").arg("-aT").arg(&corpus.cache).arg(&place.cache)).succeeds();
        fs_err::copy(&corpus.requirements, &place.requirements).unwrap();
        fs_err::remove_dir_all(&place.venv).unwrap();
        place.onlooking_uv().venv(&place.venv, &corpus.python);
        place.seal_cache();
        place
    }

    /// The modes that make files, folded links, and fuse where that works.
    fn every_mode(&self) -> Vec<&'static str> {
        let mut modes = self.all_modes();
        modes.push(FOLDED);
        modes
    }

    /// `VENV/bin/python -c CODE`, which writes no bytecode.
    fn look(&self, code: &str) -> Outcome {
        Outcome::of(self.python_command(code).env("PYTHONDONTWRITEBYTECODE", "1"))
    }

    /// The modes that make files, and fuse where that works.
    fn all_modes(&self) -> Vec<&'static str> {
        common::fuse().then_some("fuse").into_iter().chain(self.modes.iter().copied()).collect()
    }
}

impl Deref for Place {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.test
    }
}

fn mount(test: &Sandbox, mode: &str) -> Outcome {
    test.mount_with(&link_mode(mode))
}

/// The options for a mode.
fn link_mode(mode: &str) -> Vec<&str> {
    std::iter::once("--link-mode").chain(mode.split(' ')).collect()
}

/// The mode that status tells.
fn mode(test: &Sandbox) -> String {
    let mount = &test.status().succeeds().json()["mount"];
    let mode = mount["link_mode"].as_str().unwrap();
    if mount["folded"] == true { FOLDED.to_owned() } else { mode.to_owned() }
}

fn state(test: &Sandbox) -> String {
    test.status().succeeds().json()["state"].as_str().unwrap().to_owned()
}

/// The environment as programs see it: names, kinds and bytes, links followed; uv's lock apart.
fn seen(test: &Sandbox) -> Tree {
    tree(&test.venv, |_, bytes| Some(bytes), &["__pycache__", ".lock", ".sitefs", "lib64"])
}

fn greet(version: &str) -> WheelBuilder {
    WheelBuilder::new("greet", version)
        .file("greet/__init__.py", format!("word = 'hello {version}'\n\ndef main():\n    print(word)\n"))
        .file("greet/empty.py", "")
        .file("space/greet/__init__.py", format!("version = '{version}'\n"))
        .file(&format!("greet/only_{}.py", version.replace('.', "_")), "")
        .entry_point("console_scripts", "greet = greet:main")
        .data("data/share/greet/note.txt", "a note\n")
        .data("scripts/greet-shell", "#!/bin/sh\necho shell\n")
}

fn guest() -> WheelBuilder {
    WheelBuilder::new("guest", "3.0")
        .requires("greet")
        .file("guest/__init__.py", "import greet\nword = 'guest of ' + greet.word\n")
        .file("guest/deep/er/data.txt", "data\n")
        .file("guest-3.0.dist-info/licenses/LICENSE", "MIT\n")
        .file("space/guest.py", "word = 'in space'\n")
        .data("data/etc/guest.json", "{}")
}

const GREET: &str = "import greet; print(greet.word)";
const GUEST: &str = "import guest; print(guest.word)";
